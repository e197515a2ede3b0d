"""Where an experience comes from: the same for every way of summarising."""

from __future__ import annotations

from lanpo_memory.types import ExperienceMetadata, Rollout


def provenance(*rollouts: Rollout) -> ExperienceMetadata:
    """Return the metadata of an experience made from one or several rollouts, the first decides.

    The pool's clock dates it; parents are those of all of them.
    """
    first = rollouts[0]
    guided = [r.guidance for r in rollouts if r.guidance]
    return ExperienceMetadata(
        reward=first.reward,
        correct=first.succeeded,
        source="rollout",
        step=first.step,
        policy=first.policy,
        parents=tuple(dict.fromkeys(i for guidance in guided for i in guidance.experience_ids)),
    )
