"""Differentiable automatic data augmentation: pairs of ops, how often and how strong."""
