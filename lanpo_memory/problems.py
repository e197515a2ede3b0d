"""The problems of a pool, held so that thousands of them cost little."""

from __future__ import annotations

from collections.abc import Iterable

from lanpo_memory.types import Problem, Scalar

__all__ = ["ProblemTable"]

_Row = tuple[str, str | None, tuple[tuple[str, Scalar], ...]]


class ProblemTable:
    """Problems by id, kept as tuples of strings, which the garbage collector does not walk.

    A `Problem` is made anew for each that is asked for: of ten thousands few ever are.

    >>> table = ProblemTable()
    >>> table.put([Problem(text="2 + 3?", id="p")])
    >>> "p" in table, table["p"].text
    (True, '2 + 3?')
    """

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, problem_id: str) -> bool:
        return problem_id in self._rows

    def __getitem__(self, problem_id: str) -> Problem:
        text, family, metadata = self._rows[problem_id]
        return Problem._made(text=text, id=problem_id, family=family, metadata=dict(metadata))

    def holds(self, problem: Problem) -> bool:
        """Whether exactly this problem is here, not another one under its id."""
        return self._rows.get(problem.id) == _row(problem)

    def put(self, problems: Iterable[Problem]) -> None:
        """Take problems in, in place of those with the same ids."""
        self._rows.update((problem.id, _row(problem)) for problem in problems)

    def drop(self, ids: Iterable[str]) -> None:
        """Forget problems; unknown ids are ignored."""
        for problem_id in ids:
            self._rows.pop(problem_id, None)


def _row(problem: Problem) -> _Row:
    return problem.text, problem.family, tuple(problem.metadata.items())
