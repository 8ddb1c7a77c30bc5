"""Measurements of the package: one script a claim, run as ``python -m benchmarks.NAME``."""
