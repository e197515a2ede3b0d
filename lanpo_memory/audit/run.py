"""Drawing the sample, measuring it, summing it up."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lanpo_memory.audit.asking import AuditPrompts, EnglishAuditPrompts, ask_about
from lanpo_memory.audit.measures import (
    lesson_text,
    near_duplicates,
    number_density,
    shared_words,
)
from lanpo_memory.audit.records import Audit, AuditedEntry, Outcome, Verdict
from lanpo_memory.audit.summing import examples, shares_of, spreads_of
from lanpo_memory.errors import InvalidInputError, positive
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.protocols import ChatModel
from lanpo_memory.selection import approximate_tokens
from lanpo_memory.summarizers.copy_check import copied_share, number_share
from lanpo_memory.texts import words
from lanpo_memory.types import Attempt, Experience, fingerprint
from lanpo_memory.utility import Utility

__all__ = ["audit"]

_DAY = 86_400.0  # seconds
_OUTCOMES: dict[bool | None, Outcome] = {True: "correct", False: "wrong", None: "unjudged"}
_FIRST = 120  # characters of an entry that a report shows


def audit(
    pool: ExperiencePool,
    *,
    sample: int = 100,
    seed: int = 0,
    model: ChatModel | None = None,
    prompts: AuditPrompts | None = None,
    clock: Callable[[], float] = time.time,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Draw a sample of a pool's experiences, measure each of them, and sum it up.

    The sample is uniform over experiences: those whose hash with the seed is smallest. It depends
    on the pool's content and the seed only, and a smaller one with the same seed is a part of it.

    Args:
        pool: where the experiences are; nothing is written to it.
        sample: how many, at most as many as there are.
        seed: another one draws another sample.
        model: asked about each entry whether it is a transferable principle; without one, nobody
            is. Where its budget ends, the others are not asked about and `Audit.stopped` says so.
        prompts: how it is asked; English by default.
        clock: seconds since the epoch, for ages in days.
        progress: called with (asked, all) as answers come in.

    Raises:
        ConfigError: `sample` is below 1.
        InvalidInputError: the pool is empty.

    >>> from lanpo_memory.types import Problem
    >>> pool = ExperiencePool()
    >>> lesson = Experience(problem=Problem(text="2 + 3?"), principles=("Count on from 3.",))
    >>> receipts = pool.add([lesson])
    >>> found = audit(pool)
    >>> found.entries[0].words, found.spreads["numbers_per_100_words"].median
    (4, 25.0)
    """
    positive("sample", sample)
    utility = pool.utility()
    with pool.store.view():
        drawn = _draw(pool, sample, seed)
        attempts = pool.attempts_of([e.problem for e in drawn.entries])
    if not drawn.entries:
        raise InvalidInputError("the pool holds no experiences: there is nothing to audit")
    verdicts: list[Verdict] = []
    stopped = ""
    if model is not None:
        asked = EnglishAuditPrompts() if prompts is None else prompts
        verdicts, stopped = ask_about(model, asked, drawn.entries, progress)
    alike = _alike(drawn.entries)
    entries = [
        _measured(e, drawn, attempts[i], utility.get(e.lesson_id), alike[e.lesson_id], clock())
        for i, e in enumerate(drawn.entries)
    ]
    judged = zip(entries, [*verdicts, *[None] * (len(entries) - len(verdicts))], strict=True)
    told = tuple(e.model_copy(update={"verdict": verdict}) for e, verdict in judged)
    return Audit(
        experiences=drawn.lessons.total(),
        lessons=len(drawn.lessons),
        seed=seed,
        newest_step=drawn.newest_step,
        entries=told,
        spreads=spreads_of(told),
        shares=shares_of(told),
        worst=examples(told),
        outcomes=Counter(e.outcome for e in told),
        sources=Counter(e.source or "unknown" for e in told),
        verdicts=Counter(verdicts),
        stopped=stopped,
    )


class _Drawn(NamedTuple):
    entries: list[Experience]
    lessons: Counter[str]  # of the whole pool
    newest_step: int


def _draw(pool: ExperiencePool, sample: int, seed: int) -> _Drawn:
    """One pass over the pool: the sample, how often each lesson is there, the newest step."""
    lessons: Counter[str] = Counter()
    newest: int | None = None

    def passing() -> Iterator[Experience]:
        nonlocal newest
        for experience in pool.store.scan("experience"):
            lessons[experience.lesson_id] += 1
            step = experience.metadata.step
            newest = step if newest is None else max(newest, step)
            yield experience

    entries = heapq.nsmallest(sample, passing(), key=lambda e: fingerprint(str(seed), e.id))
    return _Drawn(entries, lessons, newest or 0)


def _alike(entries: Sequence[Experience]) -> Mapping[str, int]:
    """How many other lessons of the sample are nearly the same, by lesson."""
    texts = {e.lesson_id: lesson_text(e) for e in entries}
    return dict(zip(texts, near_duplicates(list(texts.values())), strict=True))


def _measured(
    experience: Experience,
    drawn: _Drawn,
    attempts: Sequence[Attempt],
    utility: Utility | None,
    alike: int,
    now: float,
) -> AuditedEntry:
    meta, problem, text = experience.metadata, experience.problem.text, lesson_text(experience)
    known = {} if utility is None else _record(utility)
    return AuditedEntry(
        id=experience.id,
        lesson_id=experience.lesson_id,
        problem_id=experience.problem.id,
        first_words=_first(text),
        outcome=_OUTCOMES[meta.correct],
        source=meta.source,
        step=meta.step,
        characters=len(text),
        words=len(words(text)),
        tokens=approximate_tokens(text),
        copied=copied_share(text, [problem, *(attempt.text for attempt in attempts)]),
        attempts=len(attempts),
        numbers_per_100_words=number_density(text),
        numbers_repeated=number_share(text, problem),
        shared_words=shared_words(text, problem),
        duplicates=drawn.lessons[experience.lesson_id] - 1,
        near_duplicates=alike,
        age_steps=drawn.newest_step - meta.step,
        age_days=None if meta.created_at is None else max(0.0, now - meta.created_at) / _DAY,
        **known,
    )


def _first(text: str) -> str:
    line = " ".join(text.split())
    if len(line) <= _FIRST:
        return line
    return (line[:_FIRST].rpartition(" ")[0] or line[:_FIRST]) + " …"


def _record(utility: Utility) -> dict[str, Any]:
    shown: dict[str, Any] = {"exposures": utility.exposures, "utility": utility.mean}
    if utility.uplift is None:
        return shown
    bounds = {"uplift_low": utility.uplift_low, "uplift_high": utility.uplift_high}
    return {**shown, "uplift": utility.uplift, **bounds, "evidence": utility.evidence}
