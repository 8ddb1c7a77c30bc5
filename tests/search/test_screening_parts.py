"""Screening piece by piece: factors, designs, regression, trials."""

import itertools
import math
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.distributions import MultivariateNormal

from learned_augment.builders import from_layers
from learned_augment.datasets.image_data import ImageData
from learned_augment.ops import OPS
from learned_augment.search.screening.designs import design_policy, random_designs, variables
from learned_augment.search.screening.entrants import Entrant, base_entrants
from learned_augment.search.screening.factors import choose_factors
from learned_augment.search.screening.options import ScreeningOptions
from learned_augment.search.screening.proposals import base_of_found, factor_weights, found_entrants
from learned_augment.search.screening.record import PlannedTrial, ScreeningRecord
from learned_augment.search.screening.regression import _NOISES, _RATIOS, fit_regression
from learned_augment.search.screening.splits import likeness, training_part
from learned_augment.search.screening.trials import Measured, Trial, TrialRunner, expected_error
from learned_augment.training import Recipe


@pytest.fixture(scope="module")
def photos():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (8, 3, 16, 16), generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="module")
def factors(photos):
    return choose_factors(None, (), photos)


def place(factors, op, magnitude):
    return next(
        n for n, factor in enumerate(factors) if (factor.op, factor.magnitude) == (op, magnitude)
    )


def test_ops_that_change_no_image_are_left_out(photos, factors):
    gray = photos[:, :1].expand(-1, 3, -1, -1).contiguous()
    assert {factor.op for factor in factors} - {
        factor.op for factor in choose_factors(None, (), gray)
    } == {"Color"}
    with pytest.raises(ValueError, match="changes these images"):
        choose_factors(["Color"], (), gray)
    # Images of a folder come class by class, and the first class may be gray.
    some_gray = torch.cat([gray.repeat(9, 1, 1, 1), photos])
    assert "Color" in {factor.op for factor in choose_factors(None, (), some_gray)}
    assert {factor.op for factor in choose_factors(["Flip", "Rotate"], ["Flip"], photos)} == {
        "Rotate"
    }


def test_ops_beyond_the_space_start_at_their_identity_value(photos, monkeypatch):
    crops = choose_factors(["ResizedCrop", "Rotate"], (), photos)
    assert [factor.op for factor in crops] == ["Rotate"] * 2 + ["ResizedCrop"] * 2
    assert [factor.value for factor in crops[2:]] == pytest.approx([0.632, 0.264])
    # Its legal values are -90 to 45; those that have a mirror image reach 45.
    turn = replace(OPS["Rotate"], name="Turn", low=-90.0, high=45.0)
    monkeypatch.setitem(OPS, "Turn", turn)
    turns = choose_factors(["Turn"], (), photos)
    assert [factor.value for factor in turns] == pytest.approx([18.0, 36.0])
    assert all(factor.mirrored for factor in turns)
    # One that changes nothing at its largest value is weak near it.
    monkeypatch.setitem(OPS, "Dim", replace(OPS["Brightness"], name="Dim", low=0.0, high=1.0))
    dims = choose_factors(["Dim"], (), photos)
    assert [factor.value for factor in dims] == pytest.approx([0.6, 0.2])
    with pytest.raises(ValueError, match="changes these images"):
        choose_factors(["Identity"], (), photos)


def test_a_strength_acts_on_both_sides(factors):
    rotations = [factor.value for factor in factors if factor.op == "Rotate"]
    assert rotations == pytest.approx([12.0, 24.0])
    assert factors[place(factors, "Rotate", 0.4)].candidates(1.0) == [
        ("Rotate", 0.25, 12.0),
        ("Rotate", 0.25, 6.0),
        ("Rotate", 0.25, -12.0),
        ("Rotate", 0.25, -6.0),
    ]
    crop = factors[place(factors, "PadCrop", 0.4)]
    assert crop.value == pytest.approx(0.125)  # the usual crop, 4 pixels of 32


def test_random_designs_are_balanced(factors):
    generator = torch.Generator().manual_seed(0)
    designs = random_designs(factors, 30, 0.3, generator)
    for op in {factor.op for factor in factors}:
        strengths = [n for n, factor in enumerate(factors) if factor.op == op]
        counts = [sum(n in dict(design) for design in designs) for n in strengths]
        assert counts == ([6, 3] if len(strengths) == 2 else [9])  # the medium strength twice
    assert {p for design in designs for _, p in design} == {0.5}
    sizes = [len(design) for design in designs]
    assert max(sizes) - min(sizes) <= 1
    for design in designs:
        ops = [factors[n].op for n, _ in design]
        assert len(set(ops)) == len(ops)


