"""Memory around any agent loop: guidance for its system prompt, and the outcome at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.guide import uniform
from lanpo_memory.protocols import ExperienceAdapter
from lanpo_memory.turns import reward_of
from lanpo_memory.types import Guidance, Observation, Problem, Rollout, fingerprint

__all__ = ["Session", "session"]


class Session:
    """What `session` hands to the agent loop.

    Attributes:
        problem: what the agent works on.
        guidance: what the memory has to say about it; empty where it has nothing.
        explored: whether the coin of `explore` kept guidance away.
        observation: the receipts, once the block has ended and an outcome was recorded.
    """

    def __init__(
        self,
        problem: Problem,
        guidance: Guidance,
        *,
        step: int = 0,
        group: str | None = None,
        explored: bool = False,
    ) -> None:
        self.problem, self.guidance, self.explored = problem, guidance, explored
        self.observation: Observation | None = None
        self._step, self._group = step, group
        self._rollout: Rollout | None = None
        self._over = False

    def system(self, text: str = "") -> str:
        """Return a system prompt: your own text, and behind it the guidance, where there is any."""
        return "\n\n".join(part for part in (text, self.guidance.text.strip()) if part)

    def finish(
        self, completion: str, *, reward: float | None = None, correct: bool | None = None
    ) -> None:
        """Record what came of it; stored when the block ends.

        Args:
            completion: what the agent did, as text that lessons can be drawn from: its last answer,
                or better its steps, too.
            reward: the task's reward, where there is one; by default 1 for right, 0 for wrong.
            correct: whether it worked out, where somebody knows.

        Raises:
            InvalidInputError: it was called before, or after the block; or the completion is no
                text.
        """
        if self._over:
            raise InvalidInputError("the session is over; call finish inside its block")
        if self._rollout is not None:
            raise InvalidInputError("finish was called before; a session has one outcome")
        if not isinstance(completion, str):
            raise InvalidInputError(
                f"completion is of type {type(completion).__name__}; give text, such as "
                "str(completion)"
            )
        self._rollout = Rollout(
            problem=self.problem,
            completion=completion,
            reward=reward_of(reward, correct),
            correct=correct,
            step=self._step,
            group=fingerprint(completion) if self._group is None else self._group,
            guidance=self.guidance,
        )

    def _end(self, memory: ExperienceAdapter) -> None:
        self._over = True
        if self._rollout is not None:
            self.observation = memory.observe([self._rollout], step=self._step)


@contextmanager
def session(
    memory: ExperienceAdapter,
    problem: Problem,
    *,
    step: int = 0,
    explore: float | None = None,
    seed: int = 0,
    group: str | None = None,
) -> Iterator[Session]:
    """Give an agent memory for one problem: guidance at the start, the outcome at the end.

    Guidance is always asked for, whatever the memory's own ratio; the memory may still have
    nothing. When the block ends after `Session.finish`, the memory observes the outcome, and a
    summarizer that needs a model asks it then. Without `finish`, or when the block raises, nothing
    is stored and the exception travels on.

    Args:
        memory: what is asked and told.
        problem: what the agent is about to work on.
        step: how far the agent's life has come: any number that grows, of days or of rounds. The
            age of an experience is counted in it, and `Limits.per_step` (8) bounds the new
            experiences of one problem in one step: with the same step for ever, that many are kept
            of a problem and later ones rejected.
        explore: share of sessions in 0..1 without guidance, so that what memory brings can be
            measured. A coin made from seed, step and problem id decides.
        seed: of that coin.
        group: name for the sessions that tried one problem together. Evidence about a lesson is
            booked once for each problem, step and group. By default the completion makes the
            group: only the very same completion counts once.

    Raises:
        ConfigError: `explore` is no share.
        InvalidInputError: `problem` is none.

    >>> from lanpo_memory import ExperiencePool, PoolAdapter
    >>> from lanpo_memory.summarizers import ExtractiveSummarizer
    >>> memory = PoolAdapter(ExperiencePool(), summarizer=ExtractiveSummarizer())
    >>> with session(memory, Problem(text="Sum the odd numbers below 20.")) as turn:
    ...     prompt = turn.system("You are good at sums.")
    ...     turn.finish("I paired the first with the last.", correct=True)
    >>> dict(turn.observation.counts)
    {'added': 1}
    """
    if not isinstance(problem, Problem):
        raise InvalidInputError(
            f"got a {type(problem).__name__} where a Problem is needed: Problem(text=...)"
        )
    if explore is not None and not 0.0 <= explore <= 1.0:
        raise ConfigError(f"explore must lie between 0 and 1, got {explore}")
    explored = explore is not None and uniform(seed, step, problem.id, "explore") < explore
    guidance = memory.prepare([problem], step=step, wanted=[not explored])[0]
    turn = Session(problem, guidance, step=step, group=group, explored=explored)
    yield turn
    turn._end(memory)
