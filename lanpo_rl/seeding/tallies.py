"""How many lessons of each skill are wanted, and what became of the questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from lanpo_memory.errors import ConfigError, positive

__all__ = ["EQUAL", "SKILLS", "Follow", "Tally", "shared_out"]

SKILLS = ("summarise", "inter", "intra")
"""What lessons teach: summing up, using experiences of others, checking an earlier attempt."""

EQUAL = MappingProxyType(dict.fromkeys(SKILLS, 1.0))


@dataclass
class Tally:
    """What became of the questions of one kind: asked, kept, and rejected by reason."""

    asked: int = 0
    kept: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def count(self, fault: str | None) -> bool:
        """Book one answer; return whether it is kept."""
        self.asked += 1
        if fault is None:
            self.kept += 1
        else:
            self.rejected[fault] += 1
        return fault is None

    def skip(self, reason: str, n: int) -> None:
        """Book what was not asked at all."""
        self.rejected.update({reason: n} if n else {})


Follow = Callable[[Mapping[str, Tally], Mapping[str, int]], None]
"""Called after each batch of answers, with the tallies so far and how many lessons are wanted."""


def shared_out(n: int, shares: Mapping[str, float] = EQUAL) -> dict[str, int]:
    """Return how many lessons of each skill `n` of them are; what is left over goes to the first.

    Raises:
        ConfigError: an unknown skill, a negative share, nothing at all, or experiences are to be
            used and none to be written.

    >>> shared_out(10)
    {'summarise': 4, 'inter': 3, 'intra': 3}
    """
    positive("n", n)
    parts = [shares.get(skill, 0.0) for skill in SKILLS]
    unknown = sorted(shares.keys() - set(SKILLS))
    if unknown or min(parts) < 0 or not 0 < sum(parts) < float("inf"):
        raise ConfigError(
            f"shares must be numbers of 0 or more for {', '.join(SKILLS)}, not all 0; got "
            f"{dict(shares)}"
        )
    exact = [n * part / sum(parts) for part in parts]
    counts = [int(each) for each in exact]
    behind = sorted(range(len(SKILLS)), key=lambda i: counts[i] - exact[i])
    for i in behind[: n - sum(counts)]:
        counts[i] += 1
    if counts[1] and not counts[0]:
        raise ConfigError("inter needs experiences to show: give summarise a share, too")
    return dict(zip(SKILLS, counts, strict=True))
