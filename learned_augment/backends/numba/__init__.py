"""Compiled CPU backends, which need Numba."""
