"""The result tables of the two papers, figure by figure, and the policies that their columns name.

A row is a recipe of ``train_presets.PRESETS`` (or a detector) and its figures, one a column, "-"
where the paper has none. Figures are as printed; a spread is the paper's 95 % interval.

Li et al., DADA, ECCV 2020, arXiv:2003.03780. Zheng et al., DeepAA, ICLR 2022, arXiv:2203.06172.
"""

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["DETECTION", "METHODS", "SEARCHES", "TABLES", "Method", "Table"]


class Table(NamedTuple):
    """One table of a paper.

    Attributes:
        source: Paper and number of the table.
        unit: What the figures are.
        heads: A method of ``METHODS`` per column.
        rows: Recipe -> figures, separated by spaces.
    """

    source: str
    unit: str
    heads: tuple[str, ...]
    rows: Mapping[str, str]


class Method(NamedTuple):
    """What a column is called here.

    Attributes:
        policies: Data set -> policy, as ``train.py`` takes it.
        reason: Why it cannot be run on the other data sets.
    """

    policies: Mapping[str, str] = {}
    reason: str = "the policy is not shipped here"


_EVERYWHERE = ("cifar10", "cifar100", "svhn", "imagenet")


def _everywhere(policy: str) -> dict[str, str]:
    return dict.fromkeys(_EVERYWHERE, policy)


def _first_layers(count: int) -> Method:
    cifar = f"deepaa-cifar10-2-first-{count}.safetensors"
    policies = {"cifar10": cifar, "cifar100": cifar}
    if count <= 5:
        policies["imagenet"] = f"deepaa-imagenet-first-{count}.safetensors"
    return Method(policies, "the published policy has 5 layers")


_AUTOAUGMENT = {
    "cifar10": "autoaugment",
    "cifar100": "autoaugment",
    "svhn": "autoaugment-svhn.safetensors",
    "imagenet": "autoaugment-imagenet.safetensors",
}
_FAST = {
    "cifar10": "fastaa-cifar10",
    "cifar100": "fastaa-cifar10",
    "svhn": "fastaa-svhn",
    "imagenet": "fastaa-imagenet",
}
_DEEPAA = {"cifar10": "deepaa-cifar10-2", "cifar100": "deepaa-cifar10-2"}
_SCHEDULE = "a schedule of policies over the epochs, out of a policy's reach"
_SIMPLE = "not built here: one layer beside the defaults, on a side that the paper does not state"

METHODS: dict[str, Method] = {
    "baseline": Method(_everywhere("default")),
    "Cutout": Method(_everywhere("cutout")),
    "AA": Method(_AUTOAUGMENT),
    "PBA": Method(reason=_SCHEDULE),
    "Fast AA": Method(_FAST),
    "Faster AA": Method(),
    "OHL-AA": Method(),
    "DADA": Method({name: f"dada-{name}" for name in _EVERYWHERE}),
    "DADA, full set": Method(reason="the paper does not state that search's settings"),
    "RA": Method(_everywhere("randaugment")),
    "UA": Method(reason="not built here: it draws the chance of applying, too"),
    "TA (RA)": Method(reason="not built here: TrivialAugment in RandAugment's ranges"),
    "TA (Wide)": Method(_everywhere("trivialaugment")),
    "TA (Wide), re-tuned": Method(reason="its settings are not among the recipes here"),
    "AdvAA": Method(reason="not published: the policy changes as the network learns"),
    "DeepAA": Method(_DEEPAA | {"imagenet": "deepaa-imagenet"}),
    "DeepAA-simple": Method(reason=_SIMPLE),
    "DeepAA, workshop": Method(reason="its policies of four layers are not shipped here"),
    **{f"DeepAA, depth {count}": _first_layers(count) for count in range(1, 8)},
    **{
        f"DeepTA, depth {count}": Method({"cifar10": f"deepta-{count}.safetensors"})
        for count in range(1, 9)
    },
}
"""Every column by its name."""

