"""The turns of a solution: what a model said, read, counted, and handed on to the memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.parsing.thinking import spoken
from lanpo_memory.protocols import SolvePrompts
from lanpo_memory.texts import storable
from lanpo_memory.types import (
    MAX_TEXT_CHARS,
    Completion,
    Failure,
    Guidance,
    Messages,
    Rollout,
    Solution,
    Turn,
    Usage,
)

__all__ = ["answered_turn", "read_turn", "reward_of", "rollout_of", "solving_part", "usage_by_role"]


def read_turn(
    prompts: SolvePrompts,
    conversation: Messages,
    guidance: Guidance,
    answer: Completion | Failure,
) -> Turn:
    """Return what a model was asked and said as a turn, its final answer and verdict read.

    A verdict is looked for only where the guidance was an attempt. An empty answer is a failure,
    and so is one that no record can hold; NUL characters and lone surrogates are taken out.
    """
    turn = Turn(conversation=conversation, guidance=guidance, usage=_usage(answer))
    text = "" if isinstance(answer, Failure) else storable(answer.text)
    if reason := _fault(answer, text):
        return turn.model_copy(update={"failure": reason})
    said = turn.model_copy(update={"text": text})
    verdict = prompts.verdict(text) if guidance.kind == "intra" else None
    final = prompts.answer(solving_part(prompts, said))
    return said.model_copy(update={"answer": final, "verdict": verdict})


def _fault(answer: Completion | Failure, text: str) -> str:
    if isinstance(answer, Failure):
        return storable(answer.reason) or "the model gave no reason"
    if not text.strip():
        return "the model answered with nothing"
    if len(text) > MAX_TEXT_CHARS:
        return f"the answer has {len(text):,} characters; at most {MAX_TEXT_CHARS:,} are kept"
    return ""


def _usage(answer: Completion | Failure) -> Usage:
    if isinstance(answer, Failure):
        return Usage(calls=1, failures=1)
    return Usage(
        calls=1,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        seconds=answer.seconds,
        cost=answer.cost,
    )


def solving_part(prompts: SolvePrompts, turn: Turn) -> str:
    """Return the part that solves the problem; all of it where no sections can be told apart.

    What the model thought before it spoke is left out, unless there is nothing else.
    """
    part = prompts.solution(turn.guidance.kind, turn.text)
    said = part if part and part.strip() else turn.text
    return spoken(said).text.strip() or said


def answered_turn(turns: Sequence[Turn]) -> Turn:
    """Return the last turn with an answer, else the last with a text, else the last."""
    answered = [turn for turn in turns if turn.answer is not None]
    said = [turn for turn in turns if turn.text]
    return (answered or said or turns)[-1]


def usage_by_role(turns: Sequence[Turn]) -> Mapping[str, Usage]:
    """Return what turns cost: the first one is to ``solve``, the others ``reflect``."""
    usage = {"solve": turns[0].usage}
    if turns[1:]:
        usage["reflect"] = sum((turn.usage for turn in turns[1:]), Usage())
    return usage


def reward_of(reward: float | None, correct: bool | None) -> float | None:
    """Return the reward, or what a bare verdict is worth: without, no evidence would be booked.

    >>> reward_of(None, False), reward_of(0.5, True)
    (0.0, 0.5)
    """
    return float(correct) if reward is None and correct is not None else reward


def rollout_of(
    solution: Solution,
    *,
    reward: float | None = None,
    correct: bool | None = None,
    step: int = 0,
    policy: str = "",
    group: str | None = None,
) -> Rollout:
    """Return a solution and its outcome as `ExperienceAdapter.observe` takes them.

    Completion and guidance are those of the turn that the answer comes from: experiences are held
    to account where they stood in the prompt of the answer, and only once somebody observes it.

    Args:
        solution: what `Solver.solve` returned.
        reward: of the task, without any bonus for format; by default 1 for right, 0 for wrong.
        correct: whether the answer is right.
        step: see `session`.
        policy: name of the model.
        group: see `Rollout`.

    Raises:
        InvalidInputError: the model never said anything, so there is nothing to learn from.

    >>> from lanpo_memory.types import Problem
    >>> solution = Solution(problem=Problem(text="2 + 3?"), mode="zero_shot", answer="5",
    ...                     turns=(Turn(conversation=[], text="It is 5.", answer="5"),))
    >>> rollout_of(solution, correct=True).completion
    'It is 5.'
    """
    source = answered_turn(solution.turns) if solution.turns else None
    if source is None or not source.text:
        raise InvalidInputError(
            f"the solution of {solution.problem.text[:60]!r} has no text to learn from: "
            f"{solution.failure or 'it has no turns'}"
        )
    return Rollout(
        problem=solution.problem,
        completion=source.text,
        reward=reward_of(reward, correct),
        correct=correct,
        step=step,
        policy=policy,
        group=group,
        guidance=source.guidance,
    )
