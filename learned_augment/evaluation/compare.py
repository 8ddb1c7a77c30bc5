"""The measured answer to "does this policy help on this data?": one network, several policies.

Seeds are paired: at one seed all policies share initial weights, batch order and training images,
and each training draws its augmentation from its own generator.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from learned_augment.datasets.load import Source, load_images
from learned_augment.evaluation.named_policies import NamedPolicy, PolicyChoice, place_policy
from learned_augment.evaluation.result import ComparisonResult, Run
from learned_augment.evaluation.runner import Comparison, Schedule
from learned_augment.models import NetworkChoice
from learned_augment.training import Recipe, find_device

__all__ = ["ComparisonResult", "Run", "compare", "plan_comparison"]

Policies = Sequence[PolicyChoice] | Mapping[str, PolicyChoice]


def compare(
    data: Source = "digits",
    policies: Policies = (
        "none",
        "trivialaugment",
        "deepaa-cifar10",
    ),
    *,
    seeds: int = 5,
    epochs: int = Recipe.epochs,
    network: NetworkChoice = "small-cnn",
    batch_size: int = Recipe.batch_size,
    learning_rate: float = Recipe.learning_rate,
    precision: str = Recipe.precision,
    channels_last: bool = Recipe.channels_last,
    test_every: int = Recipe.test_every,
    train_size: int | None = None,
    image_size: int | None = None,
    skip_unreadable: bool = False,
    beside: str | None = None,
    reference: str | None = None,
    interest: float = ComparisonResult.interest,
    device: str | None = None,
    cache: str | Path | None = None,
    extends: ComparisonResult | None = None,
    workers: int = 1,
    progress: bool | None = None,
) -> ComparisonResult:
    """Train one network on one data set under several policies, and say which help.

    Every policy gets the same training, `training.Recipe`, at the same seeds. Policies that stand
    beside the default augmentation come after it; those that replace it stand alone; "none" does
    nothing at all. An interrupt (Ctrl-C) ends the comparison with the trainings finished so far;
    with a cache the same call later goes on from there.

    Args:
        data: "digits", "cifar10:ROOT", "folder:PATH", ...; see `datasets.load_images`.
        policies: two or more names, paths or policies; see `placement.place_policy`. "default" is
            the default augmentation alone; "random:NAME" a policy's random control, another one
            for each seed. A mapping names them.
        seeds: how many trainings each policy gets, 2 or more.
        epochs: passes over the training images.
        network: a name of `networks.NETWORKS`, a callable from number of classes to module, or a
            module, which starts every training from its own weights.
        batch_size: images per step.
        learning_rate: the highest one.
        precision: "float32", or "bfloat16" for torch's autocast to it.
        channels_last: whether images and weights lie in memory pixel by pixel.
        test_every: epochs between tests, for the learning curves; 0 tests after the last one only.
        train_size: train on this many images only, drawn anew for each seed.
        image_size: side in pixels to bring the images of a folder or data set to.
        skip_unreadable: leave out files that cannot be read.
        beside: the default augmentation, "nothing", "crop", "crop-flip" or "resized-crop-flip";
            None is "crop-flip", or "crop" for data whose mirror images mean something else.
        reference: the policy to compare with; None is "none" if that takes part, else the first.
        interest: the difference in points that the seeds should be enough to show; the result
            says which differences they are likely to miss.
        device: "cpu", "cuda", ...; None is a GPU if there is one.
        cache: folder that keeps every finished training, by a hash of all that decides its
            numbers; what it holds is not trained again. None keeps nothing.
        extends: an earlier result that this one is to replace, perhaps with more seeds or
            policies; one of another configuration, or with trainings that this one leaves out, is
            refused.
        workers: trainings at once, each in a process with one thread; 1 trains in this process
            with torch's threads, 0 is one for each core. A script that sets it needs the usual
            `if __name__ == "__main__":`.
        progress: whether to show a line on standard error; None shows it on a terminal.

    Raises:
        ValueError: if an argument is wrong; before any training starts.
        FileNotFoundError: if the data are missing.
        KeyboardInterrupt: if interrupted before the first training has finished.
    """
    schedule = Schedule(cache, workers, progress)
    comparison = plan_comparison(
        data,
        policies,
        Recipe(
            epochs,
            batch_size,
            learning_rate,
            precision=precision,
            channels_last=channels_last,
            test_every=test_every,
        ),
        seeds=seeds,
        network=network,
        train_size=train_size,
        image_size=image_size,
        skip_unreadable=skip_unreadable,
        beside=beside,
        reference=reference,
        interest=interest,
        device=device,
    )
    if extends is None:
        return comparison.run(schedule)
    planned = comparison.result()
    planned.check_same(extends)
    _check_whole(planned, extends)
    return _completed(comparison.run(schedule), extends)


def _check_whole(planned: ComparisonResult, earlier: ComparisonResult) -> None:
    asked = set(planned.missing())
    dropped = [run for run in earlier.runs if (run.policy, run.seed) not in asked]
    if dropped:
        names = ", ".join(dict.fromkeys(run.policy for run in dropped))
        raise ValueError(
            f"The earlier result holds {len(dropped)} trainings that this one leaves out (of "
            f"{names}; seeds up to {max(run.seed for run in dropped)}). Ask for them too, or keep "
            "the results apart."
        )


def _completed(result: ComparisonResult, earlier: ComparisonResult) -> ComparisonResult:
    """Return an interrupted result with the trainings that an earlier one has and it misses."""
    missing = set(result.missing())
    kept = [run for run in earlier.runs if (run.policy, run.seed) in missing]
    return replace(result, runs=(*result.runs, *kept))


def plan_comparison(
    data: Source,
    policies: Policies,
    recipe: Recipe,
    *,
    seeds: int,
    network: NetworkChoice,
    train_size: int | None,
    image_size: int | None,
    skip_unreadable: bool,
    beside: str | None,
    reference: str | None,
    interest: float,
    device: str | None,
) -> Comparison:
    """Return the comparison that `compare` runs, its arguments checked and its data loaded.

    Raises:
        ValueError: as `compare`.
        FileNotFoundError: if the data are missing.
    """
    if seeds < 2:
        raise ValueError(f"seeds must be 2 or more, got {seeds}: one training shows no spread.")
    if not 0 < interest < 100:
        raise ValueError(f"interest is a difference in points, above 0, got {interest}.")
    where, named = find_device(device), _named(policies)
    _placed(named, beside or "nothing", 32, 0)  # a wrong name fails before the data are loaded
    images = load_images(data, image_size=image_size, skip_unreadable=skip_unreadable)
    default = beside or ("crop-flip" if images.mirrors else "crop")
    side = min(images.train_images.shape[2:])
    named_policies = [_placed(named, default, side, seed) for seed in range(seeds)]
    names = list(named_policies[0])
    against = reference or ("none" if "none" in names else names[0])
    if against not in names:
        raise ValueError(f"No policy {against!r} to compare with among {', '.join(names)}.")
    comparison = Comparison(
        images, named_policies, network, recipe, where, train_size, against, interest
    )
    comparison.check()
    return comparison


def _named(
    policies: Policies,
) -> list[tuple[str | None, PolicyChoice]]:
    if isinstance(policies, str | Path) or not isinstance(policies, Sequence | Mapping):
        raise TypeError(f"Expected a sequence of two or more policies, got {policies!r:.80}.")
    if len(policies) < 2:
        raise ValueError(f"Expected two or more policies to compare, got {list(policies)}.")
    if isinstance(policies, Mapping):
        return list(policies.items())
    return [(None, choice) for choice in policies]


def _placed(
    named: Sequence[tuple[str | None, PolicyChoice]], default: str, image_size: int, seed: int
) -> dict[str, NamedPolicy]:
    placed = [
        place_policy(choice, default, image_size=image_size, name=name, seed=seed)
        for name, choice in named
    ]
    named_policies = {named_policy.name: named_policy for named_policy in placed}
    if len(named_policies) < len(placed):
        raise ValueError(
            f"Policies need different names, got {', '.join(c.name for c in placed)}. Name them "
            "with a mapping, for example {'first': policy, 'second': other}."
        )
    return named_policies
