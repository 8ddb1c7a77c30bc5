"""Does a policy help? Paired trainings, their statistics, and the result as text, JSON, page."""
