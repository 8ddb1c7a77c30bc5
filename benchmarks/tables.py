"""Write the measured tables of the README and of the documentation from ``results/``.

    python -m benchmarks.tables            rewrite the pages
    python -m benchmarks.tables --check    fail if a page is out of date
    python -m benchmarks.tables --print throughput-rates

A table stands between ``<!-- table: NAME -->`` and ``<!-- /table -->`` on any page. A new table
needs a function from a result to lines of markdown, and a row in ``TABLES``.
"""

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from benchmarks.record import RESULTS, ROOT, load_result
from learned_augment._io import write_atomically
from learned_augment._text import markdown
from learned_augment.evaluation.random_baseline import RANDOM
from learned_augment.evaluation.result import ComparisonResult
from learned_augment.evaluation.statistics import (
    Difference,
    Outcome,
    outcome,
    paired_difference,
)
from learned_augment.ops import OPS
from learned_augment.policy import Policy

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n)(.*?)(<!-- /table -->)", re.DOTALL)

Result = dict[str, Any]


def parity(result: Result) -> list[str]:
    """Bit equality of PIL and uint8 images with the papers' code, and the difference of floats."""
    heads = ["op", "Kornia's function for floats", "PIL = papers", "uint8 = papers"]
    heads += ["float, nearest: mean (largest)", "float, bilinear: mean (largest)"]
    rows = []
    for row in result["rows"]:
        equal = [f"{row[key]} of {row['images']}" for key in ("pil_equal", "exact_equal")]
        name = OPS[row["op"]].kind.kornia if row["op"] in OPS else ""
        function = f"`{name.removeprefix('kornia.')}`" if name else ""
        rows.append(
            [row["op"], function, *equal, *[_levels(row, m) for m in ("nearest", "bilinear")]]
        )
    about = (
        f"Images that are equal in every bit, of {result['settings']['photographs']} photographs "
        f"at {result['settings']['side']} pixels, at values of the papers' and of the whole legal "
        "range; and the difference of floats from uint8, in gray levels of 255."
    )
    return [*markdown(heads, rows), "", about + " " + measured(result)]


def import_cost(result: Result) -> list[str]:
    """Seconds that imports take."""
    keys = ("processor_s", "clock_s", "clock_fastest_s")
    rows = [[f"`import {row['module']}`", *[row[key] for key in keys]] for row in result["rows"]]
    heads = ["", "processor, s", "clock, s", "clock at best, s"]
    note = (
        f"Medians of {result['settings']['rounds']} fresh processes in turn; "
        f"{result['settings']['extra_s']} s of processor time more than `import torchvision`. "
    )
    return [*markdown(heads, rows), "", note + measured(result)]


def draws(result: Result) -> list[str]:
    """Agreement of draws with the tables of the shipped policies."""
    heads = ["policy", "largest difference of a share", "smallest p, times layers"]
    heads += ["single images: largest deviation"]
    rows = []
    for row in result["rows"]:
        shares = row["shares"].values()
        pairs = [pair for s in shares for pair in zip(s["drawn"], s["table"], strict=True)]
        largest = 100 * max(abs(drawn - given) for drawn, given in pairs)
        deviation = (
            f"{row['largest_deviation_se']:+} standard errors, {row['largest_deviation_op']}"
        )
        rows.append([f"`{row['policy']}`", f"{largest:.2f} points", row["p_value"], deviation])
    note = (
        f"{result['settings']['draws']:,} draws a policy; chi-square of the ops by layer, and of "
        f"{sum(row['ops'] for row in result['rows'])} counts the largest deviations. "
    )
    return [*markdown(heads, rows), "", note + measured(result)]


def compare(result: Result) -> list[str]:
    """Comparisons: accuracy under each policy and the paired difference to the reference."""
    lines: list[str] = []
    for row in result["rows"]:
        comparison = as_comparison(row)
        heads = ["policy", "placed", "accuracy, %", "sd", f"difference to `{comparison.reference}`"]
        lines += [_setting(comparison), "", *markdown(heads, map(_cells, *_each(comparison))), ""]
    return [*lines, measured(result)]


def evidence(result: Result) -> list[str]:
    """Each policy against crop and flip, learned ones against their random baselines; notes."""
    comparison = as_comparison(result["rows"][0])
    heads = ["policy", "placed", "accuracy, %", "sd", f"difference to `{comparison.reference}`"]
    rows = [
        [*_cells(comparison, name), controlled_cell(comparison, name)]
        for name in comparison.placements
    ]
    ordinary = [pair for pair in comparison.pairs() if pair[1] == comparison.reference]
    controlled = [pair for pair in comparison.pairs() if pair[1] != comparison.reference]
    lines = [
        _setting(comparison),
        "",
        *markdown([*heads, "difference to its random baseline"], rows),
        "",
    ]
    lines += [f"- Against `{comparison.reference}`: {sorted_out(comparison, ordinary)}."]
    if controlled:
        lines += [f"- Against their random baselines: {sorted_out(comparison, controlled)}."]
    lines += [f"- {note[0].upper()}{note[1:]}" for note in comparison.notes()]
    return [*lines, "", measured(result)]


def evidence_short(result: Result) -> list[str]:
    """A few policies against crop and flip, for the README."""
    comparison = as_comparison(result["rows"][0])
    rows = []
    for policy, called in _FEW.items():
        _, _, accuracy, _, difference = _cells(comparison, policy)
        rows.append([called, accuracy, difference])
    return markdown(["augmentation", "accuracy, %", "difference, points"], rows)


_FEW = {
    "default": "crop and flip",
    "randaugment": "crop and flip, then RandAugment",
    "dada-cifar10": "crop and flip, then `dada-cifar10`",
    "random:dada-cifar10": "crop and flip, then a random baseline of `dada-cifar10`",
    "trivialaugment": "crop and flip, then TrivialAugment",
    "deepaa-cifar10": "`deepaa-cifar10` alone",
    "none": "none",
}


