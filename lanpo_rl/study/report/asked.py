"""The questions themselves: what the reviewers of the paper asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from lanpo_rl.study.report.measures import (
    Cost,
    final,
    guided_reward,
    passing,
)
from lanpo_rl.study.report.questions import Question

__all__ = ["QUESTIONS", "QuestionGroup"]

Mode = Literal["zero_shot", "retrieval", "self_correct", "retrieval+self_correct"]


@dataclass(frozen=True)
class QuestionGroup:
    """Questions under one heading; `remark` stands below it."""

    title: str
    questions: tuple[Question, ...] = ()
    remark: str = ""


_NAMES = {
    "recommended": "the recommended preset",
    "recommended_300": "the recommended preset, 300 steps,",
    "paper": "the paper's preset",
    "paper_intra": "the paper's preset with reflection",
    "paper_both_kinds": "the paper's preset with both kinds of feedback",
    "inter": "LANPO inter-sample",
    "intra": "LANPO intra-sample",
    "both": "LANPO with both kinds of feedback",
    "recommended_5e-05": "the recommended preset at 5e-5",
    "grpo": "GRPO",
    "grpo_5e-05": "GRPO at 5e-5",
    "grpo_matched": "token-matched GRPO",
    "grpo_unseeded": "GRPO without seeding",
    "unseeded": "the recommended preset without seeding",
    "memory_only": "memory without training",
    "oracle": "training with a perfect retriever",
}
_LANPO = ("recommended", "paper", "inter", "intra", "both", "paper_intra", "paper_both_kinds")
_BARE: Mode = "zero_shot"
_LOOKED: Mode = "retrieval"
_CHECKED: Mode = "self_correct"
_ALL: Mode = "retrieval+self_correct"
_WAY = {
    _BARE: "zero-shot",
    _LOOKED: "with retrieval",
    _CHECKED: "after checking its own answer",
    _ALL: "with retrieval and self-correction",
}


def _better(better: str, worse: str, mode: Mode, expected: str = "") -> Question:
    text = f"Is {_NAMES[better]} better than {_NAMES[worse]} {_WAY[mode]}?"
    return Question(text, better, worse, final(mode), expected=expected)


def _cheaper(arm: str, cost: Cost) -> Question:
    text = f"Does {_NAMES[arm]} need fewer {cost.axis} than GRPO to {cost.threshold:g} zero-shot?"
    return Question(text, arm, "grpo", cost, margin=0.05)


def _control(arm: str, control: str, mode: Mode, text: str, expected: str = "") -> Question:
    return Question(f"{text} {_WAY[mode]}?", arm, control, final(mode), expected=expected)


_COSTS = (Cost(0.5, "tokens"), Cost(0.8, "tokens"), Cost(0.8, "seconds"))

_PLACEBOS = (
    ("recommended", "placebo", (_BARE, _LOOKED)),
    ("paper", "paper_placebo", (_BARE, _LOOKED)),
    ("both", "placebo", (_BARE, _ALL)),
)
# On which tasks attempts guide, and what was known before of zero-shot and of the reward.
_ATTEMPTS = (
    ("chains", "no: on chains the gain is the verifying mode, not the attempt's content", ""),
    ("inverse", "", "yes: only the own attempt says what it missed by"),
)


def _attempts(arm: str, subject: str, taught: str, earned: str) -> tuple[Question, ...]:
    """Ask whether an attempt's content matters: of what it teaches, and of the reward it brings."""
    text = f"Does it matter to {_NAMES[arm]} that the attempt shown is its own at this problem"
    asked = (
        (_WAY[_BARE], final(_BARE), taught),
        (_WAY[_CHECKED], final(_CHECKED), ""),
        ("in the reward of those who saw it", guided_reward(), earned),
    )
    return tuple(
        Question(
            f"{text}, {where}?", arm, f"{arm}_placebo", measure, subject=subject, expected=expected
        )
        for where, measure, expected in asked
    )


_LEAKS = (
    ("paper_intra", "intra_leaky", "three groups of four"),
    ("paper_intra", "intra_leaky_all", "every group"),
)

# What token-matched GRPO is matched to.
_MATCHED = (
    ("recommended", "constants"),
    ("intra", "chains"),
    ("intra", "inverse"),
    ("both", "programs"),
)


def _matched(arm: str, subject: str) -> Question:
    return replace(_better(arm, "grpo_matched", _BARE), subject=subject)


# An arm that does one thing otherwise than the recommended preset, and what the difference is.
_PARTS = {
    "unseeded": "with roles that were seeded than without",
    "gamma_0": "with a relevance threshold than with γ = 0",
    "frozen_pool": "with a pool that goes on taking experiences in than with a frozen one",
    "frozen_summarizer": "with the policy as it is now for a summariser than with a frozen copy",
    "raw_solutions": "with summaries than with raw solutions",
    "in_context": "with both losses than with the in-context one alone",
    "distill": "with both losses than with the distilling one alone",
    "shared": "with half-guided groups than with groups that share one context",
    "when_failing": "with guidance always than only where the policy fails",
    "relevance": "with retrieval by utility than by relevance",
    "recency": "with retrieval by utility than by recency",
    "product": "with retrieval by utility than by utility × relevance",
    "gamma_0.2": "with γ = 0.4 than with 0.2",
    "gamma_0.6": "with γ = 0.4 than with 0.6",
    "gamma_0.8": "with γ = 0.4 than with 0.8",
    "ratio_0.25": "with guidance three times in four than one time",
    "ratio_0.5": "with guidance three times in four than every other time",
    "ratio_1": "with guidance three times in four than always",
    "ratio_falls": "with guidance three times in four than less and less often",
    "one_shown": "with a draw from the best four lessons than with the best",
    "two_shown": "with one lesson than with two",
    "in_context_shared": "with both losses on half-guided groups than in-context on shared ones",
    "distill_shared": "with both losses on half-guided groups than distilling on shared ones",
}
_FRESH = "with attempts of this step, where it fails, than with those of earlier steps"

