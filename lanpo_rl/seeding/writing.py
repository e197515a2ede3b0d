"""A teacher writes the lessons of three skills, and a verifier throws out what is wrong.

The data of arXiv 2510.16552 §4: some 3,000 pairs of prompt and completion, written by a stronger
model. The paper does not say how they were made; this is one way. The teacher solves problems, sums
its right attempts up, checks all of its attempts, and solves problems with experiences of others in
front of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.guide import Guide
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.protocols import ChatModel, SolvePrompts
from lanpo_memory.summarizers import LLMSummarizer
from lanpo_memory.summarizers.reading import Check
from lanpo_memory.types import Attempt, Completion, Experience, Failure, Rollout
from lanpo_rl.rewards import RewardFunction, math_accuracy
from lanpo_rl.seeding import judging
from lanpo_rl.seeding.answers import AnswerFile, TeacherAnswer
from lanpo_rl.seeding.asking import Question, TeacherDesk
from lanpo_rl.seeding.judging import Examiner, said, silence
from lanpo_rl.seeding.lessons import WrittenLesson, check_lesson_file, save_lessons
from lanpo_rl.seeding.tallies import EQUAL, SKILLS, Follow, Tally, shared_out
from lanpo_rl.tasks.base import Example

__all__ = ["LessonWriter", "write_lessons"]

Answered = tuple[int, Question, TeacherAnswer | Failure]


@dataclass(frozen=True, slots=True)
class _Tried:
    """An attempt of the teacher's. Whether it is right decides what is kept of what follows."""

    example: Example
    text: str
    right: bool