def screening(result: Result) -> list[str]:
    """Accuracy on test images of the policy that a search returned and of others, with leads."""
    comparison = as_comparison(result["rows"][0]["comparison"])
    rows = []
    for name in comparison.placements:
        _, _, accuracy, deviation, _ = _cells(comparison, name)
        lead = None if name == "found" else comparison.difference("found", name)
        # It may be a known policy; a path is that of another search.
        called = name if "/" in name else name.replace("found", "returned")
        rows.append([f"`{called}`", accuracy, deviation, paired_cell(lead) if lead else ""])
    settings = result["settings"]
    trainings = settings["cpu_s"] / settings["training_cpu_s"]
    lines = [_setting(comparison), ""]
    lines += markdown(["policy", "accuracy, %", "sd", "lead of the returned policy, points"], rows)
    lines += ["", f"Search: {settings['cpu_s']:.0f} s of processor time, as much as "]
    lines[-1] += f"{trainings:.0f} trainings without augmentation. "
    lines[-1] += f"*{settings['sentence']}* {measured(result)}"
    return lines


def screening_short(_: Result) -> list[str]:
    """Accuracy of returned policies and of the usual choices, one row a data set, for the README.

    A search may return a policy that is known without it; such a row names it and has no lead.
    """
    rows = []
    for name in _SHORT:
        comparison, about = _screened(name)
        cells = [_cells(comparison, policy)[2] for policy in _USUAL]
        if about["found"]:
            best = _best_known(comparison)
            lead = f"{_lead_cell(comparison, best)}, `{best}`"
        else:
            cells[-1] += f": {about['chosen']}"
            lead = "a known policy"
        rows.append([_SEARCHES[name].called, *cells, lead])
    heads = ["images", *_USUAL.values(), "lead over the best known policy, points"]
    return markdown(heads, rows)


def screening_summary(_: Result) -> list[str]:
    """Each search of the present version: what it returned, and its leads on test images."""
    rows = []
    for name, search in _present_searches().items():
        comparison, about = _screened(name)
        best = _best_known(comparison)
        leads = [_lead_cell(comparison, rival) for rival in (*_RIVALS, best)]
        part = "yes" if search.part else "no"
        cells = _search_cells(comparison, about, [])
        rows.append([search.called, *cells, *leads[:-1], f"`{best}`", leads[-1], part])
    heads = ["images", "seed", "returned", "accuracy, %"]
    heads += [f"lead over {_USUAL[rival]}" for rival in _RIVALS]
    return markdown([*heads, "best known policy", "lead over it", "data had a part"], rows)


def screening_counts(_: Result) -> list[str]:
    """In how many searches the returned policy is shown to be better or worse than each rival."""
    searches = _present_searches()
    compared = {name: _screened(name)[0] for name in searches}
    groups = [list(searches), [name for name, search in searches.items() if not search.part]]
    rows = []
    for rival in (*_RIVALS, None):
        called = _USUAL[rival] if rival else "the best known policy of its table"
        cells: list[Any] = []
        for names in groups:
            found = [_outcome_against(compared[name], rival) for name in names]
            cells += [found.count("helps"), found.count("unclear"), found.count("hurts")]
        rows.append([called, *cells])
    heads = ["the returned policy against", f"better, of {len(groups[0])}", "nothing shown"]
    heads += ["worse", f"new data: better, of {len(groups[1])}", "nothing shown", "worse"]
    return markdown(heads, rows)


def chosen_ops(result: Result) -> list[str]:
    """Random ops against none, and found ops against random ones in the same form."""
    rows = []
    for row in result["rows"]:
        drawn = as_comparison(row)
        base = drawn.reference
        forms = [policy for policy in drawn.placements if policy != base]
        alone = f"`{base}`, {_cells(drawn, base)[2]}"
        added = [_cells(drawn, form)[4] for form in forms]
        for name, search in _present_searches().items():
            comparison, about = _screened(name)
            for form in forms if _same_training(comparison, drawn) else ():
                if about["chosen"] == f"found ({_BEFORE[base]}{form})":
                    lead = _paired(comparison, "found", drawn, form)
                    accuracies = [_cells(comparison, "found")[2], _cells(drawn, form)[2]]
                    found = [about["search"]["seed"], form, *accuracies, paired_cell(lead)]
                    rows.append([search.called, alone, *added, *found])
    heads = ["images", "base augmentation, accuracy", "random: an op for half, gain"]
    heads += ["random: two ops, gain", "seed", "form of the found policy", "found ops, %"]
    heads += ["random ops, %", "lead of the found ops"]
    return [*markdown(heads, rows), "", measured(result)]


def screening_networks(_: Result) -> list[str]:
    """Other networks than that of the search, and the published policies under them."""
    rows = []
    for name, searched, others in _NETWORKS:
        comparison = as_comparison(load_result(f"screening-{name}")["rows"][0]["comparison"])
        settings = comparison.settings
        network = f"{settings['network']}, {settings['epochs']} epochs"
        accuracy = _cells(comparison, "found")[2]
        rows.append([network, _SEARCHES[searched].called, "returned", accuracy, ""])
        for rival in comparison.placements:
            if rival != "found":
                accuracy = _cells(comparison, rival)[2]
                rows.append(["", "", f"`{rival}`", accuracy, _lead_cell(comparison, rival)])
        published = as_comparison(load_result(others)["rows"][0]) if others else None
        for policy in ("randaugment", "dada-cifar10") if published else ():
            if f"crop-flip+{policy}" in comparison.placements:
                continue
            # Both files have trained without augmentation: with equal results for each seed.
            if not _same_training(comparison, published) or (
                comparison.accuracies("none") != published.accuracies("none")
            ):
                raise ValueError(f"{name} and {others} are of other trainings.")
            accuracy = _cells(published, policy)[2]
            lead = _paired(comparison, "found", published, policy)
            rows.append(["", "", f"`crop-flip+{policy}`", accuracy, paired_cell(lead)])
    heads = ["network", "images", "policy", "accuracy, %", "lead of the returned policy, points"]
    return markdown(heads, rows)


