"""Screening as a search method: it runs the planned trials and returns the best policy so far."""

import time
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import nn

from learned_augment.builders import identity, in_sequence
from learned_augment.evaluation.statistics import lucky_accuracy
from learned_augment.policy import Policy
from learned_augment.runtime.distributed import rank, world_size
from learned_augment.runtime.process_pool import Workers, default_workers
from learned_augment.runtime.rng import isolated
from learned_augment.search.cost import Phase
from learned_augment.search.options import Options
from learned_augment.search.peak_memory import peak_bytes
from learned_augment.search.presets import MethodSettings
from learned_augment.search.screening.effects import effects_data
from learned_augment.search.screening.entrants import Entrant, base_entrants, known_entrants
from learned_augment.search.screening.factors import SPACE, choose_factors
from learned_augment.search.screening.options import MOST, ScreeningOptions
from learned_augment.search.screening.planning import Planner
from learned_augment.search.screening.race import best, leader, race_data
from learned_augment.search.screening.record import DESIGNS, PHASES, ScreeningRecord
from learned_augment.search.screening.splits import likeness
from learned_augment.search.screening.trials import Measured, Trial, TrialRunner
from learned_augment.search.split import Split

__all__ = ["Screening"]

UNEQUAL = 5
"""Ratio of the largest to the smallest class above which the policy gets a note."""

FEWEST_TRIALS = 4
"""Trials before which effects are not computed."""

CLOCK_STEP = 0.016
"""Seconds in which the coarsest clocks count: by these a tiny trial takes no time at all."""


