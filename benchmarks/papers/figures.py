"""The result tables of the two papers, figure by figure."""

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["DETECTION", "SEARCHES", "TABLES", "Table"]


class Table(NamedTuple):
    """One table of a paper.

    The papers are Li et al., DADA, ECCV 2020, arXiv:2003.03780, and Zheng et al., DeepAA, ICLR
    2022, arXiv:2203.06172. Figures are as printed. A spread is the paper's 95 % interval.

    Attributes:
        source: Paper and number of the table.
        unit: What the figures are.
        heads: A method of ``methods.METHODS`` per column.
        rows: Recipe of ``presets.PRESETS`` or detector -> figures, one for each column, separated
            by spaces; "-" where the paper has none.
        note: What a reader of the figures has to know.
    """

    source: str
    unit: str
    heads: tuple[str, ...]
    rows: Mapping[str, str]
    note: str = ""


_DEEP_DEPTHS = tuple(f"DeepAA, depth {count}" for count in range(1, 8))
_TRIVIAL_DEPTHS = tuple(f"DeepTA, depth {count}" for count in range(1, 9))
_DADA_HEADS = ("baseline", "Cutout", "AA", "PBA", "Fast AA", "DADA")
_DEEPAA_HEADS = (
    *("baseline", "AA", "PBA", "Fast AA", "Faster AA", "DADA", "RA", "UA", "TA (RA)"),
    *("TA (Wide)", "DeepAA"),
)

TABLES: tuple[Table, ...] = (
    Table(
        "DADA, Table 1",
        "test error, %",
        ("OHL-AA",),
        {"cifar10-wrn-28-10": "2.6"},
        "Its other errors repeat Tables 2 to 4; its hours are under the cost of a search.",
    ),
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
        "`train.py` tests top 1 alone: the commands do not measure the top-5 errors.",
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
        "TrivialAugment's figures are of images of 244 x 224 pixels; at 224 x 224, which the "
        "commands train on, the paper has 77.55 for TA (RA) and 77.97 for TA (Wide).",
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
"""The tables of classifiers."""

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