def screening_splits(result: Result) -> list[str]:
    """Compare searches with random and with ordered splits on images that come in groups."""
    rows = []
    for name in _SPLIT_SEARCHES:
        comparison, about = _screened(name)
        split = about["options"].get("split", "random")  # older records have no such option
        cells = _search_cells(comparison, about, ["none", "randaugment"])
        rows.append([comparison.data, split, *cells])
    heads = ["data", "split", "seed of the search", "returned policy", "accuracy, %"]
    heads += ["lead over none", "lead over RandAugment"]
    return [*markdown(heads, rows), "", measured(result)]


_SPLIT_SEARCHES = (
    "uc_merced",
    "uc_merced-seed-1",
    "uc_merced-seed-2",
    "uc_merced-ordered",
    "uc_merced-ordered-seed-1",
    "uc_merced-ordered-seed-2",
    "spoken_digits-earlier",
    "spoken_digits-ordered",
)


def _screened(name: str) -> tuple[ComparisonResult, dict[str, Any]]:
    """Return the comparison of a search, and what the policy that it returned says of itself."""
    comparison = as_comparison(load_result(f"screening-{name}")["rows"][0]["comparison"])
    return comparison, Policy.load(RESULTS / f"found-screening-{name}.safetensors").about


def _search_cells(
    comparison: ComparisonResult, about: dict[str, Any], rivals: Sequence[str]
) -> list[Any]:
    """Return a search's seed, what it returned, the accuracy, and the leads over the rivals."""
    leads = [comparison.difference("found", rival) for rival in rivals]
    cells = [paired_cell(lead) if lead else "" for lead in leads]
    return [about["search"]["seed"], about["chosen"], _cells(comparison, "found")[2], *cells]


def _best_known(comparison: ComparisonResult) -> str:
    """Return the most accurate policy that needs no search."""
    others = [n for n in comparison.placements if n not in ("found", f"{RANDOM}found")]
    return max(others, key=lambda name: statistics.fmean(comparison.accuracies(name).values()))


def _outcome_against(comparison: ComparisonResult, rival: str | None) -> Outcome | None:
    """Return whether a search's policy helps against a rival; None is the best known one."""
    lead = comparison.difference("found", rival or _best_known(comparison))
    return outcome(lead.low, lead.high) if lead else None


def _lead_cell(comparison: ComparisonResult, rival: str) -> str:
    """Return the lead over a rival, or that the search returned this rival."""
    if comparison.accuracies("found") == comparison.accuracies(rival):
        return "the same policy"
    lead = comparison.difference("found", rival)
    return paired_cell(lead) if lead else ""


def _same_training(one: ComparisonResult, other: ComparisonResult) -> bool:
    """Return whether two comparisons trained the same network on the same images for as long."""
    keys = ("images_sha256", "epochs", "network", "batch_size", "learning_rate", "precision")
    return all(one.settings[key] == other.settings[key] for key in keys)


def _paired(one: ComparisonResult, policy: str, other: ComparisonResult, rival: str) -> Difference:
    """Return the difference of two policies of two comparisons, paired by their seeds."""
    values, against = one.accuracies(policy), other.accuracies(rival)
    pairs = [(values[seed], against[seed]) for seed in values]
    return paired_difference(*zip(*pairs, strict=True), resolution=one.resolution)


def _present_searches() -> dict[str, "Search"]:
    """Return the searches of the present version whose results are there."""
    return {
        name: search
        for name, search in _SEARCHES.items()
        if search.present and (RESULTS / f"screening-{name}.json").is_file()
    }


class Search(NamedTuple):
    """A search of screening, as tables call it.

    Attributes:
        called: Which images, and how many train.
        part: Whether these data had a part in the making of the method.
        present: Whether the present version of the method searched.
    """

    called: str
    part: bool
    present: bool = True


_SEARCHES = {
    "digits": Search("digits (scikit-learn), 899", part=True),
    "sign_digits": Search("photographs of hands, 1,029", part=True),
    "spoken_digits": Search("spectrograms, 1,500", part=True),
    "cifar1000": Search("CIFAR-10, 1,000", part=True),
    "cifar1000-seed-1": Search("CIFAR-10, 1,000", part=True),
    "cifar1000-seed-2": Search("CIFAR-10, 1,000", part=True),
    "cifar4000": Search("CIFAR-10, 4,000, 30 epochs", part=True, present=False),
    "cifar4000-60": Search("CIFAR-10, 4,000, 60 epochs", part=True),
    "flowers": Search("flowers, 1,000", part=True),
    "flowers-seed-1": Search("flowers, 1,000", part=True),
    "flowers-seed-2": Search("flowers, 1,000", part=True),
    "characters": Search("characters, 200", part=True),
    "trashnet": Search("trash, 1,262", part=True),
    "faces": Search("faces, 495", part=True),
    "mri": Search("MRI images, 126", part=True),
    "clothing": Search("clothing, 1,192", part=False),
    "steel": Search("steel, 600", part=False),
}
"""The searches of the summary and of the README; a row without a result file is left out."""
_SHORT = ("digits", "sign_digits", "spoken_digits", "cifar1000", "cifar4000", "cifar4000-60")
_SCREENED_AGAIN = (
    "uc_merced",
    "digits100",
    "sign_digits100",
    "spoken_digits100",
    "cifar1000-wrn-40-2",
    "cifar1000-by-wrn-16-1-wrn-16-1",
    "cifar4000-60-wrn-16-1",
    "cifar4000-60-wrn-16-1-earlier",
    "cifar4000-60-wrn-40-2-20-epochs",
)
"""Groups, few images, other networks of the comparison: each has a table of its own."""
_NETWORKS = (
    ("cifar4000-60-wrn-16-1", "cifar4000-60", "evidence-60"),
    ("cifar1000-wrn-40-2", "cifar1000", None),
)
"""Comparison with another network, the search, and trainings of published policies after it."""
_BEFORE = {"none": "", "crop": "crop, then ", "crop-flip": "crop and flip, then "}
"""How the name of a found policy begins on a base augmentation."""
_RIVALS = ("none", "crop-flip", "randaugment", "trivialaugment")
_USUAL = {
    "none": "none",
    "crop-flip": "crop and flip",
    "trivialaugment": "TrivialAugment",
    "randaugment": "RandAugment",
    "found": "**returned by the search**",
}


