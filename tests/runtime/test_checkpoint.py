"""Checkpoints: what is read is what was written, or a sentence says why it is not."""

import random

import pytest
import torch

from learned_augment.runtime.checkpoint import encode, load_checkpoint, read, save_checkpoint
from learned_augment.runtime.loop import run_steps
from tests.runtime.test_loop import CPU, Sum

STATE = {
    "numbers": [1, -0.5, float("inf"), None, True, "text"],
    "weights": {"w": torch.arange(6.0).view(2, 3), 0: torch.tensor(True)},
    "empty": torch.empty(0),
    "pair": (torch.tensor(2, dtype=torch.int64), {}),
}


def test_a_state_comes_back_as_it_was(tmp_path):
    path = tmp_path / "c"
    assert save_checkpoint(path, {"seed": 1}, STATE)
    found = load_checkpoint(path, {"seed": 1})
    assert found["numbers"] == STATE["numbers"]
    assert torch.equal(found["weights"]["w"], STATE["weights"]["w"])
    assert found["pair"][0].dtype == torch.int64


def test_no_wrong_bit_is_read(tmp_path):
    path, rng = tmp_path / "c", random.Random(0)
    save_checkpoint(path, {"seed": 1}, {"w": torch.arange(50.0)})
    whole = path.read_bytes()
    at = whole.index(torch.arange(50.0).numpy().tobytes())
    for place in [*range(at, at + 20), *(rng.randrange(len(whole)) for _ in range(60))]:
        broken = bytearray(whole)
        broken[place] ^= 1 << rng.randrange(8)
        path.write_bytes(broken)
        try:
            found = load_checkpoint(path, {"seed": 1})
        except ValueError as error:
            assert str(error).startswith(str(path))  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
        else:  # a bit that means nothing, such as that of a date
            assert torch.equal(found["w"], torch.arange(50.0))


def test_other_contents_do_not_have_the_hash(tmp_path):
    path = tmp_path / "c"
    contents = torch.load(_written(path, {"a": 1}), weights_only=True)
    for changed in ({"a": 2}, {"a": 1.0}, {"a": "1"}, {"a": [1]}, {"b": 1}, {"a": torch.tensor(1)}):
        torch.save({**changed, "sha256": contents["sha256"]}, path)
        with pytest.raises(ValueError, match="its contents do not match its hash"):
            read(path, "a")


def _written(path, contents):
    path.write_bytes(encode(contents))
    return path


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"format": 1, "config": {}, "state": {}}, "expected checkpoint format 10, got 1"),
        ({"format": torch.ones(2), "config": {}, "state": {}}, "expected checkpoint format 10"),
        ({"format": 5, "config": {}}, "is not a checkpoint of a sum"),
        ({"format": 5, "config": {}, "state": 3}, "its configuration or its state is no mapping"),
        ({"format": 5, "config": {"a": torch.ones(2)}, "state": {}}, "is no mapping"),
    ],
)
def test_a_file_of_another_form_is_refused_in_words(tmp_path, contents, message):
    with pytest.raises(ValueError, match=message):
        load_checkpoint(_written(tmp_path / "c", contents), {}, "sum")


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({"done": 2}, "holds no state of this sum .KeyError: 'total'"),
        ({"done": "2", "total": 0.0}, "holds no state of this sum .TypeError"),
        ({"done": -1, "total": 0.0}, "-1 steps are done"),
        ({"done": 9, "total": 0.0}, "9 steps are done, .* are left"),
    ],
)
def test_a_state_of_another_job_is_refused_in_words(tmp_path, job, message):
    path = tmp_path / "c"
    state = {"job": job, "cpu_rng": [torch.get_rng_state()]}
    save_checkpoint(path, {}, state)
    with pytest.raises(ValueError, match=message):
        run_steps(Sum(), name="sum", config={}, device=CPU, checkpoint=path)
    assert torch.equal(read(path, "state")[0]["cpu_rng"][0], state["cpu_rng"][0])
