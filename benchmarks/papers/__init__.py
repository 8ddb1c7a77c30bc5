"""The papers' trainings: their networks, recipes and result tables."""
