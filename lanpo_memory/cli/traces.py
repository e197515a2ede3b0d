"""A solution on the terminal: the answer, the text, and every turn that led to it."""

from __future__ import annotations

from rich.console import Console

from lanpo_memory.cli.common import first_words
from lanpo_memory.cli.terminal import counted, cut, wrapped
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.solving import Solver
from lanpo_memory.types import Solution, Turn

__all__ = ["print_solution"]

_LABEL = 10  # cells, of the labels before answer, text and turns
_VERDICTS = {True: "Correct", False: "Incorrect", None: "no verdict that can be read"}


def print_solution(console: Console, solver: Solver, solution: Solution) -> None:
    """Print a solution; the experiences in its prompts with id and first words."""
    answer = f"none: {solution.failure}" if solution.answer is None else solution.answer
    console.print(_labelled("answer", answer, console))
    for number, line in enumerate(solution.text.strip().splitlines()):
        console.print(_labelled("" if number else "text", line, console))
    for number, turn in enumerate(solution.turns, 1):
        console.print(_labelled(f"turn {number}", _about(turn, solver, solution), console))
        for id_, words in _entries(turn, solver.pool):
            room = max(20, console.width - _LABEL - 14)
            console.print(f"{'':<{_LABEL}}{id_[:12]}  {cut(words, room)}")


def _labelled(label: str, text: str, console: Console) -> str:
    line = " ".join(text.expandtabs(4).splitlines())
    return wrapped(f"{label:<{_LABEL}}", line, console)


def _about(turn: Turn, solver: Solver, solution: Solution) -> str:
    said = {
        "none": "the problem alone",
        "inter": f"with {counted(len(turn.guidance.experience_ids), 'experience')}",
        "intra": f"checked the answer before: {_VERDICTS[turn.verdict]}",
    }[turn.guidance.kind]
    if turn is solution.turns[0] and "retrieval" in solution.mode and not turn.guidance:
        explored = solver.explores(solution.problem)
        said += ", by --explore" if explored else ": no experience passed the filters"
    return f"{said}; {_outcome(turn)}"


def _outcome(turn: Turn) -> str:
    if turn.failure:
        return f"failed: {turn.failure}"
    return "no final answer" if turn.answer is None else f"answer {turn.answer}"


def _entries(turn: Turn, pool: ExperiencePool | None) -> list[tuple[str, str]]:
    """The experiences in a turn's prompt: id and first words."""
    ids = turn.guidance.experience_ids
    if pool is None or not ids:
        return []
    found = zip(ids, pool.get(ids), strict=True)
    return [(id_, first_words(e) if e is not None else "deleted meanwhile") for id_, e in found]