def truth(result: Result) -> list[str]:
    """Policies that were trained in full, from the best to the worst."""
    settings, found = result["settings"], {}
    for row in result["rows"]:
        found.setdefault(row["policy"], []).append(row)
    designs = settings["designs"]
    rows = []
    for name, trained in found.items():
        ops = ", ".join(op for op, _ in designs.get(name, []))
        accuracy = statistics.fmean(row["accuracy"] for row in trained)
        loss = statistics.fmean(row["calibrated_loss"] for row in trained)
        rows.append([f"`{name}`", ops, f"{accuracy:.2f}", f"{loss:.4f}", len(trained)])
    rows.sort(key=lambda row: float(row[3]))
    shown = [row for row in rows[5:-1] if row[0].strip("`") in _USUALLY_TRAINED]
    shown = [*rows[:5], *shown, rows[-1]]
    heads = ["policy", "ops of a random one", "accuracy, %", "calibrated loss", "trainings"]
    count = f"{settings['finished_trainings']} of {settings['wanted_trainings']} trainings, "
    count += f"{len(rows)} policies; the five best, usual ones and the worst. "
    return [*markdown(heads, shown), "", count + measured(result)]


_USUALLY_TRAINED = (
    "none",
    "crop",
    "crop-flip",
    "randaugment-2-9",
    "crop-flip+randaugment-2-9",
    "trivialaugment",
    "autoaugment",
    "dada-cifar10",
    "deepaa-cifar10",
)


def proxies(result: Result) -> list[str]:
    """Rank correlation of each proxy with trainings in full, its regret and its cost."""
    heads = ["proxy", "data", "policies", "rank correlation, loss", "with accuracy"]
    heads += ["regret, points", "seconds a policy", "seconds shared"]
    keys = ("policies", "rank_correlation_log_loss", "rank_correlation_accuracy")
    keys = (*keys, "regret_points", "cpu_s_a_policy", "cpu_s_shared")
    ordered = sorted(result["rows"], key=lambda row: row["proxy"])
    rows = [[row["proxy"], row["data"], *[row[key] for key in keys]] for row in ordered]
    return [*markdown(heads, rows), "", measured(result)]


def regression(result: Result) -> list[str]:
    """Rank correlations of regressions with the table of truth, by what they were fitted to."""
    rows = []
    for row in result["rows"]:
        base = ", ".join(row["base"]) or "nothing"
        fits = [f"{rank:.2f} ({fitted} fitted)" for fitted, rank in row["trainings"].items()]
        searched = f"{row['rank_correlation']:.2f}"
        rows.append([row["data"], base, row["policies"], searched, *fits, row["cpu_s"]])
    heads = ["data", "designs stand on", "policies", "fitted to the trials of a search"]
    heads += ["fitted to trainings in full", "to more of them", "seconds, without the finals"]
    return [*markdown(heads, rows), "", measured(result)]


def planted(result: Result) -> list[str]:
    """Share of searches that found the planted change, and of those without one."""
    heads = ["data", "method", "validation images", "op", "top three", "control"]
    heads += ["above every control", "share (control's)"]
    rows = []
    for row in result["rows"]:
        seeds, controls = len(row["seeds"]), len(row["control_seeds"])
        counts = [f"{row['top_three']} of {seeds}", f"{row['control_top_three']} of {controls}"]
        counts += [f"{row['above_every_control']} of {seeds}"]
        shares = f"{row['share']:.2f} ({row['control_share']:.2f})"
        method = f"{row['method']}, {row['mode']}"
        rows.append([row["data"], method, row["change"], row["op"], *counts, shares])
    likely = [row["luck"] for row in result["rows"]]
    luck = f"{min(likely):.0%} to {max(likely):.0%}"
    note = (
        "Top three: the op that does to training images what was done to validation images is "
        f"among the three applied most often; by luck in {luck} of the seeds. Above every control: "
        "it is, and more often than in any search of another seed without the change. Share: how "
        "often the policy applies it to an image. "
    )
    return [*markdown(heads, rows), "", note + measured(result)]


