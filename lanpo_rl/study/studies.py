"""What studies there are: which arms on which subjects, for how many steps and seeds."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lanpo_rl.seeding.tiny_skills.recipes import (
    CONSTANTS,
    CONSTANTS_LARGE,
    CONSTANTS_MINI,
    CONSTANTS_NEOX,
)
from lanpo_rl.study.arms import (
    BOTH,
    FROM_PAPER,
    FROM_RECOMMENDED,
    GRPO,
    GRPO_MATCHED,
    GRPO_UNSEEDED,
    INTRA,
    MEMORY_ONLY,
    NO_RL,
    ON_CHAINS,
    ON_INVERSE,
    ON_PROGRAMS,
    PAPER,
    RECOMMENDED,
    Arm,
)
from lanpo_rl.study.subjects import (
    CHAINS_SUBJECT,
    CONSTANTS_SUBJECT,
    INVERSE_SUBJECT,
    PROGRAMS_SUBJECT,
    Subject,
)

__all__ = ["PAPER_STUDY", "STUDIES", "Part", "Study"]


@dataclass(frozen=True)
class Part:
    """Arms that are compared on one subject, each with every seed."""

    subject: Subject
    arms: tuple[Arm, ...]
    steps: int = 200
    evaluate_every: int = 25


@dataclass(frozen=True)
class Study:
    """A question, and the runs that answer it.

    Attributes:
        name: for the command line.
        question: in one line.
        parts: arms by subject.
        seeds: how many, by default.
        minutes: about what it takes with that many seeds on two cores.
        first_seed: the others follow.
    """

    name: str
    question: str
    parts: tuple[Part, ...]
    seeds: int
    minutes: float
    first_seed: int = 0

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of its arms, each once."""
        return tuple(dict.fromkeys(arm.name for part in self.parts for arm in part.arms))


def _rates(arm: Arm) -> tuple[Arm, ...]:
    """An arm at three learning rates and with two schedules."""
    return tuple(
        arm.but(
            f"{arm.name}_{rate:g}_{short}",
            f"{arm.label}, {rate:g}, {schedule.replace('_', '-')}",
            learning_rate=rate,
            schedule=schedule,
        )
        for rate in (5e-5, 1e-4, 2e-4)
        for short, schedule in (("const", "constant"), ("wsd", "warmup_stable_decay"))
    )


def _taken(*names: str) -> tuple[Arm, ...]:
    """Arms that the study `paper` has, too."""
    return tuple(arm for arm in FROM_RECOMMENDED if arm.name in names)


_CONSTANTS = CONSTANTS_SUBJECT
_MAIN = (NO_RL, MEMORY_ONLY, GRPO, GRPO_MATCHED, PAPER, RECOMMENDED)

