"""What a training of ``train.py`` is, in words, before it costs anything."""

import torch

from benchmarks.papers.data import Placed, Source, sizes
from benchmarks.papers.presets import PRESETS, Preset
from benchmarks.papers.recipe import PaperRecipe

__all__ = ["description", "preset_table"]


def preset_table() -> str:
    """Return one line a preset."""
    lines = [f"{'preset':<31} {'parameters':>11} {'epochs':>6} {'batch':>6} {'rate':>6}  decay"]
    for name, preset in PRESETS.items():
        recipe, count = preset.recipe, parameters(preset, preset.facts.classes)
        batch = f"{recipe.copies}x{recipe.batch_size}" if recipe.copies > 1 else recipe.batch_size
        lines.append(
            f"{name:<31} {count:>11,} {recipe.epochs:>6} {batch:>6} {recipe.learning_rate:>6g}"
            f"  {recipe.weight_decay:g}"
        )
    return "\n".join(lines)


def parameters(preset: Preset, classes: int) -> int:
    """Count the weights of a preset's network, without memory for them."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in preset.build(classes).parameters())


def description(
    preset: Preset, placed: Placed, data: Source | None, classes: int, augmented: str, target: str
) -> str:
    """Return what would be trained.

    Args:
        preset: whose figures those are that the recipe does not hold.
        placed: policy and recipe.
        data: None takes the paper's number of images.
        classes: of the data.
        augmented: where, in words.
        target: where results and checkpoints go.
    """
    recipe, facts = placed.recipe, preset.facts
    train, test = sizes(data) if data else (facts.images, None)
    batch = min(recipe.batch_size, train)
    steps = train // batch
    name = data.name if data else preset.data
    tested = "" if test is None else f", {test:,} test images"
    rows = {
        "network": f"{preset.network}, {parameters(preset, classes):,} parameters",
        "data": f"{name}: {train:,} training images{tested}, {classes} classes, {facts.side} px",
        "policy": f"{placed.named_policy.name}: {placed.named_policy.placement}",
        "augmented": augmented,
        "steps": f"{recipe.epochs} epochs of {steps:,} = {recipe.epochs * steps:,}",
        "batch": f"{batch} images" + (f", {recipe.copies} copies each" * (recipe.copies > 1)),
        "rate": _rates(recipe),
        "source": preset.source,
        "writes": target,
    }
    return "\n".join(f"{key:<10} {value}" for key, value in rows.items())


def _rates(recipe: PaperRecipe) -> str:
    warm = (
        f"{recipe.start:g} to {recipe.learning_rate:g} in {recipe.warm_up * recipe.epochs:g} epochs"
    )
    first = warm if recipe.warm_up else f"{recipe.learning_rate:g}"
    at = ", ".join(f"{share * recipe.epochs:g}" for share in recipe.milestones)
    falls = f"a tenth after epochs {at}" if at else "then cosine to 0"
    clip = f", clip {recipe.clip:g}" if recipe.clip else ""
    spared = "" if recipe.decay_norms else " but for normalisation"
    return f"{first}, {falls}; weight decay {recipe.weight_decay:g}{spared}{clip}"
