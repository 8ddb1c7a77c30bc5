"""The results of a comparison as a value, with their statistics, in words and as JSON."""

import json
import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from learned_augment._text import align, first_line, printable
from learned_augment.evaluation.named_policies import baseline_name
from learned_augment.evaluation.statistics import (
    Difference,
    lucky_accuracy,
    outcome,
    paired_difference,
    pairs_needed,
    smallest_difference,
)
from learned_augment.serialization import check_depth

__all__ = ["LEAST_INTEREST", "ComparisonResult", "Run"]

FORMAT = 2
_READABLE = (1, FORMAT)  # format 1 has no learning curves and no figures of policies
LEAST_INTEREST = 1e-4
"""The smallest difference in points that can be asked for: one image of a million."""

_ENOUGH_SEEDS = 5
_MANY_COMPARISONS = 5


@dataclass(frozen=True)
class Run:
    """One finished training.

    Attributes:
        policy: Name of the policy.
        seed: Its seed.
        accuracy: Of the test images, in percent.
        loss: Mean training loss of the last epoch; None if the training diverged.
        best: Accuracy of the best tested epoch, in percent; it was chosen on the test images.
        losses: Mean training loss of every epoch, None where it is not finite.
        accuracies: (epoch, accuracy in percent) of every tested epoch.

    Examples:
        >>> run = Run("flip", seed=0, accuracy=91.5, loss=0.3)
        >>> Run.from_data(asdict(run)) == run
        True
    """

    policy: str
    seed: int
    accuracy: float
    loss: float | None
    best: float | None = None
    losses: tuple[float | None, ...] = ()
    accuracies: tuple[tuple[int, float], ...] = ()

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "Run":
        """Read what `asdict` and JSON made of a run.

        Raises:
            ValueError: If a number is missing, not finite or not a number.
            AttributeError, TypeError: If the data are of another form.
        """
        curves = {"losses": tuple(data.get("losses", ()))}
        curves["accuracies"] = tuple((epoch, value) for epoch, value in data.get("accuracies", ()))
        run = cls(**{**data, **curves})
        percents = [run.accuracy, *(value for _, value in run.accuracies)]
        percents += [] if run.best is None else [run.best]
        losses = [loss for loss in (run.loss, *run.losses) if loss is not None]
        if not all(map(_is_number, [*percents, *losses])):
            raise ValueError("a measurement is no finite number")
        if not all(0 <= percent <= 100 for percent in percents):
            raise ValueError("an accuracy is no percentage")
        if not all(type(number) is int for number in (run.seed, *(e for e, _ in run.accuracies))):
            raise ValueError("a seed or epoch is no whole number")
        return run