def test_a_design_is_applied_as_often_as_it_says(factors):
    design = ((place(factors, "Flip", 0.4), 0.25), (place(factors, "Rotate", 0.8), 1.0))
    policy = design_policy(factors, tuple(sorted(design)))
    shares = {op: float(layers.sum()) for op, layers in policy.op_shares().items()}
    assert shares == pytest.approx({"Flip": 0.25, "Rotate": 1.0, "Identity": 0.75})
    assert design_policy(factors, ()).name == "identity"


def test_all_designs_stand_on_the_base_augmentation_whose_ops_are_not_drawn(factors):
    base = ((place(factors, "PadCrop", 0.4), 1.0), (place(factors, "Flip", 0.4), 0.5))
    generator = torch.Generator().manual_seed(0)
    for design in random_designs(factors, 16, 0.15, generator, base):
        assert design == tuple(sorted(design))
        assert set(base) < set(design)
        assert not {"PadCrop", "Flip"} & {factors[n].op for n, _ in set(design) - set(base)}


def test_few_ops_are_in_more_designs(factors):
    rotations = [factor for factor in factors if factor.op == "Rotate"]
    designs = random_designs(rotations, 10, 0.25, torch.Generator().manual_seed(0))
    assert sorted(len(design) for design in designs) == [0] * 5 + [1] * 5


def test_sums_over_ops_leave_out_crop_and_flip_whose_effects_are_their_own(factors):
    pairs = (("PadCrop", 0.4, 1.0), ("Flip", 0.4, 0.5), ("Rotate", 0.8, 0.5), ("Contrast", 0.4, 2))
    design = [(place(factors, op, magnitude), p) for op, magnitude, p in pairs]
    (row,) = variables(factors, [tuple(design)])
    ops = list(dict.fromkeys(factor.op for factor in factors))
    assert row[len(factors) + ops.index("PadCrop")] == pytest.approx(2**0.5)
    assert row[len(factors) + ops.index("Flip")] == 1
    assert row[design[0][0]] == pytest.approx(2**0.5)
    assert row[design[1][0]] == 1
    assert row[design[2][0]] == 1
    assert row[design[3][0]] == 2
    # Geometric ops, all ops, all by magnitude, a tenth of the square of their sum.
    assert row[-4:].tolist() == pytest.approx([1, 3, 0.8 + 2 * 0.4, 0.9])


def predicting(factors, effects, errors):
    """Return a record whose regression predicts these changes of the log error."""
    predicted = torch.tensor(effects), torch.tensor(errors)
    regression = SimpleNamespace(predict=lambda _: predicted[0], spread=lambda _: predicted[1])
    return SimpleNamespace(factors=factors, regression=lambda: regression, alone=lambda: None)


def test_an_op_is_drawn_in_proportion_to_the_probability_that_it_helps(factors):
    ops = ("Rotate", "Contrast", "ShearX", "ShearY", "Posterize", "Flip")
    tried = [factors[place(factors, op, 0.4)] for op in ops]
    # A normal quantity is below 0 with these probabilities: 0.8413, 0.5, 0.1587, 0 and 0.5.
    record = predicting(tried, [-0.2, 0.0, 0.1, 5.0, 0.0, -9.0], [0.2, 0.3, 0.1, 0.1, 0.1, 0.1])
    flip = Entrant("flip", (from_layers([[("Flip", 1, 1.0)]]),), False, ((5, 0.5),))
    weights = factor_weights(record, flip)
    expected = torch.tensor([0.8413, 0.5, 0.1587, 0, 0.5, 0]) / 2
    torch.testing.assert_close(weights.float(), expected, atol=1e-4, rtol=0)
    half, two = found_entrants(record, flip)
    assert half.name == "found (flip, then an op for half of the images)"
    assert two.name == "found (flip, then two ops for every image)"
    shares = {op: layers.tolist() for op, layers in half.policies[0].op_shares().items()}
    assert shares["Flip"] == pytest.approx([0.5, 0])
    assert shares["Identity"] == pytest.approx([0.5, 0.5])
    assert shares["ShearX"] == pytest.approx([0, 0.1587 / 4], abs=1e-4)
    assert set(shares) == {"Flip", "Identity", "Rotate", "Contrast", "ShearX", "Posterize"}
    shares = {op: layers.tolist() for op, layers in two.policies[0].op_shares().items()}
    assert shares["Identity"] == pytest.approx([0.5, 0, 0])
    assert shares["Contrast"] == pytest.approx([0, 0.25, 0.25], abs=1e-4)


