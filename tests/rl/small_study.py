"""A study small enough for tests: few problems, small batches."""

from __future__ import annotations

from lanpo_rl.seeding.tiny_skills.policies import SHIPPED
from lanpo_rl.study.arms import GRPO, GRPO_MATCHED, MEMORY_ONLY, NO_RL, PAPER, RECOMMENDED
from lanpo_rl.study.studies import Part, Study
from lanpo_rl.study.subjects import Subject
from lanpo_rl.tasks import Task, make_hidden_constants


def make_small(seed: int) -> Task:
    task = make_hidden_constants(seed, families=4, held_out_per_family=4)
    return Task("small", task.train, task.held_out, task.shifted[:12])


SUBJECT = Subject(
    "small",
    "four hidden constants",
    make_small,
    SHIPPED,
    settings={"per_device_train_batch_size": 8, "num_generations": 4},
    problems=8,
    samples=2,
)
STUDY = Study(
    "small",
    "Does it run?",
    (Part(SUBJECT, (NO_RL, MEMORY_ONLY, GRPO, GRPO_MATCHED, PAPER, RECOMMENDED), steps=60),),
    seeds=2,
    minutes=1,
)
