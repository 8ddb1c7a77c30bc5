"""Run the Triton kernel in Triton's interpreter, on the CPU, and hold it to torch.

A script: the interpreter has to be chosen before Triton is imported. Prints the cases that agreed.
"""

import os

os.environ["TRITON_INTERPRET"] = "1"

import torch

from learned_augment.backends import torch_uint8
from learned_augment.backends.triton import launch
from tests.backends.plans import COMPILED, SIZES, images, random_plan

launch.BLOCKS = 5  # fewer than images: a block runs several, in memory that it used before


def check(name, batch, plan, fill=None):
    before = batch.clone()
    got, expected = launch.apply(batch, plan, fill), torch_uint8.apply(before, plan, fill=fill)
    wrong = [i for i in range(len(batch)) if not torch.equal(got[i], expected[i])]
    steps = [[(step.op.name, step.value) for step in plan.steps(i)] for i in wrong[:3]]
    assert not wrong, f"{name}: images {wrong} differ, the first of them with {steps}"
    assert torch.equal(batch, before), f"{name}: the images were written to"
    print(name)


# The interpreter takes about 50 ms an image and layer.
for size in SIZES:
    check(f"random plans at {size}", images(8, *size), random_plan(8, 4, COMPILED, seed=size[1]))
for op in COMPILED:
    check(f"{op} alone", images(8, 3, 33, 29), random_plan(8, 1, (op,), seed=len(op)))
batch, plan = images(7, 3, 17, 40), random_plan(7, 3, COMPILED)
check("color outside", batch, plan, (1, 2, 3))
check("one level outside", batch, plan, (9,))
check("channels last", batch.contiguous(memory_format=torch.channels_last), plan)
check("every second column", batch[..., ::2], plan)
check("no layers", batch, random_plan(7, 0))
