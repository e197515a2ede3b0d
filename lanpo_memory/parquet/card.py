"""The `README.md` of a folder: what `datasets` and a reader have to know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lanpo_memory.parquet.columns import file_of

__all__ = ["CARD", "card_of"]

CARD = "README.md"
_ABOUT = {
    "experience": "what rollouts taught: thoughts, principles, pitfalls",
    "attempt": "earlier tries at problems",
    "exposure": "how rollouts did with lessons in the prompt, and without",
    "failure": "answers of models that could not be read",
    "problem": "the problems of the experiences, once each",
}


def card_of(header: Mapping[str, Any], rows: Mapping[str, int]) -> str:
    """Return the card of a pool with that header and so many rows of each kind.

    A kind without rows is not listed: `datasets` cannot load what is empty.
    """
    listed = [kind for kind, n in rows.items() if n or kind == "experience"]
    configs = "".join(
        f"- config_name: {kind}s\n"
        + ("  default: true\n" if kind == "experience" else "")
        + f"  data_files:\n  - split: train\n    path: {file_of(kind)}\n"
        for kind in listed
    )
    table = "".join(f"| `{kind}s` | {rows[kind]:,} | {_ABOUT[kind]} |\n" for kind in listed)
    return f"""---
configs:
{configs}tags:
- lanpo
- experience-pool
---

# An experience pool

Written by `lanpo pool export --format parquet`. Digest `{header["digest"]}`.

| name | rows | what it is |
|:--|--:|:--|
{table}
To look at it: `datasets.load_dataset("this folder", "experiences")`.
To get the pool back: `lanpo pool import "this folder" --pool pool.db`. Keep all files together for
that, as they are.
"""
