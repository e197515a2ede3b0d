"""Memory in verl's rollouts: an agent loop that asks, and a report that tells.

verl is no dependency: it is imported only where a class of it is needed. What is relied on, and
where that was read, stands in `lanpo_rl.verl.interface`.
"""

from lanpo_rl.verl.interface import MissingVerlError, check_interface
from lanpo_rl.verl.loop import lanpo_agent_loop
from lanpo_rl.verl.reporting import FIELDS, report, rollouts_of, stamped, uneven_groups

__all__ = [
    "FIELDS",
    "MissingVerlError",
    "check_interface",
    "lanpo_agent_loop",
    "report",
    "rollouts_of",
    "stamped",
    "uneven_groups",
]
