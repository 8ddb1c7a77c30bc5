"""A screening under way: which trial is next, and what all of them say so far."""

import math
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import nn

from learned_augment.builders import identity, in_sequence
from learned_augment.evaluation.statistics import paired_difference
from learned_augment.policy import Policy
from learned_augment.runtime.distributed import rank, world_size
from learned_augment.runtime.process_pool import Workers
from learned_augment.search.cost import Phase
from learned_augment.search.options import Options
from learned_augment.search.peak_memory import peak_bytes
from learned_augment.search.presets import MethodSettings
from learned_augment.search.screening.designs import (
    Design,
    best_design,
    design_policy,
    random_designs,
    variables,
)
from learned_augment.search.screening.effects import Regression, fit_effects
from learned_augment.search.screening.entrants import (
    Entrant,
    base_designs,
    found_entrant,
    found_entrants,
    known_families,
    predicted_best,
)
from learned_augment.search.screening.factors import SPACE, choose_factors
from learned_augment.search.screening.options import ScreeningOptions
from learned_augment.search.screening.trials import Laboratory, Measured, Trial, training_part
from learned_augment.search.split import Split
from learned_augment.training import Recipe

__all__ = ["Screening"]

SPLITS = 2
"""Splits that short trainings alternate between."""

FULL_FRACTION = 0.75
"""Of the images, that trainings in full train on."""

AT_ONCE = 8
"""Refinements that are chosen together, so that several processes can share them out."""

KEPT = 2
"""Found policies that stay after the first round of the race."""

INTERVAL = 1.96

