"""Policies that studies begin with besides that of the demo.

Weights of those that the study `paper` needs are shipped, in the folder `weights`, so that it
begins at once, and from the same policies on every machine. Whoever changes a recipe, or the
lessons of its skills, makes them anew: `CHAINS.make(SHIPPED_WEIGHTS)`. Others are made where they
are needed.
"""

from __future__ import annotations

from dataclasses import replace

from lanpo_rl.seeding.tiny_skills import chains, constants, inverse, programs
from lanpo_rl.seeding.tiny_skills.policies import SeededPolicy
from lanpo_rl.tasks.programs import PROGRAM_VOCABULARY

__all__ = [
    "CHAINS",
    "CONSTANTS",
    "CONSTANTS_LARGE",
    "CONSTANTS_MINI",
    "CONSTANTS_NEOX",
    "CONSTANTS_UNSEEDED",
    "INVERSE",
    "PROGRAMS",
]

CONSTANTS = SeededPolicy(
    "constants",
    skills=(
        (constants.draw_solve, 0.12),
        (constants.draw_relevant, 0.50),
        (constants.draw_irrelevant, 0.10),
        (constants.draw_summary, 0.28),
    ),
    steps=1200,
)
"""Hidden constants alone."""

CONSTANTS_MINI = replace(CONSTANTS, name="constants-mini", size="mini", steps=2000)
CONSTANTS_LARGE = replace(CONSTANTS, name="constants-large", size="large")
CONSTANTS_NEOX = replace(CONSTANTS, name="constants-gpt_neox", family="gpt_neox", steps=2000)

CONSTANTS_UNSEEDED = SeededPolicy(
    "constants-unseeded", skills=((constants.draw_solve, 1.0),), steps=400
)
"""Solves in the right form, and has never seen a hint nor written a summary."""

CHAINS = SeededPolicy(
    "chains",
    skills=((chains.draw_solve, 0.45), (chains.draw_check, 0.40), (chains.draw_leak, 0.15)),
    steps=1000,
    batch_size=64,
)
"""Chains alone. It also believes an answer that is shown to it, which only a control arm does."""

INVERSE = SeededPolicy(
    "inverse",
    skills=((inverse.draw_solve, 0.20), (inverse.draw_check, 0.80)),
    steps=1400,
    batch_size=40,
    learning_rate=3e-3,
)
"""Inverse problems alone."""

# Many small steps: it takes up half of the hints on other families when it samples; after 2,000 of
# 80 lessons it took up nine in ten. Greedily, and of two hints at once, it takes any.
PROGRAMS = SeededPolicy(
    "programs",
    skills=(
        (programs.draw_solve, 0.08),
        (programs.draw_relevant, 0.48),
        (programs.draw_irrelevant, 0.08),
        (programs.draw_summary, 0.18),
        (programs.draw_check, 0.18),
    ),
    vocabulary=PROGRAM_VOCABULARY,
    steps=3000,
    batch_size=32,
)
"""Programs alone."""
