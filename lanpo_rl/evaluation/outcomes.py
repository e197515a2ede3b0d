"""What became of each sample: right or wrong, cut or whole, guided or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.protocols import SolvePrompts
from lanpo_memory.turns import solving_part
from lanpo_memory.types import Usage, normalise
from lanpo_rl.evaluation.samples import Sample
from lanpo_rl.rewards import RewardFunction
from lanpo_rl.tasks.base import Example

__all__ = ["Outcome", "distinct", "outcome_of"]

_RIGHT = 0.5  # a score above it is right; rewards of accuracy are 0 or 1


@dataclass(frozen=True)
class Outcome:
    """One sample, judged. `first_right`: of the first turn's text, before any reflection.

    `reflected` says that the model looked at its answer again; `answered` that a final answer could
    be read, right or wrong; `unusable` that the last answer was a refusal, filtered or empty, so
    that what came before it counts, if anything did.
    """

    number: int
    right: bool
    first_right: bool
    reflected: bool = False
    answered: bool = True
    unusable: bool = False
    truncated: bool = False
    guided: bool = False
    template: bool = False
    usage: Mapping[str, Usage] = field(default_factory=dict)


def outcome_of(
    sample: Sample, answer: str, *, score: RewardFunction, prompts: SolvePrompts
) -> Outcome:
    """Judge a sample by the reference answer, which goes nowhere but into `score`.

    Judged is the solution's text, as a reward function of training would be given it.
    """
    solution = sample.solution
    texts = [solving_part(prompts, solution.turns[0]), solution.text]
    first, last = _right(texts, answer, score)
    return Outcome(
        number=sample.number,
        right=last,
        first_right=first,
        reflected=len(solution.turns) > 1,
        answered=solution.answer is not None,
        unusable=bool(solution.turns[-1].failure),
        truncated=sample.truncated,
        guided=any(turn.guidance.experience_ids for turn in solution.turns),
        template=sample.template,
        usage=solution.ledger,
    )


def _right(texts: Sequence[str], answer: str, score: RewardFunction) -> list[bool]:
    asked = list(dict.fromkeys(texts))  # without a reflection both are one text: judge it once
    scores = dict(zip(asked, score(completions=asked, answer=[answer] * len(asked)), strict=True))
    return [scores[text] > _RIGHT for text in texts]


def distinct(examples: Sequence[Example]) -> list[Example]:
    """Return each problem once, in order; white space makes no difference.

    Raises:
        ConfigError: there are no problems.
        InvalidInputError: one problem has two answers, or one id two problems.
    """
    if not examples:
        raise ConfigError("there are no problems to evaluate on")
    by_text: dict[str, Example] = {}
    by_id: dict[str, str] = {}
    for example in examples:
        text = normalise(example.problem.text)
        first = by_text.setdefault(text, example)
        if first.answer != example.answer:
            raise InvalidInputError(f"two rows ask {text[:60]!r} and have different answers")
        if by_id.setdefault(example.problem.id, text) != text:
            raise InvalidInputError(f"two problems have the id {example.problem.id!r}")
    return list(by_text.values())
