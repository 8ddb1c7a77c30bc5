"""Train a detector on a COCO-format folder under a policy, and measure its average precision.

    python -m benchmarks.detection.train --data COCO --model retinanet --backbone resnet50.pt
    python -m benchmarks.detection.train --data COCO --model maskrcnn --policy dada-imagenet

The recipe is that of torchvision's reference: 26 epochs of 16 images at a learning rate of 0.02
(RetinaNet 0.01) after 1,000 steps of warm-up, a tenth of it from epoch 16 and a hundredth from 22,
flips, and a shorter side of 800 pixels. The learning rate follows the batch size. pycocotools
computes COCO's average precision.

Results: results/detect-NAME.json. A run that is cut short goes on from its checkpoint when the same
command is given again. Exit status: 0 it is measured, 3 the time budget is over, 130 interrupted,
2 wrong arguments or data, or out of memory.
"""

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from benchmarks import record
from benchmarks.detection.coco import CocoSplit, annotations_sha256, read_split, with_objects
from benchmarks.detection.evaluation import check_readable, evaluate
from benchmarks.detection.models import MODELS, build_detector, load_backbone
from benchmarks.detection.training import DetectorTraining, Schedule
from benchmarks.training_loop import STATUS, add_training_options, exit_status, run_training
from learned_augment import Policy, builders
from learned_augment.evaluation.named_policies import named_policy
from learned_augment.runtime.checkpoint import differences
from learned_augment.runtime.rng import isolated
from learned_augment.training import find_device

TYPICAL_SIDE = 480
"""Shorter side in pixels of COCO's images: what TrivialAugment measures translations by."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and measure; return the exit status."""
    options = _parser().parse_args(arguments)
    smaller = "--batch-size (the learning rate follows it) or --min-size, or fewer --workers"
    return exit_status(lambda: _run(options), smaller)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="folder in COCO's layout")
    add("--model", required=True, choices=MODELS)
    add("--backbone", type=Path, help="state dict of a ResNet-50; random weights without")
    add("--policy", default="none", help="name or .safetensors file, for the training images")
    add_training_options(parser)
    parser.set_defaults(epochs=26, batch_size=16, workers=0)
    add("--drops", type=int, nargs="*", default=[16, 22], help="epochs of a tenth of the rate")
    add("--warm-up", type=int, default=1000, help="steps, at most the first epoch's")
    add("--min-size", type=int, default=800, help="shorter side in pixels")
    add("--seed", type=int, default=0)
    add("--checkpoint", type=Path, help="resumed if it exists; else checkpoints/detect-NAME.pt")
    return parser


def _run(options: argparse.Namespace) -> int:
    _check(options)
    train, val = _splits(options.data)
    config, masks = _config(options), options.model == "maskrcnn"
    _check_result(_name(options), config)
    check_readable(val, masks=masks)
    device, checkpoint = find_device(options.device), _checkpoint(options)
    with isolated(options.seed):
        training = _training(options, train, device)
        stop = run_training(
            training,
            checkpoint,
            config,
            device,
            time_budget=60 * options.time_budget,
            on_epoch=_tell,
        )
    if stop != "finished":
        print(
            f"Stopped ({stop}) at step {training.done} of {training.steps}; {checkpoint} is kept."
        )
        print("The same command goes on from there.")
        return STATUS[stop]
    result = evaluate(training.model, val, masks=masks, device=device)
    row = {"model": options.model, "policy": options.policy, "seed": options.seed, **result}
    print(json.dumps(row, indent=1))
    backbone = options.backbone and options.backbone.name
    settings = config | {"backbone": backbone, "policy": options.policy, "data": options.data.name}
    settings |= {"device": device.type, "workers": options.workers}
    settings |= {"training_images": len(train.photos), "validation_images": len(val.photos)}
    record.save_result(f"detect-{_name(options)}", [row], seeds=[options.seed], settings=settings)
    return 0


def _name(options: argparse.Namespace) -> str:
    backbone = options.backbone.stem if options.backbone else "scratch"
    policy = Path(options.policy).name.removesuffix(".safetensors").replace(":", "-")
    return options.name or f"{options.model}-{backbone}-{policy}-seed{options.seed}"