def gradient_cosine(result: Result) -> list[str]:
    """Gain of the gradient cosine by depth; the paper's were read off its figure, to 0.001."""
    depths = range(1, 1 + max(row["depth"] for row in result["rows"]))
    lines: dict[str, list[str]] = {}
    for row in result["rows"]:
        low, high = row["lead"][1:]
        cell = f"{row['gain']:.3f}, sd {row['deviation']:.3f}"
        cell += "" if row["policy"] == "DeepTA" else f"; lead [{low:+.3f}, {high:+.3f}]"
        lines.setdefault(row["policy"], []).append(cell)
    lines |= {f"{name}, paper's Figure 4": cells for name, cells in _FIGURE_4.items()}
    heads = ["policy", *(f"depth {depth}" for depth in depths)]
    rows = [[name, *cells[: len(depths)]] for name, cells in lines.items()]
    note = (
        f"Gain of the cosine with clean gradients of the class over no augmentation, on "
        f"{result['settings']['pairs']} held-out pairs, one search; lead: over DeepTA, paired, "
        "95 % over pairs. "
    )
    return [*markdown(heads, rows), "", note + measured(result)]


_FIGURE_4 = {
    "DeepAA": ["0.138, sd 0.128", "0.177, sd 0.130", "0.184, sd 0.133"],
    "DeepTA": ["0.095, sd 0.126", "0.138, sd 0.123", "0.158, sd 0.130"],
}


class SpeedTarget(NamedTuple):
    """A ratio that is promised: ours over a peer, at least ``least[side]`` at each side."""

    case: str
    ours: tuple[str, str, str, str]
    peer: tuple[str, str, str, str]
    least: dict[int, float]


def _auto(given: str, whose: str, draws: str = "per image") -> tuple[str, str, str, str]:
    return given, whose, "AutoAugment", draws


def _targets() -> Iterator[SpeedTarget]:
    batch = _auto("uint8 batch", "ours")
    name = "batch, uint8"
    yield SpeedTarget(name, batch, _auto("uint8 batch", "torchvision v2"), {32: 40, 224: 6})
    yield SpeedTarget(
        name, batch, _auto("uint8 batch", "torchvision v2", "per batch"), {32: 2, 224: 8}
    )
    yield SpeedTarget(name, batch, _auto("float batch", "Kornia", "per batch"), {32: 12, 224: 50})
    yield SpeedTarget(name, batch, _auto("uint8 batch", "DALI"), {32: 50, 224: 12})
    for peer in ("torchvision v1", "torchvision v2"):
        least = {32: 6, 224: 3 if peer == "torchvision v2" else 2}
        yield SpeedTarget("one image, PIL", _auto("PIL", "ours"), _auto("PIL", peer), least)
    for draws in ("per image", "given"):
        for policy, least in {"DADA": {32: 2.5, 224: 1.2}, "DeepAA": {32: 5, 224: 1.4}}.items():
            peer = ("PIL", "papers", policy, draws)
            yield SpeedTarget(
                f"one image, PIL, {policy}", ("PIL", "ours", policy, "per image"), peer, least
            )
    yield SpeedTarget(
        "one image, uint8",
        _auto("uint8", "ours"),
        _auto("uint8", "torchvision v2"),
        {32: 8, 224: 8},
    )
    yield from _targets_of_varying_sizes()
    given = "float batch, backward"
    peer = _auto(given, "Kornia", "per batch")
    for whose in ("ours", "ours, without Numba"):
        name = "batch, float, forward and backward" + whose.removeprefix("ours")
        yield SpeedTarget(name, _auto(given, whose), peer, {32: 1.5, 224: 5})
        before = _auto(given, whose.replace("ours", "before"))
        yield SpeedTarget(name, _auto(given, whose), before, {})
    for given in ("PIL", "uint8", "uint8 batch"):
        name = "batch, uint8" if "batch" in given else f"one image, {given}"
        yield SpeedTarget(name, _auto(given, "ours"), _auto(given, "before"), {})


def _targets_of_varying_sizes() -> Iterator[SpeedTarget]:
    pil, levels = _auto("PIL, varying sizes", "ours"), _auto("uint8, varying sizes", "ours")
    least = {32: 6, 224: 3, 640: 3}
    yield SpeedTarget(
        "one image, PIL, varying sizes", pil, (pil[0], "torchvision v2", *pil[2:]), least
    )
    numpy = _auto("NumPy, varying sizes", "AlbumentationsX")
    yield SpeedTarget("one image, PIL, varying sizes", pil, numpy, {})
    for policy in ("AutoAugment", "DADA"):
        ours = (pil[0], "ours", policy, "per image")
        name = "one image, PIL, varying sizes" + ("" if policy == "AutoAugment" else f", {policy}")
        yield SpeedTarget(name, ours, (pil[0], "papers", *ours[2:]), {})
        plain = "before, apply_image(image, policy.draw())"
        yield SpeedTarget(name, ours, (pil[0], plain, *ours[2:]), dict.fromkeys((32, 224, 640), 1))
    peer = (levels[0], "torchvision v2", *levels[2:])
    least = dict.fromkeys((32, 224, 640), 8)
    yield SpeedTarget("one image, uint8, varying sizes", levels, peer, least)


def throughput(result: Result) -> list[str]:
    """Ratios of our speed to that of each peer."""
    rates = _rates(result, "rounds_images_per_s")
    sizes = sorted({key[0] for key in rates})
    rows = []
    for target in _targets():
        cells = []
        for size in sizes:
            ours, peer = (size, *target.ours), (size, *target.peer)
            least = target.least.get(size)
            promise = "" if least is None else f" (target {least:g}x"
            if ours not in rates or peer not in rates:
                cells.append("")  # a peer that was not installed, or another kind of input
                continue
            ratio = _ratio(rates[ours], rates[peer])
            missed = least is not None and ratio < least
            cells.append(f"{ratio:.1f}x{promise}{', missed' * missed}{')' * bool(promise)}")
        if any(cells):
            against = f"{target.peer[1]}, {target.peer[3].replace('given', 'draws given')}"
            rows.append([target.case, against, *cells])
    heads = ["ours, a draw per image", "against", *(f"{size} px" for size in sizes)]
    return [*markdown(heads, rows), "", measured(result)]


