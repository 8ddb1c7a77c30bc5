"""Answer what only a process can that has loaded nothing yet: one for all tests, as it is slow.

A module to run; its argument is the folder to fill. No network can be reached from the start on.
"""

import json
import sys
from pathlib import Path

HEAVY = ("matplotlib", "tensorboard", "sklearn", "numba", "learned_augment.cli")
BLOCKED = (
    *("socket.connect", "socket.getaddrinfo", "socket.gethostby", "socket.send", "socket.bind"),
    *("urllib.", "http.client."),
)
seen = []


def guard(event, args):
    if event.startswith(BLOCKED):
        seen.append(event)
        raise PermissionError(f"no network here: {event}")


def check_guard():
    import socket

    try:
        socket.create_connection(("127.0.0.1", 9), timeout=1)
    except PermissionError:
        seen.clear()
    else:
        sys.exit("the guard let a connection pass")


def imports():
    """Import the package and draw with it; return what is loaded and changed by that."""
    import learned_augment

    answers = {"loaded by the package": [name for name in HEAVY if name in sys.modules]}
    from learned_augment.reporting import plots

    answers["matplotlib loaded by plots"] = "matplotlib" in sys.modules
    import matplotlib

    before = [matplotlib.rcParams[name] for name in plots._STYLE]
    plots.policy_figure(learned_augment.Policy.load("dada-cifar10"))
    answers["pyplot loaded by a figure"] = "matplotlib.pyplot" in sys.modules
    answers["style kept"] = [matplotlib.rcParams[name] for name in plots._STYLE] == before
    return answers


def work(folder):
    """Augment with each policy; search and compare, and save what is found."""
    import numpy as np
    import torch
    from PIL import Image

    import learned_augment
    from tests.test_isolation import WORK

    level = torch.randint(256, (4, 3, 16, 16), dtype=torch.uint8)
    for name in learned_augment.list_policies():
        augment = learned_augment.LearnedAugment(name)
        augment(Image.fromarray(np.zeros((16, 16, 3), np.uint8)))
        augment(level)
        augment(level / 255)
    for name, run in WORK.items():
        found = run()
        if name == "compare":
            (folder / "compare.json").write_text(found.to_json())
        else:
            found.save(folder / f"{name}.safetensors")


if __name__ == "__main__":
    sys.addaudithook(guard)
    check_guard()
    folder = Path(sys.argv[1])
    (folder / "imports.json").write_text(json.dumps(imports()))
    work(folder)
    assert not seen, seen
