"""Any retriever over any store, and a copy from any store to any other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from itertools import product
from pathlib import Path

import pytest

from lanpo_memory import Batch, Experience, ExperiencePool, Problem, open_pool
from lanpo_memory.copying import copy_pool
from lanpo_memory.protocols import Embedder, Retriever
from lanpo_memory.retrievers import (
    BM25Retriever,
    CosineRetriever,
    DenseRetriever,
    HybridRetriever,
    RankBM25Retriever,
)
from lanpo_memory.stores import open_store
from lanpo_memory.testing import HashingEmbedder
from tests.memory.chroma_server import chroma_server, chroma_url
from tests.memory.postgres_server import postgres_server, postgres_url
from tests.memory.test_copying import batch_of, same

# Fixtures, which pytest finds by their names here.
__all__ = ["chroma_server", "chroma_url", "postgres_server", "postgres_url"]

EMBEDDER: Embedder = HashingEmbedder(dim=64)
RETRIEVERS: dict[str, Callable[[], Retriever]] = {
    "bm25": BM25Retriever,
    "rank_bm25": RankBM25Retriever,
    "cosine": lambda: CosineRetriever(BM25Retriever(), EMBEDDER),
    "dense": lambda: DenseRetriever(EMBEDDER),
    "hybrid": lambda: HybridRetriever(BM25Retriever(), DenseRetriever(EMBEDDER)),
}
SERVERS = ("chroma+http", "postgresql")
PLACES = ("sqlite", "chroma", *SERVERS)


def address(kind: str, request: pytest.FixtureRequest, folder: Path, name: str = "pool") -> str:
    """A fresh place of a kind."""
    if kind in SERVERS:
        return str(request.getfixturevalue({"postgresql": "postgres_url"}.get(kind, "chroma_url")))
    return f"{kind}:" if kind == "memory" else f"{kind}:///{folder}/{name}"


def marked(*kinds: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.server] if set(kinds) & set(SERVERS) else []


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=marked(kind)) for kind in ("memory", *PLACES)]
)
def test_every_retriever_finds_the_same_over_every_store(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
):
    things = ("apples", "pears", "trains", "triangles", "primes")
    problems = [
        Problem(text=f"{a} and {n} {b}") for n, (a, b) in enumerate(product(things, things))
    ]
    lessons = [Experience(problem=p, thoughts=f"lesson about {p.text}") for p in problems]
    queries = [Problem(text="red trains and 3 pears"), Problem(text="primes"), problems[7]]
    with open_pool("memory:") as plain, open_pool(address(kind, request, tmp_path)) as pool:
        for each in (plain, pool):
            each.add(lessons)
            each.delete([lessons[7].id, lessons[8].id])
        for name, make in RETRIEVERS.items():
            found = []
            for store in (plain.store, pool.store):
                searching = ExperiencePool(store, retriever=make())  # the store outlives it
                searching.add([Experience(problem=problems[7], thoughts=f"anew {name}")])
                hits_P = searching.retrieve(queries, k=6, width=25)
                found.append([[(h.experience.id, h.similarity) for h in hits] for hits in hits_P])
            assert found[0] == found[1], name
            assert all(found[0]), name


@pytest.mark.parametrize(
    ("source", "target"),
    [
        pytest.param(one, two, marks=marked(one, two), id=f"{one} to {two}")
        for one, two in product(PLACES, PLACES)
    ],
)
def test_a_pool_is_copied_from_any_store_to_any_other(
    source: str, target: str, request: pytest.FixtureRequest, tmp_path: Path
):
    """To the letter: -0.0, key order of messages, and everything that no digest covers."""
    first = address(source, request, tmp_path, "one")
    second = address(target, request, tmp_path, "two")
    with open_pool(first, namespace="from here") as pool:
        pool.write(batch_of(9))
        pool.write(Batch(deletions=(pool.store.read("experience")[2].id,)))
    into = "there" if target != source or source in SERVERS else "default"
    with closing(open_store(first, namespace="from here", create=False)) as one:

        def interrupt(done: int, of: int) -> None:
            if done >= of // 2:
                raise KeyboardInterrupt

        with (
            closing(open_store(second, namespace=into)) as two,
            pytest.raises(KeyboardInterrupt),
        ):
            copy_pool(one, two, chunk=4, progress=interrupt)
        with closing(open_store(second, namespace=into)) as two:
            done = copy_pool(one, two, chunk=4)
            assert done.there > 0
            assert done.there + done.written == 35
            assert same(one, two)
    with (
        open_pool(first, namespace="from here") as pool,
        open_pool(second, namespace=into) as copy,
    ):
        assert pool.digest() == copy.digest() == done.digest
        assert pool.stats() == copy.stats()
