"""What became of a job, what is told on the way, and the file that a finished one leaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.snapshots import write_whole
from lanpo_rl.study.jobs import Job

__all__ = [
    "RESULT_NAME",
    "STOPPED",
    "Event",
    "OnEvent",
    "Outcome",
    "folder_of",
    "found_result",
    "write_result",
]

RESULT_NAME = "result.json"
STOPPED = "stopped before it was finished"
"""The reason of jobs that Ctrl-C left undone."""

Status = Literal["finished", "crashed", "not_run"]
EventKind = Literal["found", "begun", "told", "ended"]


@dataclass(frozen=True)
class Outcome:
    """What became of one job.

    Attributes:
        key: of the job.
        label: of the job.
        status: whether there is a result; without one, whether it was tried.
        seconds: from the start of its process to its result; 0 without one.
        reason: why there is none, in one line.
        trace: the traceback of a crash, or the last lines of its log and the reason.
        folder: where its files are.

    >>> Outcome("pilot/grpo/0", "GRPO, seed 0", "not_run", reason=STOPPED).reason
    'stopped before it was finished'
    """

    key: str
    label: str
    status: Status
    seconds: float = 0.0
    reason: str = ""
    trace: str = ""
    folder: Path = Path()

    @property
    def result(self) -> dict[str, Any]:
        """What the work returned, read from its file each time.

        Raises:
            InvalidInputError: it has none, or it is no longer there.
        """
        content = _content(self.folder / RESULT_NAME) if self.status == "finished" else None
        if content is None:
            why = self.reason or f"{self.folder / RESULT_NAME} is not there any more: run it again"
            raise InvalidInputError(f"{self.key} has no result: {why}")
        result: dict[str, Any] = content["result"]
        return result


@dataclass(frozen=True)
class Event:
    """Something happened to a job.

    Attributes:
        kind: ``found`` finished by an earlier call, ``begun``, ``told`` by the work, ``ended``.
        job: which.
        share: done, 0 to 1.
        text: what is going on.
        outcome: of a job that was found or has ended.
    """

    kind: EventKind
    job: Job
    share: float = 0.0
    text: str = ""
    outcome: Outcome | None = None


OnEvent = Callable[[Event], None]


def folder_of(root: Path, key: str) -> Path:
    """The folder of a job's files."""
    return root / "runs" / key


def write_result(
    folder: Path, *, key: str, fingerprint: str, seconds: float, result: Mapping[str, Any]
) -> None:
    """Write the file that makes a job finished; it appears whole or not at all.

    Raises:
        PoolWriteError: the disk refused.
    """
    content = {
        "key": key,
        "fingerprint": fingerprint,
        "seconds": seconds,
        "result": dict(result),
    }
    write_whole(folder / RESULT_NAME, json.dumps(content) + "\n")


def found_result(root: Path, job: Job) -> Outcome | None:
    """What a finished job with this fingerprint left; `None` if there is none."""
    folder = folder_of(root, job.key)
    content = _content(folder / RESULT_NAME)
    if content is None or content["fingerprint"] != job.fingerprint:
        return None
    return Outcome(job.key, job.label, "finished", seconds=content["seconds"], folder=folder)


def _content(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or {"fingerprint", "seconds", "result"} - content.keys():
        return None
    return content
