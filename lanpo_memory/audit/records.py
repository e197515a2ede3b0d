"""What an audit finds: figures of single entries, and those of the sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lanpo_memory.utility import Evidence

__all__ = ["Audit", "AuditedEntry", "Example", "Outcome", "Share", "Spread", "Verdict"]

Outcome = Literal["correct", "wrong", "unjudged"]
Verdict = Literal["transferable", "specific", "unclear", "failed"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class AuditedEntry(_Record):
    """The figures of one experience. `None` where there is nothing to measure.

    `tokens` is a rough count, four characters each. `copied` and `numbers_repeated` are what
    `CopyCheck` looks at: `copied_share` of the lesson against its problem and `attempts` stored
    attempts at it, and `number_share` of the problem's numbers. `numbers_per_100_words` leaves out
    the numbers of list items; `shared_words` is the share of the lesson's different words of four
    letters and more that stand in the problem, too.

    `duplicates` counts the pool's other experiences with the same lesson, `near_duplicates` the
    sample's other lessons that share four of five words with this one. `age_steps` counts from the
    newest step in the pool. What was never shown has `exposures` 0 and no `utility`; the bounds of
    `uplift` are those of 95 %. `verdict` is the model's; ``failed`` if it gave none that can be
    read.
    """

    id: str
    lesson_id: str
    problem_id: str
    first_words: str
    outcome: Outcome
    source: str
    step: int
    characters: int
    words: int
    tokens: int
    copied: float
    attempts: int
    numbers_per_100_words: float
    numbers_repeated: float
    shared_words: float | None
    duplicates: int
    near_duplicates: int
    age_steps: int
    age_days: float | None
    exposures: int = 0
    utility: float | None = None
    uplift: float | None = None
    uplift_low: float | None = None
    uplift_high: float | None = None
    evidence: Evidence = "none"
    verdict: Verdict | None = None


class Spread(_Record):
    """How a measure is spread over those `n` entries of the sample that have it."""

    n: int
    low: float
    lower_quartile: float
    median: float
    upper_quartile: float
    high: float


class Share(_Record):
    """How many of the `of` entries that can be asked meet a condition."""

    n: int
    of: int

    @property
    def value(self) -> float | None:
        """The share in 0..1, `None` where none can be asked."""
        return self.n / self.of if self.of else None


class Example(_Record):
    """An entry that stands out in a measure."""

    id: str
    value: float
    first_words: str


class Audit(_Record):
    """A sample of a pool, measured.

    `experiences` is the size of the pool and `lessons` how many different ones it holds; `entries`
    is the sample, in the order in which it was drawn: the first ones are a sample too. `spreads`,
    `shares` and `worst` are keyed by measure or condition, `outcomes`, `sources` and `verdicts`
    count entries of the sample. `stopped` says why the model was not asked about all of them.
    """

    experiences: int
    lessons: int
    seed: int
    newest_step: int
    entries: tuple[AuditedEntry, ...]
    spreads: Mapping[str, Spread]
    shares: Mapping[str, Share]
    worst: Mapping[str, tuple[Example, ...]]
    outcomes: Mapping[str, int] = Field(default_factory=dict)
    sources: Mapping[str, int] = Field(default_factory=dict)
    verdicts: Mapping[str, int] = Field(default_factory=dict)
    stopped: str = ""
