"""Search a policy by each method on a part of the training images.

Test images are not looked at. A run that was cut short goes on where its checkpoint was written.

    python -m benchmarks.find_policies folder:PATH --name cifar10
    python -m benchmarks.find_policies folder:PATH --name cifar10 --methods deepaa --checkpoints DIR
"""

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import RESULTS, save_result
from learned_augment.datasets.image_data import ImageData
from learned_augment.datasets.load import load_images
from learned_augment.search import SearchReport, search

# DADA's published CIFAR-10 settings with a network of the same family that ten minutes of one core
# suffice for: 1.2 s a step, 320 steps. DeepAA as it comes, on as many images.
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "dada": {"preset": "cifar10", "network": "wrn-16-1"},
    "deepaa": {"preset": "quick", "reduce": 4000},
}


def find(data: ImageData, method: str, seed: int, name: str, folder: Path | None) -> dict[str, Any]:
    """Search by one method, write the policy as ``name``, and return a row of results."""
    curve: list[dict[str, float]] = []

    def watch(report: SearchReport) -> None:
        curve.append({"step": report.step, **{k: round(v, 5) for k, v in report.metrics.items()}})
        if report.step % 20 == 0:
            left = f"{report.seconds_left:.0f} s left"
            print(method, f"{report.step} of {report.steps}, {left}", flush=True)

    start = time.process_time()
    policy = search(
        data,
        method=method,
        **SETTINGS[method],
        seed=seed,
        device="cpu",
        threads=1,
        checkpoint=None if folder is None else folder / f"{name}.checkpoint",
        callbacks=[watch],
        progress=False,
    )
    seconds = time.process_time() - start
    replace(policy, about={**policy.about, "name": name}).save(RESULTS / f"{name}.safetensors")
    shares = {op: round(float(layers.sum()), 4) for op, layers in policy.op_shares().items()}
    return {
        "method": method,
        "settings": dict(SETTINGS[method]),
        "search": policy.about["search"],
        "stopped": policy.about.get("stopped"),
        "steps": policy.about["steps"],
        "steps_of_this_run": len(curve),
        "cpu_seconds_of_this_run": round(seconds, 1),
        "metrics": policy.about["metrics"],
        "shares": dict(sorted(shares.items(), key=lambda item: -item[1])),
        "curve": curve[:: max(1, len(curve) // 20)],
    }


def main() -> None:
    """Search by the methods that are asked for; one policy and one result file each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", help="as for learned_augment.search")
    parser.add_argument("--name", default="data", help="what to call the data in results")
    parser.add_argument("--images", type=int, default=4000, help="training images to search on")
    parser.add_argument("--methods", default=",".join(SETTINGS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoints", type=Path, help="folder to resume from and to write to")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_images(options.data).subset(options.images, options.seed)
    settings = {"data": options.name, "images": options.images, "threads": 1}
    for method in options.methods.split(","):
        name = f"found-{method}-{options.name}"
        row = find(data, method, options.seed, name, options.checkpoints)
        save_result(name, [row], seeds=[options.seed], settings=settings)
        print(name, row["cpu_seconds_of_this_run"], "s", row["shares"], flush=True)


if __name__ == "__main__":
    main()
