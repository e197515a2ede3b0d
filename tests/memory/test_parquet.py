"""Pools as folders of Parquet files: nothing lost, nothing half written, `datasets` reads them."""

import json
import os
import shutil
import sys
import warnings

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from lanpo_memory.errors import (
    InvalidInputError,
    MissingExtraError,
    PoolConnectionError,
    PoolFormatError,
    PoolNotFoundError,
    PoolVersionError,
    PoolWriteError,
)
from lanpo_memory.merging import merge
from lanpo_memory.parquet import header_of, read_folder, write_folder, writing
from lanpo_memory.parquet.columns import COLUMNS, file_of, schema_of
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.types import (
    Attempt,
    Batch,
    Experience,
    ExperienceMetadata,
    Exposure,
    FailedAnswer,
    Problem,
)
from tests.memory.random_pools import NO_LIMITS, content, pools

SUM = Problem(text="Sum 1 to 9", family="sums", metadata={"level": 1})
LESSON = Experience(
    problem=SUM,
    principles=("Pair the ends.",),
    metadata=ExperienceMetadata(reward=-0.0, correct=True, step=3, created_at=1.5, extra={"a": 1}),
)
FAILURE = FailedAnswer(
    role="summarise", problem_id=SUM.id, text="?", reason="no JSON", problem=SUM,
    conversation=[{"role": "user", "content": "x", "a": 1}, {"z": [1.5, None], "b": {}}],
)  # fmt: skip


def filled():
    pool = ExperiencePool(limits=NO_LIMITS)
    pool.write(
        Batch(
            experiences=(LESSON, Experience(problem=Problem(text="2 + 3?"), thoughts="Count.")),
            attempts=(Attempt(problem=SUM, text="It is 44."),),
            exposures=(Exposure(problem_id=SUM.id, lesson_ids=("l",), guided=(1.0,)),),
            failures=(FAILURE,),
        )
    )
    return pool


@pytest.fixture
def folder(tmp_path):
    return write_folder(filled(), tmp_path / "lessons")


def back(folder):
    header, batch = read_folder(folder)
    pool = ExperiencePool()
    assert {receipt.status for receipt in merge(pool, batch)} <= {"added"}
    assert header["digest"] == pool.digest()
    return pool


@given(pool=pools())
@settings(max_examples=40, deadline=None)
def test_a_random_pool_comes_back_to_the_letter(tmp_path_factory, pool):
    folder = tmp_path_factory.mktemp("random") / "pool"
    write_folder(pool, folder)
    assert content(back(folder)) == content(pool)


