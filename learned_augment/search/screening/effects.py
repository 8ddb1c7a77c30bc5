"""The effects of ops that a screening has measured, in the form of `reporting.effects`."""

import math
from typing import Any

from learned_augment.evaluation.statistics import percent_fewer
from learned_augment.search.screening.designs import USUAL
from learned_augment.search.screening.record import ScreeningRecord

__all__ = ["effects_data"]

INTERVAL = 1.96
"""Standard errors on either side of an effect that hold it with a probability of 95 %."""


def effects_data(record: ScreeningRecord, epochs: int, images: int) -> dict[str, Any]:
    """Return by how many percent each factor reduces errors, as JSON.

    Args:
        record: Trials so far.
        epochs: Epochs of the training that the policy is to serve.
        images: Number of its images.
    """
    regression, alone = record.regression(), record.alone()
    effects, errors = -regression.predict(alone), regression.spread(alone)
    designs = [dict(design) for design, _, _ in record.designed()]
    rows = []
    for place, factor in enumerate(record.factors):
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
        "probability": USUAL,
        "noise": regression.noise,
        "train_epochs": epochs,
        "images": images,
    }
    return {
        "target": "errors",
        "unit": "%",
        "rows": rows,
        "trainings": len(designs),
        "settings": settings,
    }
