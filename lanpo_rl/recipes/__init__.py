"""Settings for `lanpo train --config FILE`, and for `accelerate launch --config_file FILE`.

``python -m lanpo_rl.recipes`` lists them, with a name it prints where that file lies::

    lanpo train --config "$(python -m lanpo_rl.recipes qwen2.5-0.5b-lora)"
"""

from __future__ import annotations

from pathlib import Path

from lanpo_memory.errors import ConfigError

__all__ = ["recipe", "recipes"]


def recipes() -> dict[str, Path]:
    """Return all recipes by name; those that begin with ``accelerate-`` are for the launcher.

    >>> recipes()["accelerate-fsdp"].name
    'accelerate-fsdp.yaml'
    """
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yaml"))}


def recipe(name: str) -> Path:
    """Return where a recipe lies.

    Raises:
        ConfigError: there is none of that name.
    """
    known = recipes()
    if name not in known:
        raise ConfigError(f"there is no recipe {name!r}; known: {', '.join(known)}")
    return known[name]
