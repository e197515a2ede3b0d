"""mem0 without a language model: `infer=False`, vectors given, its default store on a path."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from benchmarks import corpus
from benchmarks.measure import Answers, asked, folder_mb, timed

K = 8
USER = "benchmark"


class Mem0:
    """`Memory` over qdrant's local mode, the default; nothing it would call over the network."""

    def __init__(self, folder: str, texts: str, queries: int | None = None) -> None:
        self._folder, self._texts = Path(folder), Path(texts)
        self._queries = corpus.read(self._texts, "queries", stop=queries)
        self._extra = corpus.read(self._texts, "extra")
        self._folder.mkdir(parents=True, exist_ok=True)
        os.environ["MEM0_DIR"] = str(self._folder)  # read when mem0 is imported
        import mem0

        self._mem0 = mem0

    def open(self) -> dict[str, float]:
        return self._open(self._queries, self._extra)

    def _open(self, *known: corpus.Split) -> dict[str, float]:
        embedder = _Lookup(corpus.PrecomputedEmbedder(*known))
        unused = {"api_key": "not-a-key", "model": "none"}  # made, never called
        store = {
            "collection_name": "pool",
            "embedding_model_dims": corpus.DIM,
            "on_disk": True,
            "path": str(self._folder / "qdrant"),
        }
        settings = {
            "vector_store": {"provider": "qdrant", "config": store},
            "llm": {"provider": "openai", "config": unused},
            "embedder": {"provider": "openai", "config": unused},
            "history_db_path": str(self._folder / "history.db"),
        }
        started = time.perf_counter()
        self._memory = self._mem0.Memory.from_config(settings)
        self._memory.embedding_model = embedder
        return {"ms": 1000 * (time.perf_counter() - started)}

    def fill(self, entries: int, budget_s: float) -> dict[str, float]:
        documents = corpus.read(self._texts, "documents", stop=entries)
        self._open(documents, self._queries)
        started = time.perf_counter()
        for row, text in enumerate(documents.texts):
            if time.perf_counter() - started > budget_s:
                break
            self._add(text, f"d.{row}")
        seconds = time.perf_counter() - started
        return {"entries": self.count(), "seconds": seconds, "disk_mb": folder_mb(self._folder)}

    def _add(self, text: str, name: str) -> None:
        self._memory.add(
            text, user_id=USER, metadata={"lesson": corpus.flat_lesson(name)}, infer=False
        )

    def count(self) -> int:
        return int(self._memory.vector_store.client.count("pool").count)

    def query(self, start: int, stop: int) -> Answers:
        return asked(self._search, self._queries.texts[start:stop])

    def _search(self, text: str) -> int:
        return sum(bool(item["metadata"]["lesson"]) for item in self._ask(text))

    def _ask(self, text: str) -> list[dict[str, Any]]:
        answer = self._memory.search(text, top_k=K, filters={"user_id": USER}, threshold=0.0)
        found: list[dict[str, Any]] = answer["results"]
        return found

    def nearest(self, start: int, stop: int) -> list[list[str]]:
        """The texts of the 8 nearest; not timed."""
        return [[item["memory"] for item in self._ask(t)] for t in self._queries.texts[start:stop]]

    def add(self, start: int, stop: int) -> dict[str, float]:
        def each() -> None:
            for row, text in enumerate(self._extra.texts[start:stop], start):
                self._add(text, f"extra.{row}")

        return {"ms": timed(each)}


class _Lookup:
    """mem0's embedder interface over precomputed vectors."""

    def __init__(self, embedder: corpus.PrecomputedEmbedder) -> None:
        self._embedder = embedder

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:
        return self.embed_batch([text])[0]

    def embed_batch(
        self,
        texts: list[str],
        memory_action: str | None = None,
    ) -> list[list[float]]:
        rows: list[list[float]] = self._embedder.embed(texts).tolist()
        return rows
