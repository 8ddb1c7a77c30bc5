"""DeepAA as a method: its layers, its phases, what it refuses, what it costs."""

import warnings
from functools import cache, partial

import pytest
import torch
from torch import nn

from learned_augment.policy import Policy
from learned_augment.runtime.checkpoint import encode
from learned_augment.search import PRESETS, estimate, prepare, search
from learned_augment.search.deepaa import pretraining
from learned_augment.search.deepaa.candidates import find_candidates
from learned_augment.search.deepaa.options import DeepAAOptions
from learned_augment.search_spaces import SPACES
from tests.search.test_methods import SMALL, images, network

STEADY = partial(network, dropout=0.0)
PRETRAINING = 3  # steps: 6 of 12 training images, half of the half, 3 epochs
FORWARD = {"rewards": "forward", "pairs": 2, "val_batch": 3, "prefixes": 2, "copies": 1}
FORWARD |= {"steps": 3, "depth": 2}
GRAM = {"steps": 3, "depth": 2, "pairs": 3, "updates": 4}


def prepared(options, **changes):
    given = {**SMALL, "network": STEADY, **changes}
    return prepare(images(), method="deepaa", options=options, **given)


def found(options, **changes):
    given = {**SMALL, "network": STEADY, **changes}
    return search(images(), method="deepaa", options=options, **given, progress=False)


def run(method):
    steps = []
    while method.done < method.steps:
        steps.append(method.step())
    return steps


class TestCandidates:
    def test_the_default_candidates_are_the_papers_139_in_its_order(self):
        candidates = find_candidates((3, 32, 32))
        names = [candidates.ops[op] for op in candidates.op.tolist()]
        assert len(names) == 139
        first = {name: names.index(name) for name in candidates.ops}
        assert first == {
            "Identity": 0, "ShearX": 1, "ShearY": 13, "TranslateX": 25, "TranslateY": 37,
            "Rotate": 49, "AutoContrast": 61, "Invert": 62, "Equalize": 63, "Solarize": 64,
            "Posterize": 76, "Contrast": 88, "Color": 100, "Brightness": 112, "Sharpness": 124,
            "Flip": 136, "CutoutClipped": 137, "PadCrop": 138,
        }  # fmt: skip
        shear = candidates.value[1:13].tolist()
        steps = [-0.3, -0.25, -0.2, -0.15, -0.1, -0.05, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3]
        assert shear == pytest.approx(steps)

    def test_nine_candidates_repeat_the_change_of_another(self):
        candidates = find_candidates((3, 32, 32))
        assert len(candidates.distinct) == 130
        group = candidates.group.tolist()
        assert group[76] == group[77] == group[78] != group[79]
        assert group[62] == group[64]  # Invert, and Solarize from 0
        assert len(find_candidates((3, 32, 32), distinct=False).distinct) == 139

    def test_the_probability_of_a_group_is_the_sum_over_its_candidates(self):
        candidates = find_candidates((3, 32, 32))
        shares = candidates.by_group(torch.full((139,), 1 / 139, dtype=torch.float64))
        assert shares.sum().item() == pytest.approx(1)
        assert shares[candidates.group[76]].item() == pytest.approx(3 / 139)

    def test_one_batch_of_all_candidates_equals_one_candidate_at_a_time(self):
        from learned_augment.backends.dispatch import apply_batch
        from learned_augment.policy import Plan

        candidates = find_candidates((3, 32, 32))
        pixels = torch.randint(256, (2, 3, 32, 32)).to(torch.uint8)
        noise = torch.rand(2, 130, 4)
        together = candidates.apply_distinct(pixels, noise).unflatten(0, (2, 130))
        for image, group in ((0, 0), (0, 5), (1, 60), (1, 128), (1, 129)):
            number = candidates.distinct[group]
            plan = Plan(
                candidates.ops,
                candidates.op[number].view(1, 1),
                candidates.value[number].view(1, 1),
                noise[image, group].view(1, 1, 4),
            )
            alone = apply_batch(pixels[image : image + 1], plan)[0]
            assert torch.equal(together[image, group], alone)

    def test_large_images_get_the_ops_of_imagenet(self):
        assert "ResizedCrop" in find_candidates((3, 96, 96), distinct=False).ops
        assert "ResizedCrop" not in find_candidates((3, 96, 96), space="deepaa").ops

    def test_ops_and_number_of_levels_can_be_chosen(self):
        few = find_candidates((3, 32, 32), ops=["Rotate", "ResizedCrop", "Flip"], count=5)
        assert few.ops == ("Identity", "Rotate", "Flip", "ResizedCrop")
        assert few.value[1:5].tolist() == [-30, -15, 15, 30]
        less = find_candidates((3, 32, 32), exclude=["Invert", "Identity"])
        assert set(SPACES["deepaa"]) - set(less.ops) == {"Invert"}


