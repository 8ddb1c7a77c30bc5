"""Print the oldest versions that pyproject.toml allows of what runs, as arguments of pip."""

import tomllib
from pathlib import Path


def lower_bounds() -> list[str]:
    """Return a requirement for each dependency: a release of its lower bound."""
    project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())
    named = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["fast"],
    ]
    pairs = [requirement.split(">=") for requirement in named]
    return [f"{name}=={version}.*" for name, version in pairs]


if __name__ == "__main__":
    print(*lower_bounds())
