"""Asking a teacher so that nothing is asked twice: the file first, then the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lanpo_memory.answering import within_budget
from lanpo_memory.errors import BudgetExceeded, ConfigError, positive
from lanpo_memory.protocols import ChatModel, Prompts
from lanpo_memory.texts import storable
from lanpo_memory.types import (
    Attempt,
    Completion,
    Experience,
    Failure,
    Messages,
    Problem,
    Retrieved,
    fingerprint,
)
from lanpo_rl.seeding.answers import AnswerFile, TeacherAnswer

__all__ = ["Question", "TeacherDesk", "wording"]


@dataclass(frozen=True, slots=True)
class Question:
    """What a teacher is asked about a problem, for a skill or, as ``solve``, for an attempt."""

    skill: str
    problem: Problem
    prompt: Messages


class TeacherDesk:
    """A teacher and the file of what it said.

    An answer is filed under all that decides it: the teacher's name, temperature, length and the
    wording of the prompts, skill and problem; for ``inter`` also under what `guided_by` names. No
    reference answer is part of that. A call that failed is not filed, and asked again next time.

    Raises:
        ConfigError: a setting out of range.
    """

    def __init__(
        self,
        teacher: ChatModel,
        answers: AnswerFile,
        prompts: Prompts,
        *,
        name: str,
        temperature: float,
        max_tokens: int,
        batch: int,
        guided_by: Sequence[object],
    ) -> None:
        positive("batch", batch)
        positive("max_tokens", max_tokens)
        if not 0.0 <= temperature < float("inf"):
            raise ConfigError(f"temperature must be 0 or more, got {temperature}")
        self.name, self.batch = name, batch
        self._teacher, self._answers = teacher, answers
        self._temperature, self._max_tokens = temperature, max_tokens
        self._settings = (name, str(temperature), str(max_tokens), wording(prompts))
        self._guided_by = tuple(map(str, guided_by))

    def before(self, skill: str, problem: Problem) -> TeacherAnswer | None:
        """Return what the teacher said already, `None` if it was not asked."""
        return self._answers.known.get(self._id(skill, problem))

    def ask(
        self, questions: Sequence[Question]
    ) -> tuple[list[TeacherAnswer | Failure], BudgetExceeded | None]:
        """Return one answer for each question, in order, and the error that put an end to it.

        At most `batch` are asked at once; each batch is on the disk before the next. When a budget
        ends, the answers are those of the first questions alone.
        """
        new = [each for each in questions if self.before(each.skill, each.problem) is None]
        failed: dict[str, Failure] = {}
        ended = None
        for start in range(0, len(new), self.batch):
            found, ended = within_budget(new[start : start + self.batch], self._ask)
            failed.update((id_, f) for id_, f in found if isinstance(f, Failure))
            if ended is not None:
                break
        answers: list[TeacherAnswer | Failure] = []
        for each in questions:
            id_ = self._id(each.skill, each.problem)
            answer = failed.get(id_) or self._answers.known.get(id_)
            if answer is None:
                break
            answers.append(answer)
        return answers, ended

    def _ask(self, some: Sequence[Question]) -> list[tuple[str, TeacherAnswer | Failure]]:
        said = self._teacher.generate(
            [question.prompt for question in some],
            max_tokens=self._max_tokens,
            temperature=self._temperature,
            role=some[0].skill,
        )
        answers: list[TeacherAnswer | Failure] = []
        for question, answer in zip(some, said, strict=True):
            if isinstance(answer, Completion):
                answers.append(self._filed(question, answer))
            else:
                answers.append(answer)
        self._answers.write([each for each in answers if isinstance(each, TeacherAnswer)])
        ids = [self._id(question.skill, question.problem) for question in some]
        return list(zip(ids, answers, strict=True))

    def _filed(self, question: Question, answer: Completion) -> TeacherAnswer:
        return TeacherAnswer(
            question=self._id(question.skill, question.problem),
            teacher=self.name,
            skill=question.skill,
            problem_id=question.problem.id,
            prompt=question.prompt,
            text=storable(answer.text),
            truncated=answer.truncated,
        )

    def _id(self, skill: str, problem: Problem) -> str:
        guided_by = self._guided_by if skill == "inter" else ()
        return fingerprint(skill, problem.id, problem.text, *self._settings, *guided_by)


def wording(prompts: Prompts) -> str:
    """Return a fingerprint of how the roles are worded: other prompts are other questions."""
    problem = Problem(text="p")
    experience = Experience(problem=problem, principles=("e",))
    shown = Retrieved(experience=experience, score=1.0, similarity=1.0)
    texts = [
        prompts.solve(problem),
        prompts.summarise(problem, "c"),
        prompts.inter(problem, [shown]),
        prompts.intra(Attempt(problem=problem, text="a")),
    ]
    return fingerprint(*map(str, texts))
