"""Files of earlier versions open and say what they said; files of later ones are left alone."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from lanpo_memory import Experience, ExperiencePool, Problem, open_pool
from lanpo_memory.errors import PoolDamagedError, PoolFormatError, PoolVersionError
from lanpo_memory.stores.sqlite_schema import VERSION

FILES = Path(__file__).parent / "files"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A pool of schema version 1: six experiences of which one was deleted, and a bit of each."""
    return Path(shutil.copy(FILES / "pool-v1.db", tmp_path / "old.db"))


def apples(pool: ExperiencePool) -> dict[int, Experience]:
    return {e.metadata.step: e for e in pool.store.read("experience")}


def test_a_pool_of_version_1_opens_with_everything_in_it(old: Path):
    with open_pool(old) as pool, open_pool(old, namespace="other") as other:
        assert len(pool) == 5
        assert sorted(apples(pool)) == [0, 1, 3, 4, 5]
        assert [a.text for a in pool.attempts(apples(pool)[3].problem)] == ["try 3"]
        assert pool.stats()["exposures"] == 5
        assert pool.store.read("failure")[0].text == "garbled"
        assert pool.store.cached(["k1", "k2", "k3"]) == [b"\x00\x01", b"x" * 2000, None]
        lesson = apples(pool)[0].lesson_id
        assert pool.utility()[lesson].exposures == 5
        assert len(other) == 1
        hits = other.retrieve([Problem(text="Sum 1 to 99")])[0]
        assert hits[0].experience.principles == ("Pair the ends.",)


def test_ids_are_renamed_wherever_they_stand(old: Path):
    with open_pool(old) as pool:
        found = apples(pool)
        assert pool.get([e.id for e in found.values()]) == list(found.values())
        shown = {x.step: x.experience_ids for x in pool.store.read("exposure")}
        assert shown[1] == (found[0].id,)  # the lesson of step 0 was shown at step 1
        assert found[0].id not in shown[3]
        assert pool.add(list(found.values()))[0].status == "duplicate"
        assert {e.metadata.parents for e in found.values()} == {("ab",)}  # names nothing here


def test_numbers_go_on_where_they_were_so_that_none_is_used_twice(old: Path):
    with sqlite3.connect(old) as db:
        before = db.execute("SELECT seq FROM sqlite_sequence WHERE name='experience'").fetchone()
    with open_pool(old) as pool:
        pool.add([Experience(problem=Problem(text="new"), thoughts="t")])
    with sqlite3.connect(old) as db:
        assert db.execute("SELECT max(seq) FROM experience").fetchone()[0] == before[0] + 1
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_a_pool_opened_by_migration_equals_one_restored_from_the_snapshot_of_that_day(
    old: Path, tmp_path: Path
):
    with open_pool(old) as migrated, open_pool(tmp_path / "new.db") as restored:
        restored.restore(FILES / "snapshot-v1.jsonl")
        assert restored.digest() == migrated.digest()
        assert restored.store.read("exposure") == migrated.store.read("exposure")


def test_a_snapshot_of_version_1_that_was_altered_is_refused(tmp_path: Path):
    lines = (FILES / "snapshot-v1.jsonl").read_text().splitlines()
    (tmp_path / "s.jsonl").write_text("\n".join(lines[:1] + lines[2:]))
    pool = ExperiencePool()
    with pytest.raises(PoolFormatError, match="digest"):
        pool.restore(tmp_path / "s.jsonl")


def test_a_newer_file_is_refused_and_left_as_it_was(old: Path):
    with sqlite3.connect(old) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = old.read_bytes()
    with pytest.raises(PoolVersionError, match="pip install -U lanpo"):
        open_pool(old)
    assert old.read_bytes() == before


def test_a_file_whose_records_cannot_be_migrated_is_left_as_it_was(old: Path):
    with sqlite3.connect(old) as db:
        db.execute("UPDATE experience SET payload = ? WHERE seq = 1", (json.dumps({"a": 1}),))
    with pytest.raises(PoolDamagedError, match="cannot be brought"):
        open_pool(old)
    with sqlite3.connect(old) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == 1
        assert db.execute("SELECT count(*) FROM experience").fetchone()[0] == 6


@pytest.mark.parametrize(
    "code",
    [
        "CREATE TRIGGER t AFTER INSERT ON experience BEGIN DELETE FROM attempt; END",
        "CREATE VIEW v AS SELECT * FROM experience",
        "CREATE INDEX i ON experience (length(payload))",
        "CREATE TABLE extra (x)",
        "DROP TABLE failure",
    ],
)
def test_a_file_from_a_stranger_declares_what_a_pool_declares_and_nothing_else(
    tmp_path: Path, code: str
):
    path = tmp_path / "stranger.db"
    open_pool(path).close()
    with sqlite3.connect(path) as db:
        db.execute(code)
    with pytest.raises(PoolFormatError, match="does not have the tables of a pool"):
        open_pool(path)


def test_a_pool_of_version_2_opens_with_its_failed_answers(tmp_path: Path):
    old = Path(shutil.copy(FILES / "pool-v2.db", tmp_path / "old.db"))
    with open_pool(old) as pool, open_pool(tmp_path / "new.db") as restored:
        assert [e.principles for e in pool.store.read("experience")] == [("count on",)]
        failed = pool.store.read("failure")[0]
        assert (failed.text[:14], failed.problem, failed.conversation) == (
            "### Experience",
            None,
            None,
        )
        restored.restore(FILES / "snapshot-v2.jsonl")
        assert restored.digest() == pool.digest()
        assert restored.store.read("failure") == [failed]
    with sqlite3.connect(old) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == VERSION
