"""DeepAA: layer upon layer of ops, each learned to turn training gradients towards validation.

A network is trained once and frozen. Then every layer is a distribution over the same candidates,
started at Identity and learned on images that went through the layers before.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from learned_augment.policy import Policy
from learned_augment.search.batches import Normalise
from learned_augment.search.deepaa.candidates import Candidates, find_candidates
from learned_augment.search.deepaa.class_pairs import ClassPairs
from learned_augment.search.deepaa.costs import SAMPLE, layer_phases, training_phase
from learned_augment.search.deepaa.frozen import Frozen, check_memory
from learned_augment.search.deepaa.grams import GramRewards
from learned_augment.search.deepaa.logits import Logits
from learned_augment.search.deepaa.options import DeepAAOptions, read_deepaa_options
from learned_augment.search.deepaa.pretraining import (
    Pretraining,
    part,
    read_network,
    split,
    write_network,
)
from learned_augment.search.deepaa.rewards import ForwardRewards
from learned_augment.search.deepaa.suitability import check_suitable
from learned_augment.search.method import Halves
from learned_augment.search.phases import Phase
from learned_augment.search.presets import Preset
from learned_augment.search.split import fingerprint

__all__ = ["DeepAA", "deepaa"]

# depth="auto": a layer that has come to leave images as they are this often ends the pipeline.
CONVERGED = 0.9


class DeepAA:
    """A DeepAA search under way; see `searcher.Searcher`.

    Args:
        halves: The data. The network is trained on one part of the training half; images of the
            other meet the validation half.
        network: Trained from its present weights; has one logit per class.
        preset: How the network is trained.
        options: How the policy is learned.
        candidates: Of every layer.
        generator: Of everything random; CPU.

    Zheng et al., Deep AutoAugment, ICLR 2022, arXiv:2203.06172.
    """

    def __init__(
        self,
        halves: Halves,
        network: nn.Module,
        preset: Preset,
        options: DeepAAOptions,
        candidates: Candidates,
        generator: torch.Generator,
    ) -> None:
        self.halves, self.options, self.candidates = halves, options, candidates
        self.generator = generator
        self.normalise = Normalise(halves.train_images)
        network, gram = network.to(halves.train_images.device), options.rewards == "gram"
        sample = self.normalise(halves.train_images[:2])
        check_suitable(network, sample, gram=gram)
        together = options.prefixes * len(candidates.first) if gram else 0
        check_memory(network, sample, options.memory << 20, together)
        fitted = free = torch.arange(len(halves.train_labels))
        if options.pretrain:
            fitted, free = split(halves.train_labels, options.pretrain_images, generator)
        images, labels = part(halves, fitted)
        self.images = fingerprint(halves._replace(train_images=images, train_labels=labels))
        self.pretraining = Pretraining(network, images, labels, self.normalise, preset, generator)
        if not options.pretrain:
            self.pretraining.steps = 0
        elif options.network_file and Path(options.network_file).exists():
            read_network(Path(options.network_file), self.pretraining, self.images)
        pairs = ClassPairs(
            halves, free, options.val_batch, self.normalise, options.memory << 20, generator
        )
        rewards = GramRewards if gram else ForwardRewards
        self.rewards = rewards(pairs, candidates, options, generator)
        self.layers: list[Tensor] = []
        self.logits = self._new_logits()
        self.in_layer = self.searched = 0
        self.finished = False
        self.frozen: Frozen | None = None
        self.metrics: dict[str, float] = {}
        self.by_layer: list[dict[str, float]] = []

    @property
    def steps(self) -> int:
        """Number of steps of the whole search, if no layer ends early."""
        return self.done + sum(self.ahead.values())

    @property
    def done(self) -> int:
        """Number of steps taken."""
        return self.pretraining.done + self.searched

    @property
    def ahead(self) -> dict[str, int]:
        """Steps still to take, if no layer ends early: of the network's training, of the layers."""
        layers = 0 if self.finished else self.options.most_layers - len(self.layers)
        network = self.pretraining.steps - self.pretraining.done
        return {"network": network, "policy": layers * self.options.steps - self.in_layer}

    def step(self) -> dict[str, float]:
        """Train the network by one batch or, once that is done, the layer by a few pairs."""
        if self.pretraining.done < self.pretraining.steps:
            self.metrics = self.pretraining.step()
            if self.pretraining.done == self.pretraining.steps and self.options.network_file:
                write_network(Path(self.options.network_file), self.pretraining, self.images)
            return self.metrics
        found = self.rewards.step(self.freeze(), self.layers, self.logits)
        self.searched += 1
        self.in_layer += 1
        self.metrics = {
            "layer": float(len(self.layers) + 1),
            **found,
            "identity": float(self.logits.chances()[0]),
            "candidates_in_play": self.logits.in_play(),
        }
        if self._layer_ends():
            self._end_layer()
        return self.metrics

    def freeze(self) -> Frozen:
        """Return the network as it was trained, frozen from now on."""
        if self.frozen is None:
            sample = self.normalise(self.halves.train_images[:2])
            network = self.pretraining.trained()
            self.frozen = Frozen(network, sample, self.options.memory << 20)
        return self.frozen

    def _layer_ends(self) -> bool:
        if self.in_layer >= self.options.steps:
            return True
        return self.options.tolerance > 0 and self.rewards.risen() < self.options.tolerance

    def _end_layer(self) -> None:
        chances = self.logits.chances()
        self.by_layer.append({**self.metrics, "steps": float(self.in_layer)})
        # A layer that has hardly learned yet holds most of the Identity that it started with.
        needed = max(CONVERGED, self._new_logits().chances()[0].item())
        converged = self.options.depth == "auto" and chances[0].item() >= needed
        if not converged or not self.layers:
            self.layers.append(chances)
        self.finished = converged or len(self.layers) == self.options.most_layers
        self.logits, self.in_layer = self._new_logits(), 0
        self.rewards.start_layer()

    def _new_logits(self) -> Logits:
        return Logits(len(self.candidates), self.options.identity, self.options.policy_rate)

    def policy(self) -> Policy:
        """Return the layers so far, the one under search included."""
        under_way = [] if self.finished or (self.layers and not self.in_layer) else [self.logits]
        layers = [*self.layers, *(logits.chances() for logits in under_way)]
        simple = self.options.variant == "simple"
        about = {
            "method": "DeepAA-simple" if simple else "DeepAA",
            "paper": "arXiv:2203.06172",
            "placement": "after" if simple else "replaces",
            "options": {**asdict(self.options), "network_file": bool(self.options.network_file)},
            "ops": list(self.candidates.ops),
            "steps": self.done,
            "metrics": self.metrics,
            "parameters": {"layers": self.by_layer},
        }
        return self.candidates.policy(layers, about)

    def phases(self) -> list[Phase]:
        """Return what the search costs; takes a few steps, after which it is not to be run."""
        training = [training_phase(self.pretraining)] if self.pretraining.steps else []
        return training + layer_phases(
            self.freeze(),
            self.normalise(self.halves.train_images[:SAMPLE]),
            self.rewards.passes,
            steps=self.options.steps,
            layers=self.options.most_layers,
            gram=self.options.rewards == "gram",
            judges=self.rewards.pairs.in_whole_classes,
        )

    @property
    def memory(self) -> int:
        """Bytes that a step may take beside the data."""
        return (self.options.memory << 20) + self.rewards.memory

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of everything that `step` changes."""
        return deepcopy(
            {
                "pretraining": self.pretraining.state_dict(),
                "rewards": self.rewards.state_dict(),
                "logits": self.logits.state_dict(),
                "layers": self.layers,
                "by_layer": self.by_layer,
                "in_layer": self.in_layer,
                "searched": self.searched,
                "finished": self.finished,
                "metrics": self.metrics,
                "generator": self.generator.get_state(),
            }
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.pretraining.load_state_dict(state["pretraining"])
        self.frozen = None
        self.rewards.load_state_dict(state["rewards"])
        self.rewards.pairs.kept.clear()
        self.logits.load_state_dict(state["logits"])
        self.layers, self.by_layer = list(state["layers"]), list(state["by_layer"])
        self.in_layer, self.searched = state["in_layer"], state["searched"]
        self.finished, self.metrics = state["finished"], dict(state["metrics"])
        self.generator.set_state(state["generator"])


def deepaa(
    halves: Halves,
    network: nn.Module,
    preset: Preset,
    options: Mapping[str, Any],
    *,
    ops: tuple[str, ...] | None,
    exclude: tuple[str, ...],
    generator: torch.Generator,
) -> DeepAA:
    """Start a DeepAA search; see `searcher.Method`, and `deepaa.options.DeepAAOptions`."""
    read = read_deepaa_options(options)
    candidates = find_candidates(
        halves.train_images.shape[1:],
        space=read.space,
        ops=ops,
        exclude=exclude,
        count=read.levels,
        distinct=read.distinct,
    )
    return DeepAA(halves, network, preset, read, candidates, generator)
