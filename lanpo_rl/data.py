"""Problems and answers from files or datasets, checked row by row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.protocols import Prompts
from lanpo_memory.types import Problem
from lanpo_rl.rows import SeenProblems, unusable

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["load_problems", "training_rows"]

_FILES = (".jsonl", ".json", ".ndjson", ".csv", ".parquet")


def load_problems(
    source: str,
    *,
    prompts: Prompts,
    problem_column: str = "problem",
    answer_column: str = "answer",
    answer_marker: str | None = None,
    split: str = "train",
    config: str | None = None,
) -> Dataset:
    """Return a training set: columns prompt, problem, problem_id, answer, and family if given.

    Args:
        source: a JSON Lines file, a folder that `datasets` reads or saved, or a dataset's name.
        prompts: makes the prompt from the problem.
        problem_column: where the problem's text is.
        answer_column: where the reference answer is; only the reward function sees it.
        answer_marker: take what follows this mark as the answer (``####`` for GSM8K).
        split: which split of a dataset.
        config: which configuration of a dataset that has several (``main`` of GSM8K).

    Raises:
        InvalidInputError: nothing there, an unreadable line, a row without problem or answer, one
            problem with two answers, or a configuration of what has none. Rows are named; training
            on part of a file is not offered.
    """
    from datasets import Dataset

    path = Path(source).expanduser()
    if config is not None and (path.is_file() or _saved(path)):
        raise InvalidInputError(
            f"{source} is one set of rows without configurations; leave {config!r} out"
        )
    if path.is_file():
        located = _json_lines(path)
    else:
        located = _dataset_rows(str(path) if path.is_dir() else source, split, config)
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
    seen = SeenProblems(limit=None)
    faults: list[str] = []
    for place, row in located:
        try:
            made = _training_row(row, prompts, problem_column, answer_column, answer_marker)
        except InvalidInputError as error:
            faults.append(f"{place}: {error}")
            continue
        if (fault := seen.fault(made, place)) is not None:
            faults.append(f"{place}: {fault}")
        rows.append(made)
    if faults:
        raise unusable(faults)
    if any(row["family"] is not None for row in rows):
        return rows
    return [{name: cell for name, cell in row.items() if name != "family"} for row in rows]


def _training_row(
    row: Any, prompts: Prompts, problem_column: str, answer_column: str, marker: str | None
) -> dict[str, Any]:
    if isinstance(row, InvalidInputError):
        raise row
    if not isinstance(row, Mapping):
        raise InvalidInputError("is not a JSON object; write one object a line")
    for column, option in ((problem_column, "problem"), (answer_column, "answer")):
        if column in row and row[column] is None:
            raise InvalidInputError(
                f"has nothing in column {column!r}; fill it, or leave the row out"
            )
        if column not in row:
            found = ", ".join(map(str, row)) or "none"
            raise InvalidInputError(
                f"has no column {column!r} (columns: {found}); name it with --{option}_column"
            )
        if not isinstance(row[column], str | int | float):
            kind = type(row[column]).__name__
            raise InvalidInputError(f"has a {kind} in column {column!r}; make it text or a number")
    identity = {} if row.get("problem_id") is None else {"id": str(row["problem_id"])}
    problem = Problem(text=str(row[problem_column]), **identity)
    answer = str(row[answer_column])
    if marker is not None:
        if marker not in answer:
            raise InvalidInputError(f"has no {marker!r} in column {answer_column!r}")
        answer = answer.rpartition(marker)[2]
    if not answer.strip():
        raise InvalidInputError(f"has an empty answer in column {answer_column!r}; fill it")
    return {
        "prompt": prompts.solve(problem),
        "problem": problem.text,
        "problem_id": problem.id,
        "answer": answer.strip(),
        "family": None if row.get("family") is None else str(row["family"]),
    }


def _json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    if path.suffix not in (".jsonl", ".json", ".ndjson"):
        raise InvalidInputError(
            f"{path} is not a JSON Lines file (.jsonl); convert it, or give a folder of data files"
        )
    try:
        file = path.open("rb")
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror}") from error
    with file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            place = f"{path}, line {number}"
            try:
                yield place, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield place, InvalidInputError(f"is not JSON: {error}")


def _dataset_rows(source: str, split: str, config: str | None) -> Iterator[tuple[str, Any]]:
    from datasets.exceptions import DatasetsError

    looks_local = source.startswith((".", "/", "~")) or Path(source).suffix in _FILES
    if looks_local and not Path(source).exists():
        raise InvalidInputError(f"there is no file or folder {source}; check the path")
    try:
        dataset = _load(source, split, config)
    except (DatasetsError, OSError, ValueError) as error:
        fault = " ".join(str(error).split())
        raise InvalidInputError(
            f"cannot load {source!r} as a file, a folder or a dataset's name: {fault}"
        ) from error
    for number, row in enumerate(dataset):
        yield f"{source}, {split} row {number}", row


def _saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote it; `load_dataset` refuses such a folder."""
    return any((folder / name).is_file() for name in ("state.json", "dataset_dict.json"))


def _load(source: str, split: str, config: str | None) -> Dataset:
    from datasets import DatasetDict, load_dataset, load_from_disk

    if not _saved(Path(source)):
        return load_dataset(source, config, split=split)
    saved = load_from_disk(source)
    if not isinstance(saved, DatasetDict):
        return saved
    if split not in saved:
        raise ValueError(f"unknown split {split!r}; there are {', '.join(saved)}")
    return saved[split]
