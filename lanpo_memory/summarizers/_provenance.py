"""Where an experience comes from: the same for every way of summarising."""

from __future__ import annotations

from lanpo_memory.types import ExperienceMetadata, Rollout


def provenance(rollout: Rollout) -> ExperienceMetadata:
    """Return the metadata of an experience made from a rollout; the pool's clock dates it."""
    return ExperienceMetadata(
        reward=rollout.reward,
        correct=rollout.succeeded,
        source="rollout",
        step=rollout.step,
        policy=rollout.policy,
        parents=rollout.guidance.experience_ids if rollout.guidance else (),
    )
