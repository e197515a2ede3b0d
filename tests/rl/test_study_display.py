"""What is shown while the runs of a study are under way."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
from rich.console import Console

from lanpo_rl.study.running import Event, Outcome
from lanpo_rl.study.running.display import Tally, displayed
from tests.rl.toy_work import job, quick


def ended(key: str, *, seconds: float = 0.0, reason: str = "") -> Event:
    one = job(key, quick)
    status: Literal["crashed", "finished"] = "crashed" if reason else "finished"
    return Event(
        "ended", one, outcome=Outcome(key, one.label, status, seconds=seconds, reason=reason)
    )


def found(key: str, *, seconds: float) -> Event:
    return replace(ended(key, seconds=seconds), kind="found")


def test_without_a_terminal_each_run_that_ends_is_a_line(capsys: pytest.CaptureFixture[str]):
    console = Console(highlight=False, markup=False, emoji=False, width=30)
    with displayed(console, 4, 2) as on_event:
        on_event(found("a", seconds=100.0))
        on_event(Event("begun", job("b", quick)))
        on_event(Event("told", job("b", quick), 0.5, "trains"))
        on_event(ended("b", seconds=100.0))
        on_event(ended("c", reason="ValueError: [bold] no"))
        on_event(ended("d", seconds=7_000.0))
    assert capsys.readouterr().out.splitlines() == [
        "2/4 the b: finished in 2 min, ~2 min left",
        "3/4 the c: crashed: ValueError: [bold] no, ~2 min left",
        "4/4 the d: finished in 1 h 57 min",
    ]


def test_on_a_terminal_there_is_a_bar_for_all_and_one_for_each_run_in_progress(
    capsys: pytest.CaptureFixture[str],
):
    console = Console(force_terminal=True, width=120, color_system=None, highlight=False)
    with displayed(console, 3, 2) as on_event:
        on_event(ended("a", seconds=600.0))
        on_event(Event("begun", job("b", quick)))
        on_event(Event("told", job("b", quick), 0.42, "step 42 of [100]"))
        on_event(ended("c", reason="ValueError: [bold] \x1b[2Jno"))
    shown = capsys.readouterr().out
    assert "the c: crashed: ValueError: [bold] �[2Jno\n" in shown
    last = shown.rpartition("all runs")[2]
    assert "2/3" in last
    assert "~6 min left" in last
    assert "\nthe b" in last
    assert "42 %" in last
    assert "step 42 of [100]" in last


def test_the_time_left_is_what_the_usual_run_takes_for_those_to_come():
    now = 0.0
    tally = Tally(total=6, processes=2, clock=lambda: now)
    assert (tally.left_s(), tally.left()) == (None, "")
    for key in "ab":
        tally.take(Event("begun", job(key, quick)))
    now = 10.0
    tally.take(Event("told", job("a", quick), 0.1))
    assert tally.left_s() == pytest.approx((0.9 + 1 + 4) * 100 / 2)
    tally.take(ended("a", seconds=60.0))
    assert tally.left_s() == pytest.approx((1 + 4) * 60 / 2)
    tally.take(ended("b", seconds=80.0))
    tally.take(found("c", seconds=1.0))
    assert tally.left_s() == pytest.approx(3 * 60 / 2)
    assert (tally.done, tally.found, tally.crashed) == (3, 1, 0)
    tally.take(ended("d", reason="it crashed"))
    tally.take(ended("e", seconds=60.0))
    tally.take(Event("begun", job("f", quick)))
    assert tally.left_s() == pytest.approx(60)  # the other process has nothing to do
    tally.take(ended("f", seconds=60.0))
    assert (tally.crashed, tally.left()) == (1, "")
