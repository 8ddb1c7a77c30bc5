"""A screening under way: which trial is next, and what all of them say so far."""

import math
import statistics
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import nn

from learned_augment.builders import identity, in_sequence
from learned_augment.evaluation.statistics import paired_difference, percent_fewer
from learned_augment.policy import Policy
from learned_augment.runtime.distributed import rank, world_size
from learned_augment.runtime.process_pool import Workers, core_count, needs_no_script
from learned_augment.runtime.rng import isolated
from learned_augment.search.cost import Phase
from learned_augment.search.options import Options
from learned_augment.search.peak_memory import peak_bytes
from learned_augment.search.presets import MethodSettings
from learned_augment.search.screening.designs import (
    USUAL_BASE,
    Design,
    best_design,
    design_policy,
    random_designs,
    variables,
)
from learned_augment.search.screening.effects import Regression, fit_effects
from learned_augment.search.screening.entrants import (
    Entrant,
    base_entrants,
    found_entrants,
    known_entrants,
)
from learned_augment.search.screening.factors import MAGNITUDES, SPACE, choose_factors
from learned_augment.search.screening.options import ScreeningOptions
from learned_augment.search.screening.trials import Laboratory, Measured, Trial, training_part
from learned_augment.search.split import Split
from learned_augment.training import Recipe

__all__ = ["Screening"]

SPLITS = 2
"""Splits that designs and refinements alternate between, and on which the best base augmentations
train."""

FEWEST_IMAGES = 64
"""Of a trial, unless that is more than `MOST` of them."""

MOST = 0.5
"""Fraction of the images that trains at most: the others validate."""

SMALLEST_BATCH = 8
"""Of a trial, unless the training that it stands for has smaller ones."""

AT_ONCE = 6
"""Refinements that are chosen together, so that several processes can share them out."""

BOLDNESS = 0.5
"""Of the refinements' draws: with full ones, the best of many uncertain ops is always too many."""

CHANGES = 2
"""Ops in which a refinement differs from one of the best designs so far: ops interact, so what is
known of a design holds near it only."""

STARTS = 3
"""Designs that refinements start from, one after the other: the best base augmentation and the best
others."""

POOLS = ((4, 1), (8, 1), (8, 2))
"""Of the policies that draw from a pool of ops: how many ops are in it, and how many are applied to
an image. Which op is best is not known well, and a pool of good ones loses little."""

STRONG = MAGNITUDES[-1]
"""No op of a pool is so strong: on few images strong ops look better than they are."""

FOUND = 2 + len(POOLS)
"""Found policies in the semifinals."""

FINALISTS = 2
"""Found policies in the finals, and as many that need no search. A found one is the result if its
lead is larger than the standard error of the lead: the one-standard-error rule, which prefers what
is simpler, here what needs no search. Breiman et al., Classification and Regression Trees, 1984."""

INTERVAL = 1.96
"""Standard errors on either side of an effect that hold it with a probability of 95 %."""

UNEQUAL = 5
"""How many times larger than the smallest the largest class may be, without a note."""

_FEWEST_TRIALS = 4

PHASES = (
    "base augmentations",
    "known policies",
    "designs",
    "refinements",
    "semifinals",
    "finals",
)
EXPERIMENTS = PHASES[2:4]
"""Phases that tell what ops do. The others are the race: its first round is of all that races, its
second of the best base augmentations and the finalists."""


@dataclass(frozen=True)
class _Job:
    """A trial with what it is for.

    Attributes:
        phase: a name of `PHASES`.
        trial: what to train.
        entrant: whose policies it is under.
    """

    phase: str
    trial: Trial
    entrant: Entrant