def test_a_pool_of_megabytes_is_written_in_portions_and_comes_back(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_CHARS", 3_000_000)
    pool = ExperiencePool(limits=NO_LIMITS)
    pool.add([Experience(problem=SUM, thoughts=f"{n}" + "é" * 1_000_000) for n in range(7)])
    pool.add([Experience(problem=SUM, thoughts=f"short {n}") for n in range(1_500)])
    folder = write_folder(pool, tmp_path / "large")
    rows = pq.ParquetFile(folder / "experiences.parquet")
    groups = [rows.metadata.row_group(i).num_rows for i in range(rows.num_row_groups)]
    assert groups[:2] == [3, 3]
    assert max(groups) <= 1_000
    assert content(back(folder)) == content(pool)


def test_an_empty_pool_keeps_the_types_of_its_columns(tmp_path):
    folder = write_folder(ExperiencePool(), tmp_path / "none")
    assert len(back(folder)) == 0
    for kind in COLUMNS:
        file = pq.ParquetFile(folder / file_of(kind))
        assert file.schema_arrow.equals(schema_of(kind))
        assert not any(pa.types.is_null(field.type) for field in file.schema_arrow)


def test_columns_of_nothing_but_nulls_keep_their_types(tmp_path):
    pool = ExperiencePool()
    pool.add([Experience(problem=Problem(text="2 + 3?"), thoughts="Count.")])
    file = pq.ParquetFile(write_folder(pool, tmp_path / "f") / "experiences.parquet")
    assert file.read(["reward"]).to_pylist() == [{"reward": None}]
    assert (file.schema_arrow.field("reward").type, file.schema_arrow.field("correct").type) == (
        pa.float64(), pa.bool_(),
    )  # fmt: skip


def test_datasets_reads_every_kind_by_its_name(folder, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a third party's
        import datasets

        def load(*name):
            cache = str(tmp_path / "cache")
            return datasets.load_dataset(str(folder), *name, split="train", cache_dir=cache)

        first, second = load("experiences")
        assert first["id"] == LESSON.id
        assert (first["problem"], first["principles"]) == ("Sum 1 to 9", ["Pair the ends."])
        assert (first["step"], first["correct"], first["extra"]) == (3, True, '{"a": 1}')
        assert second["reward"] is None
        assert load()[0] == first
        for kind, rows in (("attempts", 1), ("exposures", 1), ("failures", 1), ("problems", 2)):
            assert len(load(kind)) == rows
        assert load("problems")[0]["metadata"] == '{"level": 1}'


def test_the_card_lists_what_is_not_empty(tmp_path):
    pool = ExperiencePool()
    pool.add([LESSON])
    card = (write_folder(pool, tmp_path / "few") / "README.md").read_text()
    assert card.count("config_name: ") == 2
    assert "config_name: experiences\n  default: true" in card
    assert "config_name: problems" in card
    assert pool.digest() in card


def test_the_conversation_keeps_the_order_of_its_keys(folder):
    (failure,) = back(folder).store.read("failure")
    assert failure.id == FAILURE.id
    assert [list(message) for message in failure.conversation] == [
        ["role", "content", "a"],
        ["z", "b"],
    ]


def test_a_header_says_what_is_in_the_folder(folder):
    header = header_of(folder)
    assert header["counts"] == {"experiences": 2, "attempts": 1, "exposures": 1, "failures": 1}
    assert (header["format"], header["embedder"], header["experiences"]) == ("lanpo-pool", None, 2)


# ---------------------------------------------------------------------- whole or not at all


def test_a_folder_that_holds_something_is_refused_and_untouched(folder, tmp_path):
    before = {file: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(InvalidInputError, match="is there already"):
        write_folder(ExperiencePool(), folder)
    assert {file: file.read_bytes() for file in folder.iterdir()} == before
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(InvalidInputError, match="is there already"):
        write_folder(ExperiencePool(), file)
    (tmp_path / "empty").mkdir()
    write_folder(filled(), tmp_path / "empty")


def test_a_missing_folder_around_it_is_named(tmp_path):
    with pytest.raises(PoolWriteError, match="cannot write"):
        write_folder(filled(), tmp_path / "none" / "x")


def test_what_breaks_in_the_middle_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "card_of", full)
    with pytest.raises(PoolWriteError, match="No space left"):
        write_folder(filled(), tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_trouble_of_the_pool_is_not_called_trouble_of_the_folder(tmp_path, monkeypatch):
    pool = filled()

    def gone(*_, **__):
        raise PoolConnectionError("the server went away")

    monkeypatch.setattr(pool.store, "scan", gone)
    with pytest.raises(PoolConnectionError):
        write_folder(pool, tmp_path / "x")
    with pytest.raises(PoolConnectionError):
        pool.snapshot(tmp_path / "x.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_a_number_beyond_a_column_names_the_way_out(tmp_path):
    pool = ExperiencePool()
    shown = Exposure(problem_id="p", lesson_ids=(), group_size=2**70)
    pool.write(Batch(exposures=(shown,)))
    with pytest.raises(InvalidInputError, match="export to JSON Lines instead"):
        write_folder(pool, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_names_the_pip_line(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for use in (lambda: write_folder(filled(), tmp_path / "x"), lambda: read_folder(folder)):
        with pytest.raises(MissingExtraError, match=r"lanpo\[parquet\]"):
            use()


@pytest.mark.skipif(os.name != "posix", reason="others have no umask")
def test_a_folder_has_the_rights_of_any_other(folder, tmp_path):
    (tmp_path / "other").mkdir()
    assert folder.stat().st_mode == (tmp_path / "other").stat().st_mode


# ---------------------------------------------------------------------- what can go wrong


def cut(folder):
    file = folder / "failures.parquet"
    file.write_bytes(file.read_bytes()[:-9])


def flipped(folder):
    file = folder / "failures.parquet"
    raw = bytearray(file.read_bytes())
    raw[20] ^= 1
    file.write_bytes(raw)


def of_another(folder):
    shutil.copy(folder / "attempts.parquet", folder / "exposures.parquet")


def resigned(folder, **change):
    """Other rows than were written, with hashes that fit."""
    path = folder / "experiences.parquet"
    rows = pq.read_table(path).to_pylist()
    for name, value in change.items():
        rows[0][name] = value
    pq.write_table(pa.Table.from_pylist(rows, schema=schema_of("experience")), path)
    resign(folder)


def resign(folder):
    header = json.loads((folder / "pool.json").read_text())
    header["sha256"] = {file: writing.hash_of(folder / file) for file in header["sha256"]}
    (folder / "pool.json").write_text(json.dumps(header))


def other_columns(folder):
    pq.write_table(pa.table({"a": [1]}), folder / "attempts.parquet")
    resign(folder)


def no_parquet(folder):
    (folder / "attempts.parquet").write_text("PAR1 or so")
    resign(folder)


def no_utf8(folder):
    path = folder / "experiences.parquet"
    rows = pq.read_table(path)
    place, ends = (
        rows.schema.get_field_index("policy"),
        b"".join(n.to_bytes(4, "little") for n in range(rows.num_rows + 1)),
    )
    buffers = (pa.py_buffer(ends), pa.py_buffer(b"\xff" * rows.num_rows))
    column = pa.StringArray.from_buffers(rows.num_rows, *buffers)
    pq.write_table(rows.set_column(place, rows.schema.field(place), column), path)
    resign(folder)


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (cut, "failures.parquet is damaged"),
        (flipped, "failures.parquet is damaged"),
        (of_another, "exposures.parquet is damaged"),
        (lambda f: (f / "exposures.parquet").unlink(), "exposures.parquet: No such file"),
        (lambda f: (f / "problems.parquet").unlink(), "problems.parquet: No such file"),
        (lambda f: (f / "problems.parquet").write_bytes(b"x"), "problems.parquet is damaged"),
        (lambda f: (f / "pool.json").unlink(), "without a pool.json"),
        (lambda f: (f / "pool.json").write_text("{"), "pool.json"),
        (lambda f: (f / "pool.json").write_text("[]"), "not that of a pool"),
        (lambda f: (f / "pool.json").write_text('{"format": "x"}'), "not that of a pool"),
        (lambda f: (f / "pool.json").write_bytes(b"\xff"), "pool.json"),
        (lambda f: resigned(f, thoughts="changed"), "does not match its digest"),
        (lambda f: resigned(f, extra="{"), "experiences.parquet, row 1 cannot be read"),
        (lambda f: resigned(f, extra='{"a": []}'), "experiences.parquet, row 1 cannot be read"),
        (lambda f: resigned(f, problem=""), "experiences.parquet, row 1 cannot be read"),
        (other_columns, "other columns"),
        (no_parquet, "cannot read"),
        (no_utf8, "cannot read .*invalid start byte"),
    ],
)
def test_a_damaged_or_foreign_folder_is_refused(folder, damage, fault):
    damage(folder)
    with pytest.raises(PoolFormatError, match=fault):
        read_folder(folder)


def test_a_folder_of_newer_code_or_none_is_told_so(folder, tmp_path):
    for change in ({"layout": 2}, {"layout": None}, {"schema_version": 99}):
        header = json.loads((folder / "pool.json").read_text())
        (folder / "pool.json").write_text(json.dumps(header | change))
        with pytest.raises(PoolVersionError, match="pip install -U lanpo"):
            read_folder(folder)
        (folder / "pool.json").write_text(json.dumps(header))
    with pytest.raises(PoolNotFoundError):
        read_folder(tmp_path / "none")
