"""A dataset's rows as the memory sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lanpo_memory.types import Problem

__all__ = ["problem_of"]


def problem_of(row: dict[str, Any]) -> Problem:
    """The row's problem; ids, text and family from their columns where they are there."""
    prompt, text = row["prompt"], row.get("problem")
    if not text:
        text = prompt if isinstance(prompt, str) else _last_user_text(prompt)
    known = {"id": row.get("problem_id"), "family": row.get("family")}
    return Problem(text=text, **{k: str(v) for k, v in known.items() if v is not None})


def _last_user_text(messages: Sequence[dict[str, Any]]) -> str:
    content = next((m["content"] for m in reversed(messages) if m["role"] == "user"), "")
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)
