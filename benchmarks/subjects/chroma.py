"""Chroma, embedded: a collection in a folder, vectors given, no model of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import chromadb
from chromadb.config import Settings

from benchmarks import corpus
from benchmarks.measure import Answers, asked, folder_mb, timed

K = 8
LARGEST_BATCH = 5_461


class Chroma:
    """A persistent client with one collection; document, vector and lesson of each entry."""

    def __init__(self, folder: str, texts: str, queries: int | None = None) -> None:
        self._folder, self._texts = Path(folder), Path(texts)
        self._queries = corpus.read(self._texts, "queries", stop=queries)
        self._extra = corpus.read(self._texts, "extra")

    def open(self) -> dict[str, float]:
        started = time.perf_counter()
        self._client = chromadb.PersistentClient(
            path=str(self._folder), settings=Settings(anonymized_telemetry=False)
        )
        self._collection = self._client.get_or_create_collection(
            "pool", embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )
        return {"ms": 1000 * (time.perf_counter() - started)}

    def fill(self, entries: int, budget_s: float) -> dict[str, float]:
        self._folder.mkdir(parents=True, exist_ok=True)
        self.open()
        documents = corpus.read(self._texts, "documents", stop=entries)
        size = min(LARGEST_BATCH, self._client.get_max_batch_size())
        started = time.perf_counter()
        for start in range(0, entries, size):
            if time.perf_counter() - started > budget_s:
                break
            self._upsert("d", documents, start, min(entries, start + size))
        seconds = time.perf_counter() - started
        return {"entries": self.count(), "seconds": seconds, "disk_mb": folder_mb(self._folder)}

    def _upsert(self, kind: str, split: corpus.Split, start: int, stop: int) -> None:
        rows = range(start, min(stop, len(split.texts)))
        self._collection.upsert(
            ids=[f"{kind}{i}" for i in rows],
            documents=split.texts[start:stop],
            embeddings=split.vectors[start:stop],
            metadatas=[{"lesson": corpus.flat_lesson(f"{kind}.{i}")} for i in rows],
        )

    def count(self) -> int:
        return int(self._collection.count())

    def query(self, start: int, stop: int) -> Answers:
        return asked(self._search, range(start, stop))

    def _search(self, row: int) -> int:
        return sum(bool(metadata["lesson"]) for metadata in self._ask(row)["metadatas"][0])

    def _ask(self, row: int) -> Any:
        return self._collection.query(
            query_embeddings=self._queries.vectors[row : row + 1],
            n_results=K,
            include=["documents", "metadatas", "distances"],
        )

    def nearest(self, start: int, stop: int) -> list[list[str]]:
        """The texts of the 8 nearest; not timed."""
        return [self._ask(row)["documents"][0] for row in range(start, stop)]

    def add(self, start: int, stop: int) -> dict[str, float]:
        return {"ms": timed(self._upsert, "extra", self._extra, start, stop)}
