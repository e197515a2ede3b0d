"""Every part of this library against the conformance kit, which is public."""

from __future__ import annotations

import runpy
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lanpo_memory.protocols import ExperienceStore
from lanpo_memory.stores import open_store
from lanpo_memory.testing.conformance import StoreConformance
from tests.memory.chroma_server import chroma_installed, chroma_server, chroma_url
from tests.memory.postgres_server import postgres_server, postgres_url

# Fixtures, which pytest finds by their names here.
__all__ = ["chroma_installed", "chroma_server", "chroma_url", "postgres_server", "postgres_url"]


EXAMPLE = Path(__file__).parents[2] / "examples" / "08_own_backend.py"


class Opened(StoreConformance):
    """Whatever is at an address."""

    def open(
        self, place: str, *, namespace: str = "default", create: bool = True
    ) -> ExperienceStore:
        return open_store(place, namespace=namespace, create=create)


class TestMemoryStore(Opened):
    NAME: ClassVar[str] = "memory"

    def open(
        self, place: str, *, namespace: str = "default", create: bool = True
    ) -> ExperienceStore:
        return open_store("memory:", namespace=namespace, create=create)


class TestSQLiteStore(Opened):
    NAME: ClassVar[str] = "SQLite"


@pytest.mark.usefixtures("chroma_installed")
class TestChromaFolder(Opened):
    NAME: ClassVar[str] = "Chroma, a folder"
    TRIALS: ClassVar[int] = 1
    EXAMPLES: ClassVar[int] = 5
    SHRINKS: ClassVar[bool] = False

    @pytest.fixture
    def place(self, tmp_path: Path) -> str:
        return f"chroma:///{tmp_path}/pool"


@pytest.mark.server
class TestChromaServer(Opened):
    NAME: ClassVar[str] = "Chroma, a server"
    TRIALS: ClassVar[int] = 2  # the lease of a writer that was killed runs for half a minute
    EXAMPLES: ClassVar[int] = 5
    SHRINKS: ClassVar[bool] = False

    @pytest.fixture
    def place(self, chroma_url: str) -> str:
        return chroma_url


@pytest.mark.server
class TestPostgresStore(Opened):
    NAME: ClassVar[str] = "PostgreSQL"

    @pytest.fixture
    def place(self, postgres_url: str) -> str:
        return postgres_url


class TestTheExampleOfAnOwnBackend(StoreConformance):
    NAME: ClassVar[str] = "the example of an own backend"
    TRIALS: ClassVar[int] = 2
    EXAMPLES: ClassVar[int] = 10

    def open(
        self, place: str, *, namespace: str = "default", create: bool = True
    ) -> ExperienceStore:
        store: ExperienceStore = example()["JSONFolderStore"](
            place, namespace=namespace, create=create
        )
        return store


@cache
def example() -> dict[str, Any]:
    """What the example defines."""
    return runpy.run_path(str(EXAMPLE))


def test_the_example_of_an_own_backend_has_less_than_60_lines():
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) < 60
