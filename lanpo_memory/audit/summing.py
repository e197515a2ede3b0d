"""From figures of entries to those of a sample: quartiles, shares, and what stands out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lanpo_memory.audit.records import AuditedEntry, Example, Share, Spread
from lanpo_memory.summarizers import CopyCheck

__all__ = ["CONDITIONS", "MEASURES", "WORST", "examples", "shares_of", "spreads_of"]

MEASURES = {
    "characters": "characters",
    "words": "words",
    "tokens": "tokens, roughly",
    "copied": "share copied",
    "numbers_per_100_words": "numbers per 100 words",
    "numbers_repeated": "problem's numbers repeated",
    "shared_words": "words shared with the problem",
    "duplicates": "same lesson elsewhere",
    "near_duplicates": "nearly the same in the sample",
    "age_steps": "age in steps",
    "age_days": "age in days",
    "exposures": "exposures",
    "utility": "utility",
    "uplift": "uplift",
}
"""What is measured in numbers: fields of `AuditedEntry`, and what a report calls them."""

# A summary has at most 2048 tokens: arXiv 2510.16552, appendix.
_LONG = 2048
_CHECK = CopyCheck()
_MUCH = 0.5
_EXAMPLES = 3

_Condition = Callable[[AuditedEntry], bool | None]  # None: cannot be asked of this entry

CONDITIONS: dict[str, tuple[str, _Condition]] = {
    "long": (f"are longer than {_LONG:,} tokens", lambda e: e.tokens > _LONG),
    "copied": (
        f"are copied for more than {_CHECK.max_copied:.0%}, which the copy check refuses",
        lambda e: e.copied > _CHECK.max_copied,
    ),
    "numbers_repeated": (
        f"repeat over {_CHECK.max_numbers:.0%} of their problem's numbers, which the check refuses",
        lambda e: e.numbers_repeated > _CHECK.max_numbers,
    ),
    "shared_words": (
        "share half or more of their words with their problem",
        lambda e: None if e.shared_words is None else e.shared_words >= _MUCH,
    ),
    "duplicate": ("say to the letter what another entry says", lambda e: e.duplicates > 0),
    "near_duplicate": (
        "share four of five words with another lesson of the sample",
        lambda e: e.near_duplicates > 0,
    ),
    "never_shown": ("were never shown to a rollout", lambda e: e.exposures == 0),
    "helps": (
        "of those with an uplift: their rollouts do better (95 %)",
        lambda e: None if e.uplift_low is None else e.uplift_low > 0,
    ),
    "harms": (
        "of those with an uplift: their rollouts do worse (95 %)",
        lambda e: None if e.uplift_high is None else e.uplift_high < 0,
    ),
    "specific": (
        "of those judged: details of their problem",
        lambda e: None if e.verdict in (None, "failed") else e.verdict == "specific",
    ),
    "transferable": (
        "of those judged: principles that transfer",
        lambda e: None if e.verdict in (None, "failed") else e.verdict == "transferable",
    ),
}
"""What is counted, and how a report says it."""

WORST: dict[str, tuple[str, str, Callable[[AuditedEntry], float | None]]] = {
    "copied": ("copied most", "copied", lambda e: e.copied or None),
    "numbers_repeated": (
        "repeat most of their problem's numbers",
        "numbers",
        lambda e: e.numbers_repeated or None,
    ),
    "shared_words": (
        "share most words with their problem",
        "words",
        lambda e: e.shared_words or None,
    ),
    "duplicates": ("there most often", "elsewhere", lambda e: e.duplicates or None),
    "tokens": ("longest", "tokens", lambda e: e.tokens),
    "specific": (
        "judged specific, the longest first",
        "tokens",
        lambda e: e.tokens if e.verdict == "specific" else None,
    ),
    "uplift": (
        "their rollouts do worse (95 %)",
        "by",
        lambda e: (
            -e.uplift
            if e.uplift is not None and e.uplift_high is not None and e.uplift_high < 0
            else None
        ),
    ),
}
"""What stands out, in which unit, and by how much: the higher the worse, `None` if it does not."""


def spreads_of(entries: Sequence[AuditedEntry]) -> dict[str, Spread]:
    """Return quartiles of each measure that any entry has."""
    found = {}
    for measure in MEASURES:
        values = [v for e in entries if (v := getattr(e, measure)) is not None]
        if values:
            low, q1, median, q3, high = np.quantile(values, (0, 0.25, 0.5, 0.75, 1)).tolist()
            found[measure] = Spread(
                n=len(values),
                low=low,
                lower_quartile=q1,
                median=median,
                upper_quartile=q3,
                high=high,
            )
    return found


def shares_of(entries: Sequence[AuditedEntry]) -> dict[str, Share]:
    """Return how many entries meet each condition, of those it can be asked of."""
    found = {}
    for name, (_, holds) in CONDITIONS.items():
        told = [held for e in entries if (held := holds(e)) is not None]
        if told:
            found[name] = Share(n=sum(told), of=len(told))
    return found


def examples(entries: Sequence[AuditedEntry]) -> dict[str, tuple[Example, ...]]:
    """Return the few entries that stand out most, each lesson once."""
    found = {}
    for name, (_, _, badness) in WORST.items():
        lessons = {e.lesson_id: e for e in reversed(entries) if badness(e) is not None}
        worst = sorted(lessons.values(), key=lambda e: (-(badness(e) or 0.0), e.id))[:_EXAMPLES]
        if worst:
            found[name] = tuple(
                Example(id=e.id, value=badness(e) or 0.0, first_words=e.first_words) for e in worst
            )
    return found