class TestLayers:
    @pytest.mark.parametrize("options", [GRAM, FORWARD], ids=["gram", "forward"])
    def test_layers_are_searched_one_after_another_after_the_networks_training(self, options):
        method = prepared(options).method
        assert method.steps == PRETRAINING + 2 * 3
        steps = run(method)
        assert ["train_loss" in step for step in steps] == [True] * 3 + [False] * 6
        assert [step["layer"] for step in steps[3:]] == [1, 1, 1, 2, 2, 2]
        policy = method.policy()
        assert policy.depth == 2
        assert policy.about["placement"] == "replaces"
        assert len(policy.about["parameters"]["layers"]) == 2

    def test_the_frozen_network_does_not_change(self):
        method = prepared(GRAM).method
        for _ in range(PRETRAINING + 1):
            method.step()
        frozen = method.freeze()
        before = {n: t.clone() for n, t in frozen.network.state_dict().items()}
        run(method)
        assert method.freeze() is frozen
        for name, tensor in frozen.network.state_dict().items():
            assert torch.equal(tensor, before[name]), name

    def test_the_layer_under_search_is_part_of_the_policy(self):
        method = prepared(GRAM).method
        depths = []
        while method.done < method.steps:
            method.step()
            depths.append(method.policy().depth)
        assert depths == [1, 1, 1, 1, 1, 1, 2, 2, 2]

    def test_every_layer_starts_at_identity(self):
        method = prepared({**GRAM, "pretrain": False, "policy_rate": 1e-9}).method
        run(method)
        for layer in method.layers:
            assert layer[0].item() == pytest.approx(0.956, abs=1e-3)

    def test_depth_auto_ends_before_a_layer_that_becomes_identity(self):
        def toward_identity(frozen, layers, logits):
            logits.improve(torch.nn.functional.one_hot(torch.tensor(0), len(logits.theta)).double())
            return {"cosine": 1.0}

        method = prepared({**GRAM, "depth": "auto", "steps": 2}).method
        method.rewards.step = toward_identity
        assert method.steps == PRETRAINING + 8 * 2
        run(method)
        # The first layer is kept, so that there is a policy.
        assert method.done == method.steps == PRETRAINING + 2
        assert method.policy().depth == 1

    def test_a_layer_ends_when_its_cosine_stops_rising(self):
        patient = prepared({**GRAM, "steps": 12, "tolerance": 0}).method
        hasty = prepared({**GRAM, "steps": 12, "tolerance": 10.0}).method
        run(patient)
        run(hasty)
        assert patient.done == PRETRAINING + 24
        assert hasty.done == PRETRAINING + 18  # nine steps a layer: eight back from the ninth

    def test_variant_simple_is_one_layer_after_the_base_augmentation(self):
        policy = found({"variant": "simple", "steps": 2})
        assert policy.depth == 1
        assert policy.about["placement"] == "after"
        assert policy.about["method"] == "DeepAA-simple"

    @pytest.mark.parametrize("rewards", ["gram", "forward"])
    def test_candidates_of_a_group_keep_equal_probabilities_bit_for_bit(self, rewards):
        options = GRAM if rewards == "gram" else FORWARD
        layer = found(options).weights[0, 0]
        for group in ([76, 77, 78], [79, 80, 81], [62, 64]):
            assert len({layer[n].item() for n in group}) == 1
        assert layer[76] != layer[79]


@cache
def whole(rewards):
    # Batches that leave some of an epoch's order for the next.
    return found({"gram": GRAM, "forward": FORWARD}[rewards], batch_size=4)


