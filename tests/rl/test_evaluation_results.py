"""From samples to figures: right and wrong, missing and cut, flips, costs, the report."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.types import Guidance, Problem, Solution, SolveMode, Turn, Usage
from lanpo_rl.evaluation import Results, Sample, evaluate_samples
from lanpo_rl.evaluation.report import as_json, as_markdown, write_report
from lanpo_rl.rewards import as_reward
from lanpo_rl.tasks import Example, boxed_reward

A, B, C = (Example(Problem(text=f"{i} + 3?", id=str(i)), str(i + 3)) for i in (1, 2, 3))
EXACT = as_reward(boxed_reward)


def turn(text: str, *, guided: bool = False, failures: int = 0) -> Turn:
    answer = text.partition("{")[2].partition("}")[0] or None
    guidance = Guidance(kind="inter", text="Hint.", experience_ids=("e",)) if guided else Guidance()
    usage = Usage(calls=1, failures=failures, prompt_tokens=10, completion_tokens=4, seconds=0.5)
    return Turn(conversation=[], text=text, answer=answer, guidance=guidance, usage=usage)


def sample(
    example: Example, *said: Turn | int, mode: SolveMode = "zero_shot", number: int = 0, **more: Any
) -> Sample:
    """A sample with one turn or more; a number stands for a text with that answer."""
    turns = [each if isinstance(each, Turn) else turn(rf"So \boxed{{{each}}}") for each in said]
    ledger = {"solve": turns[0].usage}
    if turns[1:]:
        ledger["reflect"] = turns[1].usage
    solution = Solution(
        problem=example.problem,
        mode=mode,
        answer=turns[-1].answer,
        text=turns[-1].text,
        turns=tuple(turns),
        ledger=ledger,
    )
    return Sample(solution, number, **more)


def results(samples: list[Sample], examples: Any = (A, B), **more: Any) -> Results:
    return evaluate_samples(samples, examples, score=EXACT, **more)


def four(example: Example, *answers: int, mode: SolveMode = "zero_shot") -> list[Sample]:
    return [sample(example, answer, number=i, mode=mode) for i, answer in enumerate(answers)]


# ---------------------------------------------------------------------- accuracy


def test_two_problems_with_four_samples_by_hand():
    found = results([*four(A, 4, 0, 0, 0), *four(B, 5, 5, 0, 0)]).mode("zero_shot")
    assert found.accuracy.value == pytest.approx((1 / 4 + 2 / 4) / 2)
    by_hand = {1: (1 / 4 + 2 / 4) / 2, 2: (3 / 6 + 5 / 6) / 2, 4: 1.0}
    assert {j: each.value for j, each in found.pass_at.items()} == pytest.approx(by_hand)
    assert found.accuracy.problems == 2
    assert (found.samples, found.missing) == (8, 0)


def test_the_order_of_the_samples_makes_no_difference():
    samples = [*four(A, 4, 0, 4, 0), *four(B, 5, 5, 0, 0)]
    shuffled = [*samples]
    random.Random(0).shuffle(shuffled)
    assert results(shuffled) == results(samples)
    assert results(samples).right == {
        "1": {"zero_shot": (True, False, True, False)},
        "2": {"zero_shot": (True, True, False, False)},
    }


def test_modes_are_compared_on_the_same_problems():
    samples = [
        sample(A, 4), sample(B, 0), sample(C, 0),
        sample(A, 4, mode="retrieval"), sample(B, 5, mode="retrieval"),
    ]  # fmt: skip
    found = results(samples, (A, B, C))
    [difference] = found.differences
    assert (difference.mode, difference.other) == ("retrieval", "zero_shot")
    assert difference.accuracy.value == 0.5, "C has no sample with retrieval"
    assert difference.accuracy.problems == 2


def test_math_verify_judges_by_default():
    said = turn(r"It is \boxed{\frac{8}{2}}")
    found = evaluate_samples([sample(A, said)], [A])
    assert found.mode("zero_shot").accuracy.value == 1.0


def test_changed_answers_change_the_verdict_and_nothing_else():
    samples = four(A, 4, 0, 4, 0)
    flipped = Example(A.problem, "0")
    assert results(samples, [A]).right["1"]["zero_shot"] == (True, False, True, False)
    assert results(samples, [flipped]).right["1"]["zero_shot"] == (False, True, False, True)


# ---------------------------------------------------------------------- missing and empty


def test_failed_and_missing_samples_are_counted_and_in_no_figure_but_the_least():
    broken = turn("", failures=1)
    samples = [sample(A, 4), sample(A, broken, number=1), sample(B, 0), sample(B, 5, number=1)]
    found = results(samples).mode("zero_shot")
    assert (found.samples, found.missing) == (3, 1)
    assert found.accuracy.value == (1 + 0.5) / 2
    assert found.accuracy_least == 2 / 4
    assert found.pass_at[2].value == 1.0
    assert found.pass_at[2].problems == 1, "A has one sample only"


def test_an_empty_answer_is_a_wrong_one():
    empty = Turn(conversation=[], failure="the model answered with nothing", usage=Usage(calls=1))
    found = results([sample(A, empty), sample(B, 5)]).mode("zero_shot")
    assert (found.accuracy.value, found.missing, found.unanswered) == (0.5, 0, 0.5)
    assert found.unusable == 0.5


def test_a_refusal_is_a_wrong_answer_and_no_missing_one():
    usage = Usage(calls=1, failures=1)
    refusal = Turn(conversation=[], failure="the model refused to answer", usage=usage)
    heard = results([sample(A, refusal, unusable=True), sample(B, 5)])
    found = heard.mode("zero_shot")
    assert (found.accuracy.value, found.accuracy_least, found.missing) == (0.5, 0.5, 0)
    assert (found.unanswered, found.unusable) == (0.5, 0.5)
    assert heard.right["1"]["zero_shot"] == (False,)
    assert "| refused or empty | 0.500 |" in as_markdown(heard, {})
    lost = results([sample(A, refusal), sample(B, 5)]).mode("zero_shot")
    assert (lost.accuracy.value, lost.accuracy_least, lost.missing) == (1.0, 0.5, 1)


def test_a_refused_reflection_leaves_a_right_answer_right():
    mode: SolveMode = "self_correct"
    refusal = Turn(conversation=[], failure="the model refused to answer", usage=Usage(calls=1))
    first = turn(r"\boxed{4}")
    solution = Solution(
        problem=A.problem, mode=mode, answer="4", text=first.text, turns=(first, refusal)
    )
    found = results([Sample(solution, unusable=True)], [A]).mode(mode)
    assert (found.accuracy.value, found.unusable, found.right_to_wrong) == (1.0, 1.0, 0)


def test_a_mode_without_samples_has_no_figure():
    found = results([sample(A, 4)], [A], modes=["zero_shot", "retrieval"])
    empty = found.mode("retrieval")
    assert (empty.accuracy.value, empty.accuracy.low, empty.missing) == (None, None, 1)
    assert "retrieval" in as_markdown(found, {})


def test_what_is_not_asked_about_is_left_aside():
    wanted = [sample(A, 4), sample(B, 0)]
    more = [
        sample(A, 4),  # again
        sample(C, 6),  # another problem
        sample(A, 4, mode="retrieval"),
        sample(B, 5, number=1),
    ]
    assert results([*wanted, *more], modes=["zero_shot"], k=1) == results(wanted)


# ---------------------------------------------------------------------- what samples show


def test_shares_are_of_the_samples():
    samples = [
        sample(A, turn("no idea", guided=True), mode="retrieval", truncated=True),
        sample(A, 4, mode="retrieval", number=1),
        sample(B, turn(r"\boxed{5}", guided=True), mode="retrieval", template=True),
        sample(B, 5, mode="retrieval", number=1),
    ]
    found = results(samples).mode("retrieval")
    shares = (found.unanswered, found.truncated, found.guided, found.template)
    assert shares == (0.25, 0.25, 0.5, 0.25)


def test_flips_are_counted_from_the_first_turn_to_the_last():
    mode: SolveMode = "self_correct"
    samples = [
        sample(A, 4, 0, mode=mode), sample(A, 0, 4, mode=mode, number=1),
        sample(B, 5, 5, mode=mode), sample(B, 0, 5, mode=mode, number=1),
        sample(C, 6, mode=mode), sample(C, 0, 7, mode=mode, number=1),
    ]  # fmt: skip
    found = results(samples, (A, B, C)).mode(mode)
    assert found.reflected == 5
    assert (found.right_to_wrong, found.wrong_to_right) == (1, 2)
    assert found.accuracy.value == pytest.approx(4 / 6), "three right at first, less 1, plus 2"


def test_costs_are_added_up_by_role():
    found = results([sample(A, 4, 0, mode="self_correct"), sample(B, 5, mode="self_correct")])
    usage = found.mode("self_correct").usage
    assert {role: (u.calls, u.tokens) for role, u in usage.items()} == {
        "solve": (2, 28), "reflect": (1, 14),
    }  # fmt: skip


# ---------------------------------------------------------------------- wrong input


def test_rows_that_repeat_a_problem_count_once():
    again = Example(Problem(text=" 1  + 3? ", id="other"), A.answer)
    assert results([sample(A, 4)], [A, again]).problems == 1


@pytest.mark.parametrize(
    ("examples", "complaint"),
    [
        ([], "no problems"),
        ([A, Example(Problem(text="1 + 3?", id="9"), "5")], "have different answers"),
        ([A, Example(Problem(text="1 + 4?", id="1"), "5")], "two problems have the id '1'"),
    ],
)
def test_problems_that_cannot_be_counted_are_refused(examples: list[Example], complaint: str):
    with pytest.raises((ConfigError, InvalidInputError), match=complaint):
        results([sample(A, 4)], examples)


def test_nothing_to_count_is_refused():
    for nothing in ([], [sample(C, 6)], [sample(A, turn("", failures=1))]):
        with pytest.raises(InvalidInputError, match="none of the samples"):
            results(nothing)
    with pytest.raises(ConfigError, match="k must be at least 1"):
        results([sample(A, 4)], k=0)
    with pytest.raises(ConfigError, match="was not evaluated"):
        results([sample(A, 4)]).mode("retrieval")


# ---------------------------------------------------------------------- reports

ABOUT = {"model": {"name": "a|b"}}


def test_the_reports_hold_the_figures(tmp_path: Path):
    samples = [*four(A, 4, 0, 0, 0), *four(B, 5, 5, 0, 0), *four(A, 4, 4, 4, 4, mode="retrieval")]
    found = results(samples)
    assert write_report(tmp_path, found, ABOUT) == tmp_path / "report.md"
    data = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert data["modes"]["zero_shot"]["accuracy"]["value"] == 0.375
    assert data["modes"]["zero_shot"]["pass_at"]["2"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    assert data["right"]["1"]["zero_shot"] == [1, 0, 0, 0]
    assert data["right"]["2"]["retrieval"] == [None] * 4
    assert data["missing"] == 4
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| mean@4 | 0.375 [0.250, 0.500] | 1.000 |" in page
    assert "| retrieval minus zero_shot | +0.750 |" in page, "one problem has no interval"
    assert "4 samples are missing" in page
    assert "mean@4 is: retrieval 0.500." in page
    assert r"| name | a\|b |" in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "report.md"]


def test_the_same_samples_make_the_same_bytes_whatever_they_took():
    samples = [*four(A, 4, 0, 4, 0), *four(B, 5, 5, 0, 0)]
    slower = [
        Sample(s.solution.model_copy(update={"ledger": {"solve": Usage(calls=1, seconds=99)}}))
        for s in [sample(A, 4)]
    ]
    usual = [Sample(slower[0].solution.model_copy(update={"ledger": {"solve": Usage(calls=1)}}))]
    assert as_json(results(slower, [A]), ABOUT) == as_json(results(usual, [A]), ABOUT)
    assert as_markdown(results(samples), ABOUT) == as_markdown(results(samples[::-1]), ABOUT)


def test_a_report_that_cannot_be_written_is_said(tmp_path: Path):
    with pytest.raises(InvalidInputError, match="cannot write"):
        write_report(tmp_path / "none", results([sample(A, 4)]), ABOUT)
