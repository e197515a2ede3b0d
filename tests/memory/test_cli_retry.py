"""`lanpo pool retry`, run in this process through the same `main` as the installed command."""

from __future__ import annotations

import json

import pytest

from lanpo_memory import Batch, Failure, Problem, open_pool
from lanpo_memory.cli import retrying
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.testing import ScriptedChatModel
from lanpo_memory.types import FailedAnswer

GOOD = json.dumps({"principles": ["Look for what stays the same."]})


@pytest.fixture
def model(monkeypatch):
    """Let the next runs use a scripted model; return those that were loaded."""
    loaded = []

    def use(answers=GOOD):
        def load(name, ledger, *, api_base=None):
            made = ScriptedChatModel(answers, ledger=ledger)
            made.named = (name, api_base)
            loaded.append(made)
            return made

        monkeypatch.setattr(retrying, "load_model", load)
        return loaded

    return use


@pytest.fixture
def pool(tmp_path):
    """Three failed answers, of which today's parser reads the second."""
    path = tmp_path / "[bold]pool.db"
    with open_pool(path) as opened:
        opened.write(Batch(failures=tuple(letter(i) for i in range(3))))
    return path


def letter(i):
    problem = Problem(text=f"How many eggs are in basket {i}?", id=f"p{i}")
    return FailedAnswer(
        role="summarise",
        problem_id=problem.id,
        problem=problem,
        text=GOOD if i == 1 else f"I am [red]sorry {i}.",
        reason="no JSON object in the answer",
        conversation=EnglishPrompts().summarise(problem, "I sell the others."),
    )


def held(pool):
    with open_pool(pool) as opened:
        return len(opened), opened.store.count("failure")


def rows(out):
    """The lines of the table: status, answers, reason."""
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()]
    return [row for row in cells if len(row) == 3]


def test_without_a_model_the_parser_alone_reads(lanpo, pool):
    ran = lanpo("pool", "retry", "--pool", pool)
    assert rows(ran.out) == [
        ["added", "1", ""],
        ["failed", "2", "no JSON object in the answer"],
    ]
    assert ran.out.splitlines()[-1] == f"2 failed answers are left, 1 experiences: {pool}"
    assert (ran.code, ran.err, held(pool)) == (1, "", (1, 2))


def test_with_a_model_the_others_are_asked_for_and_the_ledger_is_told(lanpo, pool, model):
    (loaded,) = [model()]
    ran = lanpo("pool", "retry", "--pool", pool, "--model", "m", "--api-base", "http://x")
    assert rows(ran.out) == [["added", "3", ""]]
    assert "summarise   2 calls, " in ran.out
    assert ran.out.splitlines()[-1] == f"0 failed answers are left, 3 experiences: {pool}"
    assert (ran.code, ran.err, held(pool)) == (0, "", (3, 0))
    assert loaded[0].named == ("m", "http://x")


def test_a_second_run_has_nothing_to_do(lanpo, pool, model):
    model()
    lanpo("pool", "retry", "--pool", pool, "--model", "m")
    ran = lanpo("pool", "retry", "--pool", pool)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[0] == "no failed answer was looked at"


def test_a_dry_run_changes_nothing(lanpo, pool):
    ran = lanpo("pool", "retry", "--pool", pool, "--dry-run")
    assert rows(ran.out) == [
        ["failed", "2", "no JSON object in the answer"],
        ["readable", "1", ""],
    ]
    assert "2 failed answers would be left, 0 experiences" in ran.out
    assert (ran.code, held(pool)) == (1, (0, 3))


def test_what_was_never_answered_is_asked_for_first(lanpo, pool, model):
    (loaded,) = [model()]
    silent = letter(7).model_copy(update={"text": "", "reason": "not asked: the budget ended"})
    with open_pool(pool) as opened:
        opened.write(Batch(failures=(silent,)))
    lanpo("pool", "retry", "--pool", pool, "--model", "m", "--max-calls", 1)
    (call,) = loaded[0].calls
    assert call.conversations == [silent.conversation]