class Screening:
    """A screening under way; see `method.SearchMethod`.

    A trial is a small copy of the training that the policy is to serve: it takes a quarter of the
    images for as many epochs, in batches a quarter as large, so for as many steps; images that it
    has not seen measure it. Fewer epochs would cost as little but favor weak policies: augmentation
    reduces overfitting, which needs many epochs.

    Trials tell first which base augmentation is best: none, crop, or crop and flip. Trials under
    random and changed policies on top of it follow; a regression tells what each op does to the
    error. Policies of the best ops then race against those that need no search: all of them once,
    and the best of these again on other images.

    Nothing but the results of the trials decides what comes next, so processes that share out
    trials, and a search that is cut and resumed, give the same policy.

    Args:
        split: Images and labels. All are split anew for each trial, unless the validation images
            were given separately.
        network: Not used: every trial trains a network of its own.
        settings: The training that the policy is to serve, and the ops.
        options: How many trials.
        generator: Its seed fixes everything random.
    """

    options_type: ClassVar[type[Options]] = ScreeningOptions

    def __init__(
        self,
        split: Split,
        network: nn.Module,
        settings: MethodSettings,
        options: ScreeningOptions,
        generator: torch.Generator,
    ) -> None:
        images, self._labels = split.train_images.cpu(), split.train_labels.cpu()
        validation = split.val_images.cpu(), split.val_labels.cpu()
        if not split.given:
            images = torch.cat([images, validation[0]])
            self._labels = torch.cat([self._labels, validation[1]])
        self.options, self.settings, self._bytes = options, settings, split.nbytes
        self.factors = choose_factors(settings.ops, settings.exclude, images)
        self._seed = int(torch.randint(2**31, (), generator=generator))
        self._laboratory = Laboratory(
            images,
            self._labels,
            validation if split.given else None,
            split.classes,
            settings.model,
            split.train_images.device,
            self._seed,
        )
        self._bases = base_entrants(self.factors)
        # Of the policies that need no search, those without an op that the user leaves out.
        self._known = {
            base: [
                entrant
                for entrant in known_entrants(self.factors, base, images.shape[-1])
                if entrant.allowed(settings.ops, settings.exclude)
            ]
            for base in self._bases
        }
        self._jobs: list[_Job] = []
        self._results: list[Measured] = []
        self._ready: dict[int, Measured] = {}
        self._stream: Iterator[tuple[int, Measured]] | None = None
        self._workers: Workers | None = None
        several = self._laboratory.device.type == "cpu" and needs_no_script(settings.model)
        self._processes = options.workers or (core_count() if several else 1)
        self._latest: tuple[int, Policy] | None = None

    @property
    def done(self) -> int:
        """Number of trials that have ended."""
        return len(self._results)

    @property
    def steps(self) -> int:
        """Number of trials of the whole search."""
        return self.done + sum(self.remaining.values())

    @property
    def remaining(self) -> dict[str, int]:
        """Trials still to come, by phase; of a phase that is not planned yet, at most so many."""
        planned = {phase: len(entrants) for phase, entrants in self._by_phase().items()}
        most = 0 if "designs" in planned else len(self._known[self._bases[-1]])
        known = planned.get("known policies", most)
        found = planned.get("semifinals", FOUND)
        finalists = min(len(self._bases) + known, FINALISTS) + min(found, FINALISTS)
        counts = {
            "base augmentations": len(self._bases) + min(len(self._bases), FINALISTS),
            "known policies": known,
            "designs": self.options.designs,
            "refinements": self.options.refinements,
            "semifinals": found,
            "finals": planned.get("finals", self.options.finals * finalists),
        }
        for job in self._jobs[: self.done]:
            counts[job.phase] -= 1
        return counts

    def step(self) -> dict[str, float]:
        """Run one trial."""
        self._plan()
        measured = self._measure(self.done)
        self._results.append(measured)
        if self._jobs[-1].phase == "designs" and self.done == len(self._jobs):
            self._check_learning()
        return {"val_error": measured.error, "val_accuracy": measured.accuracy}

    def _plan(self) -> None:
        """Plan the next trials where all that are planned have ended."""
        if self.done == len(self._jobs):
            with _one_thread():
                self._jobs += self._next_jobs()

    def _by_phase(self) -> dict[str, list[Entrant]]:
        entrants: dict[str, list[Entrant]] = {}
        for job in self._jobs:
            entrants.setdefault(job.phase, []).append(job.entrant)
        return entrants

    # Which trials come next

    def _next_jobs(self) -> list[_Job]:
        options, planned = self.options, self._by_phase()
        bases = len(planned.get("base augmentations", []))
        if bases == 0:
            return [self._raced("base augmentations", one, 0) for one in self._bases]
        if bases == len(self._bases):
            return [self._raced("base augmentations", one, 1) for one in self._best(self._bases)]
        known = self._known[self._best_base()]
        if known and "known policies" not in planned:
            return [self._raced("known policies", one, 0) for one in known]
        if "designs" not in planned:
            base = self._base_design()
            drawn = random_designs(
                self.factors, options.designs, options.inclusion, self._generator(), base
            )
            return self._designed_jobs("designs", drawn)
        missing = options.refinements - len(planned.get("refinements", []))
        if missing > 0:
            return self._designed_jobs("refinements", self._refined(min(AT_ONCE, missing)))
        if "semifinals" not in planned:
            return [self._raced("semifinals", one, 0) for one in self._semifinalists()]
        races, finalists = self._races(), self._finalists()
        return [
            self._raced("finals", one, number)
            for number in range(1, options.finals + 1)
            for one in finalists
            if number not in races[one]
        ]

    def _raced(self, phase: str, entrant: Entrant, number: int) -> _Job:
        """Return a training for a round of the race: all of a round have the same images."""
        return self._job(phase, entrant, number, self._seed + number)

    def _best(self, entrants: Iterable[Entrant]) -> list[Entrant]:
        """Return the best in the first round of the race."""
        races = self._races()
        return sorted(entrants, key=lambda one: races[one][0])[:FINALISTS]

    def _best_base(self) -> Entrant:
        races = self._races()
        return min(self._best(self._bases), key=lambda one: sum(races[one].values()))

    def _base_design(self) -> Design:
        return self._best_base().design or ()

    def _refined(self, count: int) -> list[Design]:
        """Return changes of the best designs that are probably good."""
        regression, generator = self.regression(), self._generator()
        base = self._base_design()
        starts = list(dict.fromkeys([base, *self._tried(regression)]))[:STARTS]
        return [
            best_design(
                self.factors,
                regression.draw(generator, BOLDNESS),
                [starts[number % len(starts)]],
                steps=CHANGES,
            )
            for number in range(count)
        ]

    def _semifinalists(self) -> list[Entrant]:
        """Return the policies that the experiments suggest.

        One of them changes the best designs. The others put fewer ops on the base augmentation, as
        few images prefer more augmentation than many do: the op that helps most, or some that are
        drawn from a pool.
        """
        regression, base = self.regression(), self._base_design()
        known = {(), *(one.design for one in self._races())}
        tried = [design for design in self._tried(regression) if design not in known]
        changed, one_more = (
            best_design(self.factors, regression.mean, starts, steps)
            for starts, steps in ((tried[:STARTS], CHANGES), ([base], 1))
        )
        designs = [one for one in dict.fromkeys([changed, one_more, *tried]) if one not in known]
        pool = self._pool(regression)
        spreads = dict.fromkeys(
            (tuple(pool[:width]), times) for width, times in POOLS if len(pool) > times
        )
        return found_entrants(self.factors, designs[: FOUND - len(POOLS)], base, list(spreads))

    def _pool(self, regression: Regression) -> list[tuple[int, ...]]:
        """Return each op that helps as its weak and medium factors that do, the best op first.

        Crop and flip are left out: the best base augmentation has those that help.
        """
        effects = (-regression.predict(self._alone())).tolist()
        pool: dict[str, list[int]] = {}
        for place, factor in enumerate(self.factors):
            if factor.op in USUAL_BASE or factor.magnitude >= STRONG:
                continue
            if effects[place] > 0:
                pool.setdefault(factor.op, []).append(place)
        best = sorted(pool.values(), key=lambda op: -max(effects[place] for place in op))
        return [tuple(op) for op in best]

    def _alone(self) -> torch.Tensor:
        """Return the variables of each factor by itself, applied to half of the images, (F, V)."""
        return variables(self.factors, [((place, 0.5),) for place in range(len(self.factors))])

    def _tried(self, regression: Regression) -> list[Design]:
        """Return designs, the best first, halfway between their measured and predicted errors."""
        tried = [
            (job.entrant.design, job.trial.split, measured.log_error)
            for job, measured in zip(self._jobs, self._results, strict=False)
            if job.phase in EXPERIMENTS and job.entrant.design is not None
        ]
        if not tried:
            return []
        designs, splits, errors = zip(*tried, strict=True)
        predicted = regression.predict(variables(self.factors, designs))
        measured = torch.tensor(errors, dtype=torch.float64)
        for split in set(splits):
            inside = torch.tensor(splits) == split
            measured[inside] -= (measured - predicted)[inside].mean()
        order = (predicted + measured).argsort(stable=True).tolist()
        return list(dict.fromkeys(designs[place] for place in order))

    def _finalists(self) -> list[Entrant]:
        """Return the best policies that need no search, and the best found ones."""
        return [
            one
            for found in (False, True)
            for one in self._best(one for one in self._races() if one.found == found)
        ]

    def _designed_jobs(self, phase: str, designs: Sequence[Design]) -> list[_Job]:
        jobs = []
        for place, design in enumerate(designs, len(self._jobs)):
            policies = (design_policy(self.factors, design),)
            entrant = Entrant(f"design {place}", policies, design=design)
            jobs.append(self._job(phase, entrant, place % SPLITS, self._seed + place))
        return jobs

    def _job(self, phase: str, entrant: Entrant, split: int, seed: int) -> _Job:
        """Return a training on a part of the images, of as many epochs and, if it can, steps."""
        given, whole_batch = self.settings, self.settings.batch_size
        fraction = max(self.options.fraction, FEWEST_IMAGES / len(self._labels))
        fraction = min(fraction, MOST)
        count = int(training_part(self._labels, fraction, split, self._seed).sum())
        recipe = Recipe(
            epochs=given.epochs,
            batch_size=min(max(round(fraction * whole_batch), SMALLEST_BATCH), whole_batch, count),
            learning_rate=given.learning_rate,
            weight_decay=given.weight_decay,
            channels_last=True,
        )
        return _Job(phase, Trial(entrant.policies, fraction, split, seed, recipe), entrant)

    def _generator(self) -> torch.Generator:
        """Return the generator of all that is drawn when so many trials are planned."""
        return torch.Generator().manual_seed(self._seed + (len(self._jobs) << 32))

    # Running trials

    def _measure(self, place: int) -> Measured:
        if place not in self._ready and world_size() > 1:
            self._share_out(place)
        elif place not in self._ready and self._processes > 1:
            self._wait_for(place)
        if place in self._ready:
            return self._ready.pop(place)
        return self._laboratory.run(self._jobs[place].trial)

    def _wait_for(self, place: int) -> None:
        """Let the workers do the rest of the planned trials, until one of them is measured."""
        if self._workers is None:
            self._workers = Workers(self._laboratory.run, self._processes)
            weakref.finalize(self, self._workers.close)
        if self._stream is None:
            rest = [(job.trial,) for job in self._jobs[place:]]
            workers = self._workers
            self._stream = ((place + offset, found) for offset, found in workers.run(rest))
        for at, measured in self._stream:
            self._ready[at] = measured
            if place in self._ready and self.done + len(self._ready) < len(self._jobs):
                return
        self._stream = None

    def _share_out(self, place: int) -> None:
        """Do the next planned trials, one in each process, and tell the others.

        No more at a time: what is under way when a search is cut is lost.
        """
        at = place + rank()
        mine = {at: self._laboratory.run(self._jobs[at].trial)} if at < len(self._jobs) else {}
        everyone: list[dict[int, Measured]] = [{} for _ in range(world_size())]
        dist.all_gather_object(everyone, mine)
        for theirs in everyone:
            self._ready |= theirs

    def _check_learning(self) -> None:
        """Stop where the network names nothing rightly that guessing would not.

        Raises:
            ValueError: if so.
        """
        counts = torch.bincount(self._labels).double()
        chance = float(counts.max() / counts.sum())
        certain = chance + 2 * math.sqrt(chance * (1 - chance) / (len(self._labels) / 2))
        best = max(measured.accuracy for measured in self._results)
        if best <= certain:
            raise ValueError(
                f"The network does not learn: in trials it names {best:.1%} of the "
                f"validation images rightly at best, and the largest class has {chance:.1%}. Give "
                "more epochs or images, another learning rate, or another model."
            )

    # What the trials say

    def regression(self) -> Regression:
        """Return the fit to all trials so far whose policy is a design."""
        found = [
            (job.entrant.design, job.trial, measured.log_error)
            for job, measured in zip(self._jobs, self._results, strict=False)
            if job.entrant.design is not None
        ]
        designs, trials, errors = zip(*found, strict=True)
        parts = list(dict.fromkeys((trial.fraction, trial.split) for trial in trials))
        groups = [parts.index((trial.fraction, trial.split)) for trial in trials]
        return fit_effects(
            variables(self.factors, designs),
            torch.tensor(groups),
            torch.tensor(errors, dtype=torch.float64),
        )

    def _races(self) -> dict[Entrant, dict[int, float]]:
        """Return each entrant's log errors by round of the race."""
        races: dict[Entrant, dict[int, float]] = {}
        for job, measured in zip(self._jobs, self._results, strict=False):
            if job.phase not in EXPERIMENTS:
                races.setdefault(job.entrant, {})[job.trial.split] = measured.log_error
        return races

    def _finished_round(self) -> list[Entrant]:
        """Return who took part in the last round of the race that has ended and had found ones."""
        rounds: dict[int, list[tuple[int, Entrant]]] = {}
        for place, job in enumerate(self._jobs):
            if job.phase not in EXPERIMENTS:
                rounds.setdefault(job.trial.split, []).append((place, job.entrant))
        ended = [
            [entrant for _, entrant in members]
            for members in rounds.values()
            if members[-1][0] < self.done
        ]
        with_found = [members for members in ended if any(one.found for one in members)]
        return with_found[-1] if with_found else []

    def _leader(self) -> tuple[Entrant, str]:
        """Return who leads, and what is known of that, in a sentence."""
        if racing := self._finished_round():
            races = self._races()
            rounds = set.intersection(*(set(races[one]) for one in racing))
            ranked = sorted(racing, key=lambda one: sum(races[one][number] for number in rounds))
            best, other = ranked[0], next(one for one in ranked if one.found != ranked[0].found)
            common = sorted(races[best].keys() & races[other].keys())
            leads = [races[other][number] - races[best][number] for number in common]
            if len(leads) < 2:
                return best, f"{best.name} leads the race, which is not over."
            if best.found and statistics.fmean(leads) <= _standard_error(leads):
                chosen = f"{other.name} is the result, as it needs no search."
                return other, f"{chosen} {_words(best, other, leads)}"
            return best, _words(best, other, leads)
        if self.done >= _FEWEST_TRIALS:
            regression = self.regression()
            starts = [self._base_design(), *self._tried(regression)[:STARTS]]
            design = best_design(self.factors, regression.mean, starts)
            policies = (design_policy(self.factors, design),) if design else ()
            predicted = Entrant("predicted", policies, design=design)
            return predicted, "Trials of its ops predict this policy; no race has tested it."
        return self._bases[0], "The search ended before it knew anything: the policy does nothing."

    def policy(self) -> Policy:
        """Return the best policy so far: the leader of the race, or before it the predicted one."""
        if self._latest is None or self._latest[0] != self.done:
            with _one_thread():
                self._latest = self.done, self._best_policy()
        return self._latest[1]

    def _best_policy(self) -> Policy:
        leader, sentence = self._leader()
        policy = in_sequence(leader.policies) if leader.policies else identity()
        about: dict[str, Any] = {
            "method": "Screening",
            "placement": "replaces",
            "space": SPACE,
            "options": asdict(replace(self.options, workers=0)),
            "ops": list(dict.fromkeys(factor.op for factor in self.factors)),
            "steps": self.done,
            "metrics": self._metrics(),
            "parameters": {"train_epochs": self.settings.epochs, "images": len(self._labels)},
            "chosen": leader.name,
            "found": leader.found,
            "sentence": sentence,
            "race": self._race_data(),
        }
        counts = torch.bincount(self._labels)
        if counts.max() > UNEQUAL * counts.min():
            about["note"] = (
                f"Classes have {int(counts.min())} to {int(counts.max())} images, and the error "
                "weighs images: large classes decide which ops help."
            )
        if not leader.found and leader.policies:
            about["space"] = leader.policies[-1].about.get("space", SPACE)
        if self.done >= _FEWEST_TRIALS:
            about["effects"] = self._effects()
        return replace(policy, about=about)

    def _metrics(self) -> dict[str, float]:
        if not self._results:
            return {}
        return {"val_error": self._results[-1].error, "val_accuracy": self._results[-1].accuracy}

    def _race_data(self) -> list[dict[str, Any]]:
        """Return each entrant's expected errors in each round of the race."""
        return [
            {
                "name": entrant.name,
                "found": entrant.found,
                "full": {str(number): round(math.exp(one), 5) for number, one in errors.items()},
            }
            for entrant, errors in self._races().items()
        ]

    def _effects(self) -> dict[str, Any]:
        """Return the effect of every factor by itself, in the form of `reporting.effects`."""
        regression = self.regression()
        alone = self._alone()
        effects, errors = -regression.predict(alone), regression.spread(alone)
        pairs = list(zip(self._jobs, self._results, strict=False))
        designs = [dict(job.entrant.design or ()) for job, _ in pairs if job.entrant.found]
        rows = []
        for place, factor in enumerate(self.factors):
            effect, error = float(effects[place]), float(errors[place])
            rows.append(
                {
                    "op": factor.op,
                    "value": factor.value,
                    "effect": round(percent_fewer(effect), 2),
                    "standard_error": round(100 * math.exp(-effect) * error, 2),
                    "low": round(percent_fewer(effect - INTERVAL * error), 2),
                    "high": round(percent_fewer(effect + INTERVAL * error), 2),
                    "trials": sum(place in design for design in designs),
                }
            )
        settings = {
            "probability": 0.5,
            "noise": regression.noise,
            "train_epochs": self.settings.epochs,
            "images": len(self._labels),
        }
        return {
            "target": "errors",
            "unit": "%",
            "rows": rows,
            "trainings": len(designs),
            "settings": settings,
        }

    def phases(self) -> list[Phase]:
        """Return the cost of each phase, from one epoch of a trial."""
        trials = {phase: self._job(phase, self._bases[0], 0, 0).trial for phase in PHASES}
        costs = {trial: self._cost(trial) for trial in dict.fromkeys(trials.values())}
        return [
            Phase(phase, steps, *costs[trials[phase]], {})
            for phase, steps in self.remaining.items()
        ]

    def _cost(self, trial: Trial) -> tuple[float, int]:
        """Return seconds and bytes of a trial, from its first epoch; workers share the time."""
        epoch = replace(trial, recipe=replace(trial.recipe, epochs=1))
        memory = peak_bytes(lambda: self._laboratory.run(epoch), self)
        start = time.monotonic()
        self._laboratory.run(epoch)
        seconds = (time.monotonic() - start) * trial.recipe.epochs
        return seconds / self._processes, max(0, memory - self._bytes)

    def state_dict(self) -> dict[str, Any]:
        """Return the results of all trials: they decide everything else."""
        return {"results": [asdict(measured) for measured in self._results]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._jobs, self._results, self._latest = [], [], None
        for result in state["results"]:
            self._plan()
            self._results.append(Measured(**result))


def _standard_error(leads: Sequence[float]) -> float:
    return statistics.stdev(leads) / math.sqrt(len(leads))


def _words(best: Entrant, other: Entrant, leads: Sequence[float]) -> str:
    """Say how many fewer errors the best entrant makes than the best of the other kind."""
    lead = paired_difference(leads, [0.0] * len(leads))
    mean, low, high = (percent_fewer(logarithm) for logarithm in lead[:3])
    kind = "the best policy that needs no search" if best.found else "the best policy found"
    shown = "" if lead.low > 0 else ", which may be chance"
    return (
        f"{best.name} makes fewer errors than {kind}, {other.name}{shown}: {mean:.0f} % fewer on "
        f"validation images (95 % interval {low:.0f} to {high:.0f}, {lead.pairs} paired trainings)."
    )


def _one_thread() -> AbstractContextManager[None]:
    """Let sums be rounded as in every other process, whatever else the machine does."""
    return isolated(0, precise=True, threads=1)
