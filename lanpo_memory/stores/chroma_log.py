"""A log of commits in a Chroma collection: compare-and-swap out of nothing but `add`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

from lanpo_memory.chroma import ChromaPlace
from lanpo_memory.errors import PoolDamagedError
from lanpo_memory.stores.chroma_records import (
    Commit,
    Stored,
    commit_id,
    portions,
    read_commit,
)

__all__ = ["ChromaLog", "documents", "pieces", "put"]

_IDS_AT_ONCE = 2_000  # a request with 40,000 fails: too many variables for SQLite
_WINDOWS = (8, 128)  # commits asked for: when following, and once there turn out to be many
_CHARACTERS = 8_000_000  # a request; the server's limit is 40 MB, and a character has up to 4 bytes
_CONTENT = 1_000_000  # characters of a commit or of a part of one
# Chroma wants a vector for everything. One number that is the same for all: the vector index then
# has nothing to compare, and `add` costs no more than with any other (mostly the full-text index
# over the documents; that is why only what people may search is a document).
_VECTOR = [0.0]


class ChromaLog:
    """Payloads, and commits that make them visible, in one collection.

    A payload counts once a commit names it; commits are numbered without gaps, and of two writers
    that add the same number Chroma keeps the first. Nothing here decides who may write.
    """

    def __init__(self, place: ChromaPlace, collection: Any) -> None:
        self._place, self._collection = place, collection

    def commits(self, after: int) -> list[Commit]:
        """All commits beyond a number, in order; one request where there is nothing new."""
        found: list[Commit] = []
        window = _WINDOWS[0]
        while True:
            first = after + len(found) + 1
            some = self._commits(range(first, first + window))
            found += some
            if len(some) < window:
                return found
            window = _WINDOWS[1]

    def _commits(self, numbers: range) -> list[Commit]:
        ids = [commit_id(n) for n in numbers]
        rows = self._place.call(self._collection.get, ids=ids, include=["metadatas"])
        by_id = dict(zip(rows["ids"], rows["metadatas"], strict=True))  # in no order
        commits = []
        for number in ids:
            if number not in by_id:
                break
            metadata = by_id[number]
            commits.append(read_commit(metadata, metadata["content"] or self._parts(metadata)))
        return commits

    def _parts(self, metadata: Any) -> str:
        ids = [_part_id(metadata["token"], i) for i in range(metadata["parts"])]
        found: dict[str, str] = {}
        for some in pieces(ids, 8):
            rows = self._place.call(self._collection.get, ids=some, include=["metadatas"])
            contents = (row["content"] for row in rows["metadatas"])
            found.update(zip(rows["ids"], contents, strict=True))
        if len(found) < len(ids):
            raise PoolDamagedError(
                f"commit {metadata['number']} lacks {len(ids) - len(found)} of its {len(ids)} "
                "parts. Restore the pool from a snapshot"
            )
        return "".join(found[i] for i in ids)

    def holds(self, number: int) -> bool:
        """Whether a commit is there, which once it was always has to be."""
        rows = self._place.call(self._collection.get, ids=[commit_id(number)], include=[])
        return bool(rows["ids"])

    def append(self, commit: Commit) -> None:
        """Offer a commit. Whether it became the one of its number is seen by reading it back."""
        content = commit.content()
        if len(content) > _CONTENT:
            parts = pieces(content, _CONTENT)
            commit = replace(commit, parts=len(parts))
            self.put(
                [
                    Stored(_part_id(commit.token, i), _part_of(commit, part))
                    for i, part in enumerate(parts)
                ]
            )
            content = ""
        metadata = {**commit.metadata(), "content": content}
        put(self._place, self._collection.add, [Stored(commit_id(commit.number), metadata)])

    def put(self, records: Sequence[Stored]) -> None:
        """Store payloads, in requests that Chroma takes."""
        put(self._place, self._collection.add, records)

    def read(self, keys: Sequence[str]) -> dict[str, str]:
        """The documents of those keys that are there."""
        return documents(self._place, self._collection, keys)

    def delete(self, keys: Sequence[str]) -> None:
        """Remove records; unknown keys are ignored."""
        for some in pieces(
            keys, _IDS_AT_ONCE
        ):  # never an empty list: some versions take it for all
            self._place.call(self._collection.delete, ids=some)

    def size(self) -> int:
        """How many records there are, of any kind."""
        return int(self._place.call(self._collection.count))

    def leases(self) -> int:
        """How many leases there are: that of the last writer, and remains."""
        rows = self._place.call(self._collection.get, where={"kind": "lease"}, include=[])
        return len(rows["ids"])

    def keys(self) -> Iterator[str]:
        """The ids of all records, commits and leases too."""
        start = 0
        while True:
            rows = self._place.call(
                self._collection.get, limit=_IDS_AT_ONCE, offset=start, include=[]
            )
            yield from rows["ids"]
            start += len(rows["ids"])
            if len(rows["ids"]) < _IDS_AT_ONCE:
                return

    def sweep(self, live: Collection[str], tokens: Collection[str]) -> int:
        """Remove payloads that no commit names any more, or never did; return how many.

        Nobody else may have a batch under way: commit something first, and whoever has loses.
        """
        dead = [
            key
            for key in list(self.keys())
            if not key.startswith(("commit-", "lease-"))
            and key not in live
            and not (key.startswith("part:") and key.split(":")[1] in tokens)
        ]
        self.delete(dead)
        return len(dead)


def put(place: ChromaPlace, method: Any, records: Sequence[Stored]) -> None:
    """Hand records to `add` or `upsert` of a collection, in requests that Chroma takes."""
    for group in portions(records, most=place.max_batch, characters=_CHARACTERS):
        with_documents = any(r.document is not None for r in group)
        place.call(
            method,
            ids=[r.key for r in group],
            embeddings=[_VECTOR] * len(group),
            metadatas=[dict(r.metadata) for r in group],
            documents=[r.document for r in group] if with_documents else None,
        )


def documents(place: ChromaPlace, collection: Any, keys: Sequence[str]) -> dict[str, str]:
    """The documents of those keys that are there."""
    found: dict[str, str] = {}
    for some in pieces(keys, _IDS_AT_ONCE):
        rows = place.call(collection.get, ids=some, include=["documents"])
        found.update(zip(rows["ids"], rows["documents"], strict=True))
    return found


def pieces(items: Any, size: int) -> list[Any]:
    """A list or a text in pieces of at most `size`; of nothing, none."""
    return [items[i : i + size] for i in range(0, len(items), size)]


def _part_id(token: str, number: int) -> str:
    return f"part:{token}:{number:05d}"


def _part_of(commit: Commit, content: str) -> dict[str, Any]:
    return {"kind": "part", "token": commit.token, "commit": commit.number, "content": content}
