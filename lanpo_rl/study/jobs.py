"""What a study consists of for whoever runs it: pieces of work with names, some needing others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Job", "Tell", "Work"]

Tell = Callable[[float, str], None]
"""Called by work in progress: share done (0 to 1), and what is going on."""


class Work(Protocol):
    """A function that can be pickled: it runs in a process of its own."""

    def __call__(self, folder: Path, tell: Tell) -> Mapping[str, Any]:
        """Do it, and return the result as plain data. Files may be left in `folder`.

        A job's folder is ``ROOT/runs/KEY``: what other jobs left is found from there.
        """


@dataclass(frozen=True)
class Job:
    """One piece of work.

    Attributes:
        key: its name in the study and its folder: letters, digits, ``-``, ``_``, ``.`` and ``/``.
        label: its name for people.
        work: what is to be done, in a process of its own.
        fingerprint: changes with what is to be done: a result of another fingerprint is done anew.
        needs: keys of the jobs that have to be finished first.
        result: whether the report wants its result; making a policy is a job without one.
        imports: modules that its process may find imported; a job that names any sees no GPU.
    """

    key: str
    label: str
    work: Work = field(compare=False)
    fingerprint: str = ""
    needs: tuple[str, ...] = ()
    result: bool = True
    imports: tuple[str, ...] = ()
