"""Fakes for tests and examples: deterministic, with no model and no network."""

from lanpo_memory.testing.chat import ScriptedCall, ScriptedChatModel, ScriptedChoiceScorer
from lanpo_memory.testing.embedder import HashingEmbedder

__all__ = ["HashingEmbedder", "ScriptedCall", "ScriptedChatModel", "ScriptedChoiceScorer"]
