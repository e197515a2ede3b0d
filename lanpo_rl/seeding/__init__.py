"""Supervised seeding: how a policy learns to read and to write feedback before it is trained."""

from lanpo_rl.seeding.answers import AnswerFile, TeacherAnswer
from lanpo_rl.seeding.lessons import WrittenLesson, read_lessons, save_lessons
from lanpo_rl.seeding.tallies import SKILLS, Tally, shared_out
from lanpo_rl.seeding.tiny_skills import (
    STEPS,
    Lesson,
    Progress,
    Skill,
    draw_lessons,
    measure_skills,
    seed_tiny_policy,
)
from lanpo_rl.seeding.tuning import Trained, build_sft_trainer, train_on_lessons
from lanpo_rl.seeding.writing import LessonWriter, write_lessons

__all__ = [
    "SKILLS",
    "STEPS",
    "AnswerFile",
    "Lesson",
    "LessonWriter",
    "Progress",
    "Skill",
    "Tally",
    "TeacherAnswer",
    "Trained",
    "WrittenLesson",
    "build_sft_trainer",
    "draw_lessons",
    "measure_skills",
    "read_lessons",
    "save_lessons",
    "seed_tiny_policy",
    "shared_out",
    "train_on_lessons",
    "write_lessons",
]
