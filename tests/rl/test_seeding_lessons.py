"""Lessons by a teacher: which are kept, which are rejected and why, and what is never asked."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from lanpo_memory.errors import BudgetExceeded, ConfigError, InvalidInputError
from lanpo_memory.ledger import Ledger
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.testing import ScriptedChatModel
from lanpo_memory.types import Attempt, Completion, Failure, Problem, Retrieved
from lanpo_rl.rewards import as_reward
from lanpo_rl.seeding import AnswerFile, LessonWriter, read_lessons, shared_out, write_lessons
from lanpo_rl.seeding import judging as reasons
from lanpo_rl.tasks.base import Example, boxed_reward
from tests.rl.seeding_teacher import (
    LESSON,
    Teacher,
    boxes,
    guided,
    number_of,
    reflection,
    role_of,
)

PROMPTS = EnglishPrompts()
EXAMPLES = [boxes(i) for i in range(10, 40)]
ROOT = Path(__file__).parents[2]


class Made:
    """One run of a writer: what it kept, counted and asked."""

    def __init__(self, folder, *, teacher=None, examples=EXAMPLES, n=9, ledger=None, **settings):
        self.model = ScriptedChatModel(teacher or Teacher(), ledger=ledger)
        with AnswerFile(folder / "answers.jsonl") as answers:
            settings = {"name": "scripted", "verify": as_reward(boxed_reward), **settings}
            self.writer = LessonWriter(self.model, answers=answers, **settings)
            try:
                self.lessons, self.error = self.writer.write(examples, n=n), None
            except BudgetExceeded as error:
                self.lessons, self.error = self.writer.lessons, error
        self.rejected = {name: dict(t.rejected) for name, t in self.writer.tallies.items()}

    @property
    def asked(self):
        return [c[-1]["content"] for call in self.model.calls for c in call.conversations]

    @property
    def skills(self):
        return Counter(lesson.skill for lesson in self.lessons)


def filed(folder):
    lines = (folder / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


# ---------------------------------------------------------------------- the whole pipeline


def test_three_skills_in_equal_parts_checked_by_math_verify(tmp_path):
    model = ScriptedChatModel(Teacher())
    lessons = write_lessons(model, EXAMPLES, tmp_path, name="scripted", n=12)
    assert Counter(lesson.skill for lesson in lessons) == {"summarise": 4, "inter": 4, "intra": 4}
    assert read_lessons(tmp_path / "lessons.jsonl") == lessons
    assert {lesson.teacher for lesson in lessons} == {"scripted"}
    assert all(lesson.completion for lesson in lessons)


def test_a_teacher_that_is_always_right_costs_four_calls_for_three_lessons(tmp_path):
    made = Made(tmp_path, teacher=Teacher(wrong=lambda i: False), n=12)
    assert made.model.ledger.total.calls == 16
    assert {role: u.calls for role, u in made.model.ledger.by_role().items()} == dict.fromkeys(
        ("solve", "summarise", "inter", "intra"), 4
    )


def test_prompts_are_those_of_the_trainer(tmp_path):
    made = Made(tmp_path)
    of = {example.problem.id: example.problem for example in EXAMPLES}
    attempts = {r["problem_id"]: r["text"] for r in filed(tmp_path) if r["skill"] == "solve"}
    experiences = [
        PROMPTS.parse(of[lesson.problem_id], lesson.completion)
        for lesson in made.lessons
        if lesson.skill == "summarise"
    ]
    for lesson in made.lessons:
        problem, text = of[lesson.problem_id], lesson.prompt[0]["content"]
        bare = PROMPTS.solve(problem)[0]["content"]
        attempt = attempts.get(lesson.problem_id, "")
        if lesson.skill == "summarise":
            assert lesson.prompt == PROMPTS.summarise(problem, attempt)
        elif lesson.skill == "intra":
            assert text == PROMPTS.intra(Attempt(problem=problem, text=attempt)) + bare
        else:
            shown = [
                e
                for e in experiences
                if text
                == PROMPTS.inter(problem, [Retrieved(experience=e, score=1, similarity=1)]) + bare
            ]
            assert shown, "an experience that was kept, and nothing else"
            assert all(e.problem.id != problem.id for e in shown)


def test_right_attempts_are_summed_up_and_all_are_reflected_on(tmp_path):
    made = Made(tmp_path, n=300, examples=EXAMPLES[:12])
    summed = {number_of(text) for text in made.asked if role_of(text) == "summarise"}
    checked = {number_of(text) for text in made.asked if role_of(text) == "intra"}
    assert summed == {i for i in range(10, 22) if i % 4}
    assert checked >= {12, 16, 20}
    verdicts = [PROMPTS.verdict(x.completion) for x in made.lessons if x.skill == "intra"]
    assert set(verdicts) == {True, False}
    assert made.writer.right_attempts == 9


def test_no_more_is_asked_than_is_missing(tmp_path):
    made = Made(tmp_path, n=3)
    assert made.model.ledger.total.calls <= 5
    assert made.skills == {"summarise": 1, "inter": 1, "intra": 1}


def test_inter_takes_problems_first_that_nobody_tried(tmp_path):
    made = Made(tmp_path, n=9)
    tried = {r["problem_id"] for r in filed(tmp_path) if r["skill"] == "solve"}
    assert not tried & {x.problem_id for x in made.lessons if x.skill == "inter"}


def test_thinking_is_not_learned(tmp_path):
    teacher = Teacher(says={"inter": lambda i: f"<think>\nHm.\n</think>\n{guided(i)}"})
    made = Made(tmp_path, teacher=teacher)
    inter = [lesson for lesson in made.lessons if lesson.skill == "inter"]
    assert len(inter) == 3
    assert all(x.completion.startswith("### Experience Evaluation") for x in inter)
    assert "Hm." in (tmp_path / "answers.jsonl").read_text(), "what was paid for is kept whole"


def test_the_same_seed_takes_the_same_problems_and_another_one_others(tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
    one, same = Made(tmp_path / "a"), Made(tmp_path / "b")
    other = Made(tmp_path / "c", seed=1)
    assert one.lessons == same.lessons
    assert {x.problem_id for x in one.lessons} != {x.problem_id for x in other.lessons}


# ---------------------------------------------------------------------- rejected, with a reason


def cut(text):
    return lambda i: Completion(text=text(i), truncated=True)


NO_HEADER = "### Experience Evaluation:\nx\n### Solution:\n\\boxed{1}"


@pytest.mark.parametrize(
    ("role", "says", "reason"),
    [
        ("solve", Failure(reason="busy"), reasons.SILENT),
        ("solve", "  ", reasons.SILENT),
        ("solve", cut(lambda i: f"\\boxed{{{9 * i}}}"), reasons.CUT),
        ("solve", "<think>\nand on and on", reasons.CUT),
        ("summarise", Failure(reason="busy"), reasons.SILENT),
        ("summarise", cut(lambda i: LESSON % i), reasons.CUT),
        ("summarise", "I had rather not.", reasons.UNREADABLE),
        (
            "summarise",
            lambda i: json.dumps({"principles": [boxes(i).problem.text]}),
            reasons.COPIED,
        ),
        ("inter", Failure(reason="busy"), reasons.SILENT),
        ("inter", cut(guided), reasons.CUT),
        ("inter", lambda i: guided(i + 1), reasons.WRONG),
        ("inter", lambda i: f"\\boxed{{{9 * i}}}", reasons.HEADERS),
        ("inter", lambda i: f"{guided(i)}\nOr \\boxed{{{i}}}", reasons.WRONG),
        ("intra", Failure(reason="busy"), reasons.SILENT),
        ("intra", cut(lambda i: reflection(i, right=True)), reasons.CUT),
        ("intra", lambda i: reflection(i + 1, right=True), reasons.WRONG),
        ("intra", lambda i: f"\\boxed{{{9 * i}}}", reasons.HEADERS),
        ("intra", lambda i: reflection(i, right=bool(i % 4 == 0)), reasons.DISAGREES),
        (
            "intra",
            lambda i: reflection(i, right=True).replace("Correct\n", "Who knows?\n"),
            reasons.NO_VERDICT,
        ),
    ],
)
def test_what_is_no_lesson_is_rejected_with_its_reason(tmp_path, role, says, reason):
    made = Made(tmp_path, teacher=Teacher(says={role: says}), examples=EXAMPLES[:6])
    tally = made.writer.tallies[role]
    assert tally.kept == 0
    assert tally.rejected == {reason: tally.asked}
    assert tally.asked > 0
    assert role not in made.skills


def test_sections_have_to_be_all_there(tmp_path):
    made = Made(tmp_path, teacher=Teacher(says={"inter": NO_HEADER}), examples=EXAMPLES[:6])
    assert made.rejected["inter"].keys() == {reasons.HEADERS}


def test_where_nothing_similar_was_learned_nobody_is_asked(tmp_path):
    made = Made(tmp_path, gamma=1.0, examples=EXAMPLES[:8])
    assert made.rejected["inter"] == {reasons.NOTHING_NEAR: 8}
    assert made.writer.tallies["inter"].asked == 0
    assert [made.writer.missing(s) for s in ("summarise", "inter", "intra")] == [0, 3, 0]


def test_a_rejected_lesson_is_made_up_for_by_another_problem(tmp_path):
    spoils = {("inter", i): "no sections" for i in range(10, 40) if i % 3}
    made = Made(tmp_path, teacher=Teacher(spoils=spoils), n=15)
    assert made.skills == {"summarise": 5, "inter": 5, "intra": 5}
    assert made.rejected["inter"][reasons.HEADERS] > 0


def test_where_the_problems_run_out_it_is_said_of_which_there_are_too_few(tmp_path):
    made = Made(tmp_path, n=300, examples=EXAMPLES[:6])
    assert made.error is None
    assert made.writer.missing("summarise") == 100 - made.skills["summarise"] > 0


# ---------------------------------------------------------------------- what never leaks


def secret(i):
    """A reference answer that only the verifier understands."""
    return Example(boxes(i).problem, f"SECRET{i}")


def verify(completions, answer):
    return [
        boxed_reward(text, str(9 * int(each.removeprefix("SECRET"))))
        for text, each in zip(completions, answer, strict=True)
    ]


def test_the_reference_answer_stands_nowhere(tmp_path):
    model = ScriptedChatModel(Teacher())
    examples = [secret(i) for i in range(10, 40)]
    lessons = write_lessons(model, examples, tmp_path, name="s", n=9, verify=verify)
    assert len(lessons) == 9
    said = json.dumps([call.conversations for call in model.calls])
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    assert "SECRET" not in said + written


def test_another_reference_that_means_the_same_changes_nothing(tmp_path):
    reworded = [Example(each.problem, f"{each.answer}.0") for each in EXAMPLES]
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder, examples in zip(folders, (EXAMPLES, reworded), strict=True):
        folder.mkdir()
        write_lessons(ScriptedChatModel(Teacher()), examples, folder, name="s", n=9)
    for name in ("answers.jsonl", "lessons.jsonl"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_another_reference_changes_no_prompt_only_what_is_kept(tmp_path):
    """Every question that is asked under wrong references is, to the letter, one asked before."""
    swapped = [
        Example(each.problem, "0" if i % 3 else each.answer) for i, each in enumerate(EXAMPLES)
    ]
    asked = []
    for name, examples in (("a", EXAMPLES), ("b", swapped)):
        (tmp_path / name).mkdir()
        teacher = Teacher(says={"summarise": LESSON % "all alike"})
        made = Made(tmp_path / name, teacher=teacher, examples=examples, n=300)
        asked.append(made)
    assert set(asked[1].asked) < set(asked[0].asked)
    blind = [{t for t in made.asked if role_of(t) in ("solve", "intra")} for made in asked]
    assert blind[0] == blind[1], "who tries and who reflects does not depend on the outcome"
    assert asked[1].skills["intra"] < asked[0].skills["intra"]


# ---------------------------------------------------------------------- nothing is asked twice


def test_a_second_run_asks_nothing_and_makes_the_same(tmp_path):
    first = Made(tmp_path)
    before = (tmp_path / "answers.jsonl").read_bytes()
    second = Made(tmp_path)
    assert second.asked == []
    assert second.lessons == first.lessons
    assert (tmp_path / "answers.jsonl").read_bytes() == before


def test_more_lessons_later_cost_only_what_is_new_and_fewer_cost_nothing(tmp_path):
    first, more = Made(tmp_path, n=6), Made(tmp_path, n=15)
    assert not set(first.asked) & set(more.asked)
    assert more.skills == {"summarise": 5, "inter": 5, "intra": 5}
    assert {x.problem_id for x in first.lessons} <= {x.problem_id for x in more.lessons}
    assert Made(tmp_path, n=6).asked == []


def test_another_order_pays_for_no_question_again(tmp_path):
    paid = set(Made(tmp_path, n=300).asked)
    assert not paid & set(Made(tmp_path, n=300, seed=5).asked)


@pytest.mark.parametrize(
    "other",
    [{"temperature": 0.0}, {"max_tokens": 99}, {"name": "another"}, {"gamma": 0.01}],
    ids=lambda other: next(iter(other)),
)
def test_answers_of_other_settings_stay_and_do_not_count(tmp_path, other):
    first = Made(tmp_path)
    second = Made(tmp_path, **other)
    roles = set(map(role_of, second.asked))
    assert roles == ({"inter"} if "gamma" in other else {"solve", "summarise", "inter", "intra"})
    assert len(filed(tmp_path)) == len(first.asked) + len(second.asked)
    assert Made(tmp_path).asked == []


def test_other_wording_is_another_question(tmp_path):
    class Reworded(EnglishPrompts):
        def intra(self, attempt):
            return super().intra(attempt).replace("Nobody", "No one")

    Made(tmp_path)
    assert Made(tmp_path, prompts=Reworded()).asked != []


def test_failed_calls_are_not_filed_and_asked_again(tmp_path):
    busy = {
        (role, i): Failure(reason="busy") for role in ("solve", "inter") for i in range(10, 40, 3)
    }
    first = Made(tmp_path, teacher=Teacher(spoils=busy), n=300)
    assert first.rejected["solve"][reasons.SILENT] == 10
    second = Made(tmp_path, n=300)
    again = set(first.asked) & set(second.asked)
    assert {(role_of(text), number_of(text)) for text in again} == {
        (role, i) for role, i in busy if role == "solve" or ("inter", i) in busy
    }
    assert len(second.lessons) > len(first.lessons)


def test_a_budget_ends_it_and_everything_paid_for_is_kept(tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    total = Made(whole, batch=4).model.ledger.total.calls
    for most in range(1, total):
        folder = tmp_path / str(most)
        folder.mkdir()
        ended = Made(folder, batch=4, ledger=Ledger(max_calls=most))
        assert "max_calls" in str(ended.error)
        assert len(filed(folder)) == ended.model.ledger.total.calls == most
        rest = Made(folder, batch=4)
        assert rest.error is None
        assert most + rest.model.ledger.total.calls == total
        assert [x.row() for x in rest.lessons] == [x.row() for x in Made(whole, batch=4).lessons]


def test_lessons_are_saved_when_a_budget_ends(tmp_path):
    model = ScriptedChatModel(Teacher(), ledger=Ledger(max_calls=12))
    with pytest.raises(BudgetExceeded):
        write_lessons(model, EXAMPLES, tmp_path, name="s", n=30)
    assert len(read_lessons(tmp_path / "lessons.jsonl")) > 0


WORKER = """
import sys
from pathlib import Path
from lanpo_memory.testing import ScriptedChatModel
from lanpo_rl.rewards import as_reward
from lanpo_rl.seeding import write_lessons
from lanpo_rl.tasks.base import boxed_reward
from tests.rl.seeding_teacher import Teacher, boxes

