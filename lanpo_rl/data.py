"""Problems and answers from files or datasets, checked row by row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.protocols import Prompts
from lanpo_memory.types import Problem

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["load_problems", "training_rows"]

_SHOWN = 5  # bad rows named in one error


def load_problems(
    source: str,
    *,
    prompts: Prompts,
    problem_column: str = "problem",
    answer_column: str = "answer",
    answer_marker: str | None = None,
    split: str = "train",
) -> Dataset:
    """Return a training set: columns prompt, problem, problem_id, answer, and family if given.

    Args:
        source: a JSON Lines file, a folder or file that `datasets` reads, or a dataset's name.
        prompts: makes the prompt from the problem.
        problem_column: where the problem's text is.
        answer_column: where the reference answer is; only the reward function sees it.
        answer_marker: take what follows this mark as the answer (``####`` for GSM8K).
        split: which split of a dataset.

    Raises:
        InvalidInputError: nothing there, an unreadable line, a row without problem or answer, or
            one problem with two answers. Rows are named; training on part of a file is not offered.
    """
    from datasets import Dataset

    path = Path(source)
    located = _json_lines(path) if path.is_file() else _dataset_rows(source, split)
    rows = training_rows(
        located,
        prompts=prompts,
        problem_column=problem_column,
        answer_column=answer_column,
        answer_marker=answer_marker,
    )
    if not rows:
        raise InvalidInputError(f"{source} holds no rows")
    return Dataset.from_list(rows)


def training_rows(
    located: Iterable[tuple[str, Any]],
    *,
    prompts: Prompts,
    problem_column: str = "problem",
    answer_column: str = "answer",
    answer_marker: str | None = None,
) -> list[dict[str, Any]]:
    """Check rows that come with their place (``file, line 3``) and make training rows of them.

    Raises:
        InvalidInputError: naming the first bad rows and saying what each lacks.
    """
    rows: list[dict[str, Any]] = []
    answers: dict[str, tuple[str, str]] = {}
    faults: list[str] = []
    for place, row in located:
        try:
            made = _training_row(row, prompts, problem_column, answer_column, answer_marker)
        except InvalidInputError as error:
            faults.append(f"{place}: {error}")
            continue
        first, answer = answers.setdefault(made["problem_id"], (place, made["answer"]))
        if answer != made["answer"]:
            faults.append(f"{place}: the same problem as {first}, with another answer")
        rows.append(made)
    if faults:
        more = f"\n  ... and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        shown = "".join(f"\n  {fault}" for fault in faults[:_SHOWN])
        raise InvalidInputError(f"{len(faults)} rows cannot be used:{shown}{more}")
    return rows


def _training_row(
    row: Any, prompts: Prompts, problem_column: str, answer_column: str, marker: str | None
) -> dict[str, Any]:
    if isinstance(row, InvalidInputError):
        raise row
    if not isinstance(row, Mapping):
        raise InvalidInputError("is not a JSON object")
    for column, option in ((problem_column, "problem"), (answer_column, "answer")):
        if row.get(column) is None:
            found = ", ".join(map(str, row)) or "none"
            raise InvalidInputError(
                f"has no column {column!r} (columns: {found}); name it with --{option}_column"
            )
    identity = {} if row.get("problem_id") is None else {"id": str(row["problem_id"])}
    problem = Problem(text=str(row[problem_column]), **identity)
    answer = str(row[answer_column])
    if marker is not None:
        if marker not in answer:
            raise InvalidInputError(f"has no {marker!r} in column {answer_column!r}")
        answer = answer.rpartition(marker)[2]
    made = {
        "prompt": prompts.solve(problem),
        "problem": problem.text,
        "problem_id": problem.id,
        "answer": answer.strip(),
    }
    return made if row.get("family") is None else {**made, "family": str(row["family"])}


def _json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    if path.suffix not in (".jsonl", ".json", ".ndjson"):
        raise InvalidInputError(f"{path} is not a JSON Lines file (.jsonl)")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            place = f"{path}, line {number}"
            try:
                yield place, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield place, InvalidInputError(f"is not JSON: {error}")


def _dataset_rows(source: str, split: str) -> Iterator[tuple[str, Any]]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    looks_local = source.endswith((".jsonl", ".json")) or source.startswith((".", "/"))
    if looks_local and not Path(source).exists():
        raise InvalidInputError(f"there is no file or folder {source}")
    try:
        dataset = load_dataset(source, split=split)
    except (DatasetNotFoundError, FileNotFoundError, ConnectionError, ValueError) as error:
        raise InvalidInputError(f"cannot load the dataset {source!r}: {error}") from error
    for number, row in enumerate(dataset):
        yield f"{source}, {split} row {number}", row
