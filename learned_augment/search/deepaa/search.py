"""DeepAA: layers of ops, learned to align training gradients with validation gradients."""

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from learned_augment.policy import Policy
from learned_augment.search.batches import NetworkInput
from learned_augment.search.cost import Phase
from learned_augment.search.deepaa.candidates import find_candidates
from learned_augment.search.deepaa.class_pairs import ClassPairs
from learned_augment.search.deepaa.forward_rewards import ForwardRewards
from learned_augment.search.deepaa.frozen_network import FrozenNetwork, check_memory
from learned_augment.search.deepaa.gram_rewards import GramRewards, products
from learned_augment.search.deepaa.layer import LayerDistribution
from learned_augment.search.deepaa.network_checks import check_derivatives
from learned_augment.search.deepaa.options import DeepAAOptions
from learned_augment.search.deepaa.pretraining import (
    Pretraining,
    divide,
    read_network,
    write_network,
)
from learned_augment.search.options import Options
from learned_augment.search.presets import MethodSettings
from learned_augment.search.split import Split, split_hash

__all__ = ["DeepAA"]

# depth="auto": a layer that leaves images unchanged this often ends the pipeline.
_CONVERGED = 0.9

# Images that trial passes take, with rewards "gram" and "forward".
_TRIAL_IMAGES = {"gram": 256, "forward": 64}


