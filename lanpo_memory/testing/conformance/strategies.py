"""What random histories are made of: few problems and few words, so that things collide."""

from __future__ import annotations

from hypothesis import strategies as st

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

__all__ = [
    "CLASHES",
    "PROBLEMS",
    "VARIANT",
    "attempts",
    "batches",
    "experiences",
    "exposures",
    "failures",
    "limits",
    "problems",
    "steps",
]

TEXTS = ("add two numbers", "add three numbers", "a triangle", "two  triangles", "prime")
PROBLEMS = [Problem(text=text) for text in TEXTS]
VARIANT = Problem(text="  a\ntriangle ", family="geometry", metadata={"level": 1})
CLASHES = [Problem(text="prime factors", id="x"), Problem(text="prime sums", id="x")]
problems = st.sampled_from([*PROBLEMS, VARIANT, *CLASHES])
steps = st.integers(0, 2)


@st.composite
def experiences(draw: st.DrawFn) -> Experience:
    """Experiences of few lessons, so that many are the same."""
    return Experience(
        problem=draw(problems),
        principles=(draw(st.sampled_from("abcdef")),),
        metadata=ExperienceMetadata(
            step=draw(steps), reward=draw(st.sampled_from([None, 0.5])), parents=("p",)
        ),
    )


@st.composite
def exposures(draw: st.DrawFn) -> Exposure:
    """Exposures of few lessons."""
    return Exposure(
        problem_id=draw(problems).id,
        lesson_ids=tuple(draw(st.lists(st.sampled_from("lm"), min_size=1, max_size=2))),
        step=draw(steps),
        guided=tuple(draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), max_size=2))),
        scratch=(0.25,),
        group_size=4,
    )


attempts = st.builds(Attempt, problem=problems, text=st.sampled_from("uvwxyz"), step=steps)
failures = st.builds(
    FailedAnswer,
    role=st.just("summarise"),
    problem_id=problems.map(lambda p: p.id),
    text=st.sampled_from("?!"),
    reason=st.just("r"),
    step=steps,
)
limits = st.builds(
    Limits,
    capacity=st.sampled_from([None, 1, 2, 3, 5]),
    per_step=st.sampled_from([None, 1, 2, 4]),
    attempts=st.sampled_from([None, 1, 2]),
    failures=st.sampled_from([None, 1, 3]),
)
batches = st.builds(
    Batch,
    experiences=st.lists(experiences(), max_size=8).map(tuple),
    attempts=st.lists(attempts, max_size=4).map(tuple),
    exposures=st.lists(exposures(), max_size=3).map(tuple),
    failures=st.lists(failures, max_size=2).map(tuple),
)
