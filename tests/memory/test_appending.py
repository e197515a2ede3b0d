"""The file that solutions, samples and a teacher's answers go to: it grows, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lanpo_memory import appending
from lanpo_memory.appending import AppendedLines
from lanpo_memory.errors import InvalidInputError

ROWS = [{"format": "note", "text": text} for text in ("a", "é ✓", "two\nlines", "")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notes.jsonl"


def note(row: Any) -> None:
    if not isinstance(row, dict) or row.get("format") != "note":
        raise InvalidInputError("the line holds no note")


def opened(path: Path, **more: Any) -> AppendedLines:
    return AppendedLines(path, **{"mark": "note", "take": note, **more})


def written(path: Path, rows: Any) -> bytes:
    lines = opened(path)
    lines.append(rows)
    lines.close()
    return path.read_bytes()


def test_rows_are_taken_in_the_order_they_came(path: Path):
    written(path, ROWS[:3])
    written(path, ROWS[3:])
    there: list[Any] = []
    lines = opened(path, take=there.append)
    assert there == list(lines.rows()) == ROWS
    lines.append(ROWS[:1])
    assert list(lines.rows()) == [*ROWS, ROWS[0]]
    lines.close()


def test_wherever_a_kill_cuts_the_last_line_only_that_line_is_lost(path: Path):
    first = len(written(path, ROWS[:1]))
    whole = written(path, ROWS[1:2])
    for end in range(first, len(whole) + 1):
        path.write_bytes(whole[:end])
        kept = ROWS[:2] if end >= len(whole) - 1 else ROWS[:1]
        written(path, ROWS[2:3])
        lines = opened(path)
        assert list(lines.rows()) == [*kept, ROWS[2]], end
        lines.close()


@pytest.mark.parametrize("content", ['{"a": 1}\n', "notes\n", "notes", '{"format": "notebook"', ""])
def test_what_is_refused_is_not_touched_and_the_way_out_is_named(path: Path, content: str):
    path.write_text(content, encoding="utf-8")
    if content:
        with pytest.raises(
            InvalidInputError, match=r"line 1: .*The file was not touched; take this"
        ):
            opened(path, instead="take this")
    else:
        opened(path).close()
    assert path.read_text(encoding="utf-8") == content


def test_one_process_at_a_time(path: Path):
    lines = opened(path)
    with pytest.raises(InvalidInputError, match="wait for it, or write to another file"):
        opened(path)
    lines.close()
    opened(path).close()


def test_a_place_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path):
    with pytest.raises(InvalidInputError, match="no plain file; write to another file"):
        opened(tmp_path)
    with pytest.raises(InvalidInputError, match=r"cannot write .*No such file"):
        opened(tmp_path / "no" / "notes.jsonl")


def test_what_is_acknowledged_was_synced(path: Path, monkeypatch: pytest.MonkeyPatch):
    synced: list[int] = []
    monkeypatch.setattr(
        appending.os, "fsync", lambda _: synced.append(len(path.read_bytes().splitlines()))
    )
    lines = opened(path)
    lines.append(ROWS[:2])
    lines.append(ROWS[2:])
    lines.close()
    assert synced == [2, 4]


def test_kill_9_leaves_every_row_that_was_acknowledged(path: Path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from lanpo_memory.appending import AppendedLines\n"
        "lines = AppendedLines(Path(sys.argv[1]), mark='note', take=lambda row: None)\n"
        "for i in range(10**6):\n"
        "    lines.append([{'format': 'note', 'number': i, 'text': 'x' * 5000}])\n"
        "    print(i, flush=True)\n"
    )
    ran = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert ran.stdout is not None
    acknowledged = [int(ran.stdout.readline()) for _ in range(20)]
    os.kill(ran.pid, signal.SIGKILL)
    acknowledged += [int(line) for line in ran.stdout if line.endswith("\n")]
    assert ran.wait() == -signal.SIGKILL
    ran.stdout.close()
    lines = opened(path)
    numbers = [row["number"] for row in lines.rows()]
    lines.close()
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= len(acknowledged)
    assert all(json.loads(line)["format"] == "note" for line in path.read_text().splitlines())