class Screening:
    """A screening under way; see `method.SearchMethod`.

    A trial is a small copy of the training that the policy is to serve. It trains on a quarter of
    the images, for as many epochs. Its batches are a quarter as large, so it has as many steps. The
    other images measure it. Fewer epochs would cost as little but favor weak policies: augmentation
    reduces overfitting, which needs many epochs.

    Trials tell first which base augmentation is best: none, crop, or crop and flip. Trials under
    random policies on top of it follow, or of nothing where ops do better without it. A regression
    tells what each op does to the error. Policies of the ops that probably help, which follow the
    same base augmentation or crop and flip, then race against policies that need no search: all of
    them once, and the best of these again on other images.

    The results of the trials alone decide which trial comes next. So processes that share out the
    trials give the same policy as one process. A search that is stopped and resumed gives the same
    policy as well.

    Args:
        split: Images and labels. Trials take other splits of all of them, unless the validation
            images were given separately.
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
        images, labels = split.train_images.cpu(), split.train_labels.cpu()
        validation = split.val_images.cpu(), split.val_labels.cpu()
        if not split.given:
            images = torch.cat([images, validation[0]])
            labels = torch.cat([labels, validation[1]])
        places = torch.arange(len(labels)) if split.order is None else split.order[: len(labels)]
        ordered = options.split == "ordered"
        self._likeness = None if ordered or split.given else likeness(images, labels, places)
        # Labels of the images that measure trials: those that are given, or all.
        self._measuring = validation[1] if split.given else labels
        self.options, self._bytes = options, split.nbytes
        self.factors = choose_factors(settings.ops, settings.exclude, images)
        seed = int(torch.randint(2**31, (), generator=generator))
        self._trial_runner = TrialRunner(
            images,
            labels,
            validation if split.given else None,
            split.classes,
            settings.network,
            split.train_images.device,
            seed,
            places if ordered else None,
        )
        bases = base_entrants(self.factors)
        # Of the policies that need no search, those without an op that the user leaves out.
        known = {
            base: [
                entrant
                for entrant in known_entrants(self.factors, base, min(images.shape[2:]))
                if entrant.allowed(settings.ops, settings.exclude)
            ]
            for base in bases
        }
        self.planner = Planner(options, settings, bases, known, labels, seed)
        # Validation images that are given measure every trial; of all images, at least half do.
        measured = len(self._measuring) * (1.0 if split.given else 1 - MOST)
        self._guess = self._measuring.bincount().max().item() / len(self._measuring)
        self._luck = lucky_accuracy(self._guess, measured)
        self.record = ScreeningRecord(self.factors)
        self._ready: dict[int, Measured] = {}
        self._stream: Iterator[tuple[int, Measured]] | None = None
        self._workers: Workers | None = None
        ops = {factor.op for factor in self.factors}
        self._processes = options.workers or default_workers(
            self._trial_runner.device, settings.network, ops
        )
        self._latest: tuple[int, Policy] | None = None

    @property
    def done(self) -> int:
        """Number of trials that have ended."""
        return len(self.record.results)

    @property
    def steps(self) -> int:
        """Number of trials of the whole search."""
        return self.done + sum(self.remaining.values())

    @property
    def remaining(self) -> dict[str, int]:
        """Trials still to come, by phase; for a phase that is not planned, the most."""
        return self.planner.remaining(self.record)

    def step(self) -> dict[str, float]:
        """Run one trial."""
        self._plan()
        measured = self._measure(self.done)
        self.record.results.append(measured)
        planned = self.record.planned
        if planned[-1].phase == DESIGNS and self.done == len(planned):
            self._check_learning()
        return {"val_error": measured.error, "val_accuracy": measured.accuracy}

    def _plan(self) -> None:
        """Plan the next trials where all that are planned have ended."""
        if self.done == len(self.record.planned):
            self._check_enough()
            with _one_thread():
                self.record.planned += self.planner.next_trials(self.record)

    def _measure(self, place: int) -> Measured:
        if place not in self._ready and world_size() > 1:
            self._share_out(place)
        elif place not in self._ready and self._processes > 1:
            self._wait_for(place)
        if place in self._ready:
            return self._ready.pop(place)
        return self._trial_runner.run(self.record.planned[place].trial)

    def _wait_for(self, place: int) -> None:
        """Let the workers run the planned trials that are left, until this one has ended."""
        planned = self.record.planned
        if self._workers is None:
            self._workers = Workers(self._trial_runner.run, self._processes)
            weakref.finalize(self, self._workers.close)
        if self._stream is None:
            rest = [(one.trial,) for one in planned[place:]]
            workers = self._workers
            self._stream = ((place + offset, found) for offset, found in workers.run(rest))
        for at, measured in self._stream:
            self._ready[at] = measured
            if place in self._ready and self.done + len(self._ready) < len(planned):
                return
        self._stream = None

    def _share_out(self, place: int) -> None:
        """Run the next planned trials, one in each process, and exchange the measurements.

        No process runs a second trial ahead, since a search that is stopped loses them.
        """
        at, planned = place + rank(), self.record.planned
        mine = {at: self._trial_runner.run(planned[at].trial)} if at < len(planned) else {}
        everyone: list[dict[int, Measured]] = [{} for _ in range(world_size())]
        dist.all_gather_object(everyone, mine)
        for theirs in everyone:
            self._ready |= theirs

    def _check_enough(self) -> None:
        """Check before the first trial that the images can show whether a network learns.

        Raises:
            ValueError: If guesses may be right for all of them by luck.
        """
        if self._luck >= 1:
            raise ValueError(
                f"Too few images for a screening: {self._guess:.0%} of the validation images are "
                "of one class, so guesses may be right for all of them by luck. Add images, above "
                "all of the other classes, or take a policy that needs no search, such as "
                "randaugment."
            )

    def _check_learning(self) -> None:
        """Check that some trial does better than to guess the largest class.

        Raises:
            ValueError: If none does.
        """
        best = max(measured.accuracy for measured in self.record.results)
        if best <= self._luck:
            raise ValueError(
                f"The network does not learn: the best trial has an accuracy of {best:.1%} on "
                f"validation images. Guessing the largest class gives {self._guess:.1%}, with luck "
                f"{self._luck:.1%}. Give more epochs or images, another learning rate, or another "
                "network."
            )

    def policy(self) -> Policy:
        """Return the best policy so far: the leader of the race, or before it a known policy."""
        if self._latest is None or self._latest[0] != self.done:
            with _one_thread():
                self._latest = self.done, self._best_policy()
        return self._latest[1]

    def _best_policy(self) -> Policy:
        chosen, sentence = leader(self.record) or self._before_the_race()
        policy = in_sequence(chosen.policies) if chosen.policies else identity()
        labels, epochs = self.planner.labels, self.planner.settings.epochs
        about: dict[str, Any] = {
            "method": "Screening",
            "placement": "replaces",
            "space": SPACE,
            "options": self.options.decisive(),
            "ops": list(dict.fromkeys(factor.op for factor in self.factors)),
            "steps": self.done,
            "metrics": self._metrics(),
            "parameters": {"train_epochs": epochs, "images": len(labels)},
            "chosen": chosen.name,
            "found": chosen.found,
            "sentence": sentence,
            "race": race_data(self.record),
        }
        if notes := list(self._notes()):
            about["notes"] = notes
        if not chosen.found and chosen.policies:
            about["space"] = chosen.policies[-1].about.get("space", SPACE)
        if self.done >= FEWEST_TRIALS:
            about["effects"] = effects_data(self.record, epochs, len(labels))
        return replace(policy, about=about)

    def _notes(self) -> Iterator[str]:
        """Yield what the user should know about the images, in sentences."""
        counts = torch.bincount(self._measuring)
        if counts.max() > UNEQUAL * counts.min():
            yield (
                f"Classes have {int(counts.min())} to {int(counts.max())} images, and the error "
                "weighs images: large classes decide which ops help."
            )
        if self._likeness is not None:
            yield (
                f"Images in a row look alike: their distance is {self._likeness:.0%} of that of "
                "other images of their class. They may come from one person or place. If the "
                "policy is to serve other persons or places, search with "
                'options={"split": "ordered"} (--option split=ordered), or give validation images '
                "of others (val, --val)."
            )

    def _before_the_race(self) -> tuple[Entrant, str]:
        """Return the best known policy so far, and a sentence."""
        known = best(self.record, (one for one in self.record.races() if not one.found), 1)
        if not known:
            nothing = self.planner.bases[0]
            return nothing, "The search ended before it knew anything: the policy does nothing."
        sentence = (
            f"The result is '{known[0].name}', which needs no search. The search ended before it "
            "could compare a policy that it found."
        )
        return known[0], sentence

    def _metrics(self) -> dict[str, float]:
        if not self.record.results:
            return {}
        latest = self.record.results[-1]
        return {"val_error": latest.error, "val_accuracy": latest.accuracy}

    def phases(self) -> list[Phase]:
        """Return the cost of each phase, from two short trials."""
        self._check_enough()
        # The trials of all phases train on as many images, for as many epochs.
        trial = self.planner.plan(PHASES[0], self.planner.bases[-1], 0, 0).trial
        seconds, memory = self._cost(trial)
        return [Phase(phase, steps, seconds, memory, {}) for phase, steps in self.remaining.items()]

    def _cost(self, trial: Trial) -> tuple[float, int]:
        """Return seconds and bytes of a trial, from a trial of one epoch and one of more epochs.

        Workers divide the time. Each has its own images and network, besides those of this process.
        """
        memory = peak_bytes(lambda: self._seconds(trial, 1), self)
        first = self._seconds(trial, 1)
        # A trial is validated once, so a further epoch costs less than the first. Of a short trial
        # one more epoch takes too little time to be measured.
        more = max(1, round(1 / max(first, CLOCK_STEP)))
        epoch = max(0.0, self._seconds(trial, 1 + more) - first) / more
        seconds = first + (trial.recipe.epochs - 1) * epoch
        beyond = memory * self._processes if self._processes > 1 else memory - self._bytes
        return seconds / self._processes, max(0, beyond)

    def _seconds(self, trial: Trial, epochs: int) -> float:
        """Return how long a trial with so many epochs takes.

        On a CPU it has one thread, whose own time does not depend on what else the machine does.
        """
        clock = time.thread_time if self._trial_runner.device.type == "cpu" else time.monotonic
        start = clock()
        self._trial_runner.run(replace(trial, recipe=replace(trial.recipe, epochs=epochs)))
        return clock() - start

    def state_dict(self) -> dict[str, Any]:
        """Return the results of all trials: they decide everything else."""
        return {"results": [asdict(measured) for measured in self.record.results]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.record, self._latest = ScreeningRecord(self.factors), None
        for result in state["results"]:
            self._plan()
            self.record.results.append(Measured(**result))


def _one_thread() -> AbstractContextManager[None]:
    """Compute with one thread, so that sums are rounded as in every other process."""
    return isolated(0, precise=True, threads=1)
