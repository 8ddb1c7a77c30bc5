"""DeepAA: layers of ops, by the alignment of gradients with validation images of a class."""
