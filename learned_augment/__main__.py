"""``python -m learned_augment``: the command line without an installed script."""

import sys

from learned_augment.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
