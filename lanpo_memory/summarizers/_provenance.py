"""Where an experience comes from: the same for every way of summarising."""

from __future__ import annotations

from lanpo_memory.types import ExperienceMetadata, Rollout

__all__ = ["provenance"]


def provenance(rollout: Rollout, *others: Rollout) -> ExperienceMetadata:
    """Return the metadata of an experience made from one rollout or from several.

    Reward, verdict, step and policy are those of the first right rollout, or of the first where
    none is right; parents are those of all. The source is ``rollout`` for one, ``contrast`` for
    several. The pool's clock dates it.

    >>> from lanpo_memory.types import Problem
    >>> of = [Rollout(problem=Problem(text="2 + 3?"), completion="5", correct=c) for c in (0, 1)]
    >>> provenance(*of).correct, provenance(*of).source
    (True, 'contrast')
    """
    rollouts = (rollout, *others)
    first = next((each for each in rollouts if each.succeeded), rollout)
    guides = [each.guidance.experience_ids for each in rollouts if each.guidance]
    return ExperienceMetadata(
        reward=first.reward,
        correct=first.succeeded,
        source="contrast" if others else "rollout",
        step=first.step,
        policy=first.policy,
        parents=tuple(dict.fromkeys(parent for ids in guides for parent in ids)),
    )
