"""Every part of this library against the conformance kit, which is public."""

from __future__ import annotations

import pytest

from lanpo_memory.protocols import ExperienceStore
from lanpo_memory.stores import open_store
from lanpo_memory.testing.conformance import StoreConformance
from tests.memory.postgres_server import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]  # fixtures


class Opened(StoreConformance):
    """Whatever is at an address."""

    def open(
        self, place: str, *, namespace: str = "default", create: bool = True
    ) -> ExperienceStore:
        return open_store(place, namespace=namespace, create=create)


class TestMemoryStore(Opened):
    NAME = "memory"

    def open(
        self, place: str, *, namespace: str = "default", create: bool = True
    ) -> ExperienceStore:
        return open_store("memory:", namespace=namespace, create=create)


class TestSQLiteStore(Opened):
    NAME = "SQLite"


@pytest.mark.server
class TestPostgresStore(Opened):
    NAME = "PostgreSQL"

    @pytest.fixture
    def place(self, postgres_url: str) -> str:
        return postgres_url