QUICK = Study(
    "quick",
    "Does memory help? The three arms of the README's table.",
    (Part(_CONSTANTS, (MEMORY_ONLY, GRPO, RECOMMENDED)),),
    seeds=3,
    minutes=6,
)
TUNING = Study(
    "tuning",
    "Which learning rate and schedule do GRPO and LANPO get? On seeds that no other study uses.",
    (
        Part(_CONSTANTS, _rates(GRPO)),
        Part(CHAINS_SUBJECT, (*_rates(GRPO), *_rates(INTRA))),
        Part(INVERSE_SUBJECT, (*_rates(GRPO), *_rates(INTRA))),
        Part(PROGRAMS_SUBJECT, (*_rates(GRPO), *_rates(BOTH))),
    ),
    seeds=2,
    minutes=55,
    first_seed=100,
)
GAMMA = Study(
    "gamma",
    "How much relevance must experience have?",
    (
        Part(
            _CONSTANTS,
            (
                GRPO,
                RECOMMENDED,  # 0.4
                *_taken("gamma_0"),
                *(
                    RECOMMENDED.but(f"gamma_{gamma:g}", f"gamma {gamma:g}", gamma=gamma)
                    for gamma in (0.2, 0.6, 0.8)
                ),
            ),
        ),
    ),
    seeds=3,
    minutes=13,
)
RATIO = Study(
    "ratio",
    "How often should a problem draw guidance?",
    (
        Part(
            _CONSTANTS,
            (
                GRPO,
                RECOMMENDED,  # 0.75
                *(
                    RECOMMENDED.but(f"ratio_{ratio:g}", f"p = {ratio:g}", feedback_ratio=ratio)
                    for ratio in (0.25, 0.5, 1.0)
                ),
                RECOMMENDED.but(
                    "ratio_falls",
                    "p from 1 to 0.25",
                    feedback_ratio=1.0,
                    feedback_ratio_end=0.25,
                    feedback_ratio_steps=150,
                ),
            ),
        ),
    ),
    seeds=3,
    minutes=13,
)
SEEDING = Study(
    "seeding",
    "Does a policy have to be taught to read and write feedback first?",
    (
        Part(
            _CONSTANTS,
            (
                GRPO,
                RECOMMENDED,
                *_taken("unseeded"),
                GRPO_UNSEEDED,
            ),
        ),
    ),
    seeds=3,
    minutes=8,
)
POOL = Study(
    "pool",
    "What has to be in the pool, and who keeps it?",
    (
        Part(
            _CONSTANTS,
            (
                RECOMMENDED,
                *_taken("frozen_pool", "frozen_summarizer", "raw_solutions", "oracle", "relevance"),
                RECOMMENDED.but("product", "retrieval by the product", retrieval_weight="product"),
                RECOMMENDED.but("recency", "retrieval by recency", retrieval_weight="recency"),
                RECOMMENDED.but("one_shown", "shortlist of 1", shortlist=1),
                RECOMMENDED.but("two_shown", "2 experiences", experiences_per_prompt=2),
            ),
        ),
    ),
    seeds=3,
    minutes=22,
)
OBJECTIVE = Study(
    "objective",
    "Which loss, and which layout of a group?",
    (
        Part(
            _CONSTANTS,
            (
                GRPO,
                RECOMMENDED,  # both losses, mixed
                *_taken("in_context", "distill", "shared"),
                *(
                    RECOMMENDED.but(
                        f"{objective}_shared",
                        f"objective {objective}, layout shared",
                        objective=objective,
                        group_layout="shared",
                    )
                    for objective in ("in_context", "distill")
                ),
            ),
        ),
    ),
    seeds=3,
    minutes=15,
)
GATING = Study(
    "gating",
    "Should guidance be given only where the policy fails?",
    (
        Part(
            _CONSTANTS,
            (
                RECOMMENDED,
                *_taken("when_failing"),
                PAPER,
                PAPER.but("paper_when_failing", "paper, gate when_failing", gate="when_failing"),
            ),
        ),
    ),
    seeds=3,
    minutes=9,
)
_SLOWER = {"learning_rate": 5e-5}
_OF_SIZES = (
    NO_RL,
    MEMORY_ONLY,
    GRPO,
    GRPO.but("grpo_5e-05", "GRPO, 5e-5", **_SLOWER),
    PAPER,
    RECOMMENDED,
    RECOMMENDED.but("recommended_5e-05", "LANPO recommended, 5e-5", **_SLOWER),
)
SIZE = Study(
    "size",
    "Does it hold for smaller and larger policies, and for another family of networks?",
    tuple(
        Part(
            replace(
                _CONSTANTS,
                name=f"constants-{name}",
                label=f"hidden constants, {policy.family} {policy.size}",
                policy=policy,
            ),
            _OF_SIZES,
        )
        for name, policy in (
            ("mini", CONSTANTS_MINI),
            ("small", CONSTANTS),
            ("large", CONSTANTS_LARGE),
            ("gpt_neox", CONSTANTS_NEOX),
        )
    ),
    seeds=3,
    minutes=90,
)
PAPER_STUDY = Study(
    "paper",
    "Does memory help, and is it the memory that helps? Every control.",
    (
        Part(_CONSTANTS, (*_MAIN, *FROM_RECOMMENDED, *FROM_PAPER, GRPO_UNSEEDED)),
        Part(CHAINS_SUBJECT, ON_CHAINS),
        Part(INVERSE_SUBJECT, ON_INVERSE),
        Part(PROGRAMS_SUBJECT, ON_PROGRAMS),
    ),
    seeds=5,
    minutes=150,
)

STUDIES: tuple[Study, ...] = (
    QUICK,
    PAPER_STUDY,
    GAMMA,
    RATIO,
    SEEDING,
    POOL,
    OBJECTIVE,
    GATING,
    SIZE,
    TUNING,
)
