"""`lanpo seed` with a teacher and with lessons, run through the installed command's `main`."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import partial

import pytest

from lanpo_memory.testing import ScriptedChatModel
from lanpo_rl import training
from lanpo_rl.cli import teaching
from lanpo_rl.seeding import WrittenLesson, draw_lessons, read_lessons, save_lessons
from lanpo_rl.seeding import judging as reasons
from lanpo_rl.tasks import make_hidden_constants
from lanpo_rl.tasks.hidden_constants import lesson_text, solution_text
from lanpo_rl.tiny import load_tokenizer, save_policy
from tests.memory.openai_server import OpenAIServer, error, reply
from tests.rl.seeding_teacher import Teacher, boxes, role_of


@pytest.fixture
def seed(lanpo):
    return partial(lanpo, "seed")


@pytest.fixture
def script(monkeypatch):
    """Stands in for `load_model`; `script.models` are those that were loaded."""

    class Script:
        def __init__(self):
            self.teacher, self.models = Teacher(), []

        def __call__(self, name, ledger, *, api_base=None):
            self.models.append(ScriptedChatModel(self.teacher, ledger=ledger))
            return self.models[-1]

        @property
        def asked(self):
            calls = self.models[-1].calls
            return [c[-1]["content"] for call in calls for c in call.conversations]

    made = Script()
    monkeypatch.setattr(teaching, "load_model", made)
    return made


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def problems(tmp_path):
    rows = [{"problem": boxes(i).problem.text, "answer": boxes(i).answer} for i in range(10, 40)]
    return write(tmp_path / "problems.jsonl", rows)


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return save_policy(tmp_path_factory.mktemp("policy"))


def one_line(ran, *parts):
    assert ran.code == 2
    (line,) = ran.err.splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert part in line


def row(ran, name):
    """The cells of a row of the table."""
    found = re.search(rf"^│ {name} .*$", ran.out, re.MULTILINE)
    return [cell.strip() for cell in found[0].strip("│").split("│")] if found else None


# ---------------------------------------------------------------------- writing lessons


def test_a_teacher_over_http_writes_lessons_and_a_second_run_asks_nothing(
    seed, problems, tmp_path, monkeypatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-mine")
    teacher, out = Teacher(wrong=lambda i: False), tmp_path / "out"
    with OpenAIServer(lambda asked: reply(teacher.answer(asked.text))) as server:
        words = ["--teacher", "openai/scripted", "--problems", problems, "--n", 12]
        words += ["--out", out, "--api-base", server.url, "--batch", 4]
        ran = seed(*words)
        assert ran.code == 0, ran.err
        assert len(server.requests) == 16
        assert {r.body["temperature"] for r in server.requests} == {0.7}
        assert max(Counter(r.text for r in server.requests).values()) == 1
        again = seed(*words)
        assert again.code == 0, again.err
        assert len(server.requests) == 16
    lessons = read_lessons(out / "lessons.jsonl")
    assert Counter(x.skill for x in lessons) == {"summarise": 4, "inter": 4, "intra": 4}
    assert row(ran, "inter") == row(again, "inter") == ["inter", "4", "4", "4", ""]
    assert row(ran, "attempts")[:2] == ["attempts", "–"]
    assert f"12 lessons: {out / 'lessons.jsonl'}" in ran.out
    assert re.search(r"^summarise +4 calls", ran.err, re.MULTILINE)
    assert sorted(path.name for path in out.iterdir()) == ["answers.jsonl", "lessons.jsonl"]
    for path in out.iterdir():
        assert "sk-secret" not in path.read_text()


def test_faults_of_a_server_cost_nothing_but_another_run(seed, problems, tmp_path):
    down = {1, 6, 11}
    teacher = Teacher()

    def answer(asked):
        return error(400) if asked.number in down else reply(teacher.answer(asked.text))

    with OpenAIServer(answer) as server:
        words = ["--teacher", "openai/scripted", "--problems", problems, "--n", 9]
        words += ["--out", tmp_path / "out", "--api-base", server.url, "--batch", 1]
        ran = seed(*words)
        assert ran.code == 0, ran.err
        assert f"1 {reasons.SILENT}" in ran.flat
        assert "(1 failed)" in ran.err
        first = Counter(r.text for r in server.requests)
        assert max(first.values()) == 1


def test_reasons_of_rejection_stand_in_the_table(seed, script, problems, tmp_path):
    script.teacher = Teacher(spoils={("inter", i): "nothing" for i in range(10, 40) if i % 3})
    ran = seed("--teacher", "t", "--problems", problems, "--n", 15, "--out", tmp_path / "out")
    assert ran.code == 0, ran.err
    _, wanted, asked, kept, why = row(ran, "inter")
    assert (wanted, kept) == ("5", "5")
    assert why == f"{int(asked) - 5} {reasons.HEADERS}"
    right, of = re.search(r"(\d+) of (\d+) attempts are right", ran.out).groups()
    assert int(right) < int(of)


def test_columns_markers_and_shares(seed, script, tmp_path):
    rows = [
        {"question": boxes(i).problem.text, "reply": f"9 times.\n#### {9 * i}"}
        for i in range(10, 20)
    ]
    data = write(tmp_path / "gsm.jsonl", rows)
    words = ["--teacher", "t", "--problems", data, "--n", 4, "--shares", "1:0:1"]
    words += ["--problem-column", "question", "--answer-column", "reply"]
    ran = seed(*words, "--answer_marker", "####", "--out", tmp_path / "out")
    assert ran.code == 0, ran.err
    lessons = read_lessons(tmp_path / "out" / "lessons.jsonl")
    assert Counter(x.skill for x in lessons) == {"summarise": 2, "intra": 2}


def test_one_sided_reflections_are_pointed_out(seed, script, problems, tmp_path):
    words = ["--teacher", "t", "--problems", problems, "--n", 6]
    assert "reflections confirm" not in seed(*words, "--n", 60, "--out", tmp_path / "mixed").flat
    script.teacher = Teacher(wrong=lambda i: False)
    ran = seed(*words, "--out", tmp_path / "right")
    assert "note: 2 of 2 reflections confirm their attempt" in ran.flat


def test_where_problems_run_out_what_there_is_stays_and_the_way_on_is_named(
    seed, script, problems, tmp_path, policy
):
    out = tmp_path / "out"
    ran = seed(
        "--teacher", "t", "--problems", problems, "--n", 300, "--out", out, "--model", policy
    )
    assert ran.code == 1
    kept = Counter(x.skill for x in read_lessons(out / "lessons.jsonl"))
    assert f"{100 - kept['summarise']} of 100 summarise" in ran.flat
    assert f"seed --data {out / 'lessons.jsonl'} --model STUDENT" in ran.flat
    assert not (out / "model").exists()


def test_a_budget_is_an_error_that_says_how_far_it_came(seed, script, problems, tmp_path):
    out = tmp_path / "out"
    words = ["--teacher", "t", "--problems", problems, "--n", 30, "--out", out]
    ran = seed(*words, "--max-calls", 25)
    assert ran.code == 2
    n = len(read_lessons(out / "lessons.jsonl"))
    assert n > 0
    assert f"{n} lessons of 30 are in {out / 'lessons.jsonl'}; the same command" in ran.flat
    assert row(ran, "summarise") is not None
    first = set(script.asked)
    assert seed(*words).code == 0
    assert not first & set(script.asked)


def test_ctrl_c_keeps_all_that_was_answered(seed, script, problems, tmp_path):
    usual = script.teacher

    def interrupted(messages):
        if role_of(messages[-1]["content"]) == "inter":
            raise KeyboardInterrupt
        return usual(messages)

    script.teacher = interrupted
    words = ["--teacher", "t", "--problems", problems, "--n", 9, "--out", tmp_path / "out"]
    ran = seed(*words)
    assert ran.code == 130
    assert "the same command goes on" in ran.err
    assert len(read_lessons(tmp_path / "out" / "lessons.jsonl")) == 6
    script.teacher = usual
    assert seed(*words).code == 0
    assert {role_of(text) for text in script.asked} == {"inter"}


def test_a_teacher_that_answers_nothing_is_found_out(seed, problems, tmp_path):
    with OpenAIServer(error(401, "no such key")) as server:
        ran = seed(
            "--teacher", "openai/x", "--problems", problems, "--api-base", server.url,
            "--out", tmp_path / "out",
        )  # fmt: skip
        assert len(server.requests) < 30
    assert ran.code == 2
    assert "the model answered none of" in ran.err


def test_a_local_folder_is_a_teacher_too(seed, problems, tmp_path, policy):
    ran = seed(
        "--teacher", policy, "--problems", problems, "--n", 3, "--out", tmp_path / "out",
        "--answer-tokens", 4,
    )  # fmt: skip
    assert ran.code == 1, "it speaks no English"
    assert row(ran, "attempts")[2] == "30"
    assert re.search(r"^solve +30 calls", ran.err, re.MULTILINE)


# ---------------------------------------------------------------------- training


def tiny_teacher(task):
    """Answers in the tiny policy's language, always right."""

    def answer(messages):
        text = messages[-1]["content"]
        problem = text.removeprefix("sum ").split("|")[-2 if text.startswith("sum ") else -1]
        name, (a, b) = problem.split()[0], map(int, problem.split()[-1].split("_"))
        if text.startswith("sum "):
            return lesson_text(name, task.rule[name])
        solved = solution_text(a, b, task.rule[name])
        return solved.replace("+", "=", 1) if text.startswith("check ") else solved

    return answer