class DeepAA:
    """A DeepAA search in progress; see `method.SearchMethod` for its arguments.

    The network is trained once, on some of the training images, and frozen. Then layer after layer
    is learned: a distribution over the candidates, which starts at Identity. The search learns it
    from pairs: a training image that the network was not trained on, after the earlier layers, and
    validation images of its class.

    Zheng et al., Deep AutoAugment, ICLR 2022, arXiv:2203.06172.
    """

    options_type: ClassVar[type[Options]] = DeepAAOptions

    def __init__(
        self,
        split: Split,
        network: nn.Module,
        settings: MethodSettings,
        options: DeepAAOptions,
        generator: torch.Generator,
    ) -> None:
        self.split, self.options, self.generator = split, options, generator
        self.candidates = find_candidates(
            split.train_images.shape[1:],
            space=options.space,
            ops=settings.ops,
            exclude=settings.exclude,
            count=options.levels,
            distinct=options.distinct,
        )
        self.normalize = NetworkInput(split.train_images)
        self._check(network.to(split.train_images.device))
        for_network = for_policy = torch.arange(len(split.train_labels))
        if options.pretrain:
            for_network, for_policy = divide(split.train_labels, options.pretrain_images, generator)
        rows = for_network.to(split.train_images.device)
        images, labels = split.train_images[rows], split.train_labels[rows]
        self.images_hash = split_hash(split._replace(train_images=images, train_labels=labels))
        self.pretraining = Pretraining(network, images, labels, self.normalize, settings, generator)
        if not options.pretrain:
            self.pretraining.steps = 0
        elif options.network_file and Path(options.network_file).exists():
            read_network(Path(options.network_file), self.pretraining, self.images_hash)
        pairs = ClassPairs(
            split, for_policy, options.val_batch, self.normalize, options.memory << 20, generator
        )
        rewards = GramRewards if options.rewards == "gram" else ForwardRewards
        self.rewards = rewards(pairs, self.candidates, options, generator)
        self.layers: list[Tensor] = []
        self.layer = self._new_layer()
        self.layer_steps = self.search_steps = 0
        self.finished = False
        self.frozen: FrozenNetwork | None = None
        self.metrics: dict[str, float] = {}
        self.layer_metrics: list[dict[str, float]] = []

    def _check(self, network: nn.Module) -> None:
        sample = self.normalize(self.split.train_images[:2])
        gram = self.options.rewards == "gram"
        check_derivatives(network, sample, gram=gram)
        together = self.options.prefixes * len(self.candidates.distinct) if gram else 0
        check_memory(network, sample, self.options.memory << 20, together)

    @property
    def steps(self) -> int:
        """Number of steps of the whole search, if no layer ends early."""
        return self.done + sum(self.remaining.values())

    @property
    def done(self) -> int:
        """Number of steps taken."""
        return self.pretraining.done + self.search_steps

    @property
    def remaining(self) -> dict[str, int]:
        """Steps still to take, by phase, if no layer ends early."""
        layers = 0 if self.finished else self.options.most_layers - len(self.layers)
        network = self.pretraining.steps - self.pretraining.done
        return {"network": network, "policy": layers * self.options.steps - self.layer_steps}

    def step(self) -> dict[str, float]:
        """Train the network by one batch or, once that is done, the layer by a few pairs."""
        if self.pretraining.done < self.pretraining.steps:
            self.metrics = self.pretraining.step()
            if self.pretraining.done == self.pretraining.steps and self.options.network_file:
                write_network(Path(self.options.network_file), self.pretraining, self.images_hash)
            return self.metrics
        found = self.rewards.step(self.freeze(), self.layers, self.layer)
        self.search_steps += 1
        self.layer_steps += 1
        self.metrics = {
            "layer": float(len(self.layers) + 1),
            **found,
            "identity": float(self.layer.probabilities()[0]),
            "candidates_in_play": self.layer.effective_candidates(),
        }
        if self._layer_ends():
            self._end_layer()
        return self.metrics

    def freeze(self) -> FrozenNetwork:
        """Return the trained network, which does not change any more."""
        if self.frozen is None:
            sample = self.normalize(self.split.train_images[:2])
            network = self.pretraining.trained()
            self.frozen = FrozenNetwork(network, sample, self.options.memory << 20)
        return self.frozen

    def _layer_ends(self) -> bool:
        if self.layer_steps >= self.options.steps:
            return True
        return self.options.tolerance > 0 and self.rewards.cosine_rise() < self.options.tolerance

    def _end_layer(self) -> None:
        probabilities = self.layer.probabilities()
        self.layer_metrics.append({**self.metrics, "steps": float(self.layer_steps)})
        # A layer that has hardly learned yet has most of the Identity that it started with.
        needed = max(_CONVERGED, self._new_layer().probabilities()[0].item())
        converged = self.options.depth == "auto" and probabilities[0].item() >= needed
        if not converged or not self.layers:
            self.layers.append(probabilities)
        self.finished = converged or len(self.layers) == self.options.most_layers
        self.layer, self.layer_steps = self._new_layer(), 0
        self.rewards.start_layer()

    def _new_layer(self) -> LayerDistribution:
        options = self.options
        return LayerDistribution(len(self.candidates), options.identity, options.policy_rate)

    def policy(self) -> Policy:
        """Return the policy of the layers so far, including the one under search."""
        layers = list(self.layers)
        if not self.finished and (self.layer_steps or not self.layers):
            layers.append(self.layer.probabilities())
        simple = self.options.variant == "simple"
        about = {
            "method": "DeepAA-simple" if simple else "DeepAA",
            "paper": "arXiv:2203.06172",
            "placement": "after" if simple else "replaces",
            "options": {**asdict(self.options), "network_file": bool(self.options.network_file)},
            "ops": list(self.candidates.ops),
            "steps": self.done,
            "metrics": self.metrics,
            "parameters": {"layers": self.layer_metrics},
        }
        return self.candidates.policy(layers, about)

    def phases(self) -> list[Phase]:
        """Return the cost of the network's training and of the layers; takes trial steps."""
        memory = (self.options.memory << 20) + self.rewards.memory
        found = []
        if self.pretraining.steps:
            steps, batch = self.pretraining.steps, self.pretraining.batch
            seconds = _seconds(self.pretraining.step)
            found.append(Phase("network", steps, seconds, memory, {"training gradients": batch}))
        pace = self._seconds_per_image()
        if images := self.rewards.pairs.in_whole_classes:
            once = {"validation gradients": images}
            seconds = pace["validation gradients"] * images
            found.append(Phase("whole classes", 1, seconds, memory, once))
        for name, first, layers in (
            ("layer 1", True, 1),
            ("each later layer", False, self.options.most_layers - 1),
        ):
            passes = self.rewards.passes(first)
            seconds = sum(pace[purpose] * images for purpose, images in passes.items())
            if layers:
                found.append(Phase(name, layers * self.options.steps, seconds, memory, passes))
        return found

    def _seconds_per_image(self) -> dict[str, float]:
        """Return the time of each purpose's passes, measured on a few images."""
        network, rewards = self.freeze(), self.options.rewards
        # An even number, as the products below take the images two by two.
        count = min(_TRIAL_IMAGES[rewards], network.chunk, len(self.split.train_images)) // 2 * 2
        count = max(count, 2)  # a pass may have room for one image only
        inputs = self.normalize(self.split.train_images[:count])
        labels = torch.zeros(count, dtype=torch.int64, device=inputs.device)
        tangent = network.gradient(inputs, labels)

        def per_image_products() -> None:
            for _, _, gradients in network.per_image_gradients(inputs, labels):
                products(gradients.flatten(1).unflatten(0, (2, -1)))

        together = _seconds(lambda: network.gradient(inputs, labels)) / count
        training = forward = together
        if rewards == "gram":
            training = _seconds(per_image_products) / count
        else:
            forward = _seconds(lambda: network.directional(inputs, labels, tangent)) / count
        return {
            "validation gradients": together,
            "training gradients": training,
            "rewards": forward,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything that `step` changes."""
        return deepcopy(
            {
                "pretraining": self.pretraining.state_dict(),
                "rewards": self.rewards.state_dict(),
                "layer": self.layer.state_dict(),
                "layers": self.layers,
                "layer_metrics": self.layer_metrics,
                "layer_steps": self.layer_steps,
                "search_steps": self.search_steps,
                "finished": self.finished,
                "metrics": self.metrics,
                "generator": self.generator.get_state(),
            }
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.pretraining.load_state_dict(state["pretraining"])
        self.frozen = None
        self.rewards.load_state_dict(state["rewards"])
        self.rewards.pairs.cached.clear()
        self.layer.load_state_dict(state["layer"])
        self.layers, self.layer_metrics = list(state["layers"]), list(state["layer_metrics"])
        self.layer_steps, self.search_steps = state["layer_steps"], state["search_steps"]
        self.finished, self.metrics = state["finished"], dict(state["metrics"])
        self.generator.set_state(state["generator"])


def _seconds(run: Callable[[], object]) -> float:
    run()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
