"""Policies and results in words, pictures and pages."""
