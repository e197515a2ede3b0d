"""What examples and pages claim: figures, and snippets for packages that are not installed here."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lanpo_memory.types import Completion, Failure, Problem, Rollout

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("[0-9]*.py"))
_NOT_RUN = re.compile(r"^```py\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FIGURE = re.compile(r"^(.+?):? +(\d\.\d\d) right", re.MULTILINE)


@cache
def run_of(name: str) -> tuple[str, dict[str, Any]]:
    """Run an example, once, in an empty folder; return what it prints and what it defines."""
    printed = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(printed),
    ):
        defined = runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    return printed.getvalue(), defined


def output_of(name: str) -> str:
    return run_of(name)[0]


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


def test_a_run_on_ones_own_file_learns_first_with_the_memory_and_then_without():
    name = "05_train_on_your_own_jsonl"
    shares = figures_of(name)
    guided = [share for label, share in shares.items() if label.endswith("with guidance")]
    scratch = [share for label, share in shares.items() if label.endswith("from scratch")]
    assert len(guided) == len(scratch) == 4
    assert guided[0] > 0.8 > 0.25 > scratch[0]
    assert scratch[-1] > scratch[0] + 0.4
    assert re.search(r"0\.\d\d (\w+) .* -> \('\1 C\d\d',\)", output_of(name)), "the pool is shown"


def test_a_jsonl_example_names_the_three_lines_to_change():
    code = (ROOT / "examples" / "05_train_on_your_own_jsonl.py").read_text(encoding="utf-8")
    assert re.findall(r"# (\d): ", code) == ["1", "2", "3"]
    assert len(code.splitlines()) < 70


def test_own_parts_work_in_training_and_without_a_trainer():
    name = "06_own_reward_and_summarizer"
    reward = re.search(r"trained: (\d\.\d\d) reward", output_of(name))
    assert reward is not None
    assert float(reward[1]) > 0.8
    shares = figures_of(name)
    assert shares["retrieval"] > shares["zero_shot"] + 0.5
    found = re.search(r"(\d+) right guesses: {'added': (\d+)}", output_of(name))
    assert found is not None
    assert found[1] == found[2]


def test_the_summarizer_of_the_example_refuses_what_the_rollout_did_not_say():
    summarizer = run_of("06_own_reward_and_summarizer")[1]["summarizer"]
    rollout = Rollout(problem=Problem(text="bako bako bako 8_6"), completion="C09+14=")
    assert summarizer.ask([rollout, rollout])[1].rollouts == (1,)
    answers = [Completion(text=t) for t in ("bako C09", "bako C10", "bako")]
    kept, *refused = summarizer.read([rollout] * 4, [*answers, Failure(reason="a time-out")])
    assert kept.principles == ("bako C09",)
    assert [(f.status, f.rollouts) for f in refused] == [
        ("rejected", (1,)),
        ("rejected", (2,)),
        ("failed", (3,)),
    ]


def test_an_agent_gets_better_while_it_works():
    shares = list(figures_of("07_agent_that_learns").values())
    assert len(shares) == 4
    assert shares[-1] > shares[0] + 0.2


def test_the_page_shows_the_figures_of_the_examples():
    page = (ROOT / "docs" / "solving.md").read_text(encoding="utf-8")
    shown = [float(share) for share in re.findall(r"\| (\d\.\d\d) \|$", page, re.MULTILINE)]
    names = ("02_retrieval_augmented", "03_self_correction", "07_agent_that_learns")
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
