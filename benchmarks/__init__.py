"""Measurements of the package: one script for each claim, run as ``python -m benchmarks.NAME``."""
