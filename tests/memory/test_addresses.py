"""What an address may look like, and what is said where it cannot be opened."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lanpo_memory import open_pool
from lanpo_memory.errors import (
    MissingExtraError,
    PoolNotFoundError,
    PoolURLError,
    PromiseError,
)
from lanpo_memory.stores import MemoryStore, SQLiteStore, local_path, open_store, shown


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost/0",
        "postgresql:somewhere",
        "mysql://me:s3cret@host/db",
        "chroma://folder",
        "chroma:///",
        "chroma+http://localhost:8000",
        "chroma+http://localhost:8000/",
        "chroma+http://localhost:8000/a/b",
        "chroma+http://localhost:port/a",
        "chroma+http:///a",
        "sqlite://pool.db",
    ],
)
def test_what_cannot_be_read_is_refused_with_what_can(url: str):
    with pytest.raises(
        PoolURLError, match=r"Known addresses: a path, sqlite:///path, memory:"
    ) as e:
        open_pool(url)
    assert "s3cret" not in str(e.value)
    assert "postgresql://user@host/database" in str(e.value)


@pytest.mark.parametrize("url", ["chroma+http://me:s3cret@host/pool", "chroma+http://h/p?token=t"])
def test_what_an_address_of_a_chroma_server_cannot_hold_is_refused(url: str):
    with pytest.raises(PoolURLError, match=r"use ChromaStore\.server\(..., headers=") as e:
        open_pool(url)
    assert "s3cret" not in str(e.value)


@pytest.mark.parametrize("url", ["host=h dbname=d password=s3cret", "dbname = d"])
def test_settings_of_libpq_are_no_address_and_are_not_repeated(url: str):
    with pytest.raises(PoolURLError, match="write postgresql://user@host/database") as e:
        open_pool(url)
    assert "s3cret" not in str(e.value)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("pool.db", "pool.db"),
        ("sqlite:////a/pool.db", "/a/pool.db"),
        ("chroma:///folder", "folder"),
        ("memory:", None),
        ("postgresql://me@host/db", None),
        ("chroma+http://host:1/pool", None),
    ],
)
def test_what_of_this_machine_an_address_names(url: str, path: str | None):
    assert local_path(url) == (None if path is None else Path(path))


@pytest.mark.parametrize("url", ["", "  "])
def test_an_empty_address_is_refused(url: str):
    with pytest.raises(PoolURLError, match="the pool's address is empty"):
        open_pool(url)


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("postgresql://localhost/db", "psycopg", "postgres"),
        ("chroma:///folder", "chromadb", "chroma"),
        ("chroma+http://localhost:1/pool", "chromadb", "chroma"),
    ],
)
def test_a_missing_package_is_named_with_the_line_that_installs_it(
    url: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    for name in [n for n in sys.modules if n.partition(".")[0] in ("psycopg", "chromadb")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("psycopg", "psycopg_pool", "chromadb"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'lanpo\[{extra}\]'") as e:
        open_pool(url)
    assert e.value.package == package
    assert list(tmp_path.iterdir()) == []


def test_files_are_opened_by_path_and_by_address(tmp_path: Path):
    for url in (tmp_path / "a.db", str(tmp_path / "b.db"), f"sqlite:///{tmp_path}/c.db"):
        store = open_store(url, namespace="run")
        assert isinstance(store, SQLiteStore)
        assert store.namespace == "run"
        store.close()
    assert sorted(p.name for p in tmp_path.glob("*.db")) == ["a.db", "b.db", "c.db"]
    with pytest.raises(PoolNotFoundError):
        open_store(tmp_path / "d.db", create=False)


def test_a_file_with_a_colon_in_its_name_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    open_store("./run:1.db").close()
    open_store("run:1.db", create=False).close()
    assert (tmp_path / "run:1.db").is_file()


def test_memory_has_one_namespace():
    assert isinstance(open_store("memory:"), MemoryStore)
    with pytest.raises(PromiseError, match="has no namespaces"):
        open_store("memory:", namespace="run")


class Spy:
    """Stands where a store's class is, and keeps how it was called."""

    calls: ClassVar[list[tuple[str, tuple[Any, ...], dict[str, Any]]]] = []

    def __init__(self, *args: Any, **options: Any) -> None:
        self.calls.append(("postgres", args, options))

    @classmethod
    def embedded(cls, *args: Any, **options: Any) -> None:
        cls.calls.append(("embedded", args, options))

    @classmethod
    def server(cls, *args: Any, **options: Any) -> None:
        cls.calls.append(("server", args, options))


SPACE = {"namespace": "n", "create": False}


@pytest.mark.parametrize(
    ("url", "called"),
    [
        ("postgresql://me@host/db", ("postgres", ("postgresql://me@host/db",), SPACE)),
        ("postgres:///db?host=/run", ("postgres", ("postgres:///db?host=/run",), SPACE)),
        ("chroma:///some/folder", ("embedded", ("some/folder",), SPACE)),
        ("chroma:////some/folder", ("embedded", ("/some/folder",), SPACE)),
        (
            "chroma+http://host:9000/pool",
            ("server", ("host",), {"port": 9000, "secure": False, "collection": "pool", **SPACE}),
        ),
        (
            "chroma+https://host/pool",
            ("server", ("host",), {"port": 443, "secure": True, "collection": "pool", **SPACE}),
        ),
    ],
)
def test_servers_get_the_parts_of_their_address(
    url: str, called: Any, monkeypatch: pytest.MonkeyPatch
):
    Spy.calls.clear()
    monkeypatch.setattr("lanpo_memory.stores.postgres.PostgresStore", Spy)
    monkeypatch.setattr("lanpo_memory.stores.chroma.ChromaStore", Spy)
    open_store(url, **SPACE)
    assert Spy.calls == [called]


@pytest.mark.parametrize(
    ("url", "printed"),
    [
        ("pool.db", "pool.db"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql://me:s3cret@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:s3:c@ret@host/db?a=b", "postgresql://me:***@host/db?a=b"),
        ("postgresql:///db?user=me&password=s3cret", "postgresql:///db?user=me&password=***"),
        ("postgresql:///db?sslpassword=a?b&x=1", "postgresql:///db?sslpassword=***&x=1"),
        ("postgresql://h:1/d?user=me&password=s3@cret", "postgresql://h:1/d?user=me&password=***"),
        ("postgresql:/me:s3cret@host/db", "postgresql:/me:***@host/db"),
        ("postgres:me:s3cret@host/db", "postgres:me:***@host/db"),
        ("chroma+http://host:1/pool", "chroma+http://host:1/pool"),
    ],
)
def test_a_password_is_never_printed(url: str, printed: str):
    assert shown(url) == printed
