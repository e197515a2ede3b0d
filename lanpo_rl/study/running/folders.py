"""Whose a folder is, and who works in it: one study, one command at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lanpo_memory.errors import ConfigError, PoolWriteError
from lanpo_memory.snapshots import write_whole

__all__ = ["STUDY_NAME", "claimed"]

STUDY_NAME = "study.json"
_SCHEMA = 1
_ELSEWHERE = "name another folder with --out"


@contextmanager
def claimed(folder: Path, study: str) -> Iterator[Path]:
    r"""Have a folder for a study, and to oneself; it is made if it is not there.

    ``study.json`` says whose it is. The lock is on the folder and ends with the process, any end.

    Raises:
        ConfigError: it is a file, another study's, nobody's but not empty, in use, or may not be
            written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     with claimed(Path(place) / "mine", "quick") as folder:
    ...         (folder / "study.json").read_text()
    '{"study": "quick", "schema": 1}\n'
    """
    _check(folder, study)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _locked(folder)
    except OSError as error:
        raise ConfigError(
            f"cannot have the folder {folder}: {error.strerror}; {_ELSEWHERE}"
        ) from error
    try:
        _check(folder, study)  # somebody else may have had it until now
        if not (folder / STUDY_NAME).exists():
            _sign(folder, study)
        yield folder
    finally:
        if lock is not None:
            os.close(lock)


def _check(folder: Path, study: str) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file, and a study needs a folder; {_ELSEWHERE}")
    if not folder.is_dir():
        return
    try:
        text = (folder / STUDY_NAME).read_text(encoding="utf-8")
    except FileNotFoundError:
        if any(folder.iterdir()):
            raise ConfigError(
                f"{folder} is not empty and holds no study; {_ELSEWHERE}, or an empty one"
            ) from None
        return
    except OSError as error:
        raise ConfigError(f"cannot read {folder / STUDY_NAME}: {error.strerror}") from error
    _check_owner(folder, text, study)


def _check_owner(folder: Path, text: str, study: str) -> None:
    try:
        content = json.loads(text)
        owner, schema = content["study"], content["schema"]
    except (ValueError, TypeError, KeyError):
        raise ConfigError(f"{folder / STUDY_NAME} cannot be read; {_ELSEWHERE}") from None
    if owner != study:
        raise ConfigError(f"{folder} holds the study {owner!r}, not {study!r}; {_ELSEWHERE}")
    if schema != _SCHEMA:
        raise ConfigError(
            f"{folder} was written by another version of lanpo (schema {schema}, here {_SCHEMA}); "
            f"use that version, or {_ELSEWHERE}"
        )


def _sign(folder: Path, study: str) -> None:
    try:
        content = {"study": study, "schema": _SCHEMA}
        write_whole(folder / STUDY_NAME, json.dumps(content) + "\n")
    except PoolWriteError as error:
        raise ConfigError(f"{error}; make room, or {_ELSEWHERE}") from error


def _locked(folder: Path) -> int | None:
    """Lock the folder itself: a lock file would be one more thing that lies about."""
    try:
        import fcntl
    except ImportError:  # Windows, where folders cannot be locked
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if not isinstance(error, BlockingIOError):
            raise
        raise ConfigError(
            f"another command is running a study in {folder}; wait for it, or {_ELSEWHERE}"
        ) from None
    return descriptor
