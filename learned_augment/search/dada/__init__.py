"""DADA: pairs of ops, with probability and magnitude, by gradient alignment."""
