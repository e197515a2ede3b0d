"""Random pools for round trips: odd texts, extreme numbers, everything that may be missing."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from lanpo_memory.comparison import KINDS
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.types import (
    Attempt,
    Batch,
    Experience,
    ExperienceMetadata,
    Exposure,
    FailedAnswer,
    Limits,
    Problem,
)

NO_LIMITS = Limits(capacity=None, per_step=None, attempts=None, failures=None)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
filled = texts.filter(lambda text: text.strip())
numbers = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(2**53), 2**53)
scalars = st.dictionaries(
    filled.map(lambda name: f"k{name}"), texts | integers | numbers | st.booleans() | st.none(),
    max_size=2,
)  # fmt: skip
problems = st.builds(
    Problem, text=st.sampled_from(["Sum 1 to 9", "2 + 3?", "π ≈ \\frac{22}{7} \u2028 𝒳"]),
    family=st.none() | texts, metadata=scalars,
)  # fmt: skip
names = st.lists(texts, max_size=2).map(tuple)
rewards = st.lists(numbers, max_size=2).map(tuple)
metadata = st.builds(
    ExperienceMetadata, reward=st.none() | numbers, correct=st.none() | st.booleans(), source=texts,
    step=integers, policy=texts, created_at=st.none() | numbers, parents=names, extra=scalars,
)  # fmt: skip
lessons = st.lists(filled, max_size=2).map(tuple)
experiences = st.builds(
    Experience, problem=problems, thoughts=filled, principles=lessons, pitfalls=lessons,
    metadata=metadata,
)  # fmt: skip
attempts = st.builds(Attempt, problem=problems, text=filled, step=integers, policy=texts)
exposures = st.builds(
    Exposure, problem_id=filled, lesson_ids=names, experience_ids=names, step=integers, group=texts,
    guided=rewards, scratch=rewards, group_size=st.integers(1, 2**53), randomised=st.booleans(),
)  # fmt: skip
json_values = st.recursive(
    st.none() | st.booleans() | integers | numbers | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
failures = st.builds(
    FailedAnswer, role=texts, problem_id=texts, text=texts, reason=texts, step=integers,
    problem=st.none() | problems, metadata=st.none() | metadata,
    conversation=st.none() | st.lists(st.dictionaries(texts, json_values, max_size=3), max_size=2),
    max_tokens=st.integers(1, 2**53),
)  # fmt: skip


@st.composite
def pools(draw: st.DrawFn) -> ExperiencePool:
    """A pool in memory with a few records of each kind, or none."""
    pool = ExperiencePool(limits=NO_LIMITS, clock=lambda: 7.0)
    few = {"max_size": 4}
    pool.write(
        Batch(
            experiences=tuple(draw(st.lists(experiences, **few))),
            attempts=tuple(draw(st.lists(attempts, **few))),
            exposures=tuple(draw(st.lists(exposures, **few))),
            failures=tuple(draw(st.lists(failures, **few))),
        )
    )
    return pool


def content(pool: ExperiencePool) -> list[str]:
    """Everything a pool holds, to the letter: -0.0 is another number than 0.0 here."""
    return [
        json.dumps([kind, record.id, record.model_dump(mode="json")])
        for kind in KINDS
        for record in pool.store.scan(kind)
    ]
