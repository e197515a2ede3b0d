"""A pool with an embedder: whose it is, what it costs, how it moves to another one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lanpo_memory import Experience, ExperiencePool, Guide, Problem, open_pool
from lanpo_memory.errors import EmbedderMismatchError, InvalidInputError
from lanpo_memory.reindex import recorded_embedder, reindex
from lanpo_memory.testing import HashingEmbedder

TEXTS = ["red apples", "green apples", "green pears", "blue plums on a tree"]


class Counting:
    """An embedder that writes down what it was asked."""

    def __init__(self, dim: int = 64, fails_after: int | None = None) -> None:
        self._inner, self._left = HashingEmbedder(dim), fails_after
        self.fingerprint = self._inner.fingerprint
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self._left is not None and len(self.asked) + len(texts) > self._left:
            raise KeyboardInterrupt
        self.asked += texts
        return self._inner.embed(texts)


def lessons(texts: Sequence[str] = TEXTS) -> list[Experience]:
    return [Experience(problem=Problem(text=t), thoughts=f"about {t}") for t in texts]


def test_similarity_is_the_cosine_and_each_text_is_embedded_once_in_its_life(tmp_path: Path):
    path, query = tmp_path / "pool.db", Problem(text="green apples and pears")
    first = Counting()
    with open_pool(path, embedder=first) as pool:
        pool.add(lessons())
        found = pool.retrieve([query], k=3)[0]
    rows = HashingEmbedder().embed([query.text, *(hit.experience.problem.text for hit in found)])
    assert [hit.similarity for hit in found] == pytest.approx(list(rows[1:] @ rows[0]), abs=1e-6)
    assert sorted(first.asked) == sorted([*TEXTS, query.text])
    second = Counting()
    with open_pool(path, embedder=second) as pool:
        again = pool.retrieve([query], k=3)[0]
    assert second.asked == []
    assert again == found


def test_without_an_embedder_similarity_is_lexical_and_says_so():
    pool = ExperiencePool()
    assert pool.embedder is None
    assert pool.retriever.fingerprint.startswith("bm25")
    assert ExperiencePool(embedder=Counting()).retriever.fingerprint.startswith("cosine:hashing")


def test_another_embedder_is_refused_with_both_names_and_the_remedy(tmp_path: Path):
    path = tmp_path / "pool.db"
    with open_pool(path, embedder=HashingEmbedder(64)) as pool:
        pool.add(lessons())
        before = pool.digest()
    with pytest.raises(EmbedderMismatchError, match="lanpo pool reindex") as caught:
        open_pool(path, embedder=HashingEmbedder(32))
    for dim in (64, 32):
        assert HashingEmbedder(dim).fingerprint in str(caught.value)
    with open_pool(path) as pool:  # without an embedder it opens: similarity is lexical then
        assert pool.digest() == before
    with open_pool(path, namespace="other", embedder=HashingEmbedder(32)):
        pass  # every namespace has its own


def test_reindexing_moves_a_pool_and_the_way_back_is_free(tmp_path: Path):
    path = tmp_path / "pool.db"
    with open_pool(path, embedder=HashingEmbedder(64)) as pool:
        pool.add(lessons())
        seen: list[tuple[int, int]] = []
        new = Counting(32)
        assert reindex(pool.store, new, chunk=3, progress=lambda *p: seen.append(p)) == 4
        assert seen == [(3, 4), (4, 4)]
        assert recorded_embedder(pool.store) == new.fingerprint
    with pytest.raises(EmbedderMismatchError):
        open_pool(path, embedder=HashingEmbedder(64))
    reopened = Counting(32)
    with open_pool(path, embedder=reopened) as pool:
        assert pool.retrieve([Problem(text="red apples")])[0][0].similarity == pytest.approx(1.0)
        assert reopened.asked == []
        assert reindex(pool.store, HashingEmbedder(64)) == 0
        with pytest.raises(InvalidInputError, match="chunk"):
            reindex(pool.store, HashingEmbedder(64), chunk=0)


def test_an_interrupted_reindexing_goes_on_where_it_was(tmp_path: Path):
    path = tmp_path / "pool.db"
    texts = [f"problem {i}" for i in range(20)]
    with open_pool(path, embedder=HashingEmbedder(64)) as pool:
        pool.add(lessons(texts))
        with pytest.raises(KeyboardInterrupt):
            reindex(pool.store, Counting(32, fails_after=12), chunk=4)
        assert recorded_embedder(pool.store) == HashingEmbedder(64).fingerprint
    with open_pool(path, embedder=HashingEmbedder(64)):
        pass  # it still belongs to the old one, and works
    with open_pool(path) as pool:
        rest = Counting(32)
        assert reindex(pool.store, rest, chunk=4) == 8
        assert rest.asked == texts[12:]


def test_a_paraphrase_with_the_same_numbers_never_guides_its_own_problem():
    class Oracle:
        """Puts all texts about Ann close together, as a sentence encoder would."""

        fingerprint = "oracle"

        def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
            rows = [[1.0, 0.0] if "Ann" in text else [0.0, 1.0] for text in texts]
            return np.array(rows, dtype=np.float32)

    own = Problem(text="Ann owns 3 red apples and then purchases 4 pears. What is her total?")
    asked = Problem(text="How much fruit has Ann, who had 3 apples before buying 4 pears?")
    other = Problem(text="How much fruit has Ann, who had 5 apples before buying 9 plums?")
    pool = ExperiencePool(embedder=Oracle())
    pool.add([Experience(problem=p, thoughts=p.text) for p in (own, other)])
    found = Guide(pool, gamma=0.5, experiences=2).inter([asked])[0]
    assert [c.retrieved.experience.problem for c in found.used] == [other]
    lexical = ExperiencePool()
    lexical.add([Experience(problem=p, thoughts=p.text) for p in (own, other)])
    assert len(Guide(lexical, gamma=0.0, experiences=2).inter([asked])[0].used) == 2