teacher = Teacher()

class Steered(ScriptedChatModel):
    def generate(self, conversations, **settings):
        for each in conversations:
            print(repr(each[-1]["content"]), flush=True)
        print("?", flush=True)
        if not sys.stdin.readline():
            sys.exit("the test has gone")
        return super().generate(conversations, **settings)

examples = [boxes(i) for i in range(10, 40)]
write_lessons(Steered(teacher), examples, Path(sys.argv[1]), name="s", n=15, batch=2,
              verify=as_reward(boxed_reward))
"""


def work(folder, batches):
    """Let the worker ask so many batches, kill it while it waits; return what it had answered."""
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    answered, asked = [], []
    with worker:
        for line in worker.stdout:
            if line != "?\n":
                asked.append(line)
            elif batches == 0:
                worker.send_signal(signal.SIGKILL)
                return answered
            else:
                batches -= 1
                answered += asked
                asked = []
                worker.stdin.write("go\n")
                worker.stdin.flush()
    assert worker.returncode == 0
    return answered


def test_a_kill_costs_no_answer_and_nothing_is_asked_twice(tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole = work(tmp_path / "whole", 10**6)
    answered = []
    for batches in (3, 1, 5, 4):
        answered += work(tmp_path / "killed", batches)
        assert len(filed(tmp_path / "killed")) == len(answered)
    answered += work(tmp_path / "killed", 10**6)
    assert Counter(answered) == Counter(whole)
    assert max(Counter(answered).values()) == 1
    lessons = [(tmp_path / name / "lessons.jsonl").read_bytes() for name in ("whole", "killed")]
    assert lessons[0] == lessons[1]


# ---------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("n", "shares", "wanted"),
    [
        (3000, {}, (1000, 1000, 1000)),
        (1, {}, (1, 0, 0)),
        (2, {}, (1, 1, 0)),
        (10, {"summarise": 1, "inter": 2, "intra": 1}, (3, 5, 2)),
        (5, {"intra": 1}, (0, 0, 5)),
    ],
)
def test_lessons_are_shared_out_among_the_skills(n, shares, wanted):
    counts = shared_out(n, shares) if shares else shared_out(n)
    assert tuple(counts.values()) == wanted


@pytest.mark.parametrize(
    "shares",
    [{"inter": 1}, {"solve": 1}, {}, {"intra": -1}, {"intra": float("nan")}, {"intra": 0}],
)
def test_shares_that_make_no_sense_are_refused(shares):
    with pytest.raises(ConfigError):
        shared_out(9, shares)


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"batch": 0}, "batch"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": -1.0}, "temperature"),
        ({"gamma": 2.0}, "gamma"),
        ({"experiences": 0}, "experiences"),
        ({"n": 0}, "n must be"),
    ],
)
def test_settings_out_of_range_are_refused_before_anybody_is_asked(tmp_path, settings, part):
    with pytest.raises(ConfigError, match=part):
        Made(tmp_path, **settings)
    assert filed(tmp_path) == []


def test_without_problems_there_are_no_lessons(tmp_path):
    with pytest.raises(InvalidInputError, match="no problems"):
        Made(tmp_path, examples=[])


def test_a_problem_that_stands_there_twice_counts_once(tmp_path):
    made = Made(tmp_path, examples=[EXAMPLES[1]] * 5, n=300)
    assert made.writer.tallies["solve"].asked == 1


def test_two_problems_of_one_text_but_other_ids_are_two(tmp_path):
    twins = [Example(Problem(text=boxes(11).problem.text, id=x), "99") for x in "ab"]
    assert Made(tmp_path, examples=twins, n=300).writer.tallies["solve"].asked == 2
