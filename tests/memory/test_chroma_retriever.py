"""Chroma's vector search as a retriever: the same hits as exact search, and no ghosts."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from lanpo_memory.chroma import ChromaPlace
from lanpo_memory.errors import (
    ConfigError,
    EmbedderMismatchError,
    InvalidInputError,
    PoolBusyError,
    PoolFormatError,
)
from lanpo_memory.pool import ExperiencePool, open_pool
from lanpo_memory.retrievers import DenseRetriever
from lanpo_memory.retrievers.chroma import ChromaRetriever
from lanpo_memory.stores import SQLiteStore
from lanpo_memory.stores.chroma import ChromaStore
from lanpo_memory.testing import HashingEmbedder
from lanpo_memory.types import Experience, Problem
from tests.memory.chroma_server import ChromaServer, chroma_installed, chroma_server

__all__ = ["chroma_installed", "chroma_server"]  # fixtures

pytestmark = pytest.mark.usefixtures("chroma_installed")


class CountingEmbedder(HashingEmbedder):
    """Counts the texts it is asked for."""

    embedded = 0

    def embed(self, texts):
        self.embedded += len(texts)
        return super().embed(texts)


def problems(count: int, seed: int = 0) -> list[Problem]:
    words = random.Random(seed)
    return [
        Problem(text=" ".join(f"word{words.randrange(300)}" for _ in range(12)))
        for _ in range(count)
    ]


def ids_of(hits_P):
    return [[hit.problem_id for hit in hits] for hits in hits_P]


def test_it_finds_what_exact_search_finds(tmp_path):
    known, queries = problems(400), problems(25, seed=1)
    exact = DenseRetriever(HashingEmbedder())
    exact.update(known, [])
    with ChromaRetriever(HashingEmbedder(), folder=tmp_path / "f") as index:
        index.update(known, [])
        found, wanted = index.retrieve(queries, k=10), exact.retrieve(queries, k=10)
        assert index.retrieve(queries, k=10) == found
    close_enough = [
        hit.score >= best[-1].score - 1e-5
        for hits, best in zip(found, wanted, strict=True)
        for hit in hits
    ]
    assert len(close_enough) == 250
    assert sum(close_enough) >= 0.9 * 250
    for hits in found:
        assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
        assert all(0.0 <= h.similarity <= 1.0 for h in hits)


def test_a_known_problem_is_found_with_similarity_one_and_a_negative_cosine_is_zero(tmp_path):
    a, b = Problem(text="red apples"), Problem(text="green pears")
    with ChromaRetriever(HashingEmbedder(), folder=tmp_path / "f") as index:
        index.update([a, b], [])
        ((first, second),) = index.retrieve([a], k=5)
    assert first.problem_id == a.id
    assert first.similarity == pytest.approx(1.0, abs=1e-5)
    assert second.similarity == max(0.0, second.score)


def test_equals_are_ordered_the_same_way_always(tmp_path):
    twins = [Problem(text="the same words", id=f"twin-{i}") for i in range(12)]
    query = Problem(text="the same words", id="query")
    orders = []
    for number, order in enumerate((twins, twins[::-1])):
        with ChromaRetriever(HashingEmbedder(), folder=tmp_path / str(number)) as index:
            index.update(order, [])
            orders.append(ids_of(index.retrieve([query], k=12)))
    assert orders[0] == orders[1]


def test_removed_problems_are_gone_and_other_words_under_an_id_are_embedded_anew(tmp_path):
    a, b = Problem(text="red apples", id="1"), Problem(text="green pears", id="2")
    with ChromaRetriever(HashingEmbedder(), folder=tmp_path / "f") as index:
        assert index.retrieve([a], k=3) == [[]]
        index.update([a, b], [])
        index.update([], ["2", "unknown"])
        assert ids_of(index.retrieve([b], k=3)) == [["1"]]
        index.update([Problem(text="green pears", id="1")], ["1"])
        assert index.retrieve([b], k=1)[0][0].similarity == pytest.approx(1.0, abs=1e-5)
        assert index.retrieve([], k=1) == []
        with pytest.raises(InvalidInputError):
            index.retrieve([a], k=0)


def test_opened_again_it_embeds_only_what_is_new_and_drops_what_the_pool_no_longer_has(tmp_path):
    known = problems(40)
    with ChromaRetriever(CountingEmbedder(), folder=tmp_path / "f") as index:
        index.update(known, [])
    reworded = Problem(text="other words", id=known[30].id)
    embedder = CountingEmbedder()
    with ChromaRetriever(embedder, folder=tmp_path / "f") as index:
        index.update([*known[:30], reworded, Problem(text="new")], [])
        assert embedder.embedded == 2
        found = ids_of(index.retrieve([known[35]], k=40))[0]
        assert not set(found) & {p.id for p in known[31:]}
        assert len(found) == len(index) == index._size() == 32


def test_a_pool_over_sqlite_searches_with_it(tmp_path):
    def opened():
        return ExperiencePool(
            SQLiteStore(tmp_path / "pool.db"),
            retriever=ChromaRetriever(HashingEmbedder(), folder=tmp_path / "f"),
        )

    pool = opened()
    known = problems(20)
    pool.add([Experience(problem=p, thoughts=f"about {p.text}") for p in known])
    gone = pool.add([Experience(problem=Problem(text="passing"), thoughts="away")])[0].id
    with pool:
        assert pool.retrieve([known[3]])[0][0].experience.problem == known[3]
        pool.delete([gone])
        pool.retriever.close()
    with opened() as pool:
        found = pool.retrieve([Problem(text="passing")], k=100, width=100)[0]
        assert len(found) == 20
        pool.retriever.close()


def test_a_store_and_its_search_share_a_folder(tmp_path):
    store = ChromaStore.embedded(tmp_path / "f")
    with pytest.raises(PoolBusyError):
        ChromaRetriever(HashingEmbedder(), folder=tmp_path / "f")
    retriever = ChromaRetriever(HashingEmbedder(), place=store.place)
    with ExperiencePool(store, retriever=retriever) as pool:
        pool.add([Experience(problem=Problem(text="red apples"), thoughts="count")])
        assert len(pool.retrieve([Problem(text="red pears")])[0]) == 1
        retriever.close()  # not its folder
        assert len(pool) == 1


def test_two_pools_of_one_process_leave_each_other_their_vectors(tmp_path):
    place = ChromaPlace.folder(tmp_path / "f")
    one, two = (ChromaRetriever(HashingEmbedder(), place=place) for _ in range(2))
    shared, *others = problems(6)
    one.update([shared, *others[:2]], [])
    two.update([shared, *others[2:]], [])
    assert len(one.retrieve([shared], k=9)[0]) == 3
    two.update([], [shared.id])
    assert one.retrieve([shared], k=1)[0][0].problem_id == shared.id
    assert shared.id not in {hit.problem_id for hit in two.retrieve([shared], k=9)[0]}
    one.close()
    two.update([shared], [])
    two.update([], [shared.id])  # nobody else wants it any more
    assert shared.id not in two._stored_ids()
    place.close()


def test_another_embedder_and_another_collection_are_refused(tmp_path):
    with ChromaRetriever(HashingEmbedder(), folder=tmp_path / "f") as index:
        index.update(problems(3), [])
    with pytest.raises(EmbedderMismatchError, match="dim=64"):
        ChromaRetriever(HashingEmbedder(dim=32), folder=tmp_path / "f")
    with open_pool(f"chroma:///{tmp_path}/f") as pool, pytest.raises(PoolFormatError):
        ChromaRetriever(HashingEmbedder(), place=pool.store.place, collection="lanpo")
    with ChromaRetriever(HashingEmbedder(), folder=tmp_path / "f"):
        pass  # a refused opener leaves the folder free


def test_it_wants_to_know_where(tmp_path):
    with pytest.raises(ConfigError, match="exactly one"):
        ChromaRetriever(HashingEmbedder())
    with pytest.raises(ConfigError, match="exactly one"):
        ChromaRetriever(HashingEmbedder(), folder=tmp_path, host="localhost")


def test_it_loads_no_model_and_leaves_no_trace_at_home(tmp_path):
    script = (
        "import sys; from pathlib import Path\n"
        "from lanpo_memory.retrievers.chroma import ChromaRetriever\n"
        "assert 'chromadb' not in sys.modules\n"
        "from lanpo_memory.testing import HashingEmbedder\n"
        "from lanpo_memory.types import Problem\n"
        "with ChromaRetriever(HashingEmbedder(), folder='f') as index:\n"
        "    index.update([Problem(text='a b')], [])\n"
        "    assert index.retrieve([Problem(text='a b')], k=1)[0]\n"
        "assert 'onnxruntime.capi' not in sys.modules\n"
        "assert not [*Path.home().rglob('*')], [*Path.home().rglob('*')]\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    env = {"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.server
def test_on_a_server_a_reader_leaves_what_the_writer_has_added_and_does_not_return_it(
    chroma_server: ChromaServer,
):
    known = problems(30)
    where = {"host": "127.0.0.1", "port": chroma_server.port, "collection": "reader-and-writer"}
    with (
        ChromaRetriever(HashingEmbedder(), **where) as writer,
        ChromaRetriever(CountingEmbedder(), **where) as reader,
    ):
        writer.update(known, [])
        reader.update(known[:2], [])
        assert set(ids_of(reader.retrieve([known[9]], k=20))[0]) == {p.id for p in known[:2]}
        assert len(writer.retrieve([known[9]], k=20)[0]) == 20
