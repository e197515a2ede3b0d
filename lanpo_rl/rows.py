"""A dataset's rows as the memory sees them, and what makes them unusable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.types import Problem, normalise

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

__all__ = ["SeenProblems", "check_dataset", "problem_of", "unusable"]

_SHOWN = 5  # bad rows named in one error
_READ = ("prompt", "problem", "problem_id", "answer")


def problem_of(row: Mapping[str, Any]) -> Problem:
    """The row's problem; ids, text and family from their columns where they are there.

    Raises:
        InvalidInputError: the row has no prompt, or neither a problem nor a user's message.
    """
    prompt, text = row.get("prompt"), row.get("problem")
    if not prompt:
        raise InvalidInputError("has no prompt")
    if not text:
        text = prompt if isinstance(prompt, str) else _last_user_text(prompt)
    if not text.strip():
        raise InvalidInputError("has no user message in its prompt; add a column 'problem'")
    known = {"id": row.get("problem_id"), "family": row.get("family")}
    return Problem(text=text, **{k: str(v) for k, v in known.items() if v is not None})


def _last_user_text(messages: Sequence[Mapping[str, Any]]) -> str:
    users = (m.get("content") for m in reversed(messages) if m.get("role") == "user")
    content = next(users, "")
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content or ())


def check_dataset(dataset: Dataset | IterableDataset | None) -> None:
    """Look at all rows of a training set once, before anything is trained.

    Reads the columns prompt, problem, problem_id and answer, as far as they are there. One problem
    may stand in several rows with one answer. A dataset that is streamed, or whose rows a transform
    makes, cannot be looked at beforehand: there `SeenProblems` checks the rows as they pass.

    Raises:
        InvalidInputError: naming the first rows that have no prompt, the id of another problem, or
            another answer than the same problem had before.
    """
    columns = getattr(dataset, "column_names", None)
    if dataset is None or columns is None or not hasattr(dataset, "__len__"):
        return
    if dataset.format["type"] == "custom":
        return
    if "prompt" not in columns:
        found = ", ".join(columns) or "none"
        raise InvalidInputError(f"the dataset has no column 'prompt' (columns: {found}); add it")
    read = dataset.with_format(None).select_columns([c for c in _READ if c in columns])
    seen, faults = SeenProblems(limit=None), []
    for number, row in enumerate(_rows(read)):
        if (fault := seen.fault(row, f"row {number}")) is not None:
            faults.append(f"row {number}: {fault}")
    if faults:
        raise unusable(faults)


def _rows(dataset: Any) -> Iterator[dict[str, Any]]:
    for batch in dataset.iter(batch_size=1_000):  # ten times as fast as row by row
        names = list(batch)
        for cells in zip(*batch.values(), strict=True):
            yield dict(zip(names, cells, strict=True))


def unusable(faults: Sequence[str]) -> InvalidInputError:
    """One error for all bad rows; the first ones are named."""
    more = f"\n  ... and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    shown = "".join(f"\n  {fault}" for fault in faults[:_SHOWN])
    return InvalidInputError(f"{len(faults)} rows cannot be used:{shown}{more}")


class SeenProblems:
    """Text and answer of the problems that went by, as hashes, to know one that has changed.

    Args:
        limit: how many problems are remembered, about 300 bytes each; `None` for all. Of a longer
            stream the problems that come after are not compared with each other.

    >>> seen = SeenProblems()
    >>> seen.fault({"prompt": "1 + 1?", "answer": "2"}, "row 0")
    >>> seen.fault({"prompt": "1 + 1?", "answer": "3"}, "row 1")
    'the same problem as row 0, with another answer; keep the right one'
    """

    def __init__(self, *, limit: int | None = 200_000) -> None:
        self._limit = limit
        self._firsts: dict[str, tuple[int, int, str]] = {}

    def check(self, rows: Sequence[Mapping[str, Any]], place: str) -> None:
        """Refuse the rows of a batch that cannot be used.

        Raises:
            InvalidInputError: as `check_dataset`.
        """
        faults = [f"{place}: {f}" for row in rows if (f := self.fault(row, place)) is not None]
        if faults:
            raise unusable(list(dict.fromkeys(faults)))  # a group's rows are one and the same

    def fault(self, row: Mapping[str, Any], place: str) -> str | None:
        """What is wrong with a row, which is remembered under `place`; `None` for nothing."""
        try:
            problem = problem_of(row)
        except InvalidInputError as error:
            return str(error)
        answer = row.get("answer")
        now = (
            hash(normalise(problem.text)),
            hash(None if answer is None else str(answer).strip()),
            place,
        )
        first = self._firsts.get(problem.id)
        if first is None:
            if self._limit is None or len(self._firsts) < self._limit:
                self._firsts[problem.id] = now
            return None
        if first[0] != now[0]:
            return f"has the problem_id of {first[2]}, but is another problem; give it its own"
        if first[1] != now[1]:
            return f"the same problem as {first[2]}, with another answer; keep the right one"
        return None
