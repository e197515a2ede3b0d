"""What a pool is made of: a sample of its entries, measured one by one, and summed up.

Source: the pool audit of arXiv 2510.16552, made a tool.
"""

from lanpo_memory.audit.asking import AuditPrompts, EnglishAuditPrompts
from lanpo_memory.audit.records import Audit, AuditedEntry, Example, Share, Spread
from lanpo_memory.audit.report import to_markdown
from lanpo_memory.audit.run import audit

__all__ = [
    "Audit",
    "AuditPrompts",
    "AuditedEntry",
    "EnglishAuditPrompts",
    "Example",
    "Share",
    "Spread",
    "audit",
    "to_markdown",
]