def test_a_teacher_and_a_student_in_one_command(seed, script, tmp_path, policy):
    task = make_hidden_constants(0)
    script.teacher = tiny_teacher(task)
    rows = [{"problem": e.problem.text, "answer": e.answer} for e in task.train[:40]]
    data, out = write(tmp_path / "tiny.jsonl", rows), tmp_path / "out"
    ran = seed(
        "--teacher", "t", "--problems", data, "--prompts", "tiny", "--n", 24, "--out", out,
        "--model", policy, "--use-cpu", "--batch-size", 8, "--learning-rate", 1e-4,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    lessons = read_lessons(out / "lessons.jsonl")
    assert Counter(x.skill for x in lessons) == {"summarise": 8, "inter": 8, "intra": 8}
    assert all(x.prompt[0]["content"].startswith("hint ") for x in lessons if x.skill == "inter")
    assert "trained on 24 lessons" in ran.out
    assert "3/3" in ran.out
    assert f"model and tokenizer: {out / 'model'}" in ran.out
    _, tokenizer = training.load_model(str(out / "model"))
    assert tokenizer("bako")["input_ids"] == load_tokenizer()("bako")["input_ids"]


@pytest.fixture
def lessons(tmp_path):
    import random

    drawn = draw_lessons(20, random.Random(0))
    path = tmp_path / "lessons.jsonl"
    save_lessons(path, [WrittenLesson(x.skill, x.messages, x.completion) for x in drawn])
    return path


def test_lessons_that_are_there_need_no_teacher(seed, lessons, policy, tmp_path):
    out = tmp_path / "out"
    ran = seed(
        "--data", lessons, "--model", policy, "--out", out, "--use-cpu", "--max-length", 30,
        "--epochs", 2, "--batch-size", 4, "--device-batch-size", 2,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    used, left_out = map(
        int, re.search(r"trained on (\d+) lessons?, (\d+) left out as too long", ran.out).groups()
    )
    assert used + left_out == 20
    assert 0 < left_out < 20
    assert (out / "model" / "config.json").is_file()
    again = seed("--data", lessons, "--model", policy, "--out", out, "--use-cpu")
    one_line(again, "is there already")


# ---------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--teacher", "t"), "--teacher needs --problems"),
        (("--problems", "p"), "--problems needs --teacher"),
        (("--teacher", "t", "--problems", "p", "--data", "d"), "give one"),
        (("--data", "d"), "--data needs --model"),
        (("--data", "d", "--problems", "p", "--model", "m"), "--problems needs --teacher"),
        (("--model", "m"), "--model needs lessons"),
        (("--n", "9"), "--n needs --teacher"),
        (("--temperature", "0.7"), "--temperature needs --teacher"),
        (("--max-calls", "9"), "--max-calls needs --teacher"),
        (("--epochs", "2"), "--epochs needs --model"),
        (("--teacher", "t", "--problems", "p", "--use-cpu"), "--use-cpu needs --model"),
        (("--teacher", "t", "--problems", "p", "--steps", "3"), "--steps needs no --teacher"),
        (("--data", "d", "--model", "m", "--steps", "3"), "--steps needs no --teacher"),
        (("--teacher", "t", "--problems", "p", "--shares", "1:1"), "--shares must be three"),
        (("--teacher", "t", "--problems", "p", "--shares", "a:b:c"), "--shares must be three"),
        (("--teacher", "t", "--problems", "p", "--shares", "0:1:1"), "inter needs experiences"),
        (("--teacher", "t", "--problems", "p", "--prompts", "french"), "english or tiny"),
        (("--teacher", "t", "--problems", "nowhere.jsonl"), "nowhere.jsonl"),
        (("--data", "nowhere.jsonl", "--model", "m"), "cannot read nowhere.jsonl"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_makes_no_sense_is_one_line_and_nobody_is_asked(
    seed, script, tmp_path, monkeypatch, words, part
):
    monkeypatch.chdir(tmp_path)
    one_line(seed(*words), part)
    assert script.models == []


def test_problems_that_cannot_be_used_are_named(seed, script, tmp_path):
    data = write(tmp_path / "p.jsonl", [{"problem": "1 + 1?", "answer": "2"}, {"problem": "x"}])
    ran = seed("--teacher", "t", "--problems", data, "--out", tmp_path / "out")
    assert ran.code == 2
    assert "line 2: has no column 'answer'" in ran.err
    assert script.models == []


def test_a_wrong_student_is_found_out_before_the_teacher_is_paid(seed, script, problems, tmp_path):
    words = ["--teacher", "t", "--problems", problems, "--n", 3, "--out", tmp_path / "out"]
    one_line(seed(*words, "--model", "./nowhere"), "there is no model in ./nowhere")
    endless = tmp_path / "endless"
    save_policy(endless)
    (endless / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    )
    ran = seed(*words, "--model", endless)
    assert ran.code == 2
    assert "would not learn to stop" in ran.err
    assert script.models == []


def test_files_of_something_else_are_not_touched(seed, script, problems, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    words = ["--teacher", "t", "--problems", problems, "--out", out]
    for name in ("lessons.jsonl", "answers.jsonl"):
        (out / name).write_text("my notes\n")
        one_line(seed(*words), str(out / name))
        assert (out / name).read_text() == "my notes\n"
        (out / name).unlink()
    assert script.models == []
