"""Finished trainings on disk, found again by everything that decided their numbers.

One small JSON file a training, named by the hash of its configuration, which it holds as well.
Not part of a configuration: what a policy is called, the model of the processor, and the code of a
network's `forward`, beyond the names of its modules.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from learned_augment._io import content_hash, module_hash, write_atomically
from learned_augment._version import __version__
from learned_augment.datasets.image_data import ImageData
from learned_augment.evaluation.named_policies import NamedPolicy
from learned_augment.models import NetworkChoice, build_network
from learned_augment.policy import Policy
from learned_augment.training import Recipe

__all__ = ["RunCache", "configuration", "data_hash", "network_hash", "policy_hash"]

ARITHMETIC = 1
"""Counts the changes of ops, engines and training that change the numbers of a training."""


class RunCache:
    """A folder of finished trainings.

    Args:
        folder: where they lie; made if it does not exist.

    Raises:
        ValueError: if the folder cannot be made.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"Expected cache= to name a folder, or a new one in an existing folder, got "
                f"{str(folder)!r}: {error.strerror}."
            ) from None

    def find(self, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what a training of this configuration measured, None if there is none.

        Raises:
            ValueError: if the file is broken or holds another configuration's results.
        """
        path = self._path(wanted)
        try:
            document = json.loads(path.read_bytes())
            held, measured = document["configuration"], document["measured"]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            raise ValueError(
                f"{path} is not a finished training; delete it to repeat it."
            ) from None
        if held != wanted:
            changed = ", ".join(sorted(k for k in {*held, *wanted} if held.get(k) != wanted.get(k)))
            raise ValueError(
                f"{path} holds the results of another configuration (it differs in {changed}); "
                "delete it to repeat the training."
            )
        return dict(measured)

    def store(self, wanted: Mapping[str, Any], measured: Mapping[str, Any]) -> None:
        """Keep what a training of this configuration measured; plain JSON data both."""
        document = {"configuration": wanted, "measured": measured}
        text = json.dumps(document, indent=1, allow_nan=False) + "\n"
        write_atomically(self._path(wanted), text.encode())

    def _path(self, wanted: Mapping[str, Any]) -> Path:
        text = json.dumps(wanted, sort_keys=True)
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def configuration(
    data: str, named_policy: NamedPolicy, network: str, recipe: Recipe, seed: int, hardware: str
) -> dict[str, Any]:
    """Return everything that decides the numbers of a training, as plain JSON data.

    Args:
        data: `data_hash` of the images.
        named_policy: the policies that augment them.
        network: `network_hash` at the seed.
        recipe: how it is trained.
        seed: what everything random is drawn from.
        hardware: kind of device and number of threads, which orders sums.
    """
    found = {
        "arithmetic": ARITHMETIC,
        "package": __version__,
        "torch": str(torch.__version__),
        "hardware": hardware,
        "data": data,
        "policies": [policy_hash(policy) for policy in named_policy.policies],
        "network": network,
        # What is off is left out, so that a new setting leaves finished trainings valid.
        "recipe": {key: value for key, value in asdict(recipe).items() if value},
        "seed": seed,
    }
    return dict(json.loads(json.dumps(found)))  # as it is read back


def data_hash(data: ImageData) -> str:
    """Return a fingerprint of training and test images and labels, order included."""
    parts = (data.train_images, data.train_labels, data.test_images, data.test_labels)
    return content_hash([str(len(data.classes)), *parts])


def policy_hash(policy: Policy) -> str:
    """Return a fingerprint of a policy's figures; what it says about itself does not count."""
    return content_hash([*policy.ops, policy.mixture, policy.weights, policy.op, policy.value])


def network_hash(network: NetworkChoice, classes: int, seed: int) -> str:
    """Return a fingerprint of a network's modules and of its weights as `seed` draws them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return module_hash(build_network(network, classes))
