"""What a run of the `lanpo` command leaves; the fixture that runs it is `lanpo`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def flat(self) -> str:
        """All it said, with every line end a blank."""
        return " ".join((self.out + self.err).split())


Lanpo = Callable[..., Ran]
