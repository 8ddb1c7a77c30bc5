"""Screening: short trainings under designed policies, a regression on them, and a race."""