def _checkpoint(options: argparse.Namespace) -> Path:
    if options.checkpoint is not None:
        return options.checkpoint
    record.CHECKPOINTS.mkdir(exist_ok=True)
    return record.CHECKPOINTS / f"detect-{_name(options)}.pt"


def _tell(training: DetectorTraining) -> None:
    loss = training.losses[-1]
    print(
        f"epoch {training.epoch}, step {training.done} of {training.steps}: loss {loss:.4f}",
        flush=True,
    )


def _check(options: argparse.Namespace) -> None:
    """Refuse, before anything is read, what would fail or be lost at the end."""
    if not options.time_budget > 0:
        raise ValueError(f"Expected --time-budget > 0 minutes, got {options.time_budget}.")
    if not re.fullmatch(r"[\w.-]+", _name(options)):
        raise ValueError(f"A name has letters, digits, '.', '-' and '_' only: {_name(options)!r}.")
    if options.backbone is not None and not options.backbone.is_file():
        raise ValueError(f"No file {str(options.backbone)!r} for --backbone; train.py writes one.")
    if options.checkpoint is not None and not options.checkpoint.parent.is_dir():
        raise ValueError(f"No folder {str(options.checkpoint.parent)!r} for --checkpoint; make it.")
    for name, low in (("min_size", 32), ("workers", 0), ("seed", 0)):
        if getattr(options, name) < low:
            flag = name.replace("_", "-")
            raise ValueError(f"Expected --{flag} of {low} or more, got {getattr(options, name)}.")


def _splits(folder: Path) -> tuple[CocoSplit, CocoSplit]:
    train, val = with_objects(read_split(folder, "train")), read_split(folder, "val")
    if train.classes != val.classes:
        raise ValueError(
            f"Expected the same classes in both splits, got {len(train.classes)} in train "
            f"({', '.join(train.classes):.60}) and {len(val.classes)} in val "
            f"({', '.join(val.classes):.60})."
        )
    return train, val


def _training(
    options: argparse.Namespace, train: CocoSplit, device: torch.device
) -> DetectorTraining:
    rate = options.learning_rate or (0.01 if options.model == "retinanet" else 0.02)
    drops = tuple(options.drops)
    schedule = Schedule(options.epochs, options.batch_size, rate, drops, options.warm_up)
    backbone = None if options.backbone is None else load_backbone(options.backbone)
    model = build_detector(options.model, len(train.classes), backbone, options.min_size)
    return DetectorTraining(
        model,
        train,
        schedule,
        policy=_policy(options),
        masks=options.model == "maskrcnn",
        device=device,
        seed=options.seed,
        workers=options.workers,
    )


def _policy(options: argparse.Namespace) -> Policy:
    choice = "none" if options.policy == "default" else options.policy
    placed = named_policy(choice, image_size=TYPICAL_SIDE, seed=options.seed)
    return placed.policies[0] if placed.policies else builders.identity()


def _config(options: argparse.Namespace) -> dict[str, object]:
    """Return what a checkpoint and a result must agree with: all that decides the result."""
    # Files are told apart by their contents.
    files = {"backbone", "policy", "data"}
    free = {*files, "device", "workers", "checkpoint", "time_budget", "name"}
    config = {name: value for name, value in vars(options).items() if name not in free}
    config["backbone_sha256"] = options.backbone and _hash(options.backbone.read_bytes())
    config["policy_sha256"] = _hash(_policy(options).encode())
    return config | {"annotations_sha256": annotations_sha256(options.data)}


def _check_result(name: str, config: Mapping[str, object]) -> None:
    """Refuse to write over what other settings measured."""
    path = record.RESULTS / f"detect-{name}.json"
    if not path.exists():
        return
    try:
        settings = record.load_result(f"detect-{name}")["settings"]
        saved = {key: settings.get(key) for key in config}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a result file ({error}); move it away.") from None
    if found := differences(saved, json.loads(json.dumps(config))):
        raise ValueError(
            f"{path} holds a result of another configuration: {'; '.join(found)}. Give the same "
            "settings, or another --name."
        )


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
