"""Backends turn a plan and images into images; they draw nothing."""
