"""Supervised seeding: how a policy learns to read and to write feedback before it is trained."""

from lanpo_rl.seeding.tiny_skills import (
    STEPS,
    Lesson,
    Progress,
    Skill,
    draw_lessons,
    measure_skills,
    seed_tiny_policy,
)

__all__ = [
    "STEPS",
    "Lesson",
    "Progress",
    "Skill",
    "draw_lessons",
    "measure_skills",
    "seed_tiny_policy",
]
