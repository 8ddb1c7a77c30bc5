"""Deep AutoAugment: layer by layer, by the alignment of gradients with clean images of a class."""