@pytest.mark.parametrize(
    ("flip", "crop", "start", "taken"),
    [
        (-0.1, -0.1, "crop", "crop and flip"),
        (0.1, -0.1, "crop", "crop"),
        (0.1, 0.1, "crop and flip", "crop and flip"),  # nothing is taken away
        (-0.3, -0.1, "none", "none"),  # ops do better without a base augmentation
    ],
)
def test_found_policies_also_flip_after_a_crop_where_designs_say_that_this_helps(
    factors, flip, crop, start, taken
):
    coefficients = torch.zeros(variables(factors, [()]).shape[1], dtype=torch.float64)
    coefficients[place(factors, "Flip", 0.4)] = flip
    coefficients[place(factors, "PadCrop", 0.4)] = crop
    regression = SimpleNamespace(predict=lambda rows: rows @ coefficients)
    record = SimpleNamespace(factors=factors, regression=lambda: regression)
    bases = {one.name: one for one in base_entrants(factors)}
    assert base_of_found(record, bases[start], list(bases.values())).name == taken


def test_a_base_augmentation_of_all_ops_would_leave_none_to_draw(factors):
    few = [factor for factor in factors if factor.op in ("PadCrop", "Flip")]
    regression = SimpleNamespace(predict=lambda rows: -rows.sum(1))  # more is better
    record = SimpleNamespace(factors=few, regression=lambda: regression)
    bases = base_entrants(few)
    assert base_of_found(record, bases[1], bases).name == "crop"


def test_where_all_ops_surely_hurt_the_least_harmful_one_is_drawn(factors):
    tried = [factors[place(factors, op, 0.4)] for op in ("Rotate", "Contrast", "ShearX")]
    record = predicting(tried, [0.9, 0.8, 0.7], [0.01, 0.01, 0.01])
    none = Entrant("none", (), False, ())
    assert factor_weights(record, none).tolist() == pytest.approx([0, 0, 1])


def test_an_op_with_a_share_of_less_than_a_hundredth_is_left_out(factors):
    rotation = factors[place(factors, "Rotate", 0.4)]
    tried = [rotation, *(replace(rotation, op=f"Own{n}") for n in range(2))]
    # Normal quantities are below 0 with the probabilities 0.9772, 0.0082 and 0.0202.
    record = predicting(tried, [-2.0, 2.4, 2.05], [1.0, 1.0, 1.0])
    weights = factor_weights(record, Entrant("none", (), False, ()))
    assert weights.tolist() == pytest.approx([0.9797, 0, 0.0203], abs=1e-3)


def test_of_very_many_ops_none_is_left_out_for_its_small_weight(factors):
    rotation = factors[place(factors, "Rotate", 0.4)]
    many = [rotation, *(replace(rotation, op=f"Own{n}") for n in range(199))]
    record = predicting(many, [0.0] * 200, [1.0] * 200)
    weights = factor_weights(record, Entrant("none", (), False, ()))
    assert weights.tolist() == pytest.approx([1 / 200] * 200)


def trials(factors, effects, noise, seed=0, count=48):
    generator = torch.Generator().manual_seed(seed)
    designs = random_designs(factors, count, 0.3, generator)
    x = variables(factors, designs)
    truth = torch.zeros(x.shape[1], dtype=torch.float64)
    for (op, magnitude), effect in effects.items():
        at = place(factors, op, magnitude)
        truth[at] = effect / variables(factors, [((at, 0.5),)])[0, at]
    groups = torch.arange(count) % 2
    y = x @ truth + noise * torch.randn(count, generator=generator, dtype=torch.float64)
    return x, groups, y


