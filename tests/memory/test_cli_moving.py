"""`lanpo pool export`, `import` and `diff`: out of a pool and into one, in every format."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.merging import merge
from lanpo_memory.pool import ExperiencePool, open_pool
from lanpo_memory.snapshots import read_header, read_snapshot
from lanpo_memory.testing import HashingEmbedder
from lanpo_memory.types import (
    Attempt,
    Batch,
    Experience,
    ExperienceMetadata,
    Exposure,
    FailedAnswer,
    Problem,
)
from tests.memory.postgres_server import postgres_server, postgres_url
from tests.memory.random_pools import NO_LIMITS, content, pools

__all__ = ["postgres_server", "postgres_url"]

SUM = Problem(text="Sum 1 to 9")
SECRET = "postgresql://me:hunter2@localhost:1/db?password=hunter3"


@pytest.fixture
def pool(tmp_path):
    path = tmp_path / "pool.db"
    with open_pool(path, limits=NO_LIMITS) as opened:
        opened.write(
            Batch(
                experiences=tuple(
                    # More of one step than the default limits take.
                    Experience(
                        problem=SUM,
                        thoughts=f"Pair {n}.",
                        metadata=ExperienceMetadata(reward=-0.0),
                    )
                    for n in range(20)
                ),
                attempts=(Attempt(problem=SUM, text="44"),),
                exposures=(Exposure(problem_id=SUM.id, lesson_ids=("l",)),),
                failures=(FailedAnswer(role="r", problem_id="p", text="?", reason="no JSON"),),
            )
        )
    return path


def digest(path):
    with open_pool(path, create=False) as opened:
        return opened.digest()


def everything(path):
    with open_pool(path, create=False) as opened:
        return content(opened)


def receipts_in(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(params=["jsonl", "parquet"])
def exported(request, lanpo, pool, tmp_path):
    place = tmp_path / f"[red]copy.{request.param}"
    ran = lanpo("pool", "export", place, "--format", request.param, "--pool", pool)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"wrote 20 experiences to {place}, digest {digest(pool)}\n"
    return place


# ---------------------------------------------------------------------- there and back


def test_an_export_is_recognised_and_comes_back_to_the_letter(lanpo, pool, exported, tmp_path):
    new = tmp_path / "new.db"
    ran = lanpo("pool", "import", exported, "--pool", new, "--receipts", tmp_path / "r.jsonl")
    assert (ran.code, ran.err) == (0, "")
    assert "23 records in" in ran.out
    assert f"the pool holds 20 experiences: {new}, digest {digest(pool)}" in ran.out
    assert everything(new) == everything(pool)
    kinds = [row["kind"] for row in receipts_in(tmp_path / "r.jsonl")]
    assert kinds == ["experience"] * 20 + ["attempt", "exposure", "failure"]
    assert lanpo("pool", "diff", pool, new).code == 0


def test_importing_twice_gives_duplicates(lanpo, pool, exported, tmp_path):
    new = tmp_path / "new.db"
    lanpo("pool", "import", exported, "--pool", new)
    before = everything(new)
    ran = lanpo("pool", "import", exported, "--pool", new, "--receipts", tmp_path / "r.jsonl")
    assert ran.code == 0
    assert {row["status"] for row in receipts_in(tmp_path / "r.jsonl")} == {"duplicate"}
    assert everything(new) == before


def test_a_pool_that_holds_something_keeps_it_and_its_limits(lanpo, exported, tmp_path):
    new, own = tmp_path / "new.db", Experience(problem=SUM, thoughts="My own.")
    clash = Problem(text="Another text", id=SUM.id)
    with open_pool(new) as opened:
        opened.add([own])
    ran = lanpo("pool", "import", exported, "--pool", new, "--receipts", tmp_path / "r.jsonl")
    assert ran.code == 0
    rows = receipts_in(tmp_path / "r.jsonl")
    assert [row["status"] for row in rows[:20]] == ["added"] * 7 + ["rejected"] * 13
    assert "has 8 new experiences of this step already" in rows[19]["reason"]
    with open_pool(new) as opened:
        assert opened.get([own.id]) != [None]
        assert len(opened) == 8
    other = tmp_path / "other.db"
    with open_pool(other) as opened:
        opened.add([Experience(problem=clash, thoughts="x")])
    ran = lanpo("pool", "import", exported, "--pool", other)
    assert (ran.code, "rejected" in ran.out) == (0, True)


@given(saved=pools())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_random_pool_comes_back_from_json_lines_to_the_letter(tmp_path_factory, saved):
    path = saved.snapshot(tmp_path_factory.mktemp("random") / "pool.jsonl")
    back = ExperiencePool()
    merge(back, read_snapshot(path))
    assert back.digest() == saved.digest() == read_header(path)["digest"]
    assert content(back) == content(saved)


@pytest.mark.parametrize("version", [1, 2])
def test_old_snapshots_are_imported(lanpo, tmp_path, version):
    (file,) = (Path(__file__).parent / "files").glob(f"snapshot-v{version}.jsonl")
    one, two = tmp_path / "one.db", tmp_path / "two.db"
    assert lanpo("pool", "import", file, "--pool", one).code == 0
    assert lanpo("pool", "restore", file, "--pool", two).code == 0
    assert everything(one) == everything(two) != []


def test_namespaces_go_in_and_out(lanpo, pool, exported, tmp_path):
    assert lanpo("pool", "import", exported, "--pool", pool, "--namespace", "b").code == 0
    assert lanpo("pool", "diff", pool, pool, "--namespace-b", "b").code == 0


# ---------------------------------------------------------------------- the header


def test_the_header_says_what_an_export_holds(lanpo, pool, tmp_path):
    file = tmp_path / "out.jsonl"
    lanpo("pool", "export", file, "--pool", pool)
    header = json.loads(file.read_text(encoding="utf-8").splitlines()[0])
    assert header == {
        "format": "lanpo-pool", "schema_version": 3, "digest": digest(pool), "experiences": 20,
        "embedder": None,
        "counts": {"experiences": 20, "attempts": 1, "exposures": 1, "failures": 1},
    }  # fmt: skip


@pytest.mark.parametrize("layout", ["jsonl", "parquet"])
def test_another_embedder_is_said_in_one_line_and_is_no_error(lanpo, tmp_path, layout):
    one, file = tmp_path / "one.db", tmp_path / "out"
    embedder = HashingEmbedder(dim=8)
    with open_pool(one, embedder=embedder) as opened:
        opened.add([Experience(problem=SUM, thoughts="Pair.")])
    lanpo("pool", "export", file, "--pool", one, "--format", layout)

    def notes(target):
        ran = lanpo("pool", "import", file, "--pool", target)
        assert (ran.code, ran.err) == (0, "")
        return [line for line in ran.out.splitlines() if line.startswith("note: ")]

    two = tmp_path / "two.db"
    with open_pool(two, embedder=HashingEmbedder(dim=16)):
        pass
    (line,) = notes(two)
    assert f"belongs to the embedder {embedder.fingerprint!r}" in line
    assert "lanpo pool reindex" in line
    (line,) = notes(tmp_path / "none.db")
    assert "belongs to none yet" in line
    assert notes(one) == []


# ---------------------------------------------------------------------- pools of other memories

ONE = {"memory": "Find the rate for one unit first.", "id": "1", "score": 0.5}


def test_a_pool_of_another_memory_gets_a_receipt_for_each_item(lanpo, tmp_path):
    file, pool, out = tmp_path / "mem0.jsonl", tmp_path / "p.db", tmp_path / "r.jsonl"
    rows = [
        ONE,
        {"memory": " "},
        "{",
        {**ONE, "memory": "b", "gold \x1b[1m": 1, "vector": [1]},
        ONE,
    ]
    file.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows))
    ran = lanpo("pool", "import", file, "--format", "mem0", "--pool", pool, "--receipts", out)
    assert (ran.code, ran.err) == (1, "")
    assert f"not imported: {file}, line 2: the content is empty" in ran.out
    assert f"not imported: {file}, line 3: not JSON" in ran.out
    assert "because they look like reference answers: gold �[1m (1)" in ran.out
    assert "because they are vectors or too long: vector (1)" in ran.out
    assert "5 items in" in ran.out
    assert f"the pool holds 2 experiences: {pool}" in ran.out
    receipts = receipts_in(out)
    assert [(row["line"], row["status"]) for row in receipts] == [
        (1, "added"), (2, "rejected"), (3, "failed"), (4, "added"), (5, "duplicate"),
    ]  # fmt: skip
    assert "line 3: not JSON" in receipts[2]["reason"]
    assert receipts[3]["dropped"] == ["gold \x1b[1m"]
    assert receipts[3]["left_out"] == ["vector"]
    with open_pool(pool) as opened:
        before = opened.digest()
    lanpo("pool", "import", file, "--format", "mem0", "--pool", pool, "--receipts", out)
    assert [row["status"] for row in receipts_in(out)] == [
        "duplicate", "rejected", "failed", "duplicate", "duplicate",
    ]  # fmt: skip
    assert digest(pool) == before


@pytest.mark.parametrize(
    ("layout", "text", "size"),
    [
        ("reme", json.dumps([{"when_to_use": "w", "content": c} for c in "ab"]), 2),
        ("ace", "## S\n[s-1] helpful=1 harmful=0 :: a\n[s-2] helpful=1 harmful=0 :: b\n", 2),
        ("reasoningbank", "# Memory Item 1\n## Title t\n## Content c\n", 1),
        ("mem0", json.dumps({"results": [ONE]}), 1),
    ],
)
def test_every_format_is_imported_by_its_name(lanpo, tmp_path, layout, text, size):
    file, pool = tmp_path / "file", tmp_path / "p.db"
    file.write_text(text)
    ran = lanpo("pool", "import", file, "--format", layout, "--pool", pool)
    assert (ran.code, ran.err) == (0, "")
    assert f"the pool holds {size} experiences" in ran.out
    with open_pool(pool) as opened:
        assert opened.stats()["sources"] == {layout: size}


def test_many_items_of_one_condition_fill_its_capacity_and_no_more(lanpo, tmp_path):
    file, pool, out = tmp_path / "file", tmp_path / "p.db", tmp_path / "r.jsonl"
    file.write_text(
        "\n".join(json.dumps({"when_to_use": "w", "content": f"{n}"}) for n in range(33))
    )
    lanpo("pool", "import", file, "--format", "reme", "--pool", pool, "--receipts", out)
    statuses = [receipt["status"] for receipt in receipts_in(out)]
    assert statuses == ["evicted", *["added"] * 32]


# ---------------------------------------------------------------------- what can go wrong


def one_line(ran, *parts):
    assert (ran.code, ran.out) == (2, "")
    (line,) = ran.err.splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert part in line


def test_an_unknown_format_names_the_known_ones(lanpo, pool, exported, tmp_path):
    ran = lanpo("pool", "import", exported, "--format", "csv", "--pool", tmp_path / "new.db")
    one_line(ran, "'csv'", "gsm8k-rollouts, rollouts, ace, lanpo, mem0, reasoningbank, reme")
    ran = lanpo("pool", "export", tmp_path / "x", "--format", "csv", "--pool", pool)
    one_line(ran, "'csv'", "jsonl, parquet")
    assert not (tmp_path / "new.db").exists()


def test_what_is_no_export_makes_no_pool(lanpo, exported, tmp_path):
    new, other = tmp_path / "new.db", tmp_path / "other"
    other.mkdir()
    (other / "README.md").write_text("---\nconfigs: []\n---\n")
    one_line(lanpo("pool", "import", other, "--pool", new), "cannot read", "pool.json")
    (tmp_path / "f").write_text("{}\n")
    ran = lanpo("pool", "import", tmp_path / "f", "--format", "lanpo", "--pool", new)
    one_line(ran, "is no pool snapshot")
    victim = exported if exported.is_file() else exported / "exposures.parquet"
    victim.write_bytes(victim.read_bytes()[:-3])
    one_line(lanpo("pool", "import", exported, "--pool", new), "is damaged")
    assert not new.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pool_of_another_memory_is_not_read_through_a_pipe(lanpo, tmp_path):
    pipe, pool = tmp_path / "pipe", tmp_path / "p.db"
    os.mkfifo(pipe)
    row = json.dumps({"problem": "How many?", "completion": "Count them.", "correct": True})
    # Held open for reading and writing, so that no end waits for the other.
    with pipe.open("r+b", buffering=0) as both:
        both.write(row.encode() + b"\n")
        ran = lanpo("pool", "import", pipe, "--format", "mem0", "--pool", pool)
        one_line(ran, "is no plain file")
    assert not pool.exists()


def test_receipts_never_replace_the_export(lanpo, exported, tmp_path):
    files = [exported] if exported.is_file() else sorted(exported.iterdir())
    for file in files:
        ran = lanpo("pool", "import", exported, "--receipts", file, "--pool", tmp_path / "new.db")
        one_line(ran, "would be overwritten")


def test_a_folder_is_never_replaced(lanpo, pool, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    (place / "mine").write_text("x")
    ran = lanpo("pool", "export", place, "--format", "parquet", "--pool", pool)
    one_line(ran, "is there already")


# ---------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    "command",
    [("export", "OUT"), ("import", "FILE"), ("import", "FILE", "--format", "mem0"),
     ("import", "SAVED"), ("restore", "SAVED"), ("rm", "x"), ("diff", "SAVED", SECRET)],
    ids=lambda command: " ".join(command[:2])[:12],
)  # fmt: skip
def test_no_password_is_ever_shown(lanpo, pool, tmp_path, command):
    saved, file = tmp_path / "saved.jsonl", tmp_path / "rows.jsonl"
    lanpo("pool", "export", saved, "--pool", pool)
    file.write_text(json.dumps({"problem": "p", "completion": "c.", **ONE}))
    places = {"SAVED": saved, "FILE": file, "OUT": tmp_path / "out"}
    target = () if "diff" in command else ("--pool", SECRET)
    ran = lanpo("pool", *(places.get(word, word) for word in command), *target)
    assert ran.code == 2
    assert "hunter" not in ran.out + ran.err


def there_and_back(lanpo, pool, exported, address, tmp_path):
    """Import into another kind of store, compare, export again, and come back to the letter."""
    assert lanpo("pool", "import", exported, "--pool", address).code == 0
    ran = lanpo("pool", "import", exported, "--pool", address)
    assert (ran.code, "duplicate" in ran.out) == (0, True)
    assert lanpo("pool", "diff", pool, address).code == 0
    back, layout = tmp_path / "back", "jsonl" if exported.is_file() else "parquet"
    assert lanpo("pool", "export", back, "--format", layout, "--pool", address).code == 0
    assert lanpo("pool", "import", back, "--pool", tmp_path / "back.db").code == 0
    assert everything(tmp_path / "back.db") == everything(pool)
    ran = lanpo("pool", "restore", exported, "--pool", address)
    assert (ran.code, "--yes replaces them" in ran.err) == (2, True)


def test_restore_takes_every_export(lanpo, pool, exported, tmp_path):
    new, own = tmp_path / "new.db", Experience(problem=SUM, thoughts="My own.")
    with open_pool(new) as opened:
        opened.add([own])
    one_line(lanpo("pool", "restore", exported, "--pool", new), "--yes replaces them")
    ran = lanpo("pool", "restore", exported, "--yes", "--pool", new)
    assert ran.out == f"restored 20 experiences to {new}, digest {digest(pool)}\n"
    assert everything(new) == everything(pool)


@pytest.mark.server
def test_postgresql_there_and_back(lanpo, pool, exported, postgres_url, tmp_path):
    address = postgres_url.replace("postgres@", "postgres:hunter2@")
    there_and_back(lanpo, pool, exported, address, tmp_path)
    ran = lanpo("pool", "import", exported, "--pool", address)
    assert postgres_url.replace("postgres@", "postgres:***@") in ran.out
    assert "hunter2" not in ran.out


def test_a_folder_of_chroma_there_and_back(lanpo, pool, exported, tmp_path):
    pytest.importorskip("chromadb", reason="chromadb is not installed")
    there_and_back(lanpo, pool, exported, f"chroma:///{tmp_path / 'chroma'}", tmp_path)


def test_addresses_are_printed_without_their_passwords(lanpo, pool, tmp_path, monkeypatch):
    """A store in memory stands in for a server."""
    from lanpo_memory import pool as pools_module
    from lanpo_memory.cli import differing
    from lanpo_memory.stores import MemoryStore

    stores = {}

    def opened(url, *, namespace="default", create=True):
        if "hunter2" not in str(url):
            raise InvalidInputError("another address")
        return stores.setdefault(url, MemoryStore())

    saved, file = tmp_path / "saved.jsonl", tmp_path / "rows.jsonl"
    lanpo("pool", "export", saved, "--pool", pool)
    file.write_text(json.dumps({"problem": "p", "completion": "Do it.", "memory": "m"}))
    monkeypatch.setattr(pools_module, "open_store", opened)
    monkeypatch.setattr(differing, "open_store", opened)
    for arguments, code in (
        (("import", saved, "--pool", SECRET), 0),
        (("diff", saved, SECRET), 0),
        (("import", file, "--pool", SECRET), 0),
        (("import", file, "--format", "mem0", "--pool", SECRET), 0),
        (("diff", SECRET, saved), 1),
        (("restore", saved, "--pool", SECRET), 2),
        (("restore", saved, "--yes", "--pool", SECRET), 0),
        (("export", tmp_path / "again", "--format", "parquet", "--pool", SECRET), 0),
    ):
        ran = lanpo("pool", *arguments)
        assert (ran.code, "hunter" in ran.out + ran.err) == (code, False), ran
        if arguments[0] != "export":
            assert "postgresql://me:***@localhost:1/db?password=***" in ran.out + ran.err


def test_an_export_replaces_an_earlier_one_and_nothing_else(lanpo, pool, tmp_path):
    mine = tmp_path / "rollouts.jsonl"
    mine.write_text('{"problem": "p", "completion": "keep me"}\n')
    one_line(lanpo("pool", "export", mine, "--pool", pool), str(mine), "is no export")
    assert "keep me" in mine.read_text()
    for _ in range(2):
        assert lanpo("pool", "export", tmp_path / "new.jsonl", "--pool", pool).code == 0


def test_a_file_with_no_items_of_its_format_makes_no_pool(lanpo, tmp_path):
    file, new = tmp_path / "notes.txt", tmp_path / "new.db"
    for text in ("", "just some words\n"):
        file.write_text(text)
        ran = lanpo("pool", "import", file, "--format", "ace", "--pool", new)
        one_line(ran, "holds nothing that the format 'ace' reads")
    assert not new.exists()


def test_a_pool_is_not_imported_but_copied(lanpo, pool, tmp_path):
    ran = lanpo("pool", "import", pool, "--pool", tmp_path / "new.db")
    one_line(ran, "is a pool", "lanpo pool copy")
    assert not (tmp_path / "new.db").exists()
