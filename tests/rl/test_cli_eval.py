"""`lanpo eval` as the shell would call it: a scripted model, a server, the tiny policy."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lanpo_memory.errors import ConfigError, MissingExtraError
from lanpo_memory.ledger import Ledger
from lanpo_memory.pool import open_pool
from lanpo_memory.testing import ScriptedChatModel
from lanpo_memory.types import Experience, Failure, Problem
from lanpo_rl.cli import evaluating
from lanpo_rl.evaluation import making
from lanpo_rl.tasks import LEXICAL_GAMMA, make_hidden_constants
from lanpo_rl.tasks.hidden_constants import lesson_text
from lanpo_rl.tiny import save_policy
from tests.memory.openai_server import Behaviour, OpenAIServer, Received, error, reply
from tests.rl.commands import Lanpo, Ran

ROOT = Path(__file__).parents[2]
TASK = make_hidden_constants(0)
BOXES = "A box holds {} red apples. How many red apples are in 9 boxes?"
LESSON = "Multiply the groups by the size of one."


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [{"problem": BOXES.format(i), "answer": str(9 * i)} for i in range(10, 16)]
    return lines(tmp_path / "test.jsonl", rows)


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    path = tmp_path / "pool.db"
    with open_pool(path) as opened:
        opened.add([Experience(problem=Problem(text=BOXES.format(5)), principles=(LESSON,))])
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


class Script:
    """Stands in for `load_model`: keeps the model, with the ledger that the command made."""

    def __init__(self) -> None:
        self.answers: Any = r"I multiply. \boxed{99}"  # right for one of six
        self.asked: list[str] = []

    def __call__(self, name: str, ledger: Ledger, *, api_base: str | None = None) -> Any:
        answers = self.answers

        def answer(messages: Any) -> Any:
            self.asked.append(messages[-1]["content"])
            return answers(messages) if callable(answers) else answers

        return ScriptedChatModel(answer, ledger=ledger)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    script = Script()
    monkeypatch.setattr(evaluating, "load_model", script)
    return script


@pytest.fixture
def run(lanpo: Lanpo, data: Path, out: Path) -> Lanpo:
    """The command with what it needs; further options come on top."""

    def evaluate(*more: object, **changed: object) -> Ran:
        given = {"model": "scripted", "data": data, "out": out, **changed}
        return lanpo("eval", *(w for k, v in given.items() for w in (f"--{k}", v)), *more)

    return evaluate


def found(out: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return report


def accuracies(out: Path) -> dict[str, float]:
    return {mode: each["accuracy"]["value"] for mode, each in found(out)["modes"].items()}


def rows(out: Path) -> list[dict[str, Any]]:
    text = (out / "samples.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


# ---------------------------------------------------------------------- what it measures


def test_without_a_pool_the_model_is_alone(run: Lanpo, script: Script, out: Path):
    ran = run()
    assert (ran.code, accuracies(out)) == (0, {"zero_shot": pytest.approx(1 / 6, abs=1e-6)})
    assert "6 problems, 1 of each in each mode" in ran.out
    assert re.search(r"^mean@1 +0\.167", ran.out, re.MULTILINE)
    assert re.search(r"^solve +6 calls", ran.err, re.MULTILINE)
    assert f"report {out / 'report.md'}" in ran.out


def test_with_a_pool_all_modes_are_compared(run: Lanpo, script: Script, out: Path, pool: Path):
    def answer(messages: Any) -> str:
        text = messages[-1]["content"]
        i = int(re.search(r"A box holds (\d+)", text.rpartition(LESSON)[2]).group(1))
        return rf"\boxed{{{9 * i}}}" if LESSON in text else r"\boxed{1}"

    script.answers = answer
    assert run("--pool", pool, "--gamma", "0.2").code == 0
    report = found(out)
    assert {mode: value for mode, value in accuracies(out).items() if mode != "self_correct"} == {
        "zero_shot": 0.0, "retrieval": 1.0, "retrieval+self_correct": 0.0,
    }  # fmt: skip
    last = report["modes"]["retrieval+self_correct"]
    assert (last["reflected"], last["right_to_wrong"], last["wrong_to_right"]) == (6, 6, 0)
    assert report["modes"]["retrieval"]["guided"] == 1.0
    assert report["modes"]["retrieval"]["template"] == 1.0
    about = report["made_with"]["pool"]
    assert about["problems of which it has the same template"] == 6
    [difference] = [
        d for d in report["differences"] if (d["mode"], d["other"]) == ("retrieval", "zero_shot")
    ]
    assert difference["accuracy"] == {"value": 1.0, "low": 1.0, "high": 1.0, "problems": 6}


def test_templates_can_be_kept_out_of_the_guidance(
    run: Lanpo, script: Script, out: Path, pool: Path
):
    assert (
        run("--pool", pool, "--gamma", "0.2", "--mode", "retrieval", "--drop-templates").code == 0
    )
    assert found(out)["modes"]["retrieval"]["guided"] == 0.0
    assert not any(LESSON in text for text in script.asked)


def test_several_samples_are_counted(run: Lanpo, script: Script, out: Path):
    counter: Counter[str] = Counter()

    def answer(messages: Any) -> str:
        text = messages[-1]["content"]
        counter[text] += 1
        return rf"\boxed{{{99 if counter[text] == 2 else 0}}}"

    script.answers = answer
    ran = run("--samples", 4, "--temperature", 0.7)
    assert ran.code == 0
    zero_shot = found(out)["modes"]["zero_shot"]
    assert zero_shot["accuracy"]["value"] == pytest.approx(1 / 24, abs=1e-6)
    passes = {j: each["value"] for j, each in zero_shot["pass_at"].items()}
    by_hand = {"1": 1 / 24, "2": 1 / 12, "4": 1 / 6}  # one problem of six, one sample of four
    assert passes == pytest.approx(by_hand, abs=1e-6)


def test_the_tiny_policy_needs_the_pool(run: Lanpo, tmp_path: Path, out: Path):
    folder = save_policy(tmp_path / "tiny")
    examples = TASK.held_out[:160]
    data = lines(
        tmp_path / "held.jsonl",
        [{"problem": e.problem.text, "answer": e.answer} for e in examples],
    )
    pool = tmp_path / "lessons.db"
    with open_pool(pool) as opened:
        opened.add(
            [
                Experience(
                    problem=e.problem,
                    principles=(lesson_text(str(e.problem.family), TASK.rule[e.problem.family]),),
                )
                for e in TASK.train[:200]
            ]
        )
    ran = run(
        "--prompts", "tiny", "--pool", pool, "--gamma", LEXICAL_GAMMA, "--mode", "zero_shot",
        "--mode", "retrieval", "--answer-tokens", 16, "--batch", 80, model=folder, data=data,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    by_mode = accuracies(out)
    assert by_mode["zero_shot"] < 0.1
    assert by_mode["retrieval"] > 0.95
    report = found(out)["modes"]
    assert report["retrieval"]["guided"] > 0.95
    assert report["zero_shot"]["truncated"] == 0.0
    [difference] = found(out)["differences"]
    assert difference["accuracy"]["low"] > 0.8


def test_a_local_model_goes_on_as_if_it_had_not_been_stopped(run: Lanpo, tmp_path: Path, out: Path):
    folder = save_policy(tmp_path / "tiny")
    data = lines(
        tmp_path / "held.jsonl",
        [{"problem": e.problem.text, "answer": e.answer} for e in TASK.held_out[:12]],
    )
    options = ("--prompts", "tiny", "--answer-tokens", 16, "--samples", 3, "--temperature", 1.0,
               "--mode", "zero_shot", "--mode", "self_correct", "--batch", 5)  # fmt: skip
    whole = tmp_path / "whole"
    assert run(*options, model=folder, data=data, out=whole).code == 0
    stopped = run(*options, "--max-calls", 31, model=folder, data=data)
    assert stopped.code == 2
    assert 0 < len(rows(out)) < 72
    assert run(*options, "--batch", 7, model=folder, data=data).code == 0
    for name in ("report.md", "report.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    texts = Counter(row["text"] for row in rows(whole) if row["mode"] == "zero_shot")
    assert len(texts) > 12, "the samples of a problem differ"
    assert run(*options, "--seed", 1, model=folder, data=data, out=tmp_path / "other").code == 0
    assert [r["text"] for r in rows(tmp_path / "other")] != [r["text"] for r in rows(whole)]


# ---------------------------------------------------------------------- nothing leaks


def test_answers_reach_no_request(
    run: Lanpo, tmp_path: Path, pool: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-never-to-be-written")
    bodies: list[list[Any]] = []
    for name, factor in (("true", 9), ("false", 777_001)):
        texts = [(BOXES.format(i), f"{factor * i}") for i in range(10, 14)]
        data = lines(tmp_path / f"{name}.jsonl", [{"problem": p, "answer": a} for p, a in texts])
        with OpenAIServer(r"I multiply. \boxed{90}") as server:
            ran = run(
                "--api-base", server.url, "--pool", pool, "--gamma", "0.2", "--samples", 2,
                "--temperature", 0.5, model="openai/scripted", data=data, out=tmp_path / name,
            )  # fmt: skip
            assert ran.code == 0, ran.err
            bodies.append([json.dumps(request.body) for request in server.requests])
    assert Counter(bodies[0]) == Counter(bodies[1])
    assert len(bodies[0]) == 4 * 2 * 6, "two modes of one call, two of two"
    assert accuracies(tmp_path / "true") != accuracies(tmp_path / "false")
    for path in (*tmp_path.glob("true/*"), *tmp_path.glob("false/*")):
        text = path.read_text(encoding="utf-8")
        assert "sk-never" not in text
        assert str(tmp_path) not in text
        assert not any(str(777_001 * i) in text for i in range(10, 14))


def test_changed_answers_are_judged_anew_and_nobody_is_asked(
    run: Lanpo, script: Script, data: Path, out: Path
):
    run()
    asked = len(script.asked)
    changed = [{**json.loads(line), "answer": "99"} for line in data.read_text().splitlines()]
    assert run(data=lines(data, changed)).code == 0
    assert accuracies(out) == {"zero_shot": 1.0}
    assert len(script.asked) == asked


# ---------------------------------------------------------------------- stopped and started again


def test_a_budget_that_ends_keeps_everything_and_says_so(run: Lanpo, script: Script, out: Path):
    ran = run("--max-calls", 4, "--batch", 2)
    assert ran.code == 2
    assert "4 of 6 samples are in" in ran.err
    assert "larger budget goes on from there" in ran.err
    assert len(rows(out)) == 4
    assert "**Not complete: 2 samples are missing.**" in (out / "report.md").read_text()
    assert "2 samples are missing" in ran.out
    script.asked.clear()
    assert run().code == 0
    assert len(script.asked) == 2
    assert found(out)["missing"] == 0


def test_a_budget_for_nothing_makes_no_report(run: Lanpo, script: Script, out: Path):
    ran = run("--max-calls", 0)
    assert (ran.code, ran.out) == (2, "")
    assert not (out / "report.md").exists()


def test_failed_calls_are_named_left_out_and_asked_again(run: Lanpo, script: Script, out: Path):
    def answer(messages: Any) -> Any:
        busy = "holds 12" in messages[-1]["content"]
        return Failure(reason="overloaded") if busy else r"\boxed{99}"

    script.answers = answer
    ran = run()
    assert ran.code == 1
    assert re.search(r"no answer, zero_shot: A box holds 12 .*: overloaded", ran.err)
    assert accuracies(out) == {"zero_shot": pytest.approx(1 / 5, abs=1e-6)}
    assert found(out)["modes"]["zero_shot"]["missing"] == 1
    script.answers = r"\boxed{108}"
    script.asked.clear()
    assert run().code == 0
    assert [text[:14] for text in script.asked] == ["A box holds 12"]
    assert accuracies(out) == {"zero_shot": pytest.approx(2 / 6, abs=1e-6)}


SILENT: dict[str, Behaviour] = {
    "holds 10": reply(None, refusal="I'd rather not."),
    "holds 12": reply("So far", finish="content_filter"),
    "holds 13": reply(""),
    "holds 14": reply(None, finish="length"),  # every token went into hidden thoughts
    "holds 15": error(400, "no such model"),
}


def test_refusals_are_wrong_answers_and_failed_calls_are_missing(
    run: Lanpo, out: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")

    def answer(got: Received) -> Any:
        found = [each for part, each in SILENT.items() if part in got.text]
        return found[0] if found else r"\boxed{99}"  # right for 11 boxes

    with OpenAIServer(answer) as server:
        options = ("--api-base", server.url)
        ran = run(*options, model="openai/scripted")
        assert ran.code == 1
        zero_shot = found(out)["modes"]["zero_shot"]
        assert (zero_shot["samples"], zero_shot["missing"]) == (5, 1)
        assert zero_shot["accuracy"]["value"] == pytest.approx(1 / 5)
        assert zero_shot["accuracy_least"] == pytest.approx(1 / 6, abs=1e-6)
        assert (zero_shot["unusable"], zero_shot["unanswered"]) == (0.8, 0.8)
        assert re.search(r"no answer, zero_shot: A box holds 15 .*no such model", ran.err)
        assert "refused to answer" in ran.err
        for reason in ("refused to answer", "content filter", "is empty", "raise max_tokens"):
            assert any(reason in row["failure"] for row in rows(out))
        asked = len(server.requests)
        monkeypatch.setitem(SILENT, "holds 15", reply(r"\boxed{135}"))
        assert run(*options, model="openai/scripted").code == 0
        assert len(server.requests) == asked + 1, "refusals are not asked for again"
    assert found(out)["missing"] == 0
    assert accuracies(out) == {"zero_shot": pytest.approx(2 / 6, abs=1e-6)}


def test_a_model_that_answers_nothing_is_not_asked_for_ever(
    run: Lanpo, script: Script, tmp_path: Path
):
    texts = [{"problem": f"{i} + 1?", "answer": "1"} for i in range(100)]
    script.answers = Failure(reason="wrong key")
    ran = run("--batch", 10, data=lines(tmp_path / "many.jsonl", texts))
    assert (ran.code, len(script.asked)) == (2, 20)
    assert "none of 20 calls" in ran.err


def test_more_samples_modes_and_problems_may_follow(
    run: Lanpo, script: Script, out: Path, pool: Path
):
    run("--samples", 2, "--temperature", 0.5, "--limit", 3)
    assert len(script.asked) == 6
    run("--samples", 3, "--temperature", 0.5)
    assert len(script.asked) == 18, "a sample more of three, three of three others"
    run("--samples", 3, "--temperature", 0.5, "--pool", pool, "--gamma", 0.2, "--mode", "zero_shot",
        "--mode", "retrieval")  # fmt: skip
    assert len(script.asked) == 36
    run("--samples", 2, "--temperature", 0.5)
    assert len(script.asked) == 36
    assert found(out)["samples_per_problem"] == 2
    assert found(out)["modes"]["zero_shot"]["samples"] == 12


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (("--answer-tokens", 9), "answer tokens was 2048 and is 9"),
        (("--temperature", 0.5), "temperature was 0.0 and is 0.5"),
        (("--gamma", 0.3), "gamma was 0.2 and is 0.3"),
    ],
)
def test_other_settings_are_not_mixed_in(
    run: Lanpo, script: Script, out: Path, pool: Path, changed: Any, named: str
):
    options = {"--pool": pool, "--gamma": 0.2, "--mode": "retrieval"}
    assert run(*(word for pair in options.items() for word in pair)).code == 0
    before = (out / "samples.jsonl").read_bytes()
    options[changed[0]] = changed[1]
    ran = run(*(word for pair in options.items() for word in pair))
    assert ran.code == 2
    assert named in ran.err
    assert (out / "samples.jsonl").read_bytes() == before


def test_a_pool_that_has_changed_is_another_measurement_with_retrieval_only(
    run: Lanpo, script: Script, pool: Path
):
    options = ("--pool", pool, "--gamma", 0.2)
    assert run(*options).code == 0
    with open_pool(pool) as opened:
        opened.add([Experience(problem=Problem(text=BOXES.format(6)), principles=("Draw.",))])
    refused = run(*options)
    assert refused.code == 2
    assert re.search("mode retrieval made with other settings: pool was", refused.err)
    assert run(*options, "--mode", "zero_shot").code == 0


@pytest.mark.parametrize("at", [3, 11])
def test_kill_9_costs_nothing_that_was_written(
    at: int, run: Lanpo, data: Path, out: Path, tmp_path: Path, pool: Path
):
    victims: list[subprocess.Popen[bytes]] = []

    def answer(got: Received) -> str:
        if got.number == at and victims and victims[0].poll() is None:
            victims[0].send_signal(signal.SIGKILL)
            victims[0].wait()
        return rf"\boxed{{{len(got.text) % 7 * 9 + 90}}}"

    options = [
        "--pool", str(pool), "--gamma", "0.2", "--batch", "2", "--mode", "zero_shot",
        "--mode", "self_correct", "--mode", "retrieval",
    ]  # fmt: skip
    with OpenAIServer(answer) as server:
        options += ["--api-base", server.url]
        given = ["--model", "openai/scripted", "--data", str(data), "--out", str(out)]
        code = "from lanpo_rl.cli import main; main()"
        victims.append(
            subprocess.Popen(
                [sys.executable, "-c", code, "eval", *given, *options],
                cwd=ROOT,
                env={**os.environ, "OPENAI_API_KEY": "sk-test"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        assert victims[0].wait(120) == -signal.SIGKILL
        kept = rows(out)
        assert len(kept) < 18
        with (out / "samples.jsonl").open("ab") as file:
            file.write(b'{"format": "lanpo-sample", "numb')  # a kill in the middle of a write
        asked = len(server.requests)
        assert run(*options, model="openai/scripted").code == 0
        missing = 24 - sum(len(row["turns"]) for row in kept)
        assert len(server.requests) - asked == missing, "nothing on the disk is asked for again"
        assert run(*options, model="openai/scripted", out=tmp_path / "whole").code == 0
    for name in ("report.md", "report.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


# ---------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--samples", 0), "samples must be at least 1, got 0"),
        (("--samples", 4), "4 samples of a problem need a temperature above 0"),
        (("--mode", "sideways"), "--mode must be one of zero_shot, retrieval"),
        (("--mode", "retrieval"), "--mode retrieval needs --pool PATH_OR_URL"),
        (("--pool", "nowhere.db"), "there is no pool at"),
        (("--drop-templates",), "--drop-templates is about guidance; it needs --pool"),
        (("--problem-column", "task"), "no column 'task' (columns: problem, answer)"),
        (("--answer-column", "gold"), "no column 'gold'"),
        (("--answer-marker", "####"), "has no '####' in column 'answer'"),
        (("--prompts", "latin"), "prompts must be english or tiny"),
    ],
)
def test_wrong_options_are_one_clear_line(
    run: Lanpo, script: Script, out: Path, options: Any, complaint: str
):
    ran = run(*options)
    assert (ran.code, script.asked) == (2, [])
    assert complaint in ran.err
    assert ran.err.startswith("error: ")
    assert not (out / "samples.jsonl").exists()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "holds no rows"),
        ('{"problem": "1 + 1?"}\n', "has no column 'answer'"),
        ("not json\n", "is not JSON"),
        (
            '{"problem": "1 + 1?", "answer": "2"}\n{"problem": "1 +  1?", "answer": "3"}\n',
            "with another answer",
        ),
    ],
)
def test_data_that_cannot_be_used_are_named(
    run: Lanpo, script: Script, data: Path, content: str, complaint: str
):
    data.write_text(content, encoding="utf-8")
    ran = run()
    assert (ran.code, script.asked) == (2, [])
    assert complaint in ran.err


def test_a_pool_that_knows_the_problems_is_refused(run: Lanpo, script: Script, pool: Path):
    with open_pool(pool) as opened:
        opened.add([Experience(problem=Problem(text=BOXES.format(12)), thoughts="t")])
    ran = run("--pool", pool)
    assert (ran.code, script.asked) == (2, [])
    assert "knows 1 of the evaluation problems" in ran.err
    assert "A box holds 12 red apples" in ran.err
    assert "lanpo pool rm" in ran.err
    assert run("--pool", pool, "--mode", "zero_shot").code == 0, "which does not look into it"


def test_an_empty_pool_is_refused(run: Lanpo, script: Script, tmp_path: Path):
    with open_pool(tmp_path / "empty.db"):
        pass
    ran = run("--pool", tmp_path / "empty.db")
    assert ran.code == 2
    assert "holds no experiences" in ran.err


def test_a_dataset_with_configurations_is_asked_for_one(
    run: Lanpo, script: Script, tmp_path: Path, out: Path
):
    folder = tmp_path / "boxes"
    for name, first in (("main", 10), ("hard", 100)):
        (folder / name).mkdir(parents=True)
        texts = [
            {"problem": BOXES.format(i), "answer": str(9 * i)} for i in range(first, first + 3)
        ]
        lines(folder / name / "test.jsonl", texts)
    listed = "".join(
        f"- config_name: {name}\n  data_files:\n  - split: test\n    path: {name}/test.jsonl\n"
        for name in ("main", "hard")
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n{listed}---\n", encoding="utf-8")
    assert run("--config-name", "hard", data=folder).code == 0
    assert [re.search(r"holds (\d+)", text)[1] for text in script.asked] == ["100", "101", "102"]
    about = found(out)["made_with"]["data"]
    assert (about["name"], about["configuration"], about["split"]) == ("boxes", "hard", "test")
    unnamed = run(data=folder)
    assert unnamed.code == 2
    assert re.search("Config name is missing.*'main', 'hard'", unnamed.err)
    assert "easy" in run("--config-name", "easy", data=folder).err
    refused = run("--config-name", "main")
    assert (refused.code, len(script.asked)) == (2, 3)
    assert "one set of rows without configurations; leave 'main' out" in refused.err


def test_an_out_that_is_a_file_is_refused(run: Lanpo, script: Script, out: Path):
    out.write_text("mine", encoding="utf-8")
    ran = run()
    assert (ran.code, out.read_text(encoding="utf-8")) == (2, "mine")
    assert "cannot make the folder" in ran.err


def test_rows_that_repeat_a_problem_are_asked_once(
    run: Lanpo, script: Script, data: Path, out: Path
):
    data.write_text(data.read_text(encoding="utf-8") * 2, encoding="utf-8")
    assert run().code == 0
    assert len(script.asked) == found(out)["problems"] == 6


@pytest.mark.parametrize("package", ["math_verify", "datasets"])
def test_a_missing_package_is_said_before_anything_is_paid_for(
    run: Lanpo, script: Script, package: str, monkeypatch: pytest.MonkeyPatch
):
    there = making.find_spec
    monkeypatch.setattr(making, "find_spec", lambda n: None if n == package else there(n))
    ran = run()
    assert (ran.code, script.asked) == (2, [])
    assert "pip install 'lanpo[rl]'" in ran.err
    assert issubclass(MissingExtraError, ImportError)


def test_a_language_is_known_by_its_name():
    with pytest.raises(ConfigError, match="english or tiny"):
        making.language_of("French")
    language = making.language_of("tiny")
    assert language.score(completions=[r"\boxed{5}"], answer=["5"]) == [1.0]
