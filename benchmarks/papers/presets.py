"""The evaluation recipes of the papers, by the name DATASET-NETWORK."""

from dataclasses import dataclass, replace

from torch import nn

from benchmarks.papers.networks import NETWORKS
from benchmarks.papers.recipe import PaperRecipe

__all__ = ["DATASETS", "PRESETS", "DataFacts", "Preset"]


@dataclass(frozen=True)
class DataFacts:
    """Data set of the papers.

    Attributes:
        classes: number of classes.
        images: training images.
        side: pixels that the network is trained on.
        default: the default augmentation, a name of `named_policies.BASE_AUGMENTATIONS`.
    """

    classes: int
    images: int
    side: int
    default: str


DATASETS = {
    "cifar10": DataFacts(10, 50_000, 32, "crop-flip"),
    "cifar100": DataFacts(100, 50_000, 32, "crop-flip"),
    # The extra images included; the papers' code mirrors digits too.
    "svhn": DataFacts(10, 604_388, 32, "crop-flip"),
    "imagenet": DataFacts(1000, 1_281_167, 224, "resized-crop-flip"),
}


@dataclass(frozen=True)
class Preset:
    """One row of a paper's evaluation section.

    Attributes:
        data: a name of `DATASETS`.
        network: a name of `benchmarks.papers.networks.NETWORKS`.
        recipe: how it is trained.
        norm_momentum: of batch normalization, in PyTorch's sense.
        jitter: largest change of brightness, contrast and color after the policy; 0 for none.
        policy_first: whether all policies come before the default augmentation, as in DeepAA's
            code; else those that `train_data.place` names.
        source: where the figures come from.
    """

    data: str
    network: str
    recipe: PaperRecipe
    norm_momentum: float = 0.1
    jitter: float = 0.0
    policy_first: bool = False
    source: str = "DADA, evaluation; Fast AutoAugment's code"

    @property
    def facts(self) -> DataFacts:
        """The data set that it is trained on."""
        return DATASETS[self.data]

    def build(self, classes: int) -> nn.Module:
        """Return a fresh network."""
        network = NETWORKS[self.network](classes)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = self.norm_momentum
        return network


_CIFAR = PaperRecipe(
    epochs=200,
    batch_size=512,
    learning_rate=0.4,
    start=0.1,
    schedule="cosine after warm-up",
    warm_up=5 / 200,
    cutout=16,
    test_every=1,
)
_SHAKE = replace(_CIFAR, epochs=1800, learning_rate=0.04, start=0.01, warm_up=5 / 1800)
_PYRAMID = replace(_CIFAR, epochs=1800, batch_size=64, learning_rate=0.05, start=0.0, warm_up=0.0)
_SVHN = replace(_CIFAR, batch_size=1024, learning_rate=0.08, start=0.02, cutout=20)
_IMAGENET = PaperRecipe(
    epochs=270,
    batch_size=1024,
    learning_rate=0.4,
    start=0.2,
    schedule="steps",
    warm_up=3 / 270,
    milestones=(90 / 270, 180 / 270, 240 / 270),
    weight_decay=1e-4,
    clip=0,
    lighting=0.1,
    test_every=1,
)
_DEEPAA = replace(
    _CIFAR, batch_size=128, learning_rate=0.1, start=0.0, weight_decay=5e-4, decay_norms=False
)
_DEEPAA_IMAGENET = replace(
    _IMAGENET,
    batch_size=2048,
    learning_rate=0.8,
    start=0.1,
    warm_up=5 / 270,
    milestones=(95 / 270, 185 / 270, 245 / 270),
    decay_norms=False,
    lighting=0.0,
)


def _wide(data: str, network: str, recipe: PaperRecipe, decay: float) -> Preset:
    return Preset(data, network, replace(recipe, weight_decay=decay), norm_momentum=0.9)


def _other(data: str, network: str, recipe: PaperRecipe, decay: float, rate: float = 0) -> Preset:
    changed = replace(recipe, weight_decay=decay, learning_rate=rate or recipe.learning_rate)
    return Preset(data, network, changed)


def _deepaa(data: str, network: str, recipe: PaperRecipe) -> Preset:
    return Preset(data, network, recipe, policy_first=True, source="DeepAA, evaluation; its code")


def _batch_augmented(epochs: int, rate: float) -> PaperRecipe:
    return replace(_DEEPAA, epochs=epochs, learning_rate=rate, warm_up=5 / epochs, copies=8)


PRESETS: dict[str, Preset] = {
    "cifar10-wrn-16-1": replace(
        _wide("cifar10", "wrn-16-1", _CIFAR, 2e-4),
        source="of no paper: WRN-40-2's recipe for a network that a CPU trains, for trials",
    ),
    "cifar10-wrn-40-2": _wide("cifar10", "wrn-40-2", _CIFAR, 2e-4),
    "cifar10-wrn-28-10": _wide("cifar10", "wrn-28-10", _CIFAR, 5e-4),
    "cifar10-shake-shake-26-2x32d": _other("cifar10", "shake-shake-26-2x32d", _SHAKE, 1e-3),
    "cifar10-shake-shake-26-2x96d": _other("cifar10", "shake-shake-26-2x96d", _SHAKE, 1e-3),
    "cifar10-shake-shake-26-2x112d": _other("cifar10", "shake-shake-26-2x112d", _SHAKE, 2e-3),
    "cifar10-pyramidnet-272": _other("cifar10", "pyramidnet-272", _PYRAMID, 5e-5),
    "cifar100-wrn-40-2": _wide("cifar100", "wrn-40-2", _CIFAR, 5e-4),
    "cifar100-wrn-28-10": _wide("cifar100", "wrn-28-10", _CIFAR, 5e-4),
    "cifar100-shake-shake-26-2x96d": _other("cifar100", "shake-shake-26-2x96d", _SHAKE, 2.5e-3),
    "cifar100-pyramidnet-272": _other("cifar100", "pyramidnet-272", _PYRAMID, 5e-4, 0.025),
    "svhn-wrn-28-10": _wide("svhn", "wrn-28-10", _SVHN, 5e-4),
    "svhn-shake-shake-26-2x96d": _other("svhn", "shake-shake-26-2x96d", _SVHN, 1.5e-4),
    "imagenet-resnet50": Preset("imagenet", "resnet50", _IMAGENET, jitter=0.4),
    "imagenet-resnet200": Preset("imagenet", "resnet200", _IMAGENET, jitter=0.4),
    "cifar10-wrn-28-10-deepaa": _deepaa("cifar10", "wrn-28-10", _DEEPAA),
    "cifar100-wrn-28-10-deepaa": _deepaa("cifar100", "wrn-28-10", _DEEPAA),
    "cifar10-wrn-28-10-deepaa-ba": _deepaa("cifar10", "wrn-28-10", _batch_augmented(100, 0.2)),
    "cifar100-wrn-28-10-deepaa-ba": _deepaa("cifar100", "wrn-28-10", _batch_augmented(35, 0.4)),
    "imagenet-resnet50-deepaa": _deepaa("imagenet", "resnet50", _DEEPAA_IMAGENET),
}
"""Every recipe by name.

A name without an ending is the recipe of DADA's evaluation, which is Fast AutoAugment's training
code. DeepAA uses it too, for its Shake-Shake and ResNet-200. The ending "-deepaa" is DeepAA's own
recipe. "-deepaa-ba" is the same with batch augmentation, 8 copies of each image.
"""
