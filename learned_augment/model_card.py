"""The model card of a policy: the README next to its file in a repository."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from learned_augment._text import markdown

__all__ = ["model_card", "placement", "provenance"]

_TAGS = ["data-augmentation", "image-classification", "computer-vision", "learned-augment"]

_CARD = """\
---
library_name: learned-augment
tags: {tags}
---

# {name}

A data augmentation policy for images{origin}. It is a table of ops, values and probabilities; it
holds no weights of a network and runs no code.

## Use

```bash
pip install "learned-augment[hub]"
```

```python
from learned_augment import LearnedAugment

augment = LearnedAugment("hf://{repository}/{file}")
augmented = augment(image)  # a PIL image, a uint8 tensor or a float tensor in [0, 1]
```

{placement}

## Ops

Probability of each op in each layer in percent, the mean over sub-policies.

{ops}

## Provenance

{provenance}

The file's metadata hold all of it as JSON, under `about`.
"""

_PLACEMENTS = {
    "replaces": "It replaces the base augmentation (crop, flip and cutout): use it alone.",
    "after": "It comes after the base augmentation (crop and flip), if you use one.",
}


def model_card(
    repository: str, file: str, about: Mapping[str, Any], ops: Mapping[str, Sequence[float]]
) -> str:
    """Return a model card as Markdown; texts of ``about`` are escaped.

    Args:
        repository: OWNER/REPO.
        file: Name of the policy's file there.
        about: The policy's provenance.
        ops: For each op its probability in [0, 1] in each layer.
    """
    name = str(about.get("name", "unnamed"))
    origin = f", found by {about['method']}" if "method" in about else ""
    origin += f" on {about['dataset']}" if "dataset" in about else ""
    stated = [f"* {key}: {_escaped(fact)}" for key, fact in provenance(about).items()]
    return _CARD.format(
        tags=json.dumps(_TAGS),
        name=_escaped(name),
        origin=_escaped(origin),
        repository=repository,
        file=file,
        placement=placement(about),
        ops=_table(ops),
        provenance="\n".join(stated) or "Nothing is stated.",
    )


def placement(about: Mapping[str, Any]) -> str:
    """Return where a policy goes in a training, as a sentence; "" if that is not stated."""
    return _PLACEMENTS.get(str(about.get("placement")), "")


def provenance(about: Mapping[str, Any]) -> dict[str, str]:
    """Return the paper, the source and the license of a policy, as far as they are stated."""
    source = about.get("source")
    parts = [source.get("repository"), source.get("file")] if isinstance(source, dict) else [source]
    where = " ".join(str(part) for part in parts if part)
    license_ = about.get("license", about.get("licence"))  # shipped files have the British key
    stated = {"Paper": about.get("paper"), "Source": where, "License": license_}
    return {name: str(fact) for name, fact in stated.items() if fact}


def _table(ops: Mapping[str, Sequence[float]]) -> str:
    used = sorted((op for op in ops if sum(ops[op]) > 0), key=lambda op: -sum(ops[op]))
    layers = range(len(ops[used[0]]))
    heads = ["op", *(f"layer {layer + 1}" for layer in layers)]
    rows = [[op, *(f"{100 * probability:.1f}" for probability in ops[op])] for op in used]
    return "\n".join(markdown(heads, rows, right=range(1, len(heads))))


def _escaped(text: str) -> str:
    """Return a text in one line in which no character is Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>&|#~$])", r"\\\1", " ".join(text.split()))
