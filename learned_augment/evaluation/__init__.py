"""Does a policy help? Paired trainings, their statistics, and the verdict as text, JSON, page."""
