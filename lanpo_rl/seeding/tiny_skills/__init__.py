"""Skills of tiny policies: the lessons of each task, and seeding with them."""

from lanpo_rl.seeding.tiny_skills.drawing import Draw, Lesson, Mixture, Skill, draw_from
from lanpo_rl.seeding.tiny_skills.measuring import measure_skills
from lanpo_rl.seeding.tiny_skills.training import (
    SHIPPED_SKILLS,
    STEPS,
    Progress,
    draw_lessons,
    seed_tiny_policy,
)

__all__ = [
    "SHIPPED_SKILLS",
    "STEPS",
    "Draw",
    "Lesson",
    "Mixture",
    "Progress",
    "Skill",
    "draw_from",
    "draw_lessons",
    "measure_skills",
    "seed_tiny_policy",
]
