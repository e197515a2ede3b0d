"""Reading what people already have: files of rollouts, and the pools of other memories.

What cannot be used is data, not an exception: a `Line` or an `Entry` whose `error` names file,
line and fault, so that one bad line never costs the rest of the file. Reference answers are never
read into anything.
"""

from lanpo_memory.importers.fields import parsed_line
from lanpo_memory.importers.gsm8k import GSM8K_POLICIES
from lanpo_memory.importers.items import Entry
from lanpo_memory.importers.pools import POOL_FORMATS, read_experiences
from lanpo_memory.importers.rollouts import FORMATS, Line, read_rollouts

__all__ = [
    "FORMATS",
    "GSM8K_POLICIES",
    "POOL_FORMATS",
    "Entry",
    "Line",
    "parsed_line",
    "read_experiences",
    "read_rollouts",
]