def throughput_short(result: Result) -> list[str]:
    """The largest peer of each kind of input, for the README."""
    rates = _rates(result, "rounds_images_per_s")
    rows = []
    for called, ours, peer in _FEW_PEERS:
        ratios = (_ratio(rates[size, *ours], rates[size, *peer]) for size in (32, 224))
        rows.append([called, *(f"{ratio:.1f}x" for ratio in ratios)])
    return markdown(["", "32 px", "224 px"], rows)


_FEW_PEERS = [
    ("one PIL image, against torchvision v2", _auto("PIL", "ours"), _auto("PIL", "torchvision v2")),
    (
        "one uint8 tensor, against torchvision v2",
        _auto("uint8", "ours"),
        _auto("uint8", "torchvision v2"),
    ),
    (
        "a uint8 batch with a draw per image, against torchvision v2",
        _auto("uint8 batch", "ours"),
        _auto("uint8 batch", "torchvision v2"),
    ),
    (
        "a float batch, forward and backward, against Kornia",
        _auto("float batch, backward", "ours"),
        _auto("float batch, backward", "Kornia", "per batch"),
    ),
]


def throughput_rates(result: Result) -> list[str]:
    """Images per second of everything, a DataLoader, memory and the first call."""
    rate = _rates(result, "images_per_s")
    sizes = sorted({key[0] for key in rate})
    keys = dict.fromkeys(key[1:] for key in rate)
    rows = [[*key, *(_count(rate.get((size, *key))) for size in sizes)] for key in keys]
    heads = ["input", "", "policy", "draws", *(f"{size} px, images/s" for size in sizes)]
    return [*markdown(heads, rows), "", *_pipeline(result), "", *_notes(result), measured(result)]


def _count(number: float | None) -> str:
    return "" if number is None else f"{number:,.0f}"


def _rates(result: Result, figure: str) -> dict[tuple[Any, ...], Any]:
    fields = ("size", "given", "whose", "policy", "draws")
    timed = [row for row in result["rows"] if "draws" in row]
    return {tuple(row[field] for field in fields): row[figure] for row in timed}


def _ratio(ours: list[float], peer: list[float]) -> float:
    """Return the median of the ratios of the rounds: the clock rate may change between rounds."""
    return statistics.median(one / other for one, other in zip(ours, peer, strict=True))


def _pipeline(result: Result) -> list[str]:
    found = [row for row in result["rows"] if row["given"] == "pipeline"]
    rate = {(row["whose"], row["policy"], row["size"]): row["images_per_s"] for row in found}
    sizes = sorted({row["size"] for row in found})
    rows = [
        [*key, *(_count(rate[*key, size]) for size in sizes)]
        for key in dict.fromkeys((row["whose"], row["policy"]) for row in found)
    ]
    heads = ["decode, augment, stack in two workers", "policy"]
    return markdown([*heads, *(f"{size} px, images/s" for size in sizes)], rows)


def _notes(result: Result) -> Iterator[str]:
    for row in result["rows"]:
        if row["given"] == "memory":
            yield f"Peak memory of a {row['of']}: {row['batches']} times the batch."
        if row["given"] == "first call":
            yield f"First call in a fresh process, compiled code on disk: {row['seconds']} s."


def trace(result: Result) -> list[str]:
    """Number of files that an image passes, before and after."""
    found = {(row["input"], row["state"]): row for row in result["rows"]}
    rows = []
    for name in dict.fromkeys(name for name, _ in found):
        cells = []
        for state in ("before", "after"):
            row = found[name, state]
            defined = sum(file.startswith("ops/") for file in row["files"])
            cells += [f"{len(row['files'])} + {len(row['compiled'])}", defined, row["moves"]]
        rows.append([name, *cells])
    heads = ["input"]
    for state in ("before", "after"):
        heads += [f"files + kernels, {state}", f"in `ops/`, {state}", f"moves, {state}"]
    note = "Moves are calls from one file into another, of one image or batch of a new size. "
    return [*markdown(heads, rows), "", note + measured(result)]


def structure(result: Result) -> list[str]:
    """Shape of the source code, before and after."""
    rows = {(row["folder"], row["state"]): row for row in result["rows"]}
    before, after = (rows["learned_augment", state] for state in ("before", "after"))
    figures = [key for key in after if key not in ("state", "commit", "folder")]
    lines = markdown(
        ["the package", "before", "after"],
        [[key.replace("_", " "), before[key], after[key]] for key in figures],
    )
    folders = dict.fromkeys(folder for folder, _ in rows if folder != "learned_augment")
    cells = [
        [f"`{folder}`", *(_size(rows.get((folder, state))) for state in ("before", "after"))]
        for folder in folders
    ]
    heads = ["folder", "before: files, lines", "after: files, lines"]
    return [*lines, "", *markdown(heads, cells), "", measured(result)]


def _size(row: Result | None) -> str:
    return f"{row['files']}, {row['lines']:,}" if row else ""


def fuzz(result: Result) -> list[str]:
    """Broken files that were read, and what came of them."""
    rows = [
        [
            row["target"],
            f"{row['inputs']:,}",
            f"{row['valid']:,}",
            f"{row['refused']:,}",
            row["wrong"],
            f"{row['extra_memory_mib']} MiB",
        ]
        for row in _part(result, "fuzz")
    ]
    heads = ["file", "broken files", "valid value", "refused in words", "anything else"]
    return [*markdown([*heads, "memory over the baseline"], rows), "", _measured(result, "fuzz")]


def kills(result: Result) -> list[str]:
    """Jobs that were killed at random moments and resumed."""
    rows = [
        [row["job"], row["kills"], _by_phase(row), row["runs"], row["identical_results"]]
        for row in _part(result, "kills")
    ]
    total = sum(row["kills"] for row in _part(result, "kills"))
    heads = ["job", f"kills ({total})", "in these phases", "runs", "identical results"]
    return [*markdown(heads, rows), "", _measured(result, "kills")]


