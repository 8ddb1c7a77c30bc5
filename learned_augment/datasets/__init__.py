"""Labeled images in memory, from every source that compare and search accept."""