PHASES = ("designs", "refinements", "known policies", "first round", "second round", "finals")


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

    Short trainings under designed policies are measured by images they have not seen; a regression
    tells what each op does to the loss. A short training has fewer images and fewer epochs, by the
    same factor: fewer epochs alone would favor weak policies, fewer images alone strong ones. The
    best policies by the regression then race, in trainings in full, against the best of those that
    need no search; the race's trainings join the regression, which names one more policy.

    Nothing but the results of the trials decides what comes next, so processes that share out
    trials, and a search that is cut and resumed, give the same policy.
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
        # Every trial builds a network of its own, and splits all images anew.
        images = torch.cat([split.train_images, split.val_images]).cpu()
        self._labels = torch.cat([split.train_labels, split.val_labels]).cpu()
        self.options, self.settings, self._bytes = options, settings, split.nbytes
        self.factors = choose_factors(settings.ops, settings.exclude, split.train_images)
        seed = generator.initial_seed()
        drawn = torch.randint(2**31, (), generator=torch.Generator().manual_seed(seed))
        self._seed = int(drawn)
        device = split.train_images.device
        self._laboratory = Laboratory(
            images, self._labels, split.classes, settings.model, device, self._seed
        )
        self._bases = base_designs(self.factors)
        self._families = known_families(images.shape[-1])
        self._jobs: list[_Job] = []
        self._results: list[Measured] = []
        self._ready: dict[int, Measured] = {}
        self._stream: Iterator[tuple[int, Measured]] | None = None
        self._workers: Workers | None = None

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
        counts = {
            "designs": self.options.designs,
            "refinements": self.options.refinements,
            "known policies": sum(map(len, self._families)),
            "first round": min(2, len(self._bases)) + len(self._families) + 3,
            "second round": KEPT + 2,
            "finals": 2 * self.options.finals,
        }
        for phase, entrants in self._by_phase().items():
            if phase not in ("refinements", "finals"):
                counts[phase] = len(entrants)
        for job in self._jobs[: self.done]:
            counts[job.phase] -= 1
        return counts

    def step(self) -> dict[str, float]:
        """Run one trial."""
        if self.done == len(self._jobs):
            self._jobs += self._next_jobs()
        measured = self._measure(self.done)
        self._results.append(measured)
        if self._jobs[-1].phase == "designs" and self.done == len(self._jobs):
            self._check_learning()
        return {"log_loss": measured.log_loss, "val_accuracy": measured.accuracy}

    def _by_phase(self) -> dict[str, list[Entrant]]:
        entrants: dict[str, list[Entrant]] = {}
        for job in self._jobs:
            entrants.setdefault(job.phase, []).append(job.entrant)
        return entrants

    # Which trials come next

    def _next_jobs(self) -> list[_Job]:
        options, planned = self.options, self._by_phase()
        if "designs" not in planned:
            drawn = random_designs(
                self.factors, options.designs, options.inclusion, self._generator()
            )
            return self._short_jobs("designs", drawn)
        missing = options.refinements - len(planned.get("refinements", []))
        if missing > 0:
            regression, generator = self.regression(), self._generator()
            drawn = [
                best_design(self.factors, regression.draw(generator))
                for _ in range(min(AT_ONCE, missing))
            ]
            return self._short_jobs("refinements", drawn)
        if "known policies" not in planned:
            known = [entrant for family in self._families for entrant in family]
            return [self._short_job("known policies", entrant, 0, self._seed) for entrant in known]
        if "first round" not in planned:
            return self._round("first round", self._first_round(), 0)
        if "second round" not in planned:
            return self._round("second round", self._second_round(), 1)
        number = len(planned.get("finals", [])) // 2
        return self._round("finals", self._finalists(), 2 + number)

    def _first_round(self) -> list[Entrant]:
        """Return none, the best base augmentation, the best of each family, and those found."""
        regression, losses = self.regression(), self._losses("known policies")
        bases = self._bases[:1]
        if self._bases[1:]:
            bases = [*bases, predicted_best(self.factors, regression, self._bases[1:])]
        known = [min(family, key=lambda one: losses[one]) for family in self._families]
        return [*bases, *known, *found_entrants(self.factors, regression)]

    def _second_round(self) -> list[Entrant]:
        """Return the best that needs no search, the best found, and one that is found now."""
        losses = self._losses("first round")
        ranked = sorted(losses, key=lambda one: losses[one])
        kept = [entrant for entrant in ranked if entrant.found][:KEPT]
        new = found_entrant(self.factors, self.regression(), ranked, self._generator())
        return [self._rival(), *kept, *new]

    def _rival(self) -> Entrant:
        """Return the best policy of the first round that needs no search."""
        losses = self._losses("first round")
        return min((one for one in losses if not one.found), key=lambda one: losses[one])

    def _finalists(self) -> list[Entrant]:
        scores = self._scores()
        found = [entrant for entrant in self._losses("second round") if entrant.found]
        return [self._rival(), *sorted(found, key=lambda one: scores[one])[:1]]

    def _short_jobs(self, phase: str, designs: Sequence[Design]) -> list[_Job]:
        jobs = []
        for place, design in enumerate(designs, len(self._jobs)):
            policies = (design_policy(self.factors, design),)
            entrant = Entrant(f"design {place}", policies, True, design)
            jobs.append(self._short_job(phase, entrant, place % SPLITS, self._seed + place))
        return jobs

    def _short_job(self, phase: str, entrant: Entrant, split: int, seed: int) -> _Job:
        part = self.options.fraction**0.5
        return _Job(phase, self._trial(entrant, part, part, split, seed), entrant)

    def _round(self, phase: str, entrants: Sequence[Entrant], number: int) -> list[_Job]:
        """Return trainings in full, paired by seed and images."""
        seed = self._seed + number
        return [
            _Job(phase, self._trial(entrant, FULL_FRACTION, 1.0, number, seed), entrant)
            for entrant in entrants
        ]

    def _trial(
        self, entrant: Entrant, images: float, epochs: float, split: int, seed: int
    ) -> Trial:
        """Return a training on a fraction of the images.

        Args:
            entrant: whose policies.
            images: fraction of the images to train on.
            epochs: fraction of the epochs; 1 stands for as many steps as on all images.
            split: which images.
            seed: of the training.
        """
        inside = int(training_part(self._labels, images, split, self._seed).sum())
        whole, size = len(self._labels), self.settings.batch_size
        steps = self.settings.epochs * (whole // min(size, whole))
        if epochs < 1:
            steps = round(steps * images * epochs)
        batch = min(size, inside)
        recipe = Recipe(
            epochs=max(1, round(steps / (inside // batch))),
            batch_size=batch,
            learning_rate=self.settings.learning_rate,
            weight_decay=self.settings.weight_decay,
            channels_last=True,
        )
        return Trial(entrant.policies, images, split, seed, recipe)

    def _generator(self) -> torch.Generator:
        """Return the generator of all that is drawn when so many trials are planned."""
        return torch.Generator().manual_seed(self._seed + (len(self._jobs) << 32))

    # Running trials

    def _measure(self, place: int) -> Measured:
        if place not in self._ready and world_size() > 1:
            self._share_out(place)
        elif place not in self._ready and self.options.workers > 1:
            self._wait_for(place)
        if place in self._ready:
            return self._ready.pop(place)
        return self._laboratory.run(self._jobs[place].trial)

    def _wait_for(self, place: int) -> None:
        """Let the workers do the rest of the planned trials, until one of them is measured."""
        if self._workers is None:
            self._workers = Workers(self._laboratory.run, self.options.workers)
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
        """Do every n-th planned trial in each of n processes, and tell the others."""
        mine = {
            at: self._laboratory.run(self._jobs[at].trial)
            for at in range(place + rank(), len(self._jobs), world_size())
        }
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
                f"The network does not learn: in short trainings it names {best:.1%} of the "
                f"validation images rightly at best, and the largest class has {chance:.1%}. Give "
                "more epochs or images, another learning rate, or another model."
            )

    # What the trials say

    def regression(self) -> Regression:
        """Return the fit to all trials so far whose policy is a design."""
        found = [
            (job.entrant.design, job.trial, measured.log_loss)
            for job, measured in zip(self._jobs, self._results, strict=False)
            if job.entrant.design is not None
        ]
        designs, trials, losses = zip(*found, strict=True)
        full = [trial.fraction == FULL_FRACTION for trial in trials]
        groups = [trial.split + SPLITS * long for trial, long in zip(trials, full, strict=True)]
        return fit_effects(
            variables(self.factors, designs, full),
            torch.tensor(groups),
            torch.tensor(losses, dtype=torch.float64),
        )

    def _losses(self, phase: str) -> dict[Entrant, float]:
        """Return the log losses of a phase in which every entrant trains once."""
        pairs = zip(self._jobs, self._results, strict=False)
        return {job.entrant: found.log_loss for job, found in pairs if job.phase == phase}

    def _races(self) -> dict[Entrant, dict[int, float]]:
        """Return each entrant's log losses in the rounds of the race, by number."""
        races: dict[Entrant, dict[int, float]] = {}
        for job, measured in zip(self._jobs, self._results, strict=False):
            if job.phase in PHASES[3:]:
                races.setdefault(job.entrant, {})[job.trial.split] = measured.log_loss
        return races

    def _scores(self) -> dict[Entrant, float]:
        """Return by how much each entrant's log loss exceeds the rival's, mean over its rounds."""
        races, rival = self._races(), self._races()[self._rival()]
        scores = {}
        for entrant, losses in races.items():
            common = losses.keys() & rival.keys()
            if common:
                scores[entrant] = sum(losses[n] - rival[n] for n in common) / len(common)
        return scores

    def _leader(self) -> tuple[Entrant, str]:
        """Return who leads, and what is known of that, in a sentence."""
        planned = self._by_phase()
        if "second round" in planned:
            scores, races = self._scores(), self._races()
            longest = max(len(losses) for losses in races.values())
            last = [one for one, losses in races.items() if len(losses) >= longest - 1]
            found = [one for one in last if one.found]
            leader = min([self._rival(), *found[-1:]], key=lambda one: scores[one])
            if "finals" in planned:
                candidates = [one for one in planned["finals"][:2] if one in scores]
                leader = min(candidates, key=lambda one: scores[one])
            return leader, self._words(leader)
        if self.done > min(4, self.options.designs - 1):
            design = best_design(self.factors, self.regression().mean)
            policies = (design_policy(self.factors, design),) if design else ()
            predicted = Entrant("predicted", policies, bool(design), design)
            return predicted, "This policy is predicted by short trainings; no race has tested it."
        return self._bases[0], "The search ended before it knew anything; the policy does nothing."

    def _words(self, leader: Entrant) -> str:
        races, rival = self._races(), self._rival()
        other = rival
        if leader == rival:
            finalists = self._by_phase().get("finals", [])
            other = next((one for one in finalists if one.found), leader)
        rounds = sorted(races[leader].keys() & races[other].keys())
        if len(rounds) < 2 or other == leader:
            return f"{leader.name} leads the race, which is not over."
        difference = paired_difference(
            [races[other][n] for n in rounds], [races[leader][n] for n in rounds]
        )
        kind = "the best policy that needs no search" if leader.found else "the best one found"
        shown = "" if difference.low > 0 else ", which is not shown to be more than chance"
        return (
            f"{leader.name} has less loss than {kind}, {other.name}{shown}: log loss of validation "
            f"images lower by {difference.mean:.2f} (95 % interval {difference.low:.2f} to "
            f"{difference.high:.2f}, {difference.pairs} paired trainings)."
        )

    def policy(self) -> Policy:
        """Return the best policy so far: the leader of the race, or before it the predicted one."""
        leader, sentence = self._leader()
        policy = in_sequence(leader.policies) if leader.policies else identity()
        about: dict[str, Any] = {
            "method": "Screening",
            "placement": "replaces",
            "space": SPACE,
            "options": asdict(replace(self.options, workers=1)),
            "ops": list(dict.fromkeys(factor.op for factor in self.factors)),
            "steps": self.done,
            "metrics": self._metrics(),
            "parameters": {"train_epochs": self.settings.epochs, "images": len(self._labels)},
            "chosen": leader.name,
            "found": leader.found,
            "sentence": sentence,
            "race": self._race_data(),
        }
        if not leader.found and leader.policies:
            about["space"] = leader.policies[-1].about.get("space", SPACE)
        if self.done > min(4, self.options.designs - 1):
            about["effects"] = self._effects()
        return replace(policy, about=about)

    def _metrics(self) -> dict[str, float]:
        if not self._results:
            return {}
        return {"log_loss": self._results[-1].log_loss, "val_accuracy": self._results[-1].accuracy}

    def _race_data(self) -> list[dict[str, Any]]:
        """Return each entrant's log losses: short, where there is one, and in full by round."""
        short, races = self._losses("known policies"), self._races()
        return [
            {
                "name": entrant.name,
                "found": entrant.found,
                "short": round(short[entrant], 4) if entrant in short else None,
                "full": {str(n): round(loss, 4) for n, loss in races.get(entrant, {}).items()},
            }
            for entrant in dict.fromkeys([*short, *races])
        ]

    def _effects(self) -> dict[str, Any]:
        """Return the effect of every factor by itself, in the form of `reporting.effects`."""
        regression = self.regression()
        alone = variables(self.factors, [((place, 0.5),) for place in range(len(self.factors))])
        effects, errors = -regression.predict(alone), regression.spread(alone)
        pairs = list(zip(self._jobs, self._results, strict=False))
        designs = [dict(job.entrant.design) for job, _ in pairs if job.entrant.design is not None]
        rows = []
        for place, factor in enumerate(self.factors):
            effect, error = float(effects[place]), float(errors[place])
            rows.append(
                {
                    "op": factor.op,
                    "value": factor.value,
                    "effect": round(effect, 4),
                    "standard_error": round(error, 4),
                    "low": round(effect - INTERVAL * error, 4),
                    "high": round(effect + INTERVAL * error, 4),
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
            "target": "log loss",
            "unit": "nats",
            "rows": rows,
            "trainings": len(designs),
            "settings": settings,
        }

    def phases(self) -> list[Phase]:
        """Return the cost of short trainings and of those in full; takes two short ones."""
        counts = self.remaining
        short = sum(counts[phase] for phase in PHASES[:3])
        start = time.perf_counter()
        self.step()
        seconds = time.perf_counter() - start
        memory = max(0, peak_bytes(self.step, self) - self._bytes)
        return [
            Phase("short trainings", short, seconds, memory, {}),
            Phase(
                "trainings in full",
                sum(counts.values()) - short,
                seconds / self.options.fraction,
                memory,
                {},
            ),
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return the results of all trials: they decide everything else."""
        return {"results": [asdict(measured) for measured in self._results]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self._jobs, self._results = [], []
        for result in state["results"]:
            if len(self._jobs) == len(self._results):
                self._jobs += self._next_jobs()
            self._results.append(Measured(**result))
