"""Screening: small trainings under designed policies, a regression on them, and a race."""
