"""Reading what models write: boxed answers, sections, and summaries of many forms.

Nothing here raises for any text that a model wrote. A model that writes bad JSON is an everyday
event: the answer comes back as a `Failure` with its reason, so that it can be stored and counted.
"""

from lanpo_memory.parsing.marks import boxed_answer, sections
from lanpo_memory.parsing.summary import EXPERIENCE_HEADER, MAX_ANSWER_CHARS, parse_summary

__all__ = ["EXPERIENCE_HEADER", "MAX_ANSWER_CHARS", "boxed_answer", "parse_summary", "sections"]
