"""A replica that follows the log of a Chroma collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lanpo_memory.errors import PoolDamagedError
from lanpo_memory.stores.chroma_log import ChromaLog
from lanpo_memory.stores.chroma_records import Commit, key_of, revived
from lanpo_memory.stores.kinds import OF_PROBLEM
from lanpo_memory.stores.replica import Replica
from lanpo_memory.types import Problem

__all__ = ["ChromaReplica", "Living"]

_Ref = tuple[str, str]
"""Kind and id; problems are a kind of their own here."""


class Living:
    """What lives after some commits, with the token of the commit that brought it."""

    def __init__(self) -> None:
        self.tokens: dict[_Ref, str] = {}

    def keys(self) -> dict[str, _Ref]:
        """The ids in Chroma of everything that lives."""
        return {key_of(*ref, token): ref for ref, token in self.tokens.items()}

    def dropped(self, commit: Commit) -> list[str]:
        """The ids in Chroma of what a commit drops, of all that lives before it."""
        # Once each: what is replaced may be dropped again in the same batch.
        gone = dict.fromkeys((kind, i) for op, kind, i, _ in commit.lines if op != "add")
        if commit.replace:
            gone |= dict.fromkeys(ref for ref in self.tokens if ref[0] == "problem")
        return [key_of(*ref, self.tokens[ref]) for ref in gone if ref in self.tokens]

    def take(self, commit: Commit) -> None:
        """Follow one commit."""
        if commit.replace:
            for ref in [ref for ref in self.tokens if ref[0] == "problem"]:
                del self.tokens[ref]
        self.tokens.update({("problem", i): commit.token for i in commit.problems})
        for op, kind, record_id, _ in commit.lines:
            if op == "add":
                self.tokens[kind, record_id] = commit.token
            else:
                self.tokens.pop((kind, record_id), None)


class ChromaReplica:
    """What the log says, up to the last commit that was followed. It has no lock of its own.

    Attributes:
        store: the records.
        living: their keys in Chroma.
        epoch: which lease the last writer held, and `by` who that was.
        tokens: the token of every commit, in order.
        parts: how many records hold the content of long commits.
    """

    def __init__(self, log: ChromaLog) -> None:
        self._log = log
        self._reset()

    def _reset(self) -> None:
        self.store = Replica()
        self.living = Living()
        self.epoch, self.by = 0, ""
        self.tokens: list[str] = []
        self.parts = 0
        self._whole = True

    def follow(self, known: Mapping[str, Any] | None = None) -> None:
        """Take in every commit that is there.

        `known` records, by key, are not fetched: those that this process has just written.

        Raises:
            PoolDamagedError: a record that a commit names is gone or cannot be read.
        """
        if not self._whole:  # it was interrupted half-way through a commit
            self._reset()
        commits = self._log.commits(len(self.tokens))
        if not commits:
            return
        records = dict(known or {})
        while missing := self._fetch(commits, records):
            # A record is removed only once a later commit has dropped it: that one is there now.
            more = self._log.commits(commits[-1].number)
            if not more:
                raise PoolDamagedError(
                    f"the log names {len(missing)} records that are not there, {missing[0]!r} "
                    "among them. Restore the pool from a snapshot"
                )
            commits += more
        self._whole = False
        for commit in commits:
            self._apply(commit, records)
        self._whole = True

    def _fetch(self, commits: Sequence[Commit], records: dict[str, Any]) -> list[str]:
        """Read what lives after these commits into `records`; return the keys not found."""
        window = Living()
        for commit in commits:
            window.take(commit)
        lacking = {key: ref for key, ref in window.keys().items() if key not in records}
        documents = self._log.read(list(lacking))
        for key, (kind, _) in lacking.items():
            if kind == "problem" and key in documents:
                records[key] = revived(kind, documents[key])
        problems = {p.id: p for p in records.values() if isinstance(p, Problem)}
        owners = {(k, i): owner for c in commits for _, k, i, owner in c.lines}
        for key, ref in lacking.items():
            if key in documents and key not in records:
                problem = problems.get(owners[ref]) or self.store.problem(owners[ref])
                records[key] = self._revived(ref, documents[key], problem)
        return [key for key in lacking if key not in documents]

    def _revived(self, ref: _Ref, document: str, problem: Problem | None) -> Any:
        kind, record_id = ref
        record = revived(kind, document, problem if kind in OF_PROBLEM else None)
        record.__dict__["id"] = record_id  # spares hashing all it says
        return record

    def _apply(self, commit: Commit, records: Mapping[str, Any]) -> None:
        if commit.first != self.store.changes(0, limit=0).head + 1:
            raise PoolDamagedError(
                f"commit {commit.number} begins with change {commit.first}, which does not follow "
                "those before it. Restore the pool from a snapshot"
            )
        added = {(k, i): key_of(k, i, commit.token) for op, k, i, _ in commit.lines if op == "add"}
        problems = [key_of("problem", i, commit.token) for i in commit.problems]
        self.store.replay(
            commit.lines,
            [records[key] for key in problems if key in records],
            {ref: records[key] for ref, key in added.items() if key in records},
            replace=commit.replace,
        )
        self.tokens.append(commit.token)
        self.epoch, self.by = max(self.epoch, commit.epoch), commit.by
        self.parts += commit.parts
        self.living.take(commit)
