"""What `lanpo` says of itself: its version, and help that fits any screen."""

from __future__ import annotations

from importlib.metadata import version
from itertools import pairwise

import pytest

from tests.rl.commands import Lanpo


def test_the_version_is_printed(lanpo: Lanpo):
    ran = lanpo("--version")
    assert (ran.code, ran.out, ran.err) == (0, f"lanpo {version('lanpo')}\n", "")
    assert "--version" in lanpo("--help").out


def test_without_a_command_there_is_help(lanpo: Lanpo):
    ran = lanpo()
    assert ran.code == 2
    assert "lanpo [OPTIONS] COMMAND [ARGS]... An experience memory" in ran.flat


@pytest.mark.parametrize("command", ["demo", "eval", "seed", "study", "train"])
@pytest.mark.parametrize("columns", [70, 130])
def test_help_is_wrapped_at_the_width_of_the_screen(
    lanpo: Lanpo, monkeypatch: pytest.MonkeyPatch, command: str, columns: int
):
    monkeypatch.setenv("COLUMNS", str(columns))
    ran = lanpo(command, "--help")
    assert ran.code == 0
    above, _, _ = ran.out.partition("╭")
    _, _, text = above.partition("[OPTIONS]")
    for paragraph in text.split("\n" + " " * columns + "\n"):
        lines = [line.strip() for line in paragraph.splitlines() if line.strip()]
        for line, following in pairwise(lines):
            next_word = following.split()[0]
            assert len(line) + len(next_word) + 1 > columns - 2, "the line ends early"


def test_train_says_where_its_settings_are_explained(lanpo: Lanpo):
    said = lanpo("train", "--help").flat
    assert "docs/training.md" in said
    assert "getting-started" not in said
