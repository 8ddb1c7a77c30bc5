"""Levels through a table: with and without the wide instruction, at lengths around its width."""

import numpy as np
import pytest

pytest.importorskip("numba")

from learned_augment.backends import lookup

LENGTHS = [0, 1, 63, 64, 65, 127, 128, 200, 3072]


def forms():
    wide = pytest.param(
        lookup.look_up_wide,
        id="wide",
        marks=pytest.mark.skipif(not lookup.is_wide(), reason="needs AVX-512 VBMI"),
    )
    return [pytest.param(lookup.look_up_each, id="each"), wide]


@pytest.mark.parametrize("look_up", forms())
@pytest.mark.parametrize("length", LENGTHS)
def test_every_level_goes_through_the_table(look_up, length):
    rng = np.random.default_rng(length)
    source = rng.integers(0, 256, length).astype(np.uint8)
    table = rng.permutation(256).astype(np.uint8)
    target = np.full(length + 64, 7, np.uint8)
    look_up(source, target[:length], table)
    assert (target[:length] == table[source]).all()
    assert (target[length:] == 7).all(), "wrote behind the end"


@pytest.mark.parametrize("look_up", forms())
def test_a_row_may_be_mapped_in_place(look_up):
    levels = np.arange(256, dtype=np.uint8)
    table = levels[::-1].copy()
    look_up(levels, levels, table)
    assert (levels == table).all()