_DEEP_DEPTHS = tuple(f"DeepAA, depth {count}" for count in range(1, 8))
_TRIVIAL_DEPTHS = tuple(f"DeepTA, depth {count}" for count in range(1, 9))
_DADA_HEADS = ("baseline", "Cutout", "AA", "PBA", "Fast AA", "DADA")
_DEEPAA_HEADS = (
    *("baseline", "AA", "PBA", "Fast AA", "Faster AA", "DADA", "RA", "UA", "TA (RA)"),
    *("TA (Wide)", "DeepAA"),
)

TABLES: tuple[Table, ...] = (
    Table(
        "DADA, Table 2",
        "test error, %",
        _DADA_HEADS,
        {
            "cifar10-wrn-40-2": "5.3 4.1 3.7 - 3.6 3.6",
            "cifar10-wrn-28-10": "3.9 3.1 2.6 2.6 2.7 2.7",
            "cifar10-shake-shake-26-2x32d": "3.6 3.0 2.5 2.5 2.7 2.7",
            "cifar10-shake-shake-26-2x96d": "2.9 2.6 2.0 2.0 2.0 2.0",
            "cifar10-shake-shake-26-2x112d": "2.8 2.6 1.9 2.0 2.0 2.0",
            "cifar10-pyramidnet-272": "2.7 2.3 1.5 1.5 1.8 1.7",
            "cifar100-wrn-40-2": "26.0 25.2 20.7 - 20.7 20.9",
            "cifar100-wrn-28-10": "18.8 18.4 17.1 16.7 17.3 17.5",
            "cifar100-shake-shake-26-2x96d": "17.1 16.0 14.3 15.3 14.9 15.3",
            "cifar100-pyramidnet-272": "14.0 12.2 10.7 10.9 11.9 11.2",
        },
    ),
    Table(
        "DADA, Table 3",
        "test error, %",
        _DADA_HEADS,
        {
            "svhn-wrn-28-10": "1.5 1.3 1.1 1.2 1.1 1.2",
            "svhn-shake-shake-26-2x96d": "1.4 1.2 1.0 1.1 - 1.1",
        },
    ),
    Table(
        "DADA, Table 4",
        "test error, %, top 1 / top 5",
        ("baseline", "AA", "Fast AA", "OHL-AA", "DADA"),
        {"imagenet-resnet50": "23.7/6.9 22.4/6.2 22.4/6.3 21.1/5.7 22.5/6.5"},
    ),
    Table(
        "DADA, Table 6",
        "test error, %, by what the policy was searched on",
        ("DADA", "DADA, full set"),
        {"cifar10-wrn-40-2": "3.61 3.53", "cifar10-wrn-28-10": "2.73 2.64"},
    ),
    Table(
        "DeepAA, Table 1",
        "test accuracy, %",
        _DEEPAA_HEADS,
        {
            "cifar10-wrn-28-10-deepaa": (
                "96.1 97.4 97.4 97.3 97.4 97.3 97.3 97.33 97.46 97.46 97.56±0.14"
            ),
            "cifar10-shake-shake-26-2x96d": (
                "97.1 98.0 98.0 98.0 98.0 98.0 98.0 98.1 98.05 98.21 98.11±0.12"
            ),
            "cifar100-wrn-28-10-deepaa": (
                "81.2 82.9 83.3 82.7 82.7 82.5 83.3 82.82 83.54 84.33 84.02±0.18"
            ),
            "cifar100-shake-shake-26-2x96d": "82.9 85.7 84.7 85.1 85.0 84.7 - - - 86.19 85.19±0.28",
        },
    ),
    Table(
        "DeepAA, Table 2",
        "test accuracy, %, top 1",
        (
            *("baseline", "AA", "Fast AA", "Faster AA", "DADA", "RA", "UA", "TA (RA)"),
            *("TA (Wide)", "DeepAA-simple", "DeepAA"),
        ),
        {
            "imagenet-resnet50-deepaa": (
                "76.3 77.6 77.6 76.5 77.5 77.6 77.63 77.85 78.07 78.08 78.30±0.14"
            ),
            "imagenet-resnet200": "78.5 80.0 80.6 - - - 80.4 - - - 81.32±0.17",
        },
    ),
    Table(
        "DeepAA, Table 3 (batch augmentation, 8 copies)",
        "test accuracy, %",
        ("AdvAA", "TA (Wide)", "TA (Wide), re-tuned", "DeepAA"),
        {
            "cifar10-wrn-28-10-deepaa-ba": "98.1±0.15 98.04±0.06 98.06±0.23 98.21±0.14",
            "cifar100-wrn-28-10-deepaa-ba": "84.51±0.18 84.62±0.14 85.40±0.15 85.61±0.17",
        },
    ),
    Table(
        "DeepAA, Tables 5 and 6 (depth)",
        "test accuracy, %",
        _DEEP_DEPTHS,
        {
            "cifar10-wrn-28-10-deepaa": (
                "96.3±0.21 96.6±0.18 96.9±0.12 97.4±0.14 97.56±0.14 97.6±0.12 -"
            ),
            "cifar100-wrn-28-10-deepaa": (
                "80.9±0.31 81.7±0.24 82.2±0.21 83.7±0.24 84.02±0.18 84.0±0.19 -"
            ),
            "imagenet-resnet50-deepaa": "75.27±0.19 - 78.18±0.22 - 78.30±0.14 - 78.30±0.14",
        },
    ),
    Table(
        "DeepAA, Figure 4c (depth of random layers, read off the figure)",
        "test accuracy, %",
        _TRIVIAL_DEPTHS,
        {"cifar10-wrn-28-10-deepaa": "96.32 96.73 97.19 97.19 97.18 97.22 97.11 97.06"},
    ),
    Table(
        "DeepAA, workshop version",
        "test error, %",
        ("DeepAA, workshop",),
        {
            "cifar10-wrn-28-10": "2.57±0.15",
            "cifar100-wrn-28-10": "16.30±0.17",
            "svhn-wrn-28-10": "1.13±0.04",
            "cifar10-shake-shake-26-2x96d": "1.89±0.12",
            "cifar100-shake-shake-26-2x96d": "14.81±0.28",
        },
    ),
)
"""The tables of classifiers. Of DADA's Table 1, the errors repeat Tables 2 to 4."""