@dataclass(frozen=True)
class ComparisonResult:
    """Accuracies of every policy at every seed, an immutable value.

    Accuracies are those of the test images after the last epoch, in percent. Differences are in
    points.

    Attributes:
        data: Name of the data.
        placements: For each policy, in order, how it was placed: "nothing", "alone",
            "crop-flip only" or "after crop-flip".
        reference: The policy that the others are compared with.
        seeds: The seeds asked for.
        runs: The finished trainings.
        settings: Data and their sizes, network, recipe and device; plain JSON data.
        policies: For each policy the hash of its figures ("sha256") and the probability of each op
            in each layer ("ops"), the base augmentation's layers first; a random baseline's at
            seed 0.
        interest: The difference in points that the seeds should be enough to show.

    Examples:
        >>> from learned_augment import compare
        >>> result = compare(
        ...     "digits", ["none", "flip"], seeds=2, epochs=1, train_size=40, workers=1
        ... )
        >>> result.reference, result.pairs(), result.missing()
        ('none', (('flip', 'none'),), ())
        >>> sorted(result.accuracies("flip"))  # the seeds
        [0, 1]
    """

    data: str
    placements: Mapping[str, str]
    reference: str
    seeds: tuple[int, ...]
    runs: tuple[Run, ...]
    settings: Mapping[str, Any]
    policies: Mapping[str, Any] = field(default_factory=dict)
    interest: float = 1.0

    def __str__(self) -> str:
        return self.table()

    def accuracies(self, policy: str) -> dict[int, float]:
        """Return the policy's accuracy in percent for each finished seed.

        Raises:
            KeyError: If the result has no such policy.
        """
        if policy not in self.placements:
            raise KeyError(f"No policy {policy!r} here. Compared: {', '.join(self.placements)}.")
        return {run.seed: run.accuracy for run in self.runs if run.policy == policy}

    def difference(self, policy: str, reference: str | None = None) -> Difference | None:
        """Return the mean lead of `policy` in points, with its 95 % t interval over seeds.

        The interval covers the randomness of seeds, not of test images. None means that fewer
        than two seeds of both policies have finished.

        Examples:
            >>> runs = [Run("none", 0, 90.0, loss=0.3), Run("none", 1, 91.0, loss=0.3)]
            >>> runs += [Run("flip", 0, 91.5, loss=0.3), Run("flip", 1, 92.5, loss=0.3)]
            >>> placed, settings = {"none": "nothing", "flip": "flip only"}, {"test_images": 400}
            >>> result = ComparisonResult("mine", placed, "none", (0, 1), tuple(runs), settings)
            >>> result.difference("flip").mean
            1.5
            >>> result.sentence("flip")
            'flip: better than none by 1.50 points (95 % interval +0.58 to +2.42).'
        """
        ours, theirs = self.accuracies(policy), self.accuracies(reference or self.reference)
        both = [seed for seed in self.seeds if seed in ours and seed in theirs]
        if len(both) < 2:
            return None
        return paired_difference(
            [ours[s] for s in both], [theirs[s] for s in both], resolution=self.resolution
        )

    @property
    def resolution(self) -> float:
        """The smallest difference of two accuracies, in points: one test image."""
        return 100 / float(self.settings["test_images"])

    def deviation(self) -> float | None:
        """Return the standard deviation of the paired differences to the reference, in points.

        It is pooled over the policies. None means that no policy has two seeds in common with the
        reference.
        """
        reference, variances = self.accuracies(self.reference), []
        for policy in self.placements:
            pairs = self.accuracies(policy).items()
            differences = [value - reference[seed] for seed, value in pairs if seed in reference]
            if policy != self.reference and len(differences) > 1:
                variances.append(statistics.variance(differences))
        return math.sqrt(statistics.fmean(variances)) if variances else None

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Return the pairs to compare: each policy with the reference, then with its baseline."""
        names = list(self.placements)
        baselines = {name: baseline_name(name) for name in names}
        return tuple(
            [(name, self.reference) for name in names if name != self.reference]
            + [pair for pair in baselines.items() if pair[1] in names and pair[1] != self.reference]
        )

    def sentence(self, policy: str, reference: str | None = None) -> str:
        """Return how one policy compares with another, the reference, in plain words."""
        against = reference or self.reference
        if policy == against:
            return f"{policy}: the reference of the others."
        found = self.difference(policy, against)
        if found is None:
            return f"{policy}: not compared, fewer than 2 seeds have finished."
        interval = f"(95 % interval {_points(found.low)} to {_points(found.high)})"
        side = outcome(found.low, found.high)
        if side == "unclear":
            return f"{policy}: no difference to {against} shown {interval}."
        word = "better" if side == "helps" else "worse"
        return f"{policy}: {word} than {against} by {abs(found.mean):.2f} points {interval}."

    def check_same(self, other: "ComparisonResult") -> None:
        """Check that a result has the same configuration; its policies and seeds may differ.

        Raises:
            ValueError: If the settings differ, or a policy of one name has other figures.
        """
        # The images decide how large the largest class is; earlier results do not say it.
        keys = sorted({*self.settings, *other.settings} - {"largest_class"})
        pairs = [(key, other.settings.get(key), self.settings.get(key)) for key in keys]
        pairs += [
            (f"policy {name}", other.policies[name]["sha256"], self.policies[name]["sha256"])
            for name in self.policies
            if name in other.policies
        ]
        changed = [f"{key} {old} there, {new} here" for key, old, new in pairs if old != new]
        if changed:
            raise ValueError(f"Results of two configurations do not mix: {'; '.join(changed)}.")

    def missing(self) -> tuple[tuple[str, int], ...]:
        """Return the (policy, seed) pairs that have not finished."""
        done = {(run.policy, run.seed) for run in self.runs}
        pairs = ((policy, seed) for seed in self.seeds for policy in self.placements)
        return tuple(pair for pair in pairs if pair not in done)

    def notes(self) -> tuple[str, ...]:
        """Return the cautions that belong to the table, a sentence or two each."""
        return tuple(_notes(self))

    def headline(self) -> str:
        """Return data, network, epochs and seeds in a line."""
        s = self.settings
        epochs = f"{s['epochs']} epoch{'' if s['epochs'] == 1 else 's'}"
        return (
            f"{self.data}: {s['train_images']} training and {s['test_images']} test images, "
            f"{s['classes']} classes; {s['network']}, {epochs}, {len(self.seeds)} seeds"
        )

    def table(self) -> str:
        """Return the whole result as text: settings, table, sentences, notes."""
        sentences = [self.sentence(*pair) for pair in self.pairs()]
        notes = [f"Note: {note}" for note in self.notes()]
        blocks = [[self.headline()], _rows(self), sentences, notes]
        return "\n\n".join("\n".join(map(printable, block)) for block in blocks if block)

    def to_json(self) -> str:
        """Return the result as a JSON document; equal results give equal text."""
        document = {"format": FORMAT, **asdict(self)}
        return json.dumps(document, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "ComparisonResult":
        """Read what `to_json` wrote.

        Raises:
            ValueError: If the text is not such a document.
        """
        try:
            document = json.loads(text)
            # Neither NaN nor what is nested too deeply could be written again.
            json.dumps(document, allow_nan=False)
            check_depth(document, "a result")
            if (written := document.pop("format")) not in _READABLE:
                formats = " or ".join(map(str, _READABLE))
                raise ValueError(f"expected format {formats}, got {written!r:.20}")
            runs = tuple(map(Run.from_data, document.pop("runs")))
            found = cls(runs=runs, seeds=tuple(document.pop("seeds")), **document)
            _check(found)
        except (
            AttributeError,
            KeyError,
            TypeError,
            ValueError,
            OverflowError,
            RecursionError,
        ) as error:
            raise ValueError(
                f"Expected a result as compare wrote it: {first_line(error)}."
            ) from None
        return found

    @classmethod
    def load(cls, path: str | Path) -> "ComparisonResult":
        """Read a file that holds what `to_json` wrote.

        Raises:
            ValueError: If the file holds no such document.
            OSError: If it cannot be read.

        Examples:
            >>> from learned_augment import compare
            >>> result = compare(
            ...     "digits", ["none", "flip"], seeds=2, epochs=1, train_size=40, workers=1
            ... )
            >>> _ = Path("result.json").write_text(result.to_json(), encoding="utf-8")
            >>> ComparisonResult.load("result.json").to_json() == result.to_json()
            True
        """
        try:
            return cls.from_json(Path(path).read_bytes())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def _rows(result: ComparisonResult) -> list[str]:
    rows = [("policy", "placed", "accuracy", "sd", f"difference to {result.reference}")]
    for name, placement in result.placements.items():
        values = list(result.accuracies(name).values())
        mean = f"{statistics.fmean(values):.2f}" if values else "-"
        spread = f"{statistics.stdev(values):.2f}" if len(values) > 1 else "-"
        rows.append((name, placement, mean, spread, _difference_cell(result, name)))
    return align(rows, right=(2, 3))


def _difference_cell(result: ComparisonResult, policy: str) -> str:
    found = None if policy == result.reference else result.difference(policy)
    if found is None:
        return "-"
    return f"{found.mean:+.2f}  [{found.low:+.2f}, {found.high:+.2f}]"


def _points(value: float) -> str:
    return f"{value:+.2f}"


def _notes(result: ComparisonResult) -> Iterator[str]:
    missing, total = len(result.missing()), len(result.seeds) * len(result.placements)
    if missing:
        names = dict.fromkeys(policy for policy, _ in result.missing())
        yield f"stopped early, {missing} of {total} trainings are missing: {', '.join(names)}."
    if len(result.seeds) < _ENOUGH_SEEDS:
        yield (
            f"{len(result.seeds)} seeds give wide intervals; take {_ENOUGH_SEEDS} or more before "
            "concluding anything."
        )
    same: dict[str, list[str]] = {}
    for name, figures in result.policies.items():
        same.setdefault(figures["sha256"], []).append(name)
    for equal in same.values():
        if len(equal) > 1:
            yield f"{' and '.join(equal)} are the same policy, so their trainings are the same."
    yield from _learning_notes(result)
    yield from _base_notes(result)
    yield from _power_notes(result)
    if len(result.placements) > _MANY_COMPARISONS:
        yield "of 20 policies that change nothing, about one falls outside its 95 % interval."
    found = [result.difference(name) for name in result.placements if name != result.reference]
    if any(one is not None and one.high < 0 for one in found):
        yield "strong augmentation learns slowly; what is worse now may not be after more epochs."
    diverged = dict.fromkeys(run.policy for run in result.runs if run.loss is None)
    if diverged:
        yield f"training diverged under {', '.join(diverged)}; lower the learning rate."
    if result.settings["skipped"]:
        yield f"{result.settings['skipped']} unreadable files were left out."


def _learning_notes(result: ComparisonResult) -> Iterator[str]:
    """Warn of a comparison in which no policy does better than to guess the largest class."""
    tests = result.settings["test_images"]
    # Results of earlier versions do not say how many test images the largest class has.
    guess = result.settings.get("largest_class", tests / result.settings["classes"]) / tests
    luck = 100 * lucky_accuracy(guess, tests)
    found = [result.accuracies(policy).values() for policy in result.placements]
    best = max((statistics.fmean(values) for values in found if values), default=math.inf)
    if best <= luck < 100:
        yield (
            f"the network does not learn: guessing the largest class gives {100 * guess:.1f}, with "
            f"luck {luck:.1f}. Give more epochs or images, another learning rate or network; until "
            "then the differences say nothing about the policies."
        )


def _base_notes(result: ComparisonResult) -> Iterator[str]:
    """Warn of a base augmentation that hurts, and of one that is not shown alone."""
    places = result.placements
    untrained = next((name for name, place in places.items() if place == "nothing"), None)
    alone = {place.removesuffix(" only"): n for n, place in places.items() if " only" in place}
    for base, name in alone.items():
        found = result.difference(name, untrained) if untrained else None
        if found and found.high < 0:
            yield (
                f"{base} alone is worse than no augmentation by {-found.mean:.2f} points: it may "
                "change what these images show. Train without it."
            )
    after = dict.fromkeys(p.removeprefix("after ") for p in places.values() if "after " in p)
    for base in after:
        if base not in alone:
            yield f"'after {base}' includes what {base} does; add the policy {base!r} to see it."


def _power_notes(result: ComparisonResult) -> Iterator[str]:
    """Say which differences the seeds are likely to miss, and how many would show enough."""
    deviation, seeds = result.deviation(), len(result.seeds)
    if deviation is None:
        return
    deviation = max(deviation, result.resolution)
    seen = smallest_difference(deviation, seeds)
    if seen >= 100:
        yield (
            f"{seeds} seeds and {result.settings['test_images']} test images can show no "
            "difference at all; take more of both."
        )
        return
    text = (
        f"with {seeds} seeds, differences under {seen:.2f} points are likely to be missed (80 % "
        f"power at a paired deviation of {deviation:.2f} points)"
    )
    if seen > result.interest:
        needed = pairs_needed(result.interest, deviation)
        text += f"; about {needed} seeds would show {result.interest:g}"
    yield text + "."


def _check(result: ComparisonResult) -> None:
    """Refuse a document whose parts have another type than tables and pages expect."""
    seeds = set(result.seeds)
    wholes = {"train_images": 1, "test_images": 1, "classes": 1, "epochs": 1, "skipped": 0}
    checks = {
        "data, reference or the names of policies are not texts": lambda: (
            _are_texts(result.data, result.reference)
            and _are_texts(*result.placements, *result.placements.values())
        ),
        "the reference is not one of the policies": lambda: result.reference in result.placements,
        "seeds are not whole numbers": lambda: all(_is_whole(seed, 0) for seed in result.seeds),
        "there are no seeds, or one occurs twice": lambda: 0 < len(seeds) == len(result.seeds),
        "a run has a policy or a seed that is not listed": lambda: all(
            run.policy in result.placements and run.seed in seeds for run in result.runs
        ),
        "a run occurs twice": lambda: (
            len({(run.policy, run.seed) for run in result.runs}) == len(result.runs)
        ),
        "settings are missing": lambda: {*wholes, "network"} <= {*result.settings},
        "a setting is not a text or whole number, as it should be": lambda: (
            _are_texts(result.settings["network"])
            and all(_is_whole(result.settings[name], low) for name, low in wholes.items())
            and _is_whole(result.settings.get("largest_class", 1), 1)
            and result.settings.get("largest_class", 1) <= result.settings["test_images"]
        ),
        "the epoch of a test is not one of the training": lambda: all(
            1 <= epoch <= result.settings["epochs"]
            for run in result.runs
            for epoch, _ in run.accuracies
        ),
        "interest is not a difference in points": lambda: (
            _is_number(result.interest) and LEAST_INTEREST <= result.interest < 100
        ),
        "the figures of a policy are not complete": lambda: (
            _are_texts(*result.policies) and all(map(_is_figure, result.policies.values()))
        ),
    }
    for problem, is_fine in checks.items():
        if not is_fine():
            raise ValueError(problem)


def _are_texts(*values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


def _is_whole(value: Any, low: int) -> bool:
    return type(value) is int and low <= value < 2**63


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -1e308 < value < 1e308


def _is_figure(value: Any) -> bool:
    rows = value["ops"].values()
    return (
        _are_texts(value["sha256"], *value["ops"])
        and len({len(row) for row in rows}) <= 1
        and all(isinstance(row, list | tuple) and row for row in rows)
        and all(_is_number(number) and -1e-6 < number < 1 + 1e-6 for row in rows for number in row)
    )