class TestResume:
    @pytest.mark.parametrize("rewards", ["gram", "forward"])
    @pytest.mark.parametrize("cut", [2, PRETRAINING, PRETRAINING + 2, PRETRAINING + 3, 8])
    def test_a_resumed_search_gives_the_same_bits_in_every_phase(self, rewards, cut, tmp_path):
        run = partial(found, {"gram": GRAM, "forward": FORWARD}[rewards], batch_size=4)
        path = tmp_path / "search.pt"

        def stop(report):
            if report.step == cut + 1:
                raise RuntimeError("power cut")

        with pytest.raises(RuntimeError, match="power cut"):
            run(checkpoint=path, save_every=0, callbacks=[stop])
        assert run(checkpoint=path) == whole(rewards)

    def test_a_trained_network_is_kept_and_reused(self, tmp_path):
        path = tmp_path / "network.pt"
        options = {**GRAM, "network_file": str(path)}
        first, second = prepared(options).method, None
        run(first)
        assert path.exists()
        second = prepared(options).method
        assert second.steps == first.steps - PRETRAINING
        run(second)
        assert torch.equal(first.policy().weights, second.policy().weights)

    def test_a_full_disk_does_not_end_a_search_that_has_trained_its_network(
        self, tmp_path, monkeypatch
    ):
        def refuse(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(pretraining, "write_atomically", refuse)
        path = tmp_path / "network.pt"
        with pytest.warns(RuntimeWarning, match=r"network.pt \(.*No space left.*goes on"):
            policy = found({**GRAM, "network_file": str(path)})
        assert torch.equal(policy.weights, found(GRAM).weights)
        assert not path.exists()

    def test_the_file_of_another_network_or_of_other_images_is_refused(self, tmp_path):
        path = tmp_path / "network.pt"
        options = {**GRAM, "network_file": str(path)}
        run(prepared(options).method)
        with pytest.raises(ValueError, match=r"holds another network: .*give"):
            prepared(options, network="small-cnn")
        with pytest.raises(ValueError, match="trained on other images"):
            prepared(options, seed=3)
        path.write_bytes(b"nothing")
        with pytest.raises(ValueError, match="does not hold a trained network"):
            prepared(options)
        older = {"format": 2, "images": "", "recipe": {}, "state": {}}
        path.write_bytes(encode(older))
        with pytest.raises(ValueError, match="expected format 3 of a trained network, got 2"):
            prepared(options)


class Shortcut(nn.Module):
    """Adds in place, as many residual networks do."""

    def __init__(self, classes):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, classes)

    def forward(self, x):
        y = self.bn(self.conv(x))
        z = self.second(y)
        z += y
        return self.head(z.mean((2, 3)))


class TestRefusals:
    def refuse(self, match, *layers, options=GRAM):
        def build(classes):
            return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(classes))

        def settled(classes):
            built = build(classes)
            built.eval()(torch.zeros(2, 3, 16, 16))
            return built

        with pytest.raises(ValueError, match=match):
            found(options, network=settled)

    def test_a_network_without_normalization(self):
        self.refuse("batch normalization.*none among Conv2d", nn.Conv2d(3, 2, 3), nn.ReLU())

    def test_dropout_naming_the_layer(self):
        self.refuse(r"Layer '2' is Dropout", nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.1))

    def test_statistics_of_the_batch(self):
        norm = nn.BatchNorm2d(2, track_running_stats=False)
        self.refuse("Layer '1'.*track_running_stats=True", nn.Conv2d(3, 2, 3), norm)

    def test_a_layer_without_known_per_image_gradients(self):
        layers = nn.Conv2d(3, 2, 3, padding="same"), nn.BatchNorm2d(2)
        self.refuse(r'layer \'0\'.*use option rewards="forward"', *layers)
        found({**FORWARD, "depth": 1}, network=lambda c: nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(2 * 16 * 16, c)))  # fmt: skip

    def test_a_network_that_draws_at_random(self):
        class Noisy(nn.Module):
            def forward(self, x):
                return x + torch.randn_like(x)

        self.refuse("draws at random", nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), Noisy())

    def test_too_little_memory_for_one_image(self):
        with pytest.raises(ValueError, match=r"takes the network .* MiB.*raise option memory"):
            found({**GRAM, "memory": 1}, network="wrn-16-1")

    def test_too_little_memory_for_the_images_of_a_pair(self):
        with pytest.raises(ValueError, match=r"hold 1040 images.*raise option memory, lower pref"):
            prepared({"memory": 300}, network="wrn-16-1")

    def test_small_classes_warn_by_name_and_are_drawn_with_replacement(self):
        with pytest.warns(RuntimeWarning, match=r"val_batch = 9 .*a \(4\), b \(4\), c \(4\)"):
            policy = found({**GRAM, "val_batch": 9})
        assert isinstance(policy, Policy)

    def test_options_that_contradict_each_other(self):
        with pytest.raises(ValueError, match="two or more prefixes"):
            DeepAAOptions(prefixes=1)
        with pytest.raises(ValueError, match="one layer"):
            DeepAAOptions(variant="simple", depth=4)
        with pytest.raises(ValueError, match="depth must be 1"):
            DeepAAOptions(depth=0)
        with pytest.raises(ValueError, match="Expected steps as int, got 'many'"):
            DeepAAOptions.read({"steps": "many"})
        with pytest.raises(ValueError, match="true or false"):
            DeepAAOptions.read({"distinct": "maybe"})
        read = DeepAAOptions.read({"depth": "auto", "distinct": "false", "penalty": "0.5"})
        assert (read.depth, read.distinct, read.penalty) == ("auto", False, 0.5)

    def test_more_pretraining_images_than_there_are(self):
        with pytest.raises(ValueError, match="must leave some of the 12 training images"):
            found({**GRAM, "pretrain_images": 12})

    def test_a_preset_of_another_method(self):
        with pytest.raises(ValueError, match="Preset 'paper' is for method 'deepaa'"):
            prepare(images(), method="dada", preset="paper")


