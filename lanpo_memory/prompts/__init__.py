r"""The language of the roles, in English.

Every text that comes from a problem, an experience, an earlier attempt or a critique is quoted as
data, between tags that the quoted text cannot close. Prompts are functions over f-strings: LaTeX is
full of braces, dollars and percent signs, which every template language trips over.
"""

from lanpo_memory.prompts.agent import AgentPrompts
from lanpo_memory.prompts.english import EnglishPrompts

__all__ = ["AgentPrompts", "EnglishPrompts"]