def measured_designs(factors, count, effects, noise, generator):
    """Return the record of designs whose log errors are the sums of their factors' effects."""
    record = ScreeningRecord(factors)
    for number, design in enumerate(random_designs(factors, count, 0.25, generator)):
        luck = noise * torch.randn((), generator=generator).item()
        log_error = -1 + float(effects[[n for n, _ in design]].sum()) + luck
        trial = Trial((), 0.25, number % 2, 0, Recipe(epochs=1))
        record.planned.append(PlannedTrial("designs", trial, Entrant("a", (), False, design)))
        record.results.append(Measured(math.exp(log_error), 0.5))
    return record


def fitted(x, groups, y):
    """Return the regression with equal prior widths."""
    return fit_regression(x, groups, y, torch.ones(x.shape[1], dtype=torch.float64))


def test_the_evidence_is_the_probability_of_differences_within_groups():
    """Compared with the density of the differences to the first trial of each group."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 2, generator=generator, dtype=torch.float64)
    y, groups = torch.randn(8, generator=generator, dtype=torch.float64), torch.arange(8) % 2
    widths = torch.tensor([1.0, 3.0], dtype=torch.float64)
    inside = torch.zeros(6, 8, dtype=torch.float64)
    for row, trial in enumerate(range(2, 8)):
        inside[row, trial], inside[row, trial % 2] = 1.0, -1.0

    def log_density(widths, noise, ratio):
        kernel = noise**2 * (torch.eye(8) + ratio**2 * (x * widths**2) @ x.T)
        normal = MultivariateNormal(torch.zeros(6).double(), inside @ kernel @ inside.T)
        return float(normal.log_prob(inside @ y))

    grid = list(itertools.product(_NOISES, _RATIOS))
    noise, ratio = max(grid, key=lambda pair: log_density(widths, *pair))
    fit = fit_regression(x, groups, y, widths)
    assert fit.noise == float(noise)
    centered = x - torch.stack([x[groups == g].mean(0) for g in (0, 1)])[groups]
    precision = centered.T @ centered / noise**2 + torch.diag(1 / (noise * ratio * widths) ** 2)
    torch.testing.assert_close(fit.covariance, torch.linalg.inv(precision))
    # All densities differ from the evidence by the same constant.
    others = widths.flip(0)
    best, other_best = (max(log_density(w, *pair) for pair in grid) for w in (widths, others))
    other = fit_regression(x, groups, y, others)
    assert other.evidence - fit.evidence == pytest.approx(other_best - best)


EFFECTS = {
    ("Flip", 0.4): 0.8,
    ("Invert", 0.4): 0.5,
    **{("Rotate", m): -0.4 for m in (0.4, 0.8)},
}


def test_the_regression_recovers_planted_effects(factors):
    fit = fitted(*trials(factors, EFFECTS, noise=0.05))
    alone = variables(factors, [((n, 0.5),) for n in range(len(factors))])
    found = dict(zip(range(len(factors)), fit.predict(alone).tolist(), strict=True))
    for (op, magnitude), effect in EFFECTS.items():
        assert found[place(factors, op, magnitude)] == pytest.approx(effect, abs=0.25)
    worst = max(found, key=lambda n: found[n])
    assert factors[worst].op == "Flip"


def test_intervals_cover_the_truth(factors):
    covered = []
    for seed in range(8):
        fit = fitted(*trials(factors, EFFECTS, noise=0.2, seed=seed))
        alone = variables(factors, [((n, 0.5),) for n in range(len(factors))])
        truth = torch.tensor([EFFECTS.get((f.op, f.magnitude), 0.0) for f in factors])
        covered.append(((fit.predict(alone) - truth).abs() < 1.96 * fit.spread(alone)).double())
    assert torch.stack(covered).mean() > 0.85


def test_a_harmful_op_leaves_the_prior_of_the_others_narrow(factors):
    """Ops that do nothing do not seem less sure because another one does much."""
    invert, rotate = (place(factors, op, 0.4) for op in ("Invert", "Rotate"))
    effects = torch.zeros(len(factors), dtype=torch.float64)
    effects[invert] = 0.3
    record = measured_designs(factors, 40, effects, 0.02, torch.Generator().manual_seed(0))
    designs, _, errors = zip(*record.designed(), strict=True)
    given = variables(factors, designs), torch.arange(40) % 2, torch.tensor(errors).double()
    equal, wide = fitted(*given), record.regression()
    assert wide.evidence > equal.evidence + math.log(3)
    assert float(wide.predict(record.alone())[invert]) == pytest.approx(0.3, abs=0.05)
    assert wide.spread(record.alone())[rotate] < 0.5 * equal.spread(record.alone())[rotate]


def test_the_spread_is_that_of_draws_from_the_posterior(factors):
    fit = fitted(*trials(factors, EFFECTS, noise=0.1))
    alone = variables(factors, [((n, 0.5),) for n in range(len(factors))])
    normal = torch.randn(20_000, len(fit.mean), dtype=torch.float64)
    drawn = (fit.mean + normal @ torch.linalg.cholesky(fit.covariance).T) @ alone.T
    assert drawn.shape == (20_000, len(factors))
    torch.testing.assert_close(drawn.mean(0), fit.predict(alone), atol=0.01, rtol=0)
    torch.testing.assert_close(drawn.std(0), fit.spread(alone), atol=0, rtol=0.05)


def test_intervals_of_a_search_cover_most_true_effects(factors):
    """With few trainings and one scale that is fitted to them, fewer than 95 % are covered."""
    covered = []
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        effects = 0.05 * torch.randn(len(factors), generator=generator, dtype=torch.float64)
        effects[place(factors, "Invert", 0.4)] = 0.3
        record = measured_designs(factors, 24, effects, 0.05, generator)
        fit, alone = record.regression(), record.alone()
        covered.append(((fit.predict(alone) - effects).abs() < 1.96 * fit.spread(alone)).double())
    assert torch.stack(covered).mean() > 0.8


def test_other_images_shift_no_effect(factors):
    x, groups, y = trials(factors, EFFECTS, noise=0.1)
    shifted = y + 3.0 * groups
    before, after = (fitted(x, groups, target) for target in (y, shifted))
    torch.testing.assert_close(before.mean, after.mean, atol=0.02, rtol=0)


@pytest.mark.parametrize("places", [None, torch.arange(58).flip(0)])
def test_training_parts_are_stratified_and_do_not_overlap(places):
    labels = torch.tensor([0] * 40 + [1] * 16 + [2] * 2)
    parts = [training_part(labels, 0.25, split, 3, places) for split in range(3)]
    for part in parts:
        assert torch.bincount(labels[part], minlength=3).tolist() == [10, 4, 1]
    assert not (parts[0] & parts[1]).any()
    assert not (parts[1] & parts[2])[labels < 2].any()
    rests = [~training_part(labels, 0.75, split, 3, places) for split in range(4)]
    assert (torch.stack(rests).sum(0)[labels < 2] == 1).all()  # each image validates once
    halves = [training_part(labels, 0.5, split, 3, places) for split in range(4)]
    assert torch.equal(halves[0], ~halves[1])
    assert torch.equal(halves[2], ~halves[3])
    assert not torch.equal(halves[0], halves[2])  # a new order or beginning


def test_ordered_training_parts_are_images_in_a_row_at_the_same_place_in_each_class():
    mixed = torch.randperm(56, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0] * 40 + [1] * 16)
    beginnings = set()
    for seed in range(20):
        part = torch.empty(56, dtype=torch.bool)
        part[mixed] = training_part(labels[mixed], 0.25, 0, seed, mixed)
        begun = []
        for label in (0, 1):
            trains = part[labels == label].int()
            first = (trains - trains.roll(1) == 1).nonzero()
            assert len(first) == 1  # one row, which may go on at the beginning
            begun.append(first.item() / len(trains))
        assert abs(begun[0] - begun[1]) <= 1 / 16
        beginnings.add(begun[0])
    assert len(beginnings) > 10


def in_groups(size, groups=30):
    """Images of two classes; ``size`` in a row show the same, with a little noise."""
    generator = torch.Generator().manual_seed(0)
    motifs = torch.randint(256, (2 * groups, 3, 8, 8), generator=generator)
    pixels = motifs.repeat_interleave(size, 0)
    noise = torch.randint(-40, 41, pixels.shape, generator=generator)
    pixels = (pixels + noise).clamp(0, 255).to(torch.uint8)
    labels = torch.arange(2).repeat_interleave(groups * size)
    return ImageData("groups", ("a", "b"), pixels, labels, pixels, labels)


def test_images_in_groups_are_alike_and_images_in_random_order_are_not():
    pixels, labels = (in_groups(4).train_images, in_groups(4).train_labels)
    row, mixed = torch.arange(240), torch.randperm(240, generator=torch.Generator().manual_seed(1))
    # Three in four are compared with an image of their own group.
    assert 0.4 < likeness(pixels, labels, row) < 0.6
    assert likeness(pixels[mixed], labels[mixed], mixed) == likeness(pixels, labels, row)
    assert likeness(pixels, labels, mixed) is None
    large = pixels.repeat_interleave(16, 2).repeat_interleave(16, 3)
    assert 0.4 < likeness(large, labels, row) < 0.6
    single = in_groups(1)
    assert likeness(single.train_images, single.train_labels, torch.arange(60)) is None


def test_the_expected_error_does_not_see_how_certain_a_network_is():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(200, 5, generator=generator), torch.arange(200) % 5
    logits[torch.arange(200), labels] += 1.0
    error = expected_error(logits, labels)
    assert expected_error(3 * logits, labels) == pytest.approx(error, rel=0.01)
    wrong = (logits.argmax(1) != labels).double().mean().item()
    assert error == pytest.approx(wrong, abs=0.1)
    right = 50.0 * torch.nn.functional.one_hot(labels).float()
    assert expected_error(right, labels) == pytest.approx(0.5 / 200)


def test_a_trial_depends_on_nothing_but_itself(photos):
    labels = torch.arange(8) % 2
    trial_runner = TrialRunner(
        photos, labels, None, ("a", "b"), "small-cnn", torch.device("cpu"), 5
    )
    trial = Trial((), 0.5, 0, 7, Recipe(epochs=2, batch_size=2))
    first = trial_runner.run(trial)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    assert trial_runner.run(trial) == first
    assert torch.equal(torch.get_rng_state(), before)
    assert 0 <= first.accuracy <= 1


@pytest.mark.parametrize(
    ("images", "given", "trainings"),
    [(100, False, 2), (160, False, 2), (240, False, 1), (100, True, 1)],
)
def test_a_trial_with_few_validation_images_is_cross_validated(
    images, given, trainings, monkeypatch
):
    labels = torch.arange(images) % 2
    numbered = torch.arange(images).to(torch.uint8).expand(3, 8, 8, -1).permute(3, 0, 1, 2)
    validated = []

    class Oracle:
        """Names the validation images of the first training rightly, the others wrongly."""

        def __init__(self, data, *_):
            self.data = data

        def finish(self):
            validated.append(self.data.test_images[:, 0, 0, 0].tolist())
            named = self.data.test_labels if len(validated) == 1 else 1 - self.data.test_labels
            return 9.0 * torch.nn.functional.one_hot(named, 2), self.data.test_labels

    monkeypatch.setattr(sys.modules[TrialRunner.__module__], "Trainer", Oracle)
    validation = (numbered[:20], labels[:20]) if given else None
    classes, cpu = ("a", "b"), torch.device("cpu")
    trial_runner = TrialRunner(numbered, labels, validation, classes, "small-cnn", cpu, 5)
    measured = trial_runner.run(Trial((), 0.5, 0, 7, Recipe(epochs=1, batch_size=2)))
    assert len(validated) == trainings
    assert measured.accuracy == pytest.approx(1 / trainings, abs=0.02)
    if trainings == 2 and not given:  # each image validates once
        assert sorted(validated[0] + validated[1]) == list(range(images))


def test_a_class_may_have_one_training_image_if_the_validation_images_are_given():
    images = torch.arange(0, 240, 80).to(torch.uint8).expand(3, 16, 16, -1).permute(3, 0, 1, 2)
    labels, classes = torch.arange(3), ("a", "b", "c")
    given = images, labels
    trial_runner = TrialRunner(
        images, labels, given, classes, "small-cnn", torch.device("cpu"), seed=0
    )
    measured = trial_runner.run(Trial((), 0.5, 0, 0, Recipe(epochs=1, batch_size=2)))
    assert 0 <= measured.accuracy <= 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"design": 3}, "no option 'design'"),
        ({"designs": 2}, "designs must be 4 or more"),
        ({"fraction": 1.5}, "fraction must be"),
        ({"designs": "many"}, "designs as int"),
    ],
)
def test_wrong_options_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        ScreeningOptions.read(given)


def test_options_are_whole_however_they_are_made():
    for make in (ScreeningOptions.read, lambda given: ScreeningOptions(**given)):
        assert type(make({"designs": 24.0}).designs) is int
        with pytest.raises(ValueError, match=r"designs as int, got 24\.5"):
            make({"designs": 24.5})
