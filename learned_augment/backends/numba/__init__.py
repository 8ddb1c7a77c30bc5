"""Apply plans in compiled code on a CPU, with Numba."""

from learned_augment.backends.numba.floats import apply_floats
from learned_augment.backends.numba.uint8 import apply_to_pil, apply_uint8, maps_arrays

__all__ = ["apply_floats", "apply_to_pil", "apply_uint8", "maps_arrays"]