def test_deepaa_presets_have_the_published_settings():
    paper, released = (DeepAAOptions.read(PRESETS[name].options) for name in ("paper", "released"))
    assert (paper.depth, paper.steps, paper.pretrain_images) == (5, 512, 4000)
    assert (released.depth, released.steps, released.pretrain_images) == (6, 1024, 5000)
    for options in (paper, released):
        assert (options.pairs, options.val_batch, options.prefixes, options.copies) == (
            16,
            64,
            16,
            4,
        )
        assert (options.policy_rate, options.penalty, options.rewards) == (0.025, 1.0, "forward")
    assert PRESETS["released"].network == "wrn-40-2"
    assert (PRESETS["released"].epochs, PRESETS["released"].weight_decay) == (45, 5e-4)


def test_a_search_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found({**FORWARD, "depth": 1, "steps": 1})


class TestCost:
    def test_passes_of_the_released_settings_are_those_of_the_specification(self):
        # Images through the network a step, 139 candidates, 16 pairs: 5,472 and 45,504.
        method = prepared(
            {**PRESETS["released"].options, "pretrain_images": 0, "val_batch": 3, "pretrain": False}
        ).method
        first, later = method.rewards.passes(True), method.rewards.passes(False)
        assert first == {
            "validation gradients": 16 * 3,
            "training gradients": 2224,
            "rewards": 2224,
        }
        assert later == {
            "validation gradients": 16 * 3,
            "training gradients": 8896,
            "rewards": 35584,
        }
        assert sum(first.values()) - 48 + 1024 == 5472
        assert sum(later.values()) - 48 + 1024 == 45504

    @pytest.mark.parametrize("options", [GRAM, FORWARD, {**FORWARD, "subset": 7}])
    def test_counted_passes_are_the_images_that_the_network_receives(self, options):
        method = prepared({**options, "val_batch": 3, "pretrain": False}).method
        frozen = method.freeze()
        for first in (True, False):
            frozen.gradients = frozen.forwards = 0
            for _ in range(3):
                method.step()
            cost = method.rewards.passes(first)
            told_gradients = cost["validation gradients"] + cost["training gradients"]
            assert (frozen.gradients, frozen.forwards) == (3 * told_gradients, 3 * cost["rewards"])

    def test_a_cost_is_told_where_a_pass_has_room_for_one_image_only(self):
        options = {**FORWARD, "memory": 1}
        given = {"method": "deepaa", "reduce": 60, "epochs": 1, "options": options}
        assert prepare("digits", **given).method.freeze().chunk == 1
        assert estimate("digits", **given).seconds > 0

    @pytest.mark.parametrize("options", [GRAM, FORWARD])
    def test_the_gradient_of_a_whole_class_is_counted_once(self, options):
        options = {**options, "val_batch": 0, "pretrain": False}
        method = prepared(options).method
        frozen = method.freeze()
        frozen.gradients = frozen.forwards = 0
        run(method)
        cost = sum(phase.steps * phase.images for phase in prepared(options).method.phases())
        assert len(method.rewards.pairs.cached) == 3
        assert frozen.gradients + frozen.forwards == cost

    def test_the_time_left_says_whether_it_covers_all_phases(self):
        reports = []
        found(FORWARD, callbacks=[reports.append])
        network = [report for report in reports if report.phase == "network"]
        layers = reports[len(network) :]
        assert network
        assert {report.phase for report in layers} == {"policy"}
        assert len(layers) == FORWARD["steps"] * FORWARD["depth"]
        assert not any(report.all_phases_timed for report in network)
        assert network[-1].seconds_left == 0
        assert all(report.all_phases_timed for report in layers)

    def test_memory_includes_the_inner_products_of_a_layers_pairs(self):
        def memory(options):
            (first,) = {phase.memory for phase in prepared(options).method.phases()}
            return first

        few, many = (memory({**GRAM, "steps": steps}) for steps in (3, 103))
        assert many - few == 2 * 100 * GRAM["pairs"] * 130**2 * 8
        assert memory(FORWARD) == memory({**FORWARD, "steps": 103})

    def test_an_estimate_lists_the_phases(self):
        given = {**SMALL, "network": STEADY}
        found = estimate(images(), method="deepaa", options=GRAM, **given)
        names = ["network", "whole classes", "layer 1", "each later layer"]
        assert [phase.name for phase in found.phases] == names
        assert [phase.steps for phase in found.phases] == [3, 1, 3, 3]
        assert "layer 1: 3 steps of 780 images through the network (780 training grad" in str(found)
