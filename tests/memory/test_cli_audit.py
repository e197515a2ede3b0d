"""`lanpo audit`: what it prints, what it writes, and what it refuses."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

import pytest

from lanpo_memory import Batch, Experience, ExperienceMetadata, Exposure, Problem, open_pool
from lanpo_memory.audit import Audit
from lanpo_memory.cli import auditing
from lanpo_memory.testing import ScriptedChatModel
from lanpo_rl.cli import main


@dataclass
class Ran:
    code: int
    out: str
    error: str


@pytest.fixture
def run(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["lanpo", "audit", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return Ran(stopped.value.code or 0, captured.out, captured.err)

    return call


@pytest.fixture
def pool(tmp_path):
    path = tmp_path / "pool.db"
    lessons = [
        Experience(
            problem=Problem(text=f"Ann has {i + 10} eggs and sells half of them."),
            principles=(f"Take {i + 10} [red]eggs[/red] and halve them, number {i}.",),
            metadata=ExperienceMetadata(step=i, correct=i % 2 == 0, source="rollout"),
        )
        for i in range(12)
    ]
    seen = Exposure(
        problem_id="p", lesson_ids=(lessons[0].lesson_id,), guided=(1.0,), scratch=(0.0,)
    )
    with open_pool(path) as opened:
        opened.write(Batch(experiences=lessons, exposures=(seen,)))
    return path


@pytest.fixture
def model(monkeypatch):
    loaded = []

    def use(answers):
        def load(name, ledger, *, api_base=None):
            made = ScriptedChatModel(answers, ledger=ledger)
            made.named, made.api_base = name, api_base
            loaded.append(made)
            return made

        monkeypatch.setattr(auditing, "load_model", load)
        return loaded

    return use


def squeezed(text):
    return " ".join(text.split())


def test_it_prints_what_it_measured(run, pool):
    ran = run(pool)
    assert ran.code == 0
    assert "pool      12 experiences with 12 different lessons" in ran.out
    assert "sample    12 experiences, all of them" in ran.out
    assert "outcomes  correct 6, wrong 6" in ran.out
    lines = [line.split() for line in ran.out.splitlines()]
    assert ["words", "12", "10", "10", "10", "10", "10"] in lines
    assert ["exposures", "12", "0", "0", "0", "0", "1"] in lines
    assert (
        "0% 0 of 12 repeat over 50% of their problem's numbers, which the check refuses"
        in squeezed(ran.out)
    )
    assert "Look at: longest" in ran.out
    assert "[red]eggs[/red]" in ran.out
    assert "judged" not in ran.out
    assert "written" not in ran.out


def test_nothing_is_wider_than_the_terminal(run, pool, monkeypatch):
    for width in (60, 80, 140):
        monkeypatch.setenv("COLUMNS", str(width))
        tables = run(pool).out.split("Measures")[1].split("Look at")[1:]
        assert tables
        assert all(len(line) <= width for table in tables for line in table.splitlines())


def test_a_sample_and_its_seed(run, pool, tmp_path):
    def ids(*options):
        assert run(pool, "--out", tmp_path / "out", *options).code == 0
        told = json.loads((tmp_path / "out" / "audit.json").read_text())
        return [entry["id"] for entry in told["entries"]]

    one = ids("--sample", 4, "--seed", 1)
    assert len(one) == 4
    assert ids("-n", 4, "--seed", 1) == one
    assert ids("-n", 4, "--seed", 2) != one
    assert "4 experiences, drawn uniformly, seed 2" in run(pool, "-n", 4, "--seed", 2).out


def test_the_report_is_written_into_a_folder_that_is_made(run, pool, tmp_path):
    out = tmp_path / "deep" / "er"
    ran = run(pool, "--out", out)
    assert f"written: {out / 'audit.md'}, {out / 'audit.json'}" in ran.out
    found = Audit.model_validate_json((out / "audit.json").read_text())
    assert len(found.entries) == 12
    report = (out / "audit.md").read_text()
    assert report.startswith("# Audit of ")
    assert all(entry.id in report for entry in found.entries)


def test_a_model_is_asked_about_each_entry(run, pool, model, tmp_path):
    loaded = model(lambda m: "specific" if "number 3" in m[0]["content"] else "transferable")
    ran = run(pool, "--model", "m/n", "--api-base", "http://h/v1", "--out", tmp_path)
    assert ran.code == 0
    assert "judged    12 of 12: specific 1, transferable 11" in ran.out
    assert "8% 1 of 12 of those judged: details of their problem" in squeezed(ran.out)
    assert "Look at: judged specific" in ran.out
    assert "judge       12 calls" in ran.out
    assert (loaded[0].named, loaded[0].api_base) == ("m/n", "http://h/v1")
    assert '"verdict": "specific"' in (tmp_path / "audit.json").read_text()


def test_a_model_that_says_neither_is_reported_with_exit_code_1(run, pool, model, tmp_path):
    model(lambda m: "I am sorry." if "number 3" in m[0]["content"] else "transferable")
    ran = run(pool, "--model", "m/n", "--out", tmp_path)
    assert ran.code == 1
    assert "judged    12 of 12: failed 1, transferable 11" in ran.out
    assert (tmp_path / "audit.json").exists()


def test_a_budget_ends_the_asking_and_the_report_is_written(run, pool, model, tmp_path):
    model("specific")
    ran = run(pool, "-m", "m", "--max-calls", 5, "--out", tmp_path)
    assert ran.code == 2
    assert ran.error.startswith("error: 5 of 12 entries were judged. ")
    assert "max_calls=5" in ran.error
    assert "judged    5 of 12: specific 5" in ran.out
    assert "stopped: " in (tmp_path / "audit.md").read_text()


def test_every_budget_reaches_the_ledger(run, pool, model):
    loaded = model("specific")
    run(pool, "-m", "m", "--max-calls", 5, "--max-tokens", 0, "--max-cost", 0.5)
    assert loaded[0].ledger.limits == {"max_calls": 5, "max_tokens": 0, "max_cost": 0.5}


@pytest.mark.parametrize(
    "option",
    [("--max-calls", 5), ("--max-tokens", 5), ("--max-cost", 1), ("--api-base", "http://h")],
    ids=lambda option: option[0],
)
def test_an_option_of_a_model_needs_one(run, pool, option):
    ran = run(pool, *option)
    assert ran.code == 2
    assert f"{option[0]} is about a model; name one with --model MODEL" in ran.error


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("nowhere.db",), "nowhere.db"),
        (("POOL", "--namespace", "other"), "other"),
        (("POOL", "--sample", 0), "greater than or equal to 1"),
        (("POOL", "--out", "FILE"), "cannot make the folder"),
        ((), "Missing"),
    ],
    ids=str,
)
def test_a_wrong_argument_is_said(run, pool, tmp_path, arguments, fault):
    (tmp_path / "file").write_text("")
    named = {"POOL": pool, "FILE": tmp_path / "file" / "sub"}
    ran = run(*(named.get(a, a) for a in arguments))
    assert ran.code == 2
    assert fault in squeezed(ran.error)


def test_an_empty_pool_cannot_be_audited(run, tmp_path):
    open_pool(tmp_path / "empty.db").close()
    ran = run(tmp_path / "empty.db")
    assert ran.code == 2
    assert "holds no experiences" in ran.error


def test_a_file_that_cannot_be_written_is_said(run, pool, tmp_path):
    (tmp_path / "audit.md").mkdir()
    ran = run(pool, "--out", tmp_path)
    assert ran.code == 2
    assert "cannot write" in ran.error


def test_what_entries_say_does_not_act_on_the_terminal(run, tmp_path):
    with open_pool(tmp_path / "pool.db") as opened:
        nasty = "\x1b[31mred\x1b[0m\r\x07 bell"
        opened.add([Experience(problem=Problem(text="p"), principles=(nasty,))])
    out = run(tmp_path / "pool.db").out
    assert "bell" in out
    assert not {"\x1b", "\x07", "\r"} & set(out)
