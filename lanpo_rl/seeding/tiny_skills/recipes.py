"""Policies that studies begin with besides the shipped one; each is made where it is needed."""

from __future__ import annotations

from dataclasses import replace

from lanpo_rl.seeding.tiny_skills import constants
from lanpo_rl.seeding.tiny_skills.policies import SeededPolicy

__all__ = ["CONSTANTS", "CONSTANTS_LARGE", "CONSTANTS_MINI", "CONSTANTS_NEOX", "CONSTANTS_UNSEEDED"]

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
CONSTANTS_NEOX = replace(CONSTANTS, name="constants-gpt_neox", family="gpt_neox")

CONSTANTS_UNSEEDED = SeededPolicy(
    "constants-unseeded", skills=((constants.draw_solve, 1.0),), steps=400
)
"""Solves in the right form, and has never seen a hint nor written a summary."""
