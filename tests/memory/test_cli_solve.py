"""`lanpo solve`, through a small application around the function."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import typer
from rich.progress import Progress
from typer.testing import CliRunner

from lanpo_memory import appending
from lanpo_memory.cli import solving
from lanpo_memory.cli.solutions import SolutionFile, solution_of
from lanpo_memory.errors import (
    BudgetExceeded,
    ConfigError,
    InvalidInputError,
    LanpoError,
    NoAnswerError,
    PoolNotFoundError,
)
from lanpo_memory.pool import open_pool
from lanpo_memory.solving import Solver
from lanpo_memory.testing import HashingEmbedder, ScriptedChatModel
from lanpo_memory.types import Experience, Failure, Problem
from tests.memory.openai_server import OpenAIServer, error

BOXES = "A box holds {} red apples. How many red apples are in 9 boxes?"
LESSON = "Equal [groups]: multiply the groups by the size of one."
REFLECTION = (
    "### Step-by-Step Verification:\nStep 1 fails.\n### Conclusion:\nIncorrect\n"
    "### Corrected Solution:\nSo it is \\boxed{72}."
)


@dataclass
class Ran:
    code: int
    out: str
    err: str
    error: BaseException | None


class Script:
    """Stands in for `load_model`: keeps the model, with the ledger that the command made."""

    def __init__(self):
        self.answers = "I multiply. \\boxed{72}"
        self.model = None
        self.loaded = []

    def __call__(self, name, ledger, *, api_base=None):
        self.loaded.append((name, api_base))
        self.model = ScriptedChatModel(self.answers, ledger=ledger)
        return self.model

    @property
    def asked(self):
        return [c[-1]["content"] for call in self.model.calls for c in call.conversations]


@pytest.fixture
def script(monkeypatch):
    script = Script()
    monkeypatch.setattr(solving, "load_model", script)
    return script


@pytest.fixture
def solve(script, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(solving.solve)

    def run(*arguments, model="scripted"):
        words = [*map(str, arguments), *(("--model", model) if model else ())]
        result = CliRunner().invoke(app, words)
        if result.exception and not isinstance(result.exception, SystemExit | LanpoError):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr, result.exception)

    return run


@pytest.fixture
def pool(tmp_path):
    path = tmp_path / "pool.db"
    with open_pool(path) as opened:
        opened.add([Experience(problem=Problem(text=BOXES.format(5)), principles=(LESSON,))])
    return path


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "problems.jsonl"
    rows = [{"problem": BOXES.format(i)} for i in range(10, 15)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def out(tmp_path):
    return tmp_path / "solutions.jsonl"


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# ---------------------------------------------------------------------- one question


def test_a_question_is_answered_with_its_trace(solve, pool):
    ran = solve(BOXES.format(8), "--pool", pool, "--gamma", "0.2")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0] == "answer    72"
    assert lines[1] == "text      I multiply. \\boxed{72}"
    assert lines[2] == "turn 1    with 1 experience; answer 72"
    with open_pool(pool) as opened:
        id_ = opened.store.read("experience")[0].id
    assert lines[3] == f"          {id_[:12]}  {LESSON}", "markup of an entry does not act"


def test_the_ledger_goes_to_the_other_stream(solve):
    ran = solve("What is 8 * 9?")
    assert re.search(r"^solve +1 calls, \d+ tokens in, 3 out", ran.err, re.MULTILINE)
    assert "tokens in" not in ran.out


def test_verdicts_stand_in_the_trace(solve, script):
    script.answers = ["\\boxed{1}", REFLECTION, "no sections"]
    ran = solve("What is 8 * 9?", "--mode", "self_correct", "--rounds", 2)
    assert "turn 1    the problem alone; answer 1" in ran.out
    assert "turn 2    checked the answer before: Incorrect; answer 72" in ran.out
    assert "turn 3    checked the answer before: no verdict that can be read; no final" in ran.out
    assert [call.role for call in script.model.calls] == ["solve", "reflect", "reflect"]


def test_without_a_pool_the_question_stands_alone(solve, script):
    ran = solve("What is 8 * 9?")
    assert "the problem alone; answer 72" in ran.out
    assert script.asked[0].startswith("What is 8 * 9?")


def test_a_mode_without_retrieval_leaves_the_pool_alone(solve, script, pool):
    ran = solve(BOXES.format(8), "--pool", pool, "--mode", "zero_shot")
    assert "the problem alone" in ran.out
    assert LESSON not in script.asked[0]
    assert solve(BOXES.format(8), "--pool", "nowhere.db", "--mode", "zero_shot").code == 0


def test_as_many_experiences_as_wanted_stand_in_the_prompt(solve, pool):
    with open_pool(pool) as opened:
        opened.add([Experience(problem=Problem(text=BOXES.format(6)), principles=("Draw it.",))])
    ran = solve(BOXES.format(8), "--pool", pool, "--gamma", "0.1", "--experiences", 2)
    assert "with 2 experiences" in ran.out


def test_the_seed_decides_who_goes_without(solve, pool):
    problem = Problem(text=BOXES.format(8))
    alone = set()
    for seed in range(8):
        ran = solve(
            problem.text, "--pool", pool, "--gamma", "0.2", "--explore", 0.5, "--seed", seed
        )
        coin = Solver(ScriptedChatModel([]), explore=0.5, seed=seed)
        assert ("by --explore" in ran.out) is coin.explores(problem)
        alone.add(coin.explores(problem))
    assert alone == {True, False}


def test_the_trace_says_why_a_problem_stood_alone(solve, pool):
    ran = solve("Wie spät ist es?", "--pool", pool)
    assert "the problem alone: no experience passed the filters" in ran.out
    ran = solve(BOXES.format(8), "--pool", pool, "--gamma", "0.2", "--explore", "1")
    assert "the problem alone, by --explore" in ran.out


def test_json_is_the_line_that_a_file_would_hold(solve, pool):
    ran = solve(BOXES.format(8), "--pool", pool, "--gamma", "0.2", "--json")
    row = json.loads(ran.out)
    assert (row["format"], row["model"], row["answer"]) == ("lanpo-solution", "scripted", "72")
    assert re.fullmatch("[0-9a-f]{20}", row["settings"])
    solution = solution_of(row)
    assert solution.turns[0].guidance.kind == "inter"
    assert solution.mode == "retrieval"


def test_a_text_without_an_answer_is_shown_and_named(solve, script):
    script.answers = "Who knows.\nNot\tme.\x1b[31m"
    ran = solve("What is 8 * 9?")
    assert ran.code == 0
    assert ran.out.splitlines()[0] == "answer    none: no final answer in the text"
    assert "Not me.�[31m" in " ".join(ran.out.split())
    assert "\x1b" not in ran.out


def test_a_model_failure_is_reported_with_exit_code_1(solve, script):
    script.answers = [Failure(reason="overloaded\n\x1b[31m")]
    ran = solve("What is 8 * 9?")
    assert "\x1b" not in ran.err + ran.out
    assert ran.code == 1
    assert "not solved: What is 8 * 9?: overloaded �[31m" in ran.err
    assert "failed: overloaded" in ran.out


def test_settings_reach_solver_and_model(solve, script):
    solve(
        "What is 8 * 9?", "--answer-tokens", 77, "--temperature", 0.5, "--api-base", "http://h/v1"
    )
    assert script.loaded == [("scripted", "http://h/v1")]
    assert (script.model.calls[0].max_tokens, script.model.calls[0].temperature) == (77, 0.5)


# ---------------------------------------------------------------------- a file


def test_a_file_is_solved_in_order_and_the_pool_only_read(solve, script, data, out, pool):
    with open_pool(pool) as opened:
        before = opened.digest()
    ran = solve("--data", data, "--out", out, "--pool", pool, "--gamma", "0.2", "--batch", 2)
    assert ran.code == 0, ran
    assert [row["problem"]["text"] for row in rows(out)] == [BOXES.format(i) for i in range(10, 15)]
    assert {row["answer"] for row in rows(out)} == {"72"}
    assert [len(call.conversations) for call in script.model.calls] == [2, 2, 1]
    assert "5 of 5 problems solved" in ran.out
    assert "5 with experiences, 0 without a final answer" in ran.out
    with open_pool(pool) as opened:
        assert (opened.digest(), opened.store.count("exposure")) == (before, 0)


def test_what_is_finished_is_not_asked_again(solve, script, data, out):
    assert solve("--data", data, "--out", out).code == 0
    whole = out.read_bytes()
    ran = solve("--data", data, "--out", out)
    assert script.model.calls == []
    assert out.read_bytes() == whole
    assert "5 of 5 problems solved (5 of them before)" in ran.out


def test_another_mode_or_model_is_asked_and_added(solve, script, data, out):
    solve("--data", data, "--out", out)
    solve("--data", data, "--out", out, model="other")
    solve("--data", data, "--out", out, "--mode", "self_correct")
    assert len(rows(out)) == 15
    assert {(row["mode"], row["model"]) for row in rows(out)} == {
        ("zero_shot", "scripted"),
        ("zero_shot", "other"),
        ("self_correct", "scripted"),
    }


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((), ("--temperature", 0.5)),
        ((), ("--answer-tokens", 99)),
        (("--mode", "self_correct"), ("--mode", "self_correct", "--rounds", 2)),
        (("--pool", "POOL"), ("--pool", "OTHER")),
        (("--pool", "POOL"), ("--pool", "POOL", "--gamma", 0.2)),
        (("--pool", "POOL"), ("--pool", "POOL", "--experiences", 2)),
        (("--pool", "POOL"), ("--pool", "POOL", "--namespace", "other")),
        (("--pool", "POOL"), ("--pool", "POOL", "--explore", 0.5)),
        (("--pool", "POOL", "--explore", 0.5), ("--pool", "POOL", "--explore", 0.5, "--seed", 1)),
        (("--pool", "POOL"), ("--pool", "POOL", "--embedder", 8)),
        (("--pool", "POOL", "--embedder", 8), ("--pool", "POOL", "--embedder", 8, "--bf16")),
    ],
    ids=lambda options: " ".join(map(str, options)),
)
def test_other_settings_are_asked_and_the_lines_of_the_former_stay(
    solve, script, data, out, pool, tmp_path, monkeypatch, before, after
):
    class Encoder(HashingEmbedder):
        def __init__(self, name, *, bf16):
            super().__init__(dim=int(name))
            self.fingerprint += f":{bf16}"

    def words(options):
        if "--embedder" in options:  # a pool belongs to one: as many pools at one place
            shutil.copy(fresh, pool)
        return [{"POOL": pool, "OTHER": fresh}.get(word, word) for word in options]

    monkeypatch.setattr("lanpo_memory.cli.embedding.SentenceTransformerEmbedder", Encoder)
    with open_pool(pool, namespace="other") as opened:
        opened.add([Experience(problem=Problem(text=BOXES.format(5)), principles=(LESSON,))])
    fresh = shutil.copy(pool, tmp_path / "fresh.db")
    assert solve("--data", data, "--out", out, *words(before)).code == 0
    first = out.read_bytes()
    assert solve("--data", data, "--out", out, *words(after)).code == 0
    assert len(rows(out)) == 10
    assert out.read_bytes().startswith(first)
    for options in (before, after):
        ran = solve("--data", data, "--out", out, *words(options))
        assert "5 of 5 problems solved (5 of them before)" in ran.out
        assert script.model.calls == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((), ("--rounds", 3, "--seed", 4, "--batch", 2)),
        (("--pool", "POOL"), ("--pool", "POOL", "--seed", 4)),
        (("--pool", "POOL"), ("--pool", "sqlite:///POOL", "--explore", 0.0)),
        (("--pool", "POOL", "--mode", "zero_shot"), ("--mode", "zero_shot", "--experiences", 4)),
    ],
    ids=lambda options: " ".join(map(str, options)),
)
def test_settings_that_decide_nothing_ask_nothing(solve, script, data, out, pool, before, after):
    for options in (before, after):
        words = [str(word).replace("POOL", str(pool)) for word in options]
        assert solve("--data", data, "--out", out, *words).code == 0
    assert script.model.calls == []
    assert len(rows(out)) == 5


def test_a_pool_that_has_grown_asks_nobody_again(solve, script, data, out, pool):
    solve("--data", data, "--out", out, "--pool", pool)
    with open_pool(pool) as opened:
        opened.add([Experience(problem=Problem(text=BOXES.format(6)), principles=("Draw it.",))])
    solve("--data", data, "--out", out, "--pool", pool)
    assert script.model.calls == []


def test_the_bar_moves_with_every_batch(solve, data, out, monkeypatch):
    moved = []

    @contextmanager
    def watched():
        with Progress(disable=True) as bar:
            advance = bar.advance
            monkeypatch.setattr(bar, "advance", lambda *a: advance(*a) or moved.append(bar))
            yield bar
            seen.append([(task.completed, task.total) for task in bar.tasks])

    seen = []
    monkeypatch.setattr(solving, "progress", watched)
    solve("--data", data, "--out", out, "--batch", 2)
    assert seen == [[(5, 5)]]
    assert len(moved) == 3
    solve("--data", data, "--out", out)
    assert seen[1:] == [[(5, 5)]], "what was finished before counts"
    assert len(moved) == 3


def test_failures_are_named_not_written_and_asked_the_next_time(solve, script, data, out):
    script.answers = ["\\boxed{1}", Failure(reason="overloaded"), *["\\boxed{3}"] * 3]
    ran = solve("--data", data, "--out", out)
    assert ran.code == 1
    assert "4 of 5 problems solved" in ran.out
    assert re.search(r"not solved: A box holds 11 red apples.*: overloaded", ran.err)
    script.answers = ["\\boxed{2}"]
    ran = solve("--data", data, "--out", out)
    assert ran.code == 0
    assert script.asked[0].startswith(BOXES.format(11))
    assert len(rows(out)) == 5


def test_a_model_that_answers_nothing_is_not_asked_for_ever(solve, script, out, tmp_path):
    many = tmp_path / "many.jsonl"
    many.write_text("\n".join(json.dumps({"problem": BOXES.format(i)}) for i in range(40, 140)))
    script.answers = [Failure(reason="wrong key")] * 100
    ran = solve("--data", many, "--out", out)
    assert isinstance(ran.error, NoAnswerError)
    assert "the model answered none of 16 calls" in str(ran.error)
    assert script.model.ledger.total.calls == 16
    assert "no answer, 16 x: wrong key" in ran.err


def test_an_answerless_text_is_finished(solve, script, data, out):
    script.answers = "Who knows."
    ran = solve("--data", data, "--out", out)
    assert ran.code == 0
    assert "0 with experiences, 5 without a final answer" in ran.out
    solve("--data", data, "--out", out)
    assert script.model.calls == []


def test_a_half_line_left_by_a_kill_is_dropped_and_its_problem_asked_again(
    solve, script, data, out
):
    solve("--data", data, "--out", out)
    whole = out.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for end in (start + 1, start + 20, (start + len(whole)) // 2, len(whole) - 2):
        out.write_bytes(whole[:end])
        ran = solve("--data", data, "--out", out)
        assert ran.code == 0, ran
        assert [len(call.conversations) for call in script.model.calls] == [1], end
        assert [r["problem"] for r in rows(out)] == [
            json.loads(x)["problem"] for x in whole.splitlines()
        ]


def test_a_last_line_that_lacks_nothing_but_its_end_is_kept(solve, script, data, out):
    solve("--data", data, "--out", out)
    whole = out.read_bytes()
    out.write_bytes(whole[:-1])
    solve("--data", data, "--out", out)
    assert script.model.calls == []
    assert out.read_bytes() == whole


def test_a_kill_between_batches_costs_nothing_that_was_written(solve, script, data, out):
    calls = itertools.count(1)

    def dies(messages):
        if next(calls) > 3:
            raise KeyboardInterrupt
        return "\\boxed{1}"

    script.answers = dies
    ran = solve("--data", data, "--out", out, "--batch", 1)
    assert ran.code == 130, "as after Ctrl-C"
    assert len(rows(out)) == 3


def test_a_budget_leaves_what_was_solved_and_says_how_far(solve, script, data, out):
    ran = solve("--data", data, "--out", out, "--batch", 1, "--max-calls", 3)
    assert isinstance(ran.error, BudgetExceeded)
    assert "would cross max_calls=3" in str(ran.error)
    assert f"3 of 5 problems are solved in {out}" in str(ran.error)
    assert "3 calls" in ran.err
    assert len(rows(out)) == 3
    ran = solve("--data", data, "--out", out, "--batch", 1, "--max-calls", 2)
    assert ran.code == 0
    assert "5 of 5 problems solved (3 of them before)" in ran.out


@pytest.mark.parametrize("option", [("--max-tokens", 10), ("--max-cost", 1.0)])
def test_other_budgets_reach_the_ledger(solve, script, option):
    solve("What is 8 * 9?", "--answer-tokens", 1, *option)
    name = option[0].removeprefix("--").replace("-", "_")
    assert script.model.ledger.limits[name] == option[1]


def test_lines_that_cannot_be_read_are_named(solve, data, out):
    with data.open("a") as file:
        file.write('{"other": 1}\n')
    ran = solve("--data", data, "--out", out)
    assert ran.code == 1
    assert "line 6" in ran.err
    assert len(rows(out)) == 5


def test_over_http_a_file_is_solved_failures_left_and_asked_the_next_time(data, out, pool):
    down = {BOXES.format(12)}

    def answer(request):
        if any(text in request.text for text in down):
            return error(400, "scripted refusal")
        return "I multiply. \\boxed{72}"

    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(solving.solve)
    with OpenAIServer(answer) as server:
        words = ["--data", data, "--out", out, "--pool", pool, "--gamma", 0.2]
        words += ["--model", "openai/scripted", "--api-base", server.url]
        first = CliRunner().invoke(app, list(map(str, words)))
        assert first.exit_code == 1, first.output
        assert "4 of 5 problems solved" in first.stdout
        assert "scripted refusal" in first.stderr
        assert "5 calls (1 failed), 40 tokens in, 20 out" in first.stderr
        assert all(LESSON in request.text for request in server.requests)
        down.clear()
        second = CliRunner().invoke(app, list(map(str, words)))
        assert second.exit_code == 0, second.output
        assert len(server.requests) == 6
    assert sorted(row["problem"]["text"] for row in rows(out)) == [
        BOXES.format(i) for i in range(10, 15)
    ]
    assert {row["ledger"]["solve"]["prompt_tokens"] for row in rows(out)} == {10}


# ---------------------------------------------------------------------- the file is not hurt


def line(**solved_with):
    row = {"format": "lanpo-solution", **solved_with, "mode": "zero_shot", "problem": {"text": "a"}}
    return json.dumps(row) + "\n"


def test_a_line_of_ours_is_taken(solve, data, out):
    out.write_text(line(model="m", settings="s"))
    assert solve("--data", data, "--out", out).code == 0
    assert len(rows(out)) == 6


@pytest.mark.parametrize(
    "content",
    [
        '{"problem": "2 + 3?"}\n',
        '{"problem": "2 + 3?"}',
        "no JSON at all\n",
        '{"format": "lanpo-pool", "schema_version": 3}\n',
        '{"format": "lanpo-solution", "model": "m"}\n',
        '{"format": "lanpo-solution", "model": "m"}',
        line(model=1, settings="s"),
        line(model="m"),
        line(model="m", settings=1),
        "\\boxed{1}",
    ],
)
def test_a_file_of_anything_else_is_refused_untouched(solve, script, data, out, content):
    out.write_text(content)
    ran = solve("--data", data, "--out", out)
    assert isinstance(ran.error, InvalidInputError)
    assert str(out) in str(ran.error)
    assert out.read_text() == content
    assert script.loaded == [], "before a model is loaded"


def test_a_pool_is_refused_untouched(solve, data, pool, tmp_path):
    copy = shutil.copy(pool, tmp_path / "copy.db")
    before = copy.read_bytes()
    ran = solve("--data", data, "--out", copy)
    assert isinstance(ran.error, InvalidInputError)
    assert "would be overwritten" in str(ran.error), "it was not even opened"
    assert copy.read_bytes() == before


def test_the_problems_themselves_are_refused(solve, data):
    before = data.read_bytes()
    ran = solve("--data", data, "--out", data)
    assert isinstance(ran.error, InvalidInputError)
    assert "would be overwritten" in str(ran.error)
    assert data.read_bytes() == before


def test_blank_lines_do_no_harm(solve, script, data, out):
    solve("--data", data, "--out", out)
    out.write_bytes(b"\n" + out.read_bytes() + b"\n")
    ran = solve("--data", data, "--out", out)
    assert ran.code == 0
    assert script.model.calls == []


def test_an_empty_file_is_filled(solve, data, out):
    out.touch()
    assert solve("--data", data, "--out", out).code == 0
    assert len(rows(out)) == 5


def test_a_folder_that_is_not_there_is_an_error_of_ours(solve, data, tmp_path):
    for target, said in (
        (tmp_path / "no" / "out.jsonl", "cannot write"),
        (tmp_path, "no plain file"),
    ):
        ran = solve("--data", data, "--out", target)
        assert isinstance(ran.error, InvalidInputError)
        assert said in str(ran.error)


def test_where_no_problem_finds_an_experience_the_way_out_is_named(solve, data, out, pool):
    ran = solve("--data", data, "--out", out, "--pool", pool, "--gamma", 1.0)
    assert "now: 0 with experiences" in ran.out
    assert "lanpo pool calibrate" in " ".join(ran.out.split())
    again = solve("--data", data, "--out", out, "--pool", pool, "--gamma", 1.0)
    assert "now:" not in again.out
    assert "calibrate" not in again.out


def test_each_batch_is_on_the_disk_before_the_next_is_asked(solve, data, out, monkeypatch):
    synced = []
    monkeypatch.setattr(appending.os, "fsync", lambda _: synced.append(len(rows(out))))
    solve("--data", data, "--out", out, "--batch", 2)
    assert synced == [2, 4, 5]


def test_a_full_disk_is_an_error_of_ours(tmp_path):
    class Full:
        def write(self, raw):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    file = SolutionFile(tmp_path / "s.jsonl")
    file._lines._file.close()
    file._lines._file = Full()
    with pytest.raises(InvalidInputError, match="No space left"):
        file.write([], model="m", settings="s")


# ---------------------------------------------------------------------- bad options


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((), ConfigError, "one QUESTION, or --data"),
        (("2 + 3?", "--data", "DATA", "--out", "OUT"), ConfigError, "one QUESTION, or --data"),
        (("--data", "DATA"), ConfigError, "belong together"),
        (("2 + 3?", "--out", "OUT"), ConfigError, "belong together"),
        (("--data", "DATA", "--out", "OUT", "--json"), ConfigError, "--json is for one"),
        (("2 + 3?", "--mode", "best"), ConfigError, "--mode must be one of zero_shot"),
        (("2 + 3?", "--mode", "retrieval"), ConfigError, "needs --pool"),
        (("2 + 3?", "--pool", "nowhere.db"), PoolNotFoundError, "nowhere.db"),
        (("  ",), InvalidInputError, "empty"),
        (("--data", "nowhere.jsonl", "--out", "OUT"), InvalidInputError, "cannot read"),
        (("2 + 3?", "--pool", "POOL", "--gamma", "2"), ConfigError, "gamma"),
        (("2 + 3?", "--pool", "POOL", "--bf16"), ConfigError, "--bf16"),
    ],
)
def test_bad_options_are_refused_before_a_model_is_loaded(
    solve, script, data, out, pool, arguments, kind, message
):
    names = {"DATA": data, "OUT": out, "POOL": pool}
    ran = solve(*(names.get(word, word) for word in arguments))
    assert isinstance(ran.error, kind)
    assert message in str(ran.error)
    assert script.loaded == []


def test_an_empty_pool_says_how_to_fill_it(solve, tmp_path):
    open_pool(tmp_path / "empty.db").close()
    ran = solve("2 + 3?", "--pool", tmp_path / "empty.db")
    assert "lanpo pool import" in str(ran.error)


def test_a_model_has_to_be_named(solve):
    ran = solve("2 + 3?", model=None)
    assert ran.code == 2
    assert "--model" in ran.err


def test_two_commands_do_not_write_to_one_file(solve, script, data, out):
    with SolutionFile(out):
        ran = solve("--data", data, "--out", out)
        assert isinstance(ran.error, InvalidInputError)
        assert "another command is writing" in str(ran.error)
        assert script.model is None or script.model.calls == []
    assert solve("--data", data, "--out", out).code == 0
