"""Compiled GPU backend, which needs Triton."""
