"""Images and plans that hold one backend to another, and values at which every op has a slope."""

import numpy as np
import torch

from learned_augment.builders import uniform_layer
from learned_augment.ops import OPS, Opcode
from learned_augment.policy import Plan
from learned_augment.search_spaces import SPACES

NAMES = tuple(OPS)
COMPILED = tuple(name for name, op in OPS.items() if op.opcode != Opcode.DEFINITION)
CHECKED = {
    "ShearX": 0.13, "ShearY": -0.21, "TranslateX": 0.17, "TranslateY": -0.11, "Rotate": 17.3,
    "Contrast": 0.7, "Color": 1.3, "Brightness": 0.6, "Sharpness": 1.4, "Solarize": 131.3,
    "AutoContrast": 0.0, "Invert": 0.0, "Flip": 0.9, "PadCrop": 0.2, "Cutout": 0.3,
    "CutoutClipped": 0.4, "ResizedCrop": 0.3, "Identity": 0.0,
}  # fmt: skip
SIZES = [(3, 32, 32), (3, 37, 23), (1, 20, 31), (3, 1, 1), (1, 1, 9), (3, 2, 2), (3, 3, 3)]


def images(batch: int, channels: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Noise, faint noise, flat images and ramps: statistics differ, ties happen."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 256, (batch, channels, height, width))
    levels[::4] = levels[::4] // 4 + 90
    levels[1::8] = 77
    levels[2::4] = (np.arange(width) * 3) % 256
    return torch.from_numpy(levels.astype(np.uint8))


def random_plan(batch: int, layers: int, names: tuple[str, ...] = NAMES, seed: int = 0) -> Plan:
    """Values from the whole legal range (factors up to 2), some of them the identity value."""
    rng = np.random.default_rng(seed)
    op = rng.integers(0, len(names), (batch, layers))
    low, high, identity = (np.array([limit[k] for limit in map(_limits, names)]) for k in range(3))
    value = rng.uniform(low[op], high[op])
    value = np.where(rng.random(op.shape) < 0.15, identity[op], value)
    noise = torch.from_numpy(rng.random((batch, layers, 4), dtype=np.float32))
    return Plan(names, torch.from_numpy(op), torch.from_numpy(value), noise)


def _limits(name: str) -> tuple[float, float, float]:
    row = OPS[name]
    identity = row.high if row.identity_value is None else row.identity_value
    return row.low, 2.0 if row.high == 10 else row.high, identity


VALUES = {
    name: sorted(
        {v for space in SPACES.values() for op, _, v in uniform_layer(space) if op == name}
    )
    for name in OPS
}


def chains(count, depth, seed=0):
    """A plan of uniform ops at random values from every paper's space."""
    rng = np.random.default_rng(seed)
    names = tuple(OPS)
    op = torch.from_numpy(rng.integers(len(names), size=(count, depth)))
    value = [[rng.choice(VALUES[names[o]]) for o in row] for row in op.tolist()]
    noise = torch.rand(count, depth, 4, generator=torch.Generator().manual_seed(seed))
    return Plan(names, op, torch.tensor(value, dtype=torch.float64), noise)


def single(name: str, values: object, seed: int = 0) -> Plan:
    """One op at a value for each image."""
    values = torch.as_tensor(values, dtype=torch.float64)[:, None]
    noise = torch.rand(len(values), 1, 4, generator=torch.Generator().manual_seed(seed))
    return Plan((name,), torch.zeros(len(values), 1, dtype=torch.int64), values, noise)


def grad_image(height: int = 9, width: int = 8) -> torch.Tensor:
    """One image away from black and white, in float64."""
    generator = torch.Generator().manual_seed(3)
    picture = 0.2 + 0.6 * torch.rand(1, 3, height, width, generator=generator, dtype=torch.float64)
    return picture.requires_grad_()


LAYOUTS = ("channels_last", "every second column", "expanded", "empty")


def laid_out(batch: torch.Tensor, layout: str) -> torch.Tensor:
    """Return a batch in one of ``LAYOUTS``."""
    return {
        "channels_last": batch.contiguous(memory_format=torch.channels_last),
        "every second column": batch[..., ::2],
        "expanded": batch[:1].expand(len(batch), -1, -1, -1),
        "empty": batch[:0],
    }[layout]
