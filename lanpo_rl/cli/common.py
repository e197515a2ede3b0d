"""What the commands share: consoles, progress bars, and a look at what is installed."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from lanpo_memory.errors import ConfigError, MissingExtraError

__all__ = [
    "console_of",
    "ignore_future_warnings",
    "make_folder",
    "needs_rl",
    "program",
    "progress_bar",
    "quieten",
]


def console_of() -> Console:
    """A console that prints text as it is."""
    return Console(highlight=False, markup=False, emoji=False)


def needs_rl(*more: str) -> None:
    """Fail early and helpfully where a package is not installed; keep TRL's loading quiet."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for package in ("torch", "transformers", "trl", "datasets", *more):
        try:
            __import__(package)
        except ImportError as error:
            if error.name != package:
                raise
            raise MissingExtraError(package, "rl") from error


def program() -> str:
    """How to call this program again: by name if it is on the path, else by where it lies."""
    return "lanpo" if shutil.which("lanpo") else sys.argv[0]


def quieten() -> None:
    """Keep the progress bars and warnings of other libraries out of ours."""
    import datasets
    import transformers

    ignore_future_warnings()
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()


def ignore_future_warnings() -> None:
    """Libraries warn about their own future; that is not the reader's business here."""
    import warnings

    warnings.filterwarnings("ignore", category=FutureWarning)


def progress_bar(console: Console) -> Progress:
    """A bar with what is done, how much of it, and for how long."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it.

    Raises:
        ConfigError: that cannot be done.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {folder}: {error.strerror}") from error
