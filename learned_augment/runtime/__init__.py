"""Progress, clean stops, checkpoints, random generators and processes of long jobs."""
