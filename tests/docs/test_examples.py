"""What examples and pages claim: figures, and snippets for packages that are not installed here."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_NOT_RUN = re.compile(r"^```py\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FIGURE = re.compile(r"^(.+?):? +(\d\.\d\d) right", re.MULTILINE)


@pytest.fixture(scope="module")
def figures():
    """Shares of right answers as the examples print them, by label."""
    found = {}
    for name in ("02_retrieval_augmented", "03_self_correction"):
        with pytest.MonkeyPatch.context() as patch:
            lines: list[str] = []
            patch.setattr(
                "builtins.print", lambda *words, to=lines: to.append(" ".join(map(str, words)))
            )
            runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
        found |= {label.strip(): float(share) for label, share in _FIGURE.findall("\n".join(lines))}
    return found


def test_memory_and_a_second_look_help_the_tiny_policy(figures):
    assert figures["retrieval"] > figures["zero_shot"] + 0.5
    assert figures["1 reflections at most"] > figures["0 reflections at most"] + 0.2


def test_the_page_shows_the_figures_of_the_examples(figures):
    page = (ROOT / "docs" / "solving.md").read_text(encoding="utf-8")
    shown = [float(share) for share in re.findall(r"\| (\d\.\d\d) \|$", page, re.MULTILINE)]
    assert shown == pytest.approx(list(figures.values()), abs=0.03)


def test_the_agent_gets_the_lesson_of_the_day_before(capsys):
    runpy.run_path(str(ROOT / "examples" / "04_agent_session.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert "day 0: 0 notes in the prompt" in out
    assert "day 1: 1 notes in the prompt" in out
    assert '<experience number="1">' in out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_snippets_that_are_not_run_are_python(page: Path):
    for code in _NOT_RUN.findall(page.read_text(encoding="utf-8")):
        compile(code, str(page), "exec")


def test_there_are_snippets_that_are_not_run():
    page = (ROOT / "docs" / "solving.md").read_text(encoding="utf-8")
    assert len(_NOT_RUN.findall(page)) == 3