# The same of the paper's preset.
_PAPER_PARTS = {
    "paper_gamma_0": _PARTS["gamma_0"],
    "paper_frozen_pool": _PARTS["frozen_pool"],
    "paper_raw_solutions": _PARTS["raw_solutions"],
    "paper_distill": "with the in-context loss than with the distilling one",
    "paper_both": "with the in-context loss alone than with both losses",
    "paper_mixed": "with groups that share one context than with half-guided ones",
    "paper_utility": "with retrieval by relevance than by utility",
    "paper_when_failing": _PARTS["when_failing"],
}


def _part(arm: str, difference: str, mode: Mode, *, of: str = "recommended") -> Question:
    which = "it" if of == "recommended" else _NAMES[of]
    text = f"Is {which} better {difference}, {_WAY[mode]}?"
    return Question(text, of, arm, final(mode))


QUESTIONS: tuple[QuestionGroup, ...] = (
    QuestionGroup(
        "Does it pay in tokens and time, not only in steps?",
        tuple(_cheaper(arm, cost) for arm in _LANPO for cost in _COSTS),
        "A run that never got there counts with what it spent: the share is the least that is "
        "known to be saved or lost. Seeds on which neither got there tell nothing and are left "
        "out. There is no yes where GRPO alone got there on a seed, and no no where the other "
        "alone did. Seconds of GRPO are without those of filling a "
        "pool that it never reads. The curves below are drawn against steps, tokens and seconds.",
    ),
    QuestionGroup(
        "Is it the memory, or a longer prompt and more tokens?",
        (
            *(
                _control(arm, control, mode, "Does what the memory shows matter (placebo)")
                for arm, control, modes in _PLACEBOS
                for mode in modes
            ),
            *(
                question
                for arm in ("intra", "paper_intra")
                for on in _ATTEMPTS
                for question in _attempts(arm, *on)
            ),
            *(_matched(arm, subject) for arm, subject in _MATCHED),
            _better("recommended", "grpo", _LOOKED),
            _better("paper", "grpo", _LOOKED),
            Question(
                "Does a pool at inference help GRPO, which was trained without one?",
                "grpo",
                "grpo",
                final(_LOOKED),
                worse_measure=final(_BARE),
            ),
            _better("recommended", "memory_only", _BARE),
            _better("recommended", "memory_only", _LOOKED),
            _better("paper", "memory_only", _BARE),
            *(_better("both", "memory_only", mode) for mode in (_BARE, _LOOKED, _ALL)),
            Question(
                f"Is {_NAMES['both']} better than {_NAMES['memory_only']} on shifted problems, "
                f"{_WAY[_ALL]}?",
                "both",
                "memory_only",
                final(_ALL, "shifted"),
            ),
            _better("oracle", "recommended", _BARE),
            _better("oracle", "recommended", _LOOKED),
        ),
    ),
    QuestionGroup(
        "Is it the safeguard against leaks that matters?",
        tuple(
            _control(arm, leaky, _BARE, f"Is it better to show {whom} no answer in training", "yes")
            for arm, leaky, whom in _LEAKS
        ),
    ),
    QuestionGroup(
        "Does it hold for other measures, sizes, families and tasks?",
        (
            *(_better(arm, "grpo", _BARE) for arm in _LANPO),
            *(
                _better("recommended_5e-05", other, mode)
                for other in ("grpo_5e-05", "recommended")
                for mode in (_BARE, _LOOKED)
            ),
            *(
                Question(
                    f"Is {_NAMES[arm]} better than GRPO by zero-shot pass@k?",
                    arm,
                    "grpo",
                    passing(_BARE),
                )
                for arm in _LANPO
            ),
            *(
                Question(
                    f"Is {_NAMES[arm]} better than GRPO zero-shot on shifted problems?",
                    arm,
                    "grpo",
                    final(_BARE, "shifted"),
                )
                for arm in _LANPO
            ),
            *(_better(arm, "grpo", _CHECKED) for arm in ("intra", "paper_intra", "both")),
            _better("recommended", "paper", _BARE),
            _better("recommended", "paper", _LOOKED),
            _better("both", "inter", _ALL),
            _better("both", "intra", _ALL),
        ),
    ),
    QuestionGroup(
        "What do seeding, the pool and each part of the method contribute?",
        (
            *(_part(arm, what, mode) for arm, what in _PARTS.items() for mode in (_BARE, _LOOKED)),
            *(
                _part(arm, what, mode, of="paper")
                for arm, what in _PAPER_PARTS.items()
                for mode in (_BARE, _LOOKED)
            ),
            *(_part("intra_always", _FRESH, mode, of="intra") for mode in (_BARE, _CHECKED)),
            _better("unseeded", "grpo_unseeded", _BARE),
            _better("unseeded", "grpo_unseeded", _LOOKED),
        ),
        "Each arm changes one thing against the preset it is compared with. How many prompts lost "
        "experiences for want of room stands in each subject's table 'How it trained'.",
    ),
    QuestionGroup(
        "Which tokens receive gradient?",
        remark="Those of rollouts, and no others. Guidance, and whatever else stands in a prompt, "
        "is masked in every loss; the distilling loss scores the rollout's tokens under the bare "
        "prompt. Summaries are written by the policy and never trained on.",
    ),
)
"""Six groups, as the reviewers of the paper asked for them."""
