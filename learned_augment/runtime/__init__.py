"""What every long job needs: progress, clean stops, checkpoints, several processes."""
