"""compare() trains one network on one data set under several policies and says which help."""

from dataclasses import replace
from functools import partial
from typing import Any

from learned_augment.datasets.load import Source, load_images
from learned_augment.evaluation.config import CompareConfig, Policies
from learned_augment.evaluation.named_policies import NamedPolicy, named_policy, names_base
from learned_augment.evaluation.result import ComparisonResult
from learned_augment.evaluation.runner import Comparison
from learned_augment.runtime.rng import isolated
from learned_augment.training import find_device

__all__ = ["compare"]


def compare(
    data: Source = "digits", policies: Policies = CompareConfig.policies, **fields: Any
) -> ComparisonResult:
    """Train one network on one data set under several policies, and say which help.

    Every policy gets the same training, `training.Recipe`, at the same seeds. At one seed all
    policies share initial weights, batch order and training images; each training draws its
    augmentation from its own generator.

    A policy's name trains it alone, "crop-flip+NAME" trains it after crop and flip, and "none"
    trains without augmentation. The base augmentation is compared as well. A policy that does not
    replace it is trained twice, alone and after it: crop and flip help on most photographs, and
    hurt where position or side matters. This is not done if the policies name a base augmentation
    themselves, or `base` is "none".

    An interrupt (Ctrl-C, SIGTERM) ends the comparison with the trainings finished so far. So do a
    process that ends and a lack of memory, with a RuntimeWarning. With a cache, the same call
    continues from there.

    Args:
        data: "digits", "cifar10:ROOT", "folder:PATH", ...; see `datasets.load_images`.
        policies: Two or more names, paths or policies, or a mapping that names them; see
            `named_policies.named_policy`.
        **fields: `seeds`, `epochs`, `network`, ...; see `CompareConfig`.

    Returns:
        The result: accuracies, differences and sentences. `print(result.table())` shows them.

    Raises:
        TypeError: If there is no such argument, or one is of another type.
        ValueError: If an argument is wrong; before any training starts.
        FileNotFoundError: If the data are missing.
        ModuleNotFoundError: If a package is missing that the data need.
        runtime.process_pool.WorkerError: If a process ended before any training had finished.
        KeyboardInterrupt: If interrupted before the first training has finished.

    Examples:
        >>> result = compare(
        ...     "digits", ["none", "flip"], seeds=2, epochs=1, train_size=40, workers=1
        ... )
        >>> list(result.placements.items())
        [('none', 'nothing'), ('flip', 'flip only')]
    """
    config = CompareConfig.of(policies=policies, **fields)
    with isolated(0):
        comparison = _prepare(data, config)
        earlier = config.extends
        if earlier is None:
            return comparison.run(config.cache, config.workers, config.progress)
        planned = comparison.result()
        planned.check_same(earlier)
        _check_none_dropped(planned, earlier)
        return _completed(comparison.run(config.cache, config.workers, config.progress), earlier)


def _prepare(data: Source, config: CompareConfig) -> Comparison:
    """Load the data, and check all that can be wrong before the first training."""
    device = find_device(config.device)
    # A wrong name fails before the data are loaded.
    _policies_to_train(config, config.base or "none", 32, 0)
    images = load_images(data, image_size=config.image_size, skip_unreadable=config.skip_unreadable)
    base = config.base
    if base is None:
        listed = any(names_base(choice) for _, choice in config.choices)
        base = "none" if listed else "crop-flip" if images.flip_keeps_class else "crop"
    side = min(images.train_images.shape[2:])
    named_policies = [_policies_to_train(config, base, side, seed) for seed in range(config.seeds)]
    names, given = list(named_policies[0]), list(_policies_to_train(config, "none", side, 0))
    reference = config.reference or ("none" if "none" in names else given[0])
    if reference not in names:
        raise ValueError(f"No policy {reference!r} to compare with among {', '.join(names)}.")
    comparison = Comparison(
        images,
        named_policies,
        config.network,
        config.recipe,
        device,
        config.train_size,
        reference,
        config.interest,
    )
    comparison.check()
    return comparison


def _policies_to_train(
    config: CompareConfig, base: str, image_size: int, seed: int
) -> dict[str, NamedPolicy]:
    """Return the policies to train, by name.

    The base augmentation is one of them if it is asked for, or if a policy may follow it. A policy
    that does not replace it is listed twice: alone, and after it.
    """
    build = partial(named_policy, image_size=image_size, seed=seed)
    listed = [build(choice, name=name) for name, choice in config.choices]
    names = {policy.name for policy in listed}
    if len(names) < len(listed):
        raise ValueError(
            f"Policies need different names, got {', '.join(p.name for p in listed)}. List "
            "each once, or name them with a mapping: {'first': policy, 'second': other}."
        )
    found: dict[str, NamedPolicy] = {}
    for policy, (name, choice) in zip(listed, config.choices, strict=True):
        trained = [policy]
        if base != "none" and policy.may_follow_base and not names_base(choice):
            both = None if name is None else f"{base}+{name}"
            trained = [build(base), policy, build(choice, base, name=both)]
        # A name that the user lists belongs to the user's policy.
        found |= {one.name: one for one in trained if one is policy or one.name not in names}
    if config.base not in (None, "none"):  # asked for, also where no policy may follow it
        found.setdefault(base, build(base))
    return found


def _check_none_dropped(planned: ComparisonResult, earlier: ComparisonResult) -> None:
    """Refuse an earlier result with trainings that are not planned."""
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
    """Return an interrupted result, completed by the trainings of an earlier one."""
    missing = set(result.missing())
    kept = [run for run in earlier.runs if (run.policy, run.seed) in missing]
    return replace(result, runs=(*result.runs, *kept))