class LessonWriter:
    """Has a teacher write lessons until there are enough of each skill.

    First the teacher solves problems with nothing in front of them. Right attempts are summed up:
    what can be read as an experience, and copies nothing, is a lesson and joins a pool. Every
    attempt, right or wrong, is put in front of its problem again: the reflection is a lesson if it
    judges the attempt rightly and comes to the right answer. Then problems are solved with the
    nearest experiences of other problems in front of them. A prompt is the one the trainer would
    make; no reference answer reaches any.

    Every answer goes to a file first. What stands there is not asked again.

    Args:
        teacher: who writes.
        name: what the teacher is called; part of what an answer is filed under.
        answers: the file.
        prompts: the language of the roles; English by default.
        verify: tells right from wrong, in TRL's form.
        check: refuses summaries that copy; as in `LLMSummarizer`.
        shares: parts of the skills, equal by default.
        temperature: of the teacher. Above 0 it errs more often, which gives reflections more to
            correct.
        max_tokens: longest answer; a longer one is rejected.
        gamma: least similarity of an experience, in BM25's unit, 0 to 1. With 0 the nearest is
            taken however far it is: to set notes aside is part of the skill.
        experiences: most experiences in one prompt.
        batch: questions asked together, and so the most that an interruption can lose.
        seed: of the order in which problems are taken.
        follow: is told of every batch.

    Raises:
        ConfigError: a setting out of range.
    """

    def __init__(
        self,
        teacher: ChatModel,
        *,
        name: str,
        answers: AnswerFile,
        prompts: SolvePrompts | None = None,
        verify: RewardFunction = math_accuracy,
        check: Check = "default",
        shares: Mapping[str, float] = EQUAL,
        temperature: float = 0.7,
        max_tokens: int = 2048,
        gamma: float = 0.0,
        experiences: int = 1,
        batch: int = 16,
        seed: int = 0,
        follow: Follow | None = None,
    ) -> None:
        self.prompts: SolvePrompts = EnglishPrompts() if prompts is None else prompts
        self.shares, self.seed = dict(shares), seed
        self._guide_settings: dict[str, Any] = {"gamma": gamma, "experiences": experiences}
        self._desk = TeacherDesk(
            teacher,
            answers,
            self.prompts,
            name=name,
            temperature=temperature,
            max_tokens=max_tokens,
            batch=batch,
            guided_by=(gamma, experiences),
        )
        self._examiner = Examiner(self.prompts, verify)
        self._summarizer = LLMSummarizer(prompts=self.prompts, max_tokens=max_tokens, check=check)
        self._follow = follow
        self._begin({})

    def _begin(self, wanted: Mapping[str, int]) -> None:
        self.wanted = dict(wanted)
        self.tallies = {name: Tally() for name in ("solve", *SKILLS)}
        self.right_attempts = 0
        self._made: dict[str, list[WrittenLesson]] = {skill: [] for skill in SKILLS}
        self._pool = ExperiencePool()
        self._guide = Guide(self._pool, prompts=self.prompts, **self._guide_settings)

    @property
    def lessons(self) -> list[WrittenLesson]:
        """What was kept so far, by skill, each in the order of the problems."""
        return [lesson for skill in SKILLS for lesson in self._made[skill]]

    def missing(self, skill: str) -> int:
        """How many lessons of a skill are still to be written."""
        return self.wanted[skill] - len(self._made[skill])

    def write(self, examples: Sequence[Example], *, n: int) -> list[WrittenLesson]:
        """Return `n` lessons, or fewer where the problems run out: `missing` says of which.

        The same arguments and answers give the same lessons.

        Raises:
            ConfigError: `n` cannot be shared out.
            InvalidInputError: there are no problems, or the answers cannot be stored.
            BudgetExceeded: the next call could cross a budget. `lessons` holds what there is then.
        """
        self._begin(shared_out(n, self.shares))
        order = list({example.problem.id: example for example in examples}.values())
        if not order:
            raise InvalidInputError("there are no problems to write lessons on")
        random.Random(f"seeding {self.seed}").shuffle(order)
        used = self._from_attempts(order)
        self._from_experiences([*order[used:], *order[:used]])
        return self.lessons

    # ------------------------------------------------------------------ attempts

    def _from_attempts(self, examples: Sequence[Example]) -> int:
        """Summaries and reflections; return how many problems it took."""
        used = 0
        while need := max(self.missing("summarise"), self.missing("intra")):
            block = examples[used : used + min(self._desk.batch, need)]
            if not block:
                break
            used += len(block)
            tried = self._attempts(block)
            self._fill("summarise", [one for one in tried if one.right], self._sum_up)
            self._fill("intra", tried, self._reflect)
        return used

    def _fill(
        self, skill: str, tried: Sequence[_Tried], teach: Callable[[Sequence[_Tried]], None]
    ) -> None:
        """Ask about no more than are missing; about more, while some are rejected."""
        while tried and (need := self.missing(skill)):
            teach(tried[:need])
            tried = tried[need:]

    def _attempts(self, examples: Sequence[Example]) -> list[_Tried]:
        questions = [
            Question("solve", each.problem, self.prompts.solve(each.problem)) for each in examples
        ]
        tried = []
        for i, _, answer in self._ask(questions):
            if self.tallies["solve"].count(silence(answer)):
                text, example = said(answer), examples[i]
                right = self._examiner.is_right(text, example.answer)
                tried.append(_Tried(example, text, right))
                self.right_attempts += right
        return tried

    def _sum_up(self, tried: Sequence[_Tried]) -> None:
        rollouts = [
            Rollout(problem=one.example.problem, completion=one.text, correct=True) for one in tried
        ]
        questions = [
            Question("summarise", rollout.problem, request.conversation)
            for rollout, request in zip(rollouts, self._summarizer.ask(rollouts), strict=True)
        ]
        for i, question, answer in self._ask(questions):
            fault = silence(answer)
            if fault is None:
                read = self._summarizer.read([rollouts[i]], [Completion(text=answer.text)])[0]
                fault = self._learn(read)
            self._keep(question, answer, fault)

    def _learn(self, read: Experience | Failure) -> str | None:
        """Take an experience into the pool, or say why there is none."""
        if isinstance(read, Experience):
            self._pool.add([read])
            return None
        return judging.COPIED if read.status == "rejected" else judging.UNREADABLE

    def _reflect(self, tried: Sequence[_Tried]) -> None:
        attempts = [Attempt(problem=one.example.problem, text=one.text) for one in tried]
        questions = [
            Question("intra", a.problem, guidance.apply(self.prompts.solve(a.problem)))
            for a, guidance in zip(attempts, self._guide.intra(attempts), strict=True)
        ]
        for i, question, answer in self._ask(questions):
            fault = silence(answer) or self._examiner.fault_of_reflection(
                said(answer), tried[i].example.answer, right=tried[i].right
            )
            self._keep(question, answer, fault)

    # ------------------------------------------------------------------ experiences of others

    def _from_experiences(self, examples: Sequence[Example]) -> None:
        """Those come first that were answered before, with the experiences they saw then."""
        examples = sorted(examples, key=lambda e: self._desk.before("inter", e.problem) is None)
        while examples and (need := self.missing("inter")):
            size = min(self._desk.batch, need)
            self._solve_guided(examples[:size])
            examples = examples[size:]

    def _solve_guided(self, examples: Sequence[Example]) -> None:
        questions = [self._guided_question(example) for example in examples]
        asked = [(e, q) for e, q in zip(examples, questions, strict=True) if q is not None]
        self.tallies["inter"].skip(judging.NOTHING_NEAR, len(examples) - len(asked))
        for i, question, answer in self._ask([question for _, question in asked]):
            fault = silence(answer) or self._examiner.fault_of_guided(
                said(answer), asked[i][0].answer
            )
            self._keep(question, answer, fault)

    def _guided_question(self, example: Example) -> Question | None:
        problem = example.problem
        if before := self._desk.before("inter", problem):
            return Question("inter", problem, before.prompt)
        guidance = self._guide.inter([problem])[0].guidance
        if not guidance:
            return None
        return Question("inter", problem, guidance.apply(self.prompts.solve(problem)))

    # ------------------------------------------------------------------ asking and keeping

    def _ask(self, questions: Sequence[Question]) -> Iterator[Answered]:
        """Yield index, question and answer; where a budget ends, it raises behind the last."""
        answers, ended = self._desk.ask(questions)
        for i, answer in enumerate(answers):
            yield i, questions[i], answer
        if self._follow is not None:
            self._follow(self.tallies, self.wanted)
        if ended is not None:
            raise ended

    def _keep(self, question: Question, answer: TeacherAnswer | Failure, fault: str | None) -> None:
        if self.tallies[question.skill].count(fault):
            self._made[question.skill].append(
                WrittenLesson(
                    skill=question.skill,
                    prompt=question.prompt,
                    completion=said(answer),
                    problem_id=question.problem.id,
                    teacher=self._desk.name,
                )
            )


def write_lessons(
    teacher: ChatModel,
    examples: Sequence[Example],
    folder: Path,
    *,
    name: str,
    n: int = 3000,
    **settings: Any,
) -> list[WrittenLesson]:
    """Write lessons into a folder: ``answers.jsonl`` as they come, ``lessons.jsonl`` at the end.

    Called again, it goes on where it was stopped. Whatever ends it but a kill, ``lessons.jsonl``
    holds what was kept until then.

    Args:
        teacher: who writes.
        examples: problems with reference answers.
        folder: where both files go; it is there.
        name: what the teacher is called.
        n: how many lessons; the default is the paper's (arXiv 2510.16552 §4).
        settings: the others of `LessonWriter`.

    Raises:
        ConfigError, InvalidInputError, BudgetExceeded: as `LessonWriter.write`.
    """
    check_lesson_file(folder / "lessons.jsonl")
    with AnswerFile(folder / "answers.jsonl") as answers:
        writer = LessonWriter(teacher, name=name, answers=answers, **settings)
        try:
            return writer.write(examples, n=n)
        finally:
            save_lessons(folder / "lessons.jsonl", writer.lessons)