def _by_phase(row: Result) -> str:
    return ", ".join(f"{phase} {kills}" for phase, kills in row["kills_by_phase"].items())


def faults(result: Result) -> list[str]:
    """Writes of jobs that failed or were the last of their process."""
    found = _part(result, "faults")
    names = dict.fromkeys((row["step"], row["failure"]) for row in found)
    jobs = dict.fromkeys(row["job"] for row in found)
    cells = {(row["job"], row["step"], row["failure"]): row for row in found}
    rows = []
    for name in names:
        tried = [cells[job, *name] for job in jobs if (job, *name) in cells]
        counts = [f"{row['identical_results']} of {row['failed_writes']}" for row in tried]
        rows.append([*name, *counts])
    heads = ["step of the write", "failure", *(f"{job}: identical results" for job in jobs)]
    return [*markdown(heads, rows), "", _measured(result, "faults")]


def load(result: Result) -> list[str]:
    """Images that data loaders served in every setting."""
    rows = []
    for row in _part(result, "load"):
        slope, error = row["memory_kib_per_1000_images"], row["memory_standard_error"]
        rows.append(
            [
                row["workers"],
                row["start"],
                "yes" if row["persistent"] else "no",
                row["threads"],
                f"{row['images']:,}",
                "yes" if row["same_seed_same_pixels"] else "no",
                f"{row['repeated_batches']} of {row['batches']:,}",
                f"{slope:+.2f} ± {error:.2f}",
            ]
        )
    heads = ["workers", "start method", "persistent", "threads", "images", "same seed, same pixels"]
    heads += ["batches that repeat draws", "memory, KiB per 1,000 images"]
    return [*markdown(heads, rows), "", _measured(result, "load")]


def environment(result: Result) -> list[str]:
    """Versions that the tests of draws, pixels, files and refusals ran with."""
    found = sorted(_part(result, "environment"), key=lambda row: _release(row["versions"]["torch"]))
    names = ("python", "torch", "torchvision", "kornia", "numpy", "numba", "safetensors", "pillow")
    counts = ("passed", "skipped", "failed")
    rows = [
        [*(row["versions"].get(name, "") for name in names), *(row[count] for count in counts)]
        for row in found
    ]
    return [*markdown([*names, *counts], rows), "", _measured(result, "environment")]


def _release(version: str) -> list[int]:
    return [int(number) for number in version.partition("+")[0].split(".")]


def _part(result: Result, part: str) -> list[Result]:
    return [row for row in result["rows"] if row["part"] == part]


def _measured(result: Result, part: str) -> str:
    return measured(result["settings"][part]) if part in result["settings"] else "Not measured yet."


def peers(result: Result) -> list[str]:
    """Return the table of what each package did with each kind of call, a row for each kind."""
    found = {(row["check"], row["package"]): row["outcomes"] for row in result["rows"]}
    packages = dict.fromkeys(package for _, package in found)
    checks = dict.fromkeys(check for check, _ in found)
    rows = [[check, *(_outcome(found[check, name]) for name in packages)] for check in checks]
    heads = ["", *(f"{name} {result['versions'][_PIP_NAMES[name]]}" for name in packages)]
    note = (
        f"{result['settings']['calls']} calls a cell, with seeds 0 to "
        f"{result['settings']['calls'] - 1}, on an image of {result['settings']['side']} pixels. "
    )
    return [*markdown(heads, rows), "", note + measured(result)]


def first_steps(result: Result) -> list[str]:
    """Return the table of a new user's commands, with the time after which each has ended."""
    rows = [
        [
            row["reaches"],
            f"`{row['command']}`",
            row["number"],
            f"{row['clock_s']:,.0f}",
            f"{row['total_s']:,.0f}",
        ]
        for row in result["rows"]
    ]
    heads = ["after it the user has the", "command", "commands so far", "seconds", "seconds so far"]
    note = "Installation is not in these times, nor in the count of commands. "
    return [*markdown(heads, rows), "", note + measured(result)]


_PIP_NAMES = {
    "learned_augment": "learned-augment",
    "torchvision v2": "torchvision",
    "Kornia": "kornia",
    "timm": "timm",
    "AlbumentationsX": "albumentationsx",
}
_GOOD, _FLAT = ("changed", "gradient", "moves"), ("unchanged", "none", "stays")


def _outcome(counts: dict[str, int]) -> str:
    """Return in words how often each outcome came; the name of an exception is one of them."""
    calls = sum(counts.values())
    numbers = sorted(int(name) for name in counts if name.isdigit())
    good, flat = (sum(counts.get(name, 0) for name in names) for names in (_GOOD, _FLAT))
    raised = calls - good - flat - sum(counts[str(number)] for number in numbers)
    if numbers and not raised:
        return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    if not raised:
        without = counts.get("none", 0)
        return f"{without} of {calls} have none" if without else "yes"
    if not good:
        kinds = [f"`{name}`" for name in counts if name not in _FLAT and not name.isdigit()]
        return f"no: {', '.join(kinds)}"
    without = counts.get("none", 0)
    return f"{raised} of {calls} raise" + (f", {without} have none" if without else "")


