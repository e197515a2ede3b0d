"""``python -m lanpo_rl.recipes [NAME]``: list the recipes, or say where one lies."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lanpo_memory.errors import ConfigError
from lanpo_rl.recipes import recipe, recipes


def main(arguments: Sequence[str]) -> int:
    """Write names, or one path, to the standard output; 2 for a name that is unknown."""
    try:
        lines = [str(recipe(name)) for name in arguments] or list(recipes())
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
