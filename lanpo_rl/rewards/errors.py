"""What is raised when a reward function fails."""

from __future__ import annotations

from lanpo_memory.errors import LanpoError

__all__ = ["RewardError", "said"]


class RewardError(LanpoError, RuntimeError):
    """A reward function raised, or returned what is no list of rewards; the message names it.

    What it raised itself is the ``__cause__``. The step's rollouts are not stored.
    """


def said(error: BaseException) -> str:
    """What was raised, in one line."""
    message = " ".join(str(error).split())
    return f"raised {type(error).__name__}{f': {message}' if message else ''}"
