"""What the tests of several commands share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from lanpo_rl.cli import main


@dataclass
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> dict[str, str]:
        """The labelled lines of a summary."""
        out = self.out.replace("from cache", "cache")
        lines = (line.partition(" ") for line in out.split("\n"))
        return {label: text.strip() for label, _, text in lines if label}


@pytest.fixture
def lanpo(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ran]:
    """Run the `lanpo` command as the shell would."""
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["lanpo", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return Ran(int(stopped.value.code or 0), captured.out, captured.err)

    return run
