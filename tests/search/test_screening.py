"""A screening as a whole: what it chooses, and what can interrupt it without changing that."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from learned_augment.evaluation.named_policies import named_policy
from learned_augment.evaluation.random_baseline import random_baseline
from learned_augment.reporting.effects import policy_effects
from learned_augment.reporting.race import read_race
from learned_augment.reporting.text import policy_text
from learned_augment.search import MethodSettings, search
from learned_augment.search.screening.entrants import Entrant
from learned_augment.search.screening.options import ScreeningOptions
from learned_augment.search.screening.race import (
    base_before_ops,
    best_base,
    finalists,
    leader,
    second_round,
)
from learned_augment.search.screening.record import (
    DESIGNS,
    PHASES,
    PlannedTrial,
    ScreeningRecord,
)
from learned_augment.search.screening.search import Screening
from learned_augment.search.screening.trials import Measured, Trial
from learned_augment.search.split import Split
from learned_augment.training import Recipe
from tests.search.test_methods import images, network
from tests.search.test_screening_parts import in_groups

CROP = "PadCrop"
SETTINGS = MethodSettings("small-cnn", None, 4, 8, 0.1, 5e-4, "none")


def screening(options=None, settings=SETTINGS, seed=0, data=None):
    data = data or images(per_class=20)
    half = len(data.train_labels) // 2
    order = torch.randperm(2 * half, generator=torch.Generator().manual_seed(0))
    pixels, labels = data.train_images[order], data.train_labels[order]
    split = Split(pixels[:half], labels[:half], pixels[half:], labels[half:], data.classes)
    generator = torch.Generator().manual_seed(seed)
    given = ScreeningOptions(**{"workers": 1, **(options or {})})
    return Screening(split, None, settings, given, generator)


class Planted:
    """Trials whose log error is planted: each op adds its effect as often as it is applied.

    A second op on the same image adds ``more``, too.
    """

    def __init__(self, effects, rest=0.3, noise=0.02, known=0.0, more=0.0):
        self.effects, self.rest, self.noise, self.known = effects, rest, noise, known
        self.more = more

    def run(self, trial):
        generator = torch.Generator().manual_seed(trial.seed + trial.split)
        loss = -1 + 0.5 * trial.split + self.noise * torch.randn((), generator=generator).item()
        for policy in trial.policies:
            applied = {op: float(layers.sum()) for op, layers in policy.op_shares().items()}
            applied.pop("Identity", None)
            for op, times in applied.items():
                loss += self.effects.get(op, self.rest) * times
            loss += self.known if policy.name == "dada-cifar10" else 0.0
            loss += self.more * max(0.0, sum(applied.values()) - 1)
        return Measured(math.exp(loss), 0.9)


def finish(search_in_progress, trial_runner):
    search_in_progress._trial_runner = trial_runner
    while sum(search_in_progress.remaining.values()):
        search_in_progress.step()
    return search_in_progress.policy()


@pytest.fixture(scope="module")
def planted():
    search_in_progress = screening({"designs": 40})
    total = search_in_progress.steps
    search_in_progress._trial_runner = Planted({"Rotate": -0.6, "Contrast": -0.5, "Flip": 1.0})
    left = [sum(search_in_progress.remaining.values())]
    while left[-1]:
        search_in_progress.step()
        left.append(sum(search_in_progress.remaining.values()))
        assert search_in_progress.done + left[-1] == search_in_progress.steps <= total
    return search_in_progress, left


def test_a_planted_gain_is_found_and_its_harms_are_told(planted):
    policy = planted[0].policy()
    assert policy.about["found"]
    assert policy.about["chosen"] == "found (two ops for every image)"
    applied = {op: float(layers.sum()) for op, layers in policy.op_shares().items()}
    assert sum(applied.values()) == pytest.approx(2.0)
    assert applied["Rotate"] + applied["Contrast"] > 1.8
    assert "Flip" not in applied
    effects = policy_effects(policy)
    outcomes = {(row.op, row.outcome) for row in effects.rows}
    assert ("Rotate", "helps") in outcomes
    assert ("Flip", "hurts") in outcomes
    assert effects.rows[-1].op == "Flip"
    assert "best policy that needs no search" in policy.about["sentence"]
    assert random_baseline(policy).weights.shape == policy.weights.shape
    assert read_race(policy.about)[0].name == policy.about["chosen"]
    assert read_race({**policy.about, "chosen": ["none"]}) == []  # written by hand


def test_effects_count_the_trainings_that_they_rest_on(planted):
    effects, record = policy_effects(planted[0].policy()), planted[0].record
    designs = [one.entrant.design for one, _ in record.ended if one.entrant.design is not None]
    assert effects.trainings == len(designs)
    with_crop = [
        design for design in designs if any(record.factors[p].op == "PadCrop" for p, _ in design)
    ]
    assert sum(row.trials for row in effects.rows if row.op == "PadCrop") == len(with_crop)


def test_the_memory_of_a_screening_is_that_of_all_its_workers():
    one, three = (screening({"workers": workers}) for workers in (1, 3))
    alone = one.phases()[0].memory + one._bytes
    assert three.phases()[0].memory == pytest.approx(3 * alone, rel=0.01)


@pytest.mark.parametrize("epoch", [0.01, 0.1, 3.0])
def test_the_time_of_a_trial_counts_its_validation_once(epoch, monkeypatch):
    validation = 0.5
    monkeypatch.setattr(Screening, "_seconds", lambda _, __, epochs: validation + epochs * epoch)
    for workers in (1, 2):
        expected = (validation + SETTINGS.epochs * epoch) / workers
        phases = screening({"workers": workers}).phases()
        assert {round(phase.seconds, 9) for phase in phases} == {round(expected, 9)}


def test_a_clock_that_is_too_coarse_for_a_trial_gives_an_estimate(monkeypatch):
    monkeypatch.setattr(Screening, "_seconds", lambda *_: 0.0)
    assert {phase.seconds for phase in screening().phases()} == {0.0}


def test_translations_are_measured_by_the_shorter_side_as_compare_does():
    data = images(per_class=20, side=40)
    train, test = (
        part.repeat(1, 1, 1, 2)[..., :64] for part in (data.train_images, data.test_images)
    )
    wide = replace(data, train_images=train, test_images=test)
    search_in_progress = screening(data=wide)
    known = search_in_progress.planner.known[search_in_progress.planner.bases[0]]
    (raced,) = (one.policies[0] for one in known if one.name == "TrivialAugment")
    assert raced == named_policy("trivialaugment", image_size=40).policies[0]


def raced(known, **found):
    """Return the record of a race.

    Args:
        known: Log errors in each round, by name, of policies that need no search.
        found: Those of found policies.
    """
    errors = {Entrant(name, (), False): rounds for name, rounds in known.items()}
    errors |= {Entrant(name, (), True): rounds for name, rounds in found.items()}
    record = ScreeningRecord(())
    for number, in_round in enumerate(zip(*errors.values(), strict=True)):
        for entrant, error in zip(errors, in_round, strict=True):
            trial = Trial((), 0.25, number, 0, Recipe(epochs=1))
            record.planned.append(PlannedTrial("finals", trial, entrant))
            record.results.append(Measured(math.exp(error), 0.5))
    return record


def test_a_policy_that_needs_no_search_must_lead_by_more_than_a_standard_error():
    # After the first round leads of 0.06, 0.02 and 0.01: their mean has a standard error of 0.0153.
    ahead, sentence = leader(raced({"crop": [-0.2, -1.06, -1.02, -1.01]}, found=[-1.0] * 4))
    assert ahead.name == "crop"
    assert sentence == (
        "The result is 'crop', which needs no search. It makes 3 % fewer errors on validation "
        "images than the best policy found, 'found' (95 % interval -4 to 9, 3 paired trainings on "
        "the same images; this may be chance)."
    )
    # Leads of 0.06, -0.04 and 0: their mean, 0.0067, has one of 0.0291.
    close, sentence = leader(raced({"crop": [-9.0, -1.06, -0.96, -1.0]}, found=[-1.0] * 4))
    assert close.name == "found"
    assert sentence == (
        "The result is 'found'. The best policy that needs no search, 'crop', makes 1 % fewer "
        "errors on validation images, too few to prefer it (95 % interval -13 to 12, 3 paired "
        "trainings on the same images)."
    )
    race = raced({"crop": [-0.9, -0.8, -0.9, -0.8]}, found=[-1.0, -0.9, -1.0, -0.9])
    behind, sentence = leader(race)
    assert behind.name == "found"
    assert sentence.startswith("The result is 'found'. It makes 10 % fewer errors on validation ")
    assert "than the best policy that needs no search, 'crop' (95 % interval 10 to 10" in sentence
    # Of two rounds both count.
    ahead, sentence = leader(raced({"crop": [-1.3, -1.2]}, found=[-1.0, -1.1]))
    assert ahead.name == "crop"
    assert "2 paired trainings" in sentence


def test_two_rounds_say_who_goes_on_and_which_base_is_the_best():
    known = {"a": (-1.3, -1.0), "b": (-1.2, -1.0), "c": (-1.1, -1.5), "d": (-1.0, -9.0)}
    record = raced(known, found=(-1.3, -1.0), best_found=(-1.0, -1.4))
    assert [one.name for one in second_round(record)] == ["a", "b", "c"]
    assert [one.name for one in finalists(record)] == ["c", "best_found", "a"]
    assert best_base(record, [one for one in record.races() if one.name in "ac"]).name == "c"
    alone = raced({"a": (-1.3, -1.0)}, found=(-1.4, -1.0), best_found=(-1.4, -1.4))
    assert [one.name for one in finalists(alone)] == ["a", "best_found", "found"]
    worse = raced(known, found=(-0.2, -0.1), best_found=(-0.3, -0.1))
    assert [one.name for one in finalists(worse)] == ["c", "best_found", "a"]


@pytest.mark.parametrize(
    ("followed", "alone", "expected"),
    [(-1.2, -1.5, "crop"), (-1.2, -2.0, "none"), (None, -2.0, "crop"), (-1.2, None, "crop")],
)
def test_a_base_augmentation_is_judged_by_randaugment_after_it_too(followed, alone, expected):
    logs = {
        "none": -1.0,
        "crop": -1.4,
        "crop, then RandAugment": followed,
        "RandAugment": alone,
    }
    record = raced({name: (log,) for name, log in logs.items() if log is not None})
    nothing, crop, *_ = record.races()
    assert base_before_ops(record, crop, nothing).name == expected
    assert base_before_ops(record, nothing, nothing) == nothing


def test_every_trial_is_a_step_of_a_known_phase(planted):
    search_in_progress, left = planted
    assert left == sorted(left, reverse=True)
    assert list(search_in_progress.remaining) == list(PHASES)
    phases = [one.phase for one in search_in_progress.record.planned]
    assert list(dict.fromkeys(phases)) == list(PHASES)
    race = [one for one in search_in_progress.record.planned if one.phase != DESIGNS]
    rounds = [{one.entrant for one in race if one.trial.split == number} for number in range(4)]
    bases = {one.entrant for one in race if (one.phase, one.trial.split) == (PHASES[0], 1)}
    found = {one.entrant for one in race if one.entrant.found}
    assert len(found) == 2
    assert all(found <= entrants for entrants in rounds[:2])
    assert len(rounds[0] - found) == 3 + 3  # the base augmentations, and the other known policies
    assert 3 <= len(rounds[1] - found) <= 3 + len(bases)
    assert rounds[2] == rounds[3] < rounds[1]
    assert len(rounds[3]) == 3
    assert 1 <= len(rounds[3] & found) <= 2


def test_rounds_are_paired_by_images_and_seed(planted):
    race = [one for one in planted[0].record.planned if one.phase != DESIGNS]
    assert len({(one.trial.split, one.trial.seed) for one in race}) == 1 + 3
    assert len({(one.entrant, one.trial.split) for one in race}) == len(race)  # none trains twice


def test_the_two_best_base_augmentations_train_twice(planted):
    planned = [one for one in planted[0].record.planned if one.phase == "base augmentations"]
    errors = {
        one.entrant: found.error
        for one, found in zip(planned, planted[0].record.results[:3], strict=False)
    }
    assert [entrant.name for entrant in errors] == ["none", "crop", "crop and flip"]
    assert [one.entrant for one in planned[3:]] == sorted(errors, key=lambda one: errors[one])[:2]
    assert [one.trial.split for one in planned] == [0, 0, 0, 1, 1]


def test_designs_stand_on_the_best_base_augmentation(on_a_crop):
    record = on_a_crop[0].record
    designs = [one.entrant for one in record.planned if one.phase == DESIGNS]
    assert len(designs) == 40
    assert all(CROP in design.policies[0].ops for design in designs)


def test_a_trial_is_a_small_copy_with_as_many_epochs_and_steps():
    settings = replace(SETTINGS, batch_size=64)
    search_in_progress = screening(settings=settings, data=images(per_class=200))
    finish(search_in_progress, Planted({"Rotate": -0.6}))
    trials = [one.trial for one in search_in_progress.record.planned]
    assert {trial.fraction for trial in trials} == {0.25}
    assert {trial.recipe.batch_size for trial in trials} == {64 // 4}
    assert {trial.recipe.epochs for trial in trials} == {SETTINGS.epochs}


@pytest.fixture(scope="module")
def on_a_crop():
    search_in_progress = screening({"designs": 40})
    policy = finish(search_in_progress, Planted({"PadCrop": -1.0, "Rotate": -0.6}, rest=0.6))
    return search_in_progress, policy


def test_the_found_policy_is_the_base_augmentation_then_ops(on_a_crop):
    _, policy = on_a_crop
    assert policy.about["chosen"] == "found (crop, then an op for half of the images)"
    shares = {op: layers.tolist() for op, layers in policy.op_shares().items()}
    assert shares["PadCrop"] == pytest.approx([1.0, 0.0])
    assert shares["Identity"] == pytest.approx([0.0, 0.5])
    assert shares["Rotate"][1] > 0.4


@pytest.mark.parametrize("finals", [1, 3])
def test_where_the_base_augmentation_has_all_ops_designs_stand_on_nothing(finals):
    search_in_progress = screening({**FEW, "finals": finals}, replace(SETTINGS, ops=("PadCrop",)))
    policy = finish(search_in_progress, Planted({"PadCrop": -2.0}))
    assert policy.about["chosen"] == "crop"
    assert (
        "than the best policy found, 'found (an op for half of the images)'"
        in policy.about["sentence"]
    )
    designs = [design for design, _, _ in search_in_progress.record.designed() if len(design) == 1]
    assert designs


FEW = {"designs": 11}


def test_where_ops_do_better_without_the_best_base_augmentation_they_follow_nothing():
    class CropSpoilsOps(Planted):
        def run(self, trial):
            ops = {op for policy in trial.policies for op in policy.ops} - {"Identity"}
            measured = super().run(trial)
            spoiled = CROP in ops and len(ops) > 1
            return replace(measured, error=measured.error * (4 if spoiled else 1))

    search_in_progress = screening(FEW)
    finish(search_in_progress, CropSpoilsOps({"PadCrop": -0.4, "Rotate": -0.9}, rest=0.1))
    record = search_in_progress.record
    race = {one.name: errors[0] for one, errors in record.races().items()}
    assert race["crop"] < race["none"]
    assert race["crop, then RandAugment"] > race["RandAugment"]
    designs = [one.entrant for one in record.planned if one.phase == DESIGNS]
    crops = [n for n, factor in enumerate(record.factors) if factor.op == CROP]
    assert not all(set(crops) & {place for place, _ in one.design} for one in designs)
    found = [one.name for one in record.races() if one.found]
    assert found
    assert not any("crop" in name for name in found)


def test_found_policies_flip_if_the_designs_on_a_crop_say_that_this_helps():
    class UnluckyFlips(Planted):
        def run(self, trial):
            ops = {op for policy in trial.policies for op in policy.ops} - {"Identity"}
            measured = super().run(trial)
            return replace(measured, error=measured.error * (2 if ops == {CROP, "Flip"} else 1))

    search_in_progress = screening()
    finish(search_in_progress, UnluckyFlips({"PadCrop": -0.5, "Flip": -0.6}, rest=0.1))
    record = search_in_progress.record
    flips = {place for place, factor in enumerate(record.factors) if factor.op == "Flip"}
    designs = [one.entrant.design for one in record.planned if one.phase == DESIGNS]
    assert not all(flips & {place for place, _ in design} for design in designs)
    found = [one.name for one in record.races() if one.found]
    assert found
    assert all(name.startswith("found (crop and flip, then ") for name in found)


def test_where_many_ops_hurt_an_op_for_half_of_the_images_wins():
    policy = finish(screening({"designs": 24}), Planted({"Rotate": -0.9}, rest=0.1, more=2.0))
    assert policy.about["chosen"] == "found (an op for half of the images)"
    assert policy.op_shares()["Identity"].sum() == pytest.approx(0.5)


@pytest.mark.parametrize("op", ["Flip", "Invert"])
def test_an_op_that_undoes_itself_is_not_drawn_twice(op):
    search_in_progress = screening(FEW, replace(SETTINGS, ops=(op,)))
    policy = finish(search_in_progress, Planted({op: -0.5}))
    assert policy.about["chosen"] == "found (an op for half of the images)"
    finals = [one.entrant for one in search_in_progress.record.planned if one.phase == "finals"]
    assert {one.name for one in finals if one.found} == {policy.about["chosen"]}


def test_a_known_policy_wins_a_tie():
    assert leader(raced({"none": [-1.0] * 4}, found=[-1.0] * 4))[0].name == "none"


def test_the_documented_number_of_trials_is_the_most_there_can_be():
    # 5 of base augmentations, 4 known ones, 24 designs, 3 + 2 * 2 in the first rounds, 3 * 2 last.
    assert screening().steps == 46
    assert screening({"finals": 1}).steps == 40


def test_where_all_ops_hurt_the_policy_does_nothing_and_says_so():
    policy = finish(screening(FEW), Planted({}, rest=0.4))
    assert policy.about["chosen"] == "none"
    assert not policy.about["found"]
    assert policy.op_shares()["Identity"].sum() == 1
    assert [entry["name"] for entry in policy.about["race"] if entry["found"]]
    assert policy.about["sentence"].startswith("The result is 'none', which needs no search. It ")
    assert (
        "errors on validation images than the best policy found, 'found (an op for half of the "
        "images)'" in policy.about["sentence"]
    )


def test_a_policy_that_needs_no_search_wins_where_it_is_best():
    policy = finish(screening(FEW), Planted({}, rest=0.4, known=-9.0))
    assert policy.about["chosen"] == "dada-cifar10"
    assert not policy.about["found"]


def test_results_alone_decide_what_comes_next():
    trial_runner = Planted({"Rotate": -0.6, "Flip": 0.8})
    whole = screening(FEW)
    expected = finish(whole, trial_runner)
    for cut in (3, 9, 22, 25, whole.done - 1):
        resumed = screening(FEW)
        resumed.load_state_dict({"results": whole.state_dict()["results"][:cut]})
        assert resumed.done == cut
        assert finish(resumed, trial_runner) == expected


def test_ops_that_are_left_out_are_in_no_policy_of_the_race():
    settings = replace(SETTINGS, exclude=("Flip", "Invert", "Solarize"))
    search_in_progress = screening(FEW, settings)
    finish(search_in_progress, Planted({"Rotate": -0.6}))
    names = {one.name for one in search_in_progress.record.races() if not one.found}
    assert names == {"none", "crop"}  # the others apply what is left out
    applied = {
        op
        for one in search_in_progress.record.planned
        for policy in one.trial.policies
        for op, layers in policy.op_shares().items()
        if layers.sum() > 0
    }
    assert not applied & {"Flip", "Invert", "Solarize"}


def test_before_it_knows_anything_the_policy_does_nothing():
    search_in_progress = screening({"designs": 16})
    assert search_in_progress.policy().op_shares()["Identity"].sum() == 1
    assert "before it knew anything" in search_in_progress.policy().about["sentence"]


def test_before_a_found_policy_races_the_best_known_one_is_the_result():
    search_in_progress = screening({"designs": 16})
    search_in_progress._trial_runner = Planted({"Rotate": -0.9, "PadCrop": -0.5})
    for _ in range(25):
        search_in_progress.step()
    about = search_in_progress.policy().about
    errors = {one["name"]: one["errors"]["0"] for one in about["race"]}
    assert about["chosen"] == min(errors, key=errors.get) != "none"
    assert about["sentence"].endswith("ended before it could compare a policy that it found.")


def test_a_search_that_ends_within_the_finals_returns_who_leads_so_far():
    search_in_progress = screening(FEW)
    search_in_progress._trial_runner = Planted({"Rotate": -0.9}, rest=0.6)
    seen = []
    while sum(search_in_progress.remaining.values()):
        search_in_progress.step()
        about, record = search_in_progress.policy().about, search_in_progress.record
        finals = sum(one.phase == "finals" for one, _ in record.ended)
        if record.planned[search_in_progress.done - 1].phase == "finals":
            seen.append((finals, about["found"], about["sentence"]))
    assert [number for number, _, _ in seen] == list(range(1, len(seen) + 1))
    # The two found policies race together: one of them alone says nothing.
    assert [found for _, found, _ in seen] == [False] + [True] * (len(seen) - 1)
    assert seen[1][2].endswith(" leads the race, which is not over.")
    paired = [sentence.split(" paired")[0][-1] for _, _, sentence in seen[-4:]]
    assert paired == ["2", "2", "2", "3"]  # rounds that have ended, without the first
    assert not any("makes -" in sentence for _, _, sentence in seen)


def test_a_network_that_does_not_learn_is_told():
    class Guessing(Planted):
        def run(self, trial):
            return Measured(0.1, 0.34)

    message = r"does not learn: the best trial has an accuracy of 34\.0%.* 33\.3%, with luck 50\.5%"
    with pytest.raises(ValueError, match=message):
        finish(screening(FEW), Guessing({}))


def test_given_validation_images_say_what_a_guess_is_worth():
    data = images(per_class=60)
    few = (data.train_labels == 0) | (torch.arange(180) % 20 == 0)  # 60, 3 and 3
    pixels, labels = data.train_images, data.train_labels

    def searched(train, val):
        split = Split(pixels[train], labels[train], pixels[val], labels[val], data.classes, True)
        options, generator = ScreeningOptions(workers=1, **FEW), torch.Generator().manual_seed(0)
        return finish(Screening(split, None, SETTINGS, options, generator), Planted({}))

    every = torch.ones(180, dtype=torch.bool)
    # Nine in ten are named rightly: more than a guess gives on one set, less than on the other.
    assert "notes" not in searched(few, every).about
    with pytest.raises(ValueError, match=r"does not learn.*gives 90\.9%"):
        searched(every, few)


def test_too_few_images_to_see_learning_are_refused_before_the_first_trial():
    data, labels = images(per_class=20), torch.tensor([0] * 5 + [1] * 5)
    with pytest.raises(ValueError, match=r"Too few images for a screening: 50% of the validation"):
        search((data.train_images[:10], labels), callbacks=[pytest.fail])
    kept = (data.train_labels > 1) | (torch.arange(60) % 20 < 2)
    unequal = replace(
        data, train_images=data.train_images[kept], train_labels=data.train_labels[kept]
    )
    with pytest.raises(
        ValueError,
        match=r"83% of the validation images are of one class.* Add images, above all",
    ):
        screening(FEW, data=unequal).step()
    with pytest.raises(ValueError, match="Too few images"):
        screening(FEW, data=unequal).phases()


def test_classes_of_very_different_size_are_told():
    data = images(per_class=20)
    kept = (data.train_labels > 0) | (torch.arange(60) < 3)
    unequal = replace(
        data, train_images=data.train_images[kept], train_labels=data.train_labels[kept]
    )
    policy = finish(screening(FEW, data=unequal), Planted({"Rotate": -0.6}))
    (note,) = policy.about["notes"]
    assert note.startswith("Classes have 3 to 20 images")
    assert note in policy_text(policy).splitlines()
    assert "notes" not in screening(FEW).policy().about


@pytest.mark.parametrize("given", [False, True])
def test_ordered_splits_follow_the_order_of_the_source(given):
    data = images(per_class=20)
    mixed = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    train, val = mixed[:40], mixed[40:]
    pixels, labels = data.train_images, data.train_labels
    parts = (pixels[train], labels[train], pixels[val], labels[val], data.classes)
    split = Split(*parts, given, mixed)

    def places(kind):
        options = ScreeningOptions(workers=1, split=kind, **FEW)
        return Screening(split, None, SETTINGS, options, torch.Generator())._trial_runner.places

    assert places("random") is None
    assert places("ordered").tolist() == (train if given else mixed).tolist()


def test_images_in_a_row_that_look_alike_are_told_unless_the_splits_are_ordered():
    alike = in_groups(4)
    half = torch.arange(len(alike.train_labels)) % 2 == 0
    x, y = alike.train_images, alike.train_labels
    order = torch.cat([half.nonzero()[:, 0], (~half).nonzero()[:, 0]])
    divided = Split(x[half], y[half], x[~half], y[~half], ("a", "b"), False, order)

    def notes(images, **options):
        given = ScreeningOptions(workers=1, **options, **FEW)
        policy = Screening(images, None, SETTINGS, given, torch.Generator()).policy()
        return policy.about.get("notes", []), policy_text(policy)

    (note,), text = notes(divided)
    assert "--option split=ordered" in note
    assert note in text.splitlines()
    assert notes(divided, split="ordered")[0] == []
    assert notes(divided._replace(given=True))[0] == []


def test_few_images_are_split_in_half():
    settings = MethodSettings("small-cnn", None, 30, 8, 0.1, 5e-4, "none")
    search_in_progress = screening(settings=settings)
    planner = search_in_progress.planner
    for phase in PHASES:
        trial = planner.plan(phase, planner.bases[0], 0, 0).trial
        assert trial.recipe.epochs == 30
        assert trial.fraction == 0.5  # of 60 images; of many, a quarter


REAL = {
    "network": network,
    "epochs": 6,
    "batch_size": 6,
    "options": {"designs": 6, "workers": 1},
    "ops": ["PadCrop", "Flip", "Rotate"],
}


def found(**changes):
    options = {**REAL["options"], **changes.pop("options", {})}
    data = images(per_class=20)
    given = {**REAL, **changes, "options": options}
    return search(data, method="screening", progress=False, **given)


@pytest.mark.slow
def test_processes_that_share_out_trials_find_the_same_policy():
    one, two = found(), found(options={"workers": 2})
    assert one.about["race"] == two.about["race"]
    assert (one.op == two.op).all()
    assert one.about["effects"] == two.about["effects"]


@pytest.mark.slow
def test_the_users_network_may_drop_out():
    given = {"network": partial(network, dropout=0.3), "seed": 3}
    assert found(**given) == found(**given)


def test_a_module_of_the_user_starts_every_trial_from_its_weights():
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 3))
    before = module[1].weight.clone()
    policy = found(network=module)
    assert torch.equal(module[1].weight, before)
    assert policy.about["method"] == "Screening"
