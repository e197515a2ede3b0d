"""What of the memory travels in a checkpoint, and which checkpoints a run can go on from."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from lanpo_memory.errors import ConfigError, LanpoError, PoolWriteError
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.protocols import ExperienceAdapter
from lanpo_memory.rewinding import set_aside
from lanpo_memory.snapshots import write_whole

__all__ = ["TRAINER_STATE", "last_complete", "load_state", "restore_memory", "save_state"]

_FOLDER = "lanpo"
_STATE = "trainer.json"
TRAINER_STATE = "trainer_state.json"
"""What transformers writes last of a checkpoint."""
_NAME = re.compile(r"checkpoint-(\d+)")


def save_state(checkpoint: Path, memory: ExperienceAdapter, state: dict[str, Any]) -> None:
    """Write memory and state into a checkpoint, the state last: with it the memory is whole.

    Raises:
        PoolWriteError: the disk refused. What was there before is as it was.
    """
    folder, beside = checkpoint / _FOLDER, checkpoint / f".{_FOLDER}-new"
    try:
        shutil.rmtree(beside, ignore_errors=True)
        memory.save(beside)
        write_whole(beside / _STATE, json.dumps(state))
        # What may lie there of an earlier run is no whole checkpoint from here on.
        (checkpoint / TRAINER_STATE).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        beside.replace(folder)
    except (LanpoError, OSError) as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise PoolWriteError(
            f"no checkpoint at step {state['step']}: {error}. Nothing is lost: the pool holds all "
            "that was learned, and earlier checkpoints are as they were. Make room and resume"
        ) from error


def load_state(checkpoint: Path) -> dict[str, Any]:
    """Return the state that `save_state` wrote.

    Raises:
        ConfigError: there is none, or no run can go on from it.
    """
    path = checkpoint / _FOLDER / _STATE
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{checkpoint} holds no memory: LanpoTrainer did not save it, or was stopped while it "
            "did; resume from an earlier checkpoint, a folder checkpoint-N"
        ) from error
    if not state.get("aligned", True):
        raise ConfigError(
            f"{checkpoint} was saved between two generations, as the last of its run: its rollouts "
            "are gone. Resume from an earlier checkpoint"
        )
    return dict(state)


def restore_memory(
    checkpoint: Path, memory: ExperienceAdapter, *, step: int, output_dir: Path
) -> Path | None:
    """Rewind the memory to a checkpoint; return the file with what was written after it, if any.

    Only the memory's own namespace is touched.

    Raises:
        ConfigError: it is another run's memory.
        PoolFormatError: what was saved is damaged.
    """
    folder, target = checkpoint / _FOLDER, _unused(output_dir, f"rewound-{step}")
    pool = getattr(memory, "pool", None)
    aside = 0
    if isinstance(pool, ExperiencePool) and (folder / "pool.jsonl").is_file():
        output_dir.mkdir(parents=True, exist_ok=True)
        aside = set_aside(pool, folder / "pool.jsonl", target)
    try:
        memory.load(folder)
    except BaseException:
        target.unlink(missing_ok=True)  # nothing was rewound
        raise
    return target if aside else None


def _unused(folder: Path, name: str) -> Path:
    """A file that is not there yet: what an earlier resume put aside stays."""
    path, number = folder / f"{name}.jsonl", 2
    while path.exists():
        path, number = folder / f"{name}-{number}.jsonl", number + 1
    return path


def _can_be_resumed(checkpoint: Path) -> bool:
    try:
        load_state(checkpoint)
    except ConfigError:
        return False
    return True


def last_complete(output_dir: Path) -> Path:
    """Return the newest checkpoint that was written to its end.

    A run that was killed while it saved leaves half a checkpoint, which is passed over; so is one
    between two generations.

    Raises:
        ConfigError: there is none.
    """
    found = {
        ((path / _FOLDER / _STATE).stat().st_mtime_ns, int(match[1])): path
        for path in (output_dir.iterdir() if output_dir.is_dir() else ())
        if (match := _NAME.fullmatch(path.name))
        and (path / TRAINER_STATE).is_file()
        and _can_be_resumed(path)
    }
    if not found:
        raise ConfigError(
            f"there is no whole checkpoint in {output_dir} to resume from; start anew"
        )
    return found[max(found)]
