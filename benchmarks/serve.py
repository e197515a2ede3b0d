"""The process of one system under test: JSON questions in, JSON answers out."""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
import traceback
from typing import Any, NoReturn

from benchmarks.memory import memory_mb

SUBJECTS = {
    "lanpo": ("benchmarks.subjects.lanpo", "LanpoPool"),
    "lanpo_bm25": ("benchmarks.subjects.lexical", "LanpoBM25"),
    "bm25s": ("benchmarks.subjects.lexical", "BM25S"),
    "rank_bm25": ("benchmarks.subjects.lexical", "RankBM25"),
    "chroma": ("benchmarks.subjects.chroma", "Chroma"),
    "mem0": ("benchmarks.subjects.mem0", "Mem0"),
}

refused: list[str] = []
"""Addresses that something in this process tried to reach."""


def block_network() -> None:
    """Refuse every connection to the outside, and note who was asked for."""

    def refuse(*address: Any, **_: Any) -> NoReturn:
        refused.append(str(address[-1] if len(address) == 2 else address[0]))
        raise OSError("the network is blocked in benchmarks")

    socket.socket.connect = refuse  # type: ignore[method-assign]
    socket.socket.connect_ex = refuse  # type: ignore[method-assign]
    socket.getaddrinfo = refuse


def answer(subject: Any, question: str, arguments: dict[str, Any]) -> Any:
    if question == "memory_mb":
        return memory_mb()
    if question == "network":
        return refused
    return getattr(subject, question)(**arguments)


def main() -> None:
    block_network()
    # What a library prints must not end up among the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    module, name = SUBJECTS[sys.argv[1]]
    subject = None
    for line in sys.stdin:
        question, arguments = json.loads(line)
        try:
            if subject is None:
                subject = getattr(importlib.import_module(module), name)(**json.loads(sys.argv[2]))
            reply = {"result": answer(subject, question, arguments)}
        except Exception as error:  # noqa: BLE001  whatever it is, the report names it
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {str(error)[:500]}"}
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
