"""What examples and pages claim: figures, and snippets for packages that are not installed here."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import tempfile
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("[0-9]*.py"))
_NOT_RUN = re.compile(r"^```py\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FIGURE = re.compile(r"^(.+?):? +(\d\.\d\d) right", re.MULTILINE)


@cache
def output_of(name: str) -> str:
    """Run an example, once, in an empty folder; return what it prints."""
    printed = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(printed),
    ):
        runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    return printed.getvalue()


def figures_of(name: str) -> dict[str, float]:
    """Shares of right answers as an example prints them, by label."""
    return {label.strip(): float(share) for label, share in _FIGURE.findall(output_of(name))}


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_runs_and_says_something(name: str):
    assert output_of(name).strip()


def test_memory_and_a_second_look_help_the_tiny_policy():
    alone = figures_of("02_retrieval_augmented")
    assert alone["retrieval"] > alone["zero_shot"] + 0.5
    looked = figures_of("03_self_correction")
    assert looked["1 reflections at most"] > looked["0 reflections at most"] + 0.2


def test_an_agent_gets_better_while_it_works():
    shares = list(figures_of("05_agent_that_learns").values())
    assert len(shares) == 4
    assert shares[-1] > shares[0] + 0.2


def test_the_page_shows_the_figures_of_the_examples():
    page = (ROOT / "docs" / "solving.md").read_text(encoding="utf-8")
    shown = [float(share) for share in re.findall(r"\| (\d\.\d\d) \|$", page, re.MULTILINE)]
    names = ("02_retrieval_augmented", "03_self_correction", "05_agent_that_learns")
    printed = [share for name in names for share in figures_of(name).values()]
    assert shown == pytest.approx(printed, abs=0.03)


def test_the_agent_gets_the_lesson_of_the_day_before():
    out = output_of("04_agent_session")
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
