"""A pool that knows the evaluation problems is refused; near-duplicates are counted."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lanpo_memory.errors import ConfigError
from lanpo_memory.guide import Guide
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.types import Experience, Problem
from lanpo_rl.evaluation import contamination_of, refuse_copies
from lanpo_rl.evaluation.making import about_pool

SEEN = "A train covers 120 km in 2 hours. How far does it get in 5 hours?"
EVALUATED = [
    Problem(text="A train covers 90 km in 3 hours. How far does it get in 7 hours?"),
    Problem(text="How many red apples are in 9 boxes of 8?"),
]


def pool_of(*problems: Problem) -> ExperiencePool:
    pool = ExperiencePool()
    pool.add([Experience(problem=problem, thoughts="t") for problem in problems])
    return pool


def test_a_pool_that_knows_none_of_them_passes():
    found = contamination_of(pool_of(Problem(text="What is a prime?")), EVALUATED)
    assert (found.copies, found.templates) == ((), 0)
    refuse_copies(found, ExperiencePool(), "pool.db")


@pytest.mark.parametrize(
    ("copy", "reason"),
    [
        (EVALUATED[0], "the same problem"),
        (Problem(text=f"  {EVALUATED[0].text}\n"), "the same problem"),
        (Problem(text=EVALUATED[0].text, id="train-7"), "the same problem"),
        (Problem(text="something else", id=EVALUATED[0].id), "the same problem"),
        (
            Problem(text="a train covers 90 km in 3 hours; how far will it get in 7 hours"),
            "the same problem, reworded",
        ),
        (
            Problem(text="How far does a train get in 7 hours? In 3 hours it covers 90 km."),
            "the same problem, reworded",
        ),
    ],
    ids=["id", "white space", "text", "id alone", "reworded", "another order"],
)
def test_copies_are_found_and_named_with_the_remedy(copy: Problem, reason: str):
    pool = pool_of(Problem(text="What is a prime?"), copy)
    found = contamination_of(pool, EVALUATED)
    assert [(c.problem, c.other.id, c.reason) for c in found.copies] == [
        (EVALUATED[0], copy.id, reason)
    ]
    with pytest.raises(ConfigError) as refused:
        refuse_copies(found, pool, "pool.db")
    said = str(refused.value)
    assert said.startswith(
        "pool.db knows 1 of the evaluation problems (experiences made from them: 1)."
    )
    assert EVALUATED[0].text[:50] in said
    assert reason in said
    id_ = next(e.id for e in pool.store.scan("experience") if e.problem.id == copy.id)
    assert f"experience {id_[:12]}" in said
    assert "lanpo pool rm" in said


def test_what_was_named_can_be_deleted_and_passes_then():
    pool = pool_of(Problem(text="What is a prime?"), EVALUATED[0])
    ids = [e.id for e in pool.store.read("experience", problems=[EVALUATED[0].id])]
    pool.delete(ids)
    assert contamination_of(pool, EVALUATED).copies == ()


def test_only_the_first_of_many_are_named():
    problems = [Problem(text=f"What is the capital of country number {i}?") for i in range(9)]
    pool = pool_of(*problems)
    with pytest.raises(ConfigError, match=r"(?s)9 of the evaluation.*and 6 more") as refused:
        refuse_copies(contamination_of(pool, problems), pool, "pool.db")
    assert str(refused.value).count("\n") == 5


def test_the_password_of_a_pool_is_neither_named_nor_reported():
    address, pool = "postgresql://me:s3cret@host/db", pool_of(*EVALUATED)
    with pytest.raises(ConfigError, match=r"^postgresql://me:\*\*\*@host/db knows"):
        refuse_copies(contamination_of(pool, EVALUATED), pool, address)
    evaluator = SimpleNamespace(guide=Guide(pool), pool_digest="")
    about = about_pool(evaluator, address, 0, drop_templates=False)
    assert about["name"] == "postgresql://me:***@host/db"


def test_the_same_template_with_other_numbers_is_counted_not_refused():
    pool = pool_of(Problem(text=SEEN))
    found = contamination_of(pool, EVALUATED)
    assert (found.copies, found.templates) == ((), 1)
    refuse_copies(found, pool, "pool.db")


def test_a_paraphrase_is_found_with_an_embedder_only():
    class Alike:
        """Every text has the same direction."""

        fingerprint = "alike"

        def embed(self, texts):
            import numpy as np

            return np.ones((len(texts), 1), dtype=np.float32)

    told = Problem(text="90 km lie behind a locomotive after 3 h. Where is it after 7 h?")
    assert contamination_of(pool_of(told), EVALUATED).copies == ()
    pool = ExperiencePool(embedder=Alike())
    pool.add([Experience(problem=told, thoughts="t")])
    [copy] = contamination_of(pool, EVALUATED).copies
    assert copy.reason == "the same problem, reworded"
