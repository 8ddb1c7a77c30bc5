"""The shipped policies: rebuilt byte for byte, described fully, agreeing with the papers."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from learned_augment.policy import Policy
from learned_augment.serialization import list_policies

FOLDER = Path(__file__).parents[1] / "pretrained_policies"
NAMES = [
    "dada-cifar10", "dada-cifar100", "dada-imagenet", "dada-svhn", "deepaa-cifar10",
    "deepaa-cifar10-2", "deepaa-imagenet", "deepaa-imagenet-2", "fastaa-cifar10",
    "fastaa-imagenet", "fastaa-svhn",
]  # fmt: skip


def test_all_are_shipped():
    assert list_policies() == NAMES


def test_make_rebuilds_every_file_byte_for_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["make.py", str(tmp_path)])
    runpy.run_path(str(FOLDER / "make.py"), run_name="__main__")
    for name in NAMES:
        made = (tmp_path / f"{name}.safetensors").read_bytes()
        assert made == (FOLDER / f"{name}.safetensors").read_bytes(), name


@pytest.mark.parametrize("name", NAMES)
def test_provenance_travels_with_the_figures(name):
    about = Policy.load(name).about
    assert about["name"] == name
    assert about["paper"]
    assert about["licence"]
    assert about["image_size"] == (224 if "imagenet" in name else 32)
    assert about["placement"] == ("replaces" if "deepaa" in name else "after")
    assert about["source"]["repository"].startswith("https://github.com/")
    assert len(about["source"]["commit"]) == 40


@pytest.mark.parametrize("name", [n for n in NAMES if "deepaa" in n])
def test_deepaa_tables(name):
    policy = Policy.load(name)
    depth = 5 if "imagenet" in name else 6
    assert policy.weights.shape == (1, depth, 139)
    figures = json.loads((FOLDER / "figures" / f"{name}.json").read_text())["figures"]
    for layer, row in enumerate(figures):
        shares = {op: share[layer].item() for op, share in policy.op_shares().items()}
        total = sum(row)
        # Candidates 49 to 60 are Rotate, 64 to 75 Solarize, 136 Flip, in the source's order.
        assert shares["Rotate"] == pytest.approx(sum(row[49:61]) / total)
        assert shares["Solarize"] == pytest.approx(sum(row[64:76]) / total)
        assert shares["Flip"] == pytest.approx(row[136] / total)
        # Signs are mirrored in evaluation: -30 and 30 degrees share what both had.
        value, weight = policy.value[0, layer], policy.weights[0, layer]
        rotate = policy.op[0, layer] == policy.ops.index("Rotate")
        for side in (-30.0, 30.0):
            mass = weight[rotate & torch.isclose(value, torch.tensor(side).double())].sum()
            assert mass.item() == pytest.approx((row[49] + row[60]) / 2 / total)


def test_deepaa_cifar_agrees_with_the_paper():
    shares = {op: s.tolist() for op, s in Policy.load("deepaa-cifar10").op_shares().items()}
    assert shares["CutoutClipped"][1] == pytest.approx(0.918, abs=1e-3)
    assert shares["PadCrop"][2] == pytest.approx(0.897, abs=1e-3)
    assert shares["Identity"][5] == pytest.approx(0.965, abs=1e-3)
    assert Policy.load("deepaa-cifar10-2").op_shares()["Identity"][5].item() == pytest.approx(
        0.991, abs=1e-3
    )


@pytest.mark.parametrize(
    ("name", "p_mean", "strength"),
    [("cifar10", 0.487, 0.083), ("cifar100", 0.508, 0.314), ("svhn", 0.507, 0.083),
     ("imagenet", 0.501, 0.312)],
)  # fmt: skip
def test_dada_tables(name, p_mean, strength):
    policy = Policy.load(f"dada-{name}")
    assert policy.weights.shape[:2] == (25, 2)
    applied = policy.weights[:, :, :].clone()
    applied[policy.op == policy.ops.index("Identity")] = 0
    assert applied.sum(-1).mean().item() == pytest.approx(p_mean, abs=2e-3)
    limits = {"ShearX": 0.3, "ShearY": 0.3, "TranslateX": 0.45, "TranslateY": 0.45, "Rotate": 30.0}
    figures = json.loads((FOLDER / "figures" / f"dada-{name}.json").read_text())["figures"]
    strengths = [abs(2 * m - 1) for sub in figures for op, _, m in sub if op in limits]
    assert sum(strengths) / len(strengths) == pytest.approx(strength, abs=1e-3)


def test_dada_first_row_in_units():
    policy = Policy.load("dada-cifar10")
    rows = zip(
        policy.op[0, 1].tolist(),
        policy.value[0, 1].tolist(),
        policy.weights[0, 1].tolist(),
        strict=True,
    )
    # Rotate, p 0.5694, m 0.5275: 1.648 degrees either way.
    assert [(policy.ops[o], round(v, 4), round(w, 4)) for o, v, w in rows] == [
        ("Rotate", 1.648, 0.2847), ("Rotate", -1.648, 0.2847), ("Identity", 0.0, 0.4306),
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "count"), [("cifar10", 493), ("imagenet", 498), ("svhn", 497)])
def test_fast_autoaugment_tables(name, count):
    assert Policy.load(f"fastaa-{name}").weights.shape == (count, 2, 3)
