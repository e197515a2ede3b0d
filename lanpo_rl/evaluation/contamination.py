"""What a pool knows of the problems it is to be measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lanpo_memory.errors import ConfigError
from lanpo_memory.filters import REWORDED, SAME_PROBLEM, TEMPLATE, NotSameProblem
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.stores import shown
from lanpo_memory.types import Problem, normalise

__all__ = ["Contamination", "Copy", "contamination_of", "refuse_copies"]

_WIDTH = 32  # pool problems looked at for each evaluation problem, as many as a guide looks at
_SHOWN = 3  # copies named in one error
_ROOM = 60  # characters of a problem in an error


class Copy(NamedTuple):
    """An evaluation problem, the problem of the pool that it is, and how that was seen."""

    problem: Problem
    other: Problem
    reason: str


@dataclass(frozen=True)
class Contamination:
    """What was found: copies, and how many problems have a near-duplicate in the pool.

    `templates` counts the problems of which the pool has another with the same wording and other
    numbers. A problem with a copy is not among them.
    """

    copies: tuple[Copy, ...] = ()
    templates: int = 0


def contamination_of(pool: ExperiencePool, problems: Sequence[Problem]) -> Contamination:
    """Look for evaluation problems, and for near-duplicates of them, in a pool.

    The same id and the same text are found wherever they are. The same problem reworded, and the
    same template with other numbers, are looked for among the 32 most similar problems of the pool,
    by `NotSameProblem` with the pool's embedder. A free paraphrase escapes where there is none, and
    so does what a lesson says of a problem that the pool does not name.
    """
    known = pool.store.read("problem")
    by_id = {each.id: each for each in known}
    by_text = {normalise(each.text): each for each in known}
    near = NotSameProblem(drop_templates=True, embedder=pool.embedder)
    copies: list[Copy] = []
    templates = 0
    found_P = pool.retrieve(problems, k=_WIDTH, width=_WIDTH, newest=1)
    for problem, found in zip(problems, found_P, strict=True):
        same = by_id.get(problem.id) or by_text.get(normalise(problem.text))
        others = [each.experience.problem for each in found]
        reasons = near.problem_verdicts(problem, others, [])
        reworded = [o for o, reason in zip(others, reasons, strict=True) if reason in _COPIES]
        if same is not None:
            copies.append(Copy(problem, same, SAME_PROBLEM))
        elif reworded:
            copies.append(Copy(problem, reworded[0], REWORDED))
        else:
            templates += TEMPLATE in reasons
    return Contamination(tuple(copies), templates)


_COPIES = (SAME_PROBLEM, REWORDED)


def refuse_copies(found: Contamination, pool: ExperiencePool, name: str) -> None:
    """Refuse a pool with experiences made from evaluation problems: recall would be measured.

    Args:
        found: see `contamination_of`.
        pool: which holds them.
        name: of the pool, as it was given.

    Raises:
        ConfigError: there are some. It names the first and what to do about them.
    """
    if not found.copies:
        return
    held = pool.store.read("experience", problems=[copy.other.id for copy in found.copies])
    ids = {experience.problem.id: experience.id for experience in held}
    named = "".join(
        f"\n  {_short(copy.problem)}: experience {ids.get(copy.other.id, '')[:12]}, {copy.reason}"
        for copy in found.copies[:_SHOWN]
    )
    more = len(found.copies) - _SHOWN
    rest = f"\n  ... and {more:,} more" if more > 0 else ""
    raise ConfigError(
        f"{shown(name)} knows {len(found.copies):,} of the evaluation problems (experiences made "
        f"from them: {len(held):,}).{named}{rest}\nEvaluate on problems the pool has not seen, "
        "give another --pool or --namespace, or delete those experiences with `lanpo pool rm ID`"
    )


def _short(problem: Problem) -> str:
    text = normalise(problem.text)
    return text if len(text) <= _ROOM else f"{text[: _ROOM - 1]}…"
