"""Text to vectors. `lanpo_memory.testing.HashingEmbedder` needs no model."""

__all__: list[str] = []
