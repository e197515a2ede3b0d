"""What a study's runs were to reach, set before they were made."""

from __future__ import annotations

from lanpo_rl.study.report.asked import QuestionGroup
from lanpo_rl.study.report.measures import Cost, Measure, greedy, guided_reward, tokens_spent_to
from lanpo_rl.study.report.questions import Question

__all__ = ["TARGETS"]


def _target(
    text: str,
    arm: str,
    measure: Measure,
    subject: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Question:
    """Ask whether an arm's figure is on the right side of a bound."""
    better, worse = (arm, None) if at_most is None else (None, arm)
    bound = at_least if at_most is None else at_most
    assert bound is not None
    return Question(text, better, worse, measure, subject=subject, bound=bound, margin=0.0)


_WITHIN = 110_000
_ZERO_SHOT = greedy("zero-shot", lambda p: p.zero_shot)
_AFTER_200 = greedy("zero-shot", lambda p: p.zero_shot, step=200)
_AFTER_300 = greedy("zero-shot", lambda p: p.zero_shot, step=300)
_WITH_MEMORY = greedy("with memory", lambda p: p.with_memory)
_CORRECTED = greedy("self-corrected", lambda p: p.self_corrected, step=100)

TARGETS = QuestionGroup(
    "What was aimed at",
    (
        _target(
            "Zero-shot at least 0.90 after 200 steps?",
            "recommended",
            _AFTER_200,
            "constants",
            at_least=0.90,
        ),
        _target(
            "With memory at least 0.95?", "recommended", _WITH_MEMORY, "constants", at_least=0.95
        ),
        _target(
            "Zero-shot at least 0.95 after 300 steps?",
            "recommended_300",
            _AFTER_300,
            "constants",
            at_least=0.95,
        ),
        _target(
            "Zero-shot 0.5 within 110k tokens?",
            "recommended",
            tokens_spent_to(0.5, within=_WITHIN),
            "constants",
            at_most=_WITHIN,
        ),
        _target(
            "The paper's preset with memory at least 0.90?",
            "paper",
            _WITH_MEMORY,
            "constants",
            at_least=0.90,
        ),
        Question(
            "At least 20 % fewer tokens than GRPO to 0.8?",
            "intra",
            "grpo",
            Cost(0.8, "tokens"),
            subject="chains",
            bound=0.20,
            margin=0.0,
        ),
        _target(
            "Self-corrected at least 0.80 at step 100?",
            "intra",
            _CORRECTED,
            "chains",
            at_least=0.80,
        ),
        _target(
            "Does the leak show in training: guided reward at least 0.95?",
            "intra_leaky",
            guided_reward(),
            "chains",
            at_least=0.95,
        ),
        _target(
            "And teaches little: zero-shot at most 0.40?",
            "intra_leaky",
            _ZERO_SHOT,
            "chains",
            at_most=0.40,
        ),
        _target(
            "And where every group is shown the answer: zero-shot at most 0.40?",
            "intra_leaky_all",
            _ZERO_SHOT,
            "chains",
            at_most=0.40,
        ),
    ),
    "Set before the runs, from experiments with an earlier implementation. Yes: the whole interval "
    "is on the right side, its end included.",
)
"""What the runs were to reach."""