def test_a_budget_stops_it_and_what_was_read_is_stored_and_told(lanpo, pool, model):
    model()
    ran = lanpo("pool", "retry", "--pool", pool, "--model", "m", "--max-calls", 1)
    assert rows(ran.out) == [["added", "2", ""]]
    assert "summarise   1 calls" in ran.out
    (line,) = ran.err.splitlines()
    assert line.startswith("error: ")
    assert "max_calls=1" in line
    assert (ran.code, held(pool)) == (2, (2, 1))


def test_ctrl_c_keeps_what_was_read(lanpo, pool, model):
    def interrupted(messages):
        raise KeyboardInterrupt

    model(interrupted)
    ran = lanpo("pool", "retry", "--pool", pool, "--model", "m")
    assert rows(ran.out) == [["added", "1", ""]]
    assert "stopped: what was read is stored" in ran.err
    assert (ran.code, held(pool)) == (130, (1, 2))


def test_a_summary_that_copies_is_refused(lanpo, pool, model):
    model('{"principles": ["How many eggs are in basket"]}')
    ran = lanpo("pool", "retry", "--pool", pool, "--model", "m")
    assert rows(ran.out)[-1][:2] == ["rejected", "2"]
    assert "copied share 1.00" in rows(ran.out)[-1][2]
    assert (ran.code, held(pool)) == (0, (1, 0))


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--max-calls", "3"), ("--max-calls is about a model", "--model MODEL")),
        (("--max-tokens", "3"), ("--max-tokens is about a model",)),
        (("--max-cost", "3"), ("--max-cost is about a model",)),
        (("--api-base", "http://x"), ("--api-base is about a model",)),
        (("--model", "m", "--dry-run"), ("--dry-run asks nobody",)),
        (("--namespace", "none"), ("no namespace 'none'",)),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_line(lanpo, pool, options, parts):
    ran = lanpo("pool", "retry", "--pool", pool, *options)
    assert (ran.code, ran.out) == (2, "")
    (line,) = ran.err.splitlines()
    assert all(part in line for part in ("error: ", *parts))
    assert held(pool) == (0, 3)


def test_a_missing_pool_is_not_made(lanpo, tmp_path):
    missing = tmp_path / "none.db"
    ran = lanpo("pool", "retry", "--pool", missing)
    assert (ran.code, f"there is no pool at {missing}" in ran.err) == (2, True)
    assert not missing.exists()


def test_every_budget_reaches_the_ledger(lanpo, pool, model):
    loaded = model()
    budget = ("--max-calls", 1, "--max-tokens", 9_999, "--max-cost", 0.5)
    lanpo("pool", "retry", "--pool", pool, "--model", "m", *budget)
    assert loaded[0].ledger.limits == {"max_calls": 1, "max_tokens": 9_999, "max_cost": 0.5}


def test_the_help_says_where_the_key_goes(lanpo):
    said = " ".join(lanpo("pool", "retry", "--help").out.replace("│", " ").split())
    assert "The key from the environment is sent there." in said


def test_the_help_says_what_it_does_and_gives_an_example(lanpo):
    ran = lanpo("pool", "retry", "--help")
    assert (ran.code, ran.err) == (0, "")
    assert "Read the failed answers of a pool again" in ran.out
    assert "Example: lanpo pool retry " in ran.out


def test_a_model_that_answers_nothing_is_not_asked_for_ever(lanpo, model, tmp_path):
    path = tmp_path / "many.db"
    with open_pool(path) as opened:
        letters = [letter(i).model_copy(update={"text": f"sorry {i}"}) for i in range(2, 100)]
        opened.write(Batch(failures=tuple(letters)))
    loaded = model([Failure(reason="wrong key")] * 100)
    ran = lanpo("pool", "retry", "--pool", path, "--model", "scripted")
    assert ran.code == 2
    assert loaded[0].ledger.total.calls == 32
    assert "the model answered none of 32 calls" in ran.err
    assert "no answer, 32 x: wrong key" in ran.out