TABLES: dict[str, tuple[str, Callable[[Result], list[str]]]] = {
    "parity": ("parity", parity),
    "import_cost": ("import_cost", import_cost),
    "draws": ("draws", draws),
    "compare": ("compare", compare),
    "single-ops": ("single-ops", compare),
    "random-ops": ("random-ops", compare),
    "chosen-ops": ("random-ops", chosen_ops),
    "evidence-60": ("evidence-60", evidence),
    "evidence-long": ("evidence-long", evidence),
    "evidence-short": ("evidence-60", evidence_short),
    "gradient-cosine-cifar10": ("gradient-cosine-cifar10", gradient_cosine),
    "planted": ("planted", planted),
    "throughput": ("throughput", throughput),
    "throughput-rates": ("throughput", throughput_rates),
    "throughput-short": ("throughput", throughput_short),
    "trace": ("trace", trace),
    "screening-short": ("screening-digits", screening_short),
    "screening-summary": ("screening-digits", screening_summary),
    "screening-counts": ("screening-digits", screening_counts),
    "screening-networks": ("screening-cifar4000-60-wrn-16-1", screening_networks),
    "screening-splits": ("screening-uc_merced-ordered", screening_splits),
    **{
        f"screening-{name}": (f"screening-{name}", screening)
        for name in (*_SEARCHES, *_SCREENED_AGAIN)
    },
    **{
        f"truth-{name}": (f"truth-{name}", truth)
        for name in ("digits", "sign_digits", "spoken_digits", "cifar4000")
    },
    "proxies": ("proxies", proxies),
    "regression": ("regression", regression),
    "peers": ("peers", peers),
    "first-steps": ("first_steps", first_steps),
    "structure": ("structure", structure),
    "fuzz": ("reliability", fuzz),
    "kills": ("reliability", kills),
    "faults": ("reliability", faults),
    "load": ("reliability", load),
    "environment": ("reliability", environment),
}
"""Every table by its name: the result that it is made of, and how."""


def measured(result: Result) -> str:
    """Return where, when and how a result was measured."""
    machine, versions = result["machine"], result["versions"]
    cores = "1 core" if machine["cores"] == 1 else f"{machine['cores']} cores"
    place = f"{machine['cpu']}, {cores}, {machine['gpu'] or 'no GPU'}"
    software = ", ".join(f"{name} {versions[name]}" for name in ("torch", "pillow"))
    return f"{result['date']}, {place}, {software}: `{result['command']}`."


def render(text: str) -> str:
    """Return a page with every table between its marks written anew.

    Raises:
        ValueError: If a table's name is not one of ``TABLES``.
    """

    def written(block: re.Match[str]) -> str:
        start, name, old, end = block.groups()
        if name not in TABLES:
            raise ValueError(f"No table {name!r}. Known: {', '.join(TABLES)}.")
        # A table whose benchmark has not run yet stays as it is.
        known = (RESULTS / f"{TABLES[name][0]}.json").is_file()
        return start + ("\n".join(table(name)) + "\n" if known else old) + end

    return BLOCK.sub(written, text)


def table(name: str) -> list[str]:
    """Return the lines of a table."""
    result, make = TABLES[name]
    return make(load_result(result))


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite or check the pages and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--print", choices=TABLES, metavar="NAME", help=", ".join(TABLES))
    given = parser.parse_args(arguments)
    if given.print:
        print("\n".join(table(given.print)))
        return 0
    old = {page: page.read_text(encoding="utf-8") for page in PAGES}
    changed = {page: new for page, text in old.items() if (new := render(text)) != text}
    for page, text in changed.items():
        if given.check:
            print(f"{page.name} is out of date: run python -m benchmarks.tables", file=sys.stderr)
        else:
            write_atomically(page, text.encode())
    return int(given.check and bool(changed))


def as_comparison(document: Result) -> ComparisonResult:
    """Return the comparison that a result file holds as a row."""
    return ComparisonResult.from_json(json.dumps(document))


def controlled_cell(result: ComparisonResult, policy: str) -> str:
    """Return a policy's difference to its random baseline, empty if it has none."""
    pairs = [pair for pair in result.pairs() if pair == (policy, RANDOM + policy)]
    found = result.difference(*pairs[0]) if pairs else None
    return paired_cell(found) if found else ""


def sorted_out(result: ComparisonResult, pairs: Sequence[tuple[str, str]]) -> str:
    """Return which policies are better, worse, or not shown to differ."""
    groups: dict[str, list[str]] = {"better": [], "worse": [], "no difference shown": []}
    for policy, against in pairs:
        if found := result.difference(policy, against):
            same = found.low <= 0 <= found.high
            word = "no difference shown" if same else "better" if found.mean > 0 else "worse"
            groups[word].append(f"`{policy}`")
    return "; ".join(f"{word}: {', '.join(names) or 'no policy'}" for word, names in groups.items())


def paired_cell(found: Difference) -> str:
    """Return a difference with its interval, in points."""
    return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def _levels(row: dict[str, Any], mode: str) -> str:
    mean, largest = (row[f"smooth_{mode}_{which}_levels"] for which in ("mean", "largest"))
    return f"{mean:.2f} ({largest:.1f})" if largest >= 0.05 else "0"


def _setting(comparison: ComparisonResult) -> str:
    s = comparison.settings
    return (
        f"**{comparison.data}**: {s['train_images']} training and {s['test_images']} test images, "
        f"{s['network']}, {s['epochs']} epochs, {len(comparison.seeds)} seeds"
    )


def _each(comparison: ComparisonResult) -> tuple[list[ComparisonResult], list[str]]:
    names = list(comparison.placements)
    return [comparison] * len(names), names


def _cells(comparison: ComparisonResult, policy: str) -> list[str]:
    values = list(comparison.accuracies(policy).values())
    found = None if policy == comparison.reference else comparison.difference(policy)
    paired = paired_cell(found) if found else ""
    spread = f"{statistics.stdev(values):.2f}" if len(values) > 1 else ""
    mean = f"{statistics.fmean(values):.2f}" if values else ""
    return [f"`{policy}`", comparison.placements[policy], mean, spread, paired]


if __name__ == "__main__":
    sys.exit(main())