DETECTION = {
    ("retinanet", "default"): "35.9 (55.8, 38.4, 19.9, 38.8, 45.0)",
    ("retinanet", "dada-imagenet"): "36.6 (56.8, 39.2, 20.2, 39.7, 46.0)",
    ("fasterrcnn", "default"): "36.6 (58.8, 39.6, 21.6, 39.8, 45.0)",
    ("fasterrcnn", "dada-imagenet"): "37.2 (59.1, 40.2, 22.2, 40.2, 45.7)",
    ("maskrcnn", "default"): "37.4 (59.3, 40.7, 22.0, 40.6, 46.3); masks 34.2",
    ("maskrcnn", "dada-imagenet"): "37.8 (59.6, 41.1, 22.4, 40.9, 46.6); masks 34.5",
}
"""DADA, Table 5: (detector, policy of the backbone) -> AP (AP50, AP75, small, medium, large)."""

SEARCHES = {
    ("DADA, Table 1", "cifar10"): "AA 5000, PBA 5, Fast AA 3.5, OHL-AA 83.4 (estimate), DADA 0.1",
    ("DADA, Table 1", "cifar100"): "DADA 0.2",
    ("DADA, Table 1", "svhn"): "AA 1000, PBA 1, Fast AA 1.5, DADA 0.1",
    ("DADA, Table 1", "imagenet"): "AA 15000, Fast AA 450, OHL-AA 625 (estimate), DADA 1.3",
    ("DeepAA, Table 4", "cifar10"): (
        "AA 5000, PBA 5, Fast AA 3.5, Faster AA 0.23, DADA 0.1, RA 25, DeepAA 9"
    ),
    ("DeepAA, Table 4", "imagenet"): (
        "AA 15000, Fast AA 450, Faster AA 2.3, DADA 1.3, RA 5000, DeepAA 96"
    ),
    ("DeepAA, workshop version", "cifar10"): "DeepAA 3",
    ("DeepAA, workshop version", "svhn"): "DeepAA 1.2",
}
"""GPU hours of a search: source and data -> hours by method."""
