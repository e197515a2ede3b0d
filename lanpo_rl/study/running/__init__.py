"""Running the jobs of a study: each in a process of its own, resumable, within a budget."""

from lanpo_rl.study.running.folders import claimed
from lanpo_rl.study.running.outcomes import STOPPED, Event, OnEvent, Outcome
from lanpo_rl.study.running.run import run_jobs

__all__ = ["STOPPED", "Event", "OnEvent", "Outcome", "claimed", "run_jobs"]
