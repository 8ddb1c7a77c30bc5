"""Comparisons of policies: paired trainings, their statistics and their results."""
