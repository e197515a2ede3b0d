import random
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanpo_memory.embedders import CachedEmbedder
from lanpo_memory.errors import (
    ConfigError,
    EmbedderMismatchError,
    InvalidInputError,
    MissingExtraError,
)
from lanpo_memory.protocols import Retriever
from lanpo_memory.retrievers import (
    BM25Retriever,
    CosineRetriever,
    DenseRetriever,
    HybridRetriever,
    RankBM25Retriever,
    dense,
)
from lanpo_memory.retrievers.cosine import Shortlister
from lanpo_memory.retrievers.vectors import Vectors
from lanpo_memory.stores import MemoryStore
from lanpo_memory.testing import HashingEmbedder
from lanpo_memory.types import Hit, Problem

Make = Callable[[], Retriever]

MAKERS: dict[str, Make] = {
    "bm25": BM25Retriever,
    "rank_bm25": RankBM25Retriever,
    "dense": lambda: DenseRetriever(HashingEmbedder()),
    "cosine": lambda: CosineRetriever(BM25Retriever(), HashingEmbedder()),
    "cosine over rank_bm25": lambda: CosineRetriever(RankBM25Retriever(), HashingEmbedder()),
    "hybrid": lambda: HybridRetriever(BM25Retriever(), DenseRetriever(HashingEmbedder())),
}
WORDS = [f"w{i}" for i in range(60)]


@pytest.fixture(params=MAKERS.values(), ids=MAKERS.keys())
def make(request) -> Make:
    return request.param


def corpus(n: int, seed: int = 0) -> list[Problem]:
    rng = random.Random(seed)
    return [
        Problem(text=" ".join(rng.choices(WORDS, k=rng.randint(4, 20))), id=f"p{i}")
        for i in range(n)
    ]


def filled(make: Make, problems: list[Problem]) -> Retriever:
    index = make()
    index.update(problems, [])
    return index


def found(index: Retriever, text: str, k: int = 10) -> list[str]:
    return [hit.problem_id for hit in index.retrieve([Problem(text=text, id="query")], k=k)[0]]


# ------------------------------------------------------- what holds for each


def test_it_says_what_its_similarities_mean(make):
    index = make()
    assert isinstance(index, Retriever)
    assert index.fingerprint == make().fingerprint
    assert 0 < index.default_gamma < 1


def test_the_same_text_is_found_first_with_similarity_one(make):
    problems = corpus(80)
    index = filled(make, problems)
    for problem in problems[:10]:
        hit = index.retrieve([Problem(text=problem.text, id="query")], k=5)[0][0]
        assert hit.problem_id == problem.id
        assert hit.similarity == pytest.approx(1.0, abs=1e-5)


def test_hits_are_few_distinct_best_first_and_in_range(make):
    index = filled(make, corpus(80))
    for hits in index.retrieve(corpus(10, seed=1), k=7):
        assert len(hits) == 7
        assert len({hit.problem_id for hit in hits}) == 7
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert all(0.0 <= hit.similarity <= 1.0 for hit in hits)


def test_a_batch_is_answered_like_its_queries_one_by_one(make):
    index = filled(make, corpus(80))
    queries = corpus(10, seed=1)
    assert index.retrieve(queries, k=4) == [index.retrieve([q], k=4)[0] for q in queries]


def test_fewer_hits_are_the_first_of_more(make):
    index = filled(make, corpus(80))
    queries = corpus(5, seed=1)
    few, more = index.retrieve(queries, k=2), index.retrieve(queries, k=30)
    assert few == [hits[:2] for hits in more]


def test_the_order_of_writing_plays_no_part(make):
    problems = corpus(60) + [Problem(text="w1 w2 w3", id=f"same {i}") for i in range(10)]
    forward, backward = filled(make, problems), make()
    for problem in problems[::-1]:
        backward.update([problem], [])
    queries = [*corpus(8, seed=1), Problem(text="w1 w2 w3")]
    for a, b in zip(forward.retrieve(queries, k=6), backward.retrieve(queries, k=6), strict=True):
        assert [hit.problem_id for hit in a] == [hit.problem_id for hit in b]
        assert [hit.score for hit in a] == pytest.approx([hit.score for hit in b])


def test_none_of_many_equals_is_favoured(make):
    index = filled(make, [Problem(text="the same words", id=f"p{i}") for i in range(30)])
    queries = [Problem(text="the same words", id=f"q{i}") for i in range(60)]
    assert len({hits[0].problem_id for hits in index.retrieve(queries, k=1)}) > 15


def test_a_known_id_is_left_as_it_is(make):
    index = filled(make, [Problem(text="red apples", id="a"), Problem(text="plums", id="b")])
    index.update([Problem(text="green pears", id="a"), Problem(text="plums", id="b")], [])
    hit = index.retrieve([Problem(text="red apples")], k=1)[0][0]
    assert (hit.problem_id, hit.similarity) == ("a", pytest.approx(1.0, abs=1e-5))
    assert len(index) == 2


def test_of_one_id_twice_in_a_batch_the_first_counts(make):
    index = make()
    index.update([Problem(text="red apples", id="a"), Problem(text="green pears", id="a")], [])
    assert len(index) == 1
    hit = index.retrieve([Problem(text="red apples")], k=3)[0][0]
    assert (hit.problem_id, hit.similarity) == ("a", pytest.approx(1.0, abs=1e-5))


def test_removed_problems_are_not_found_and_may_come_back(make):
    problems = corpus(200)
    index = filled(make, problems)
    gone = [problem.id for problem in problems[:150]]
    index.update([], [*gone, "unknown", gone[0]])
    assert len(index) == 50
    assert gone[0] not in index
    assert problems[199].id in index
    for hits in index.retrieve(problems[:20], k=60):
        assert {hit.problem_id for hit in hits}.isdisjoint(gone)
    index.update(problems[:1], [])
    assert found(index, problems[0].text)[0] == problems[0].id


def test_removed_and_added_at_once_is_replaced(make):
    index = filled(make, [Problem(text="red apples", id="a")])
    index.update([Problem(text="green pears", id="a")], ["a"])
    hit = index.retrieve([Problem(text="green pears")], k=1)[0][0]
    assert (hit.problem_id, hit.similarity) == ("a", pytest.approx(1.0, abs=1e-5))


def test_nothing_to_search_and_nothing_asked(make):
    index = make()
    query = Problem(text="anything")
    assert index.retrieve([query, query], k=3) == [[], []]
    assert index.retrieve([], k=3) == []
    index.update([], ["unknown"])
    index.update([query], [])
    assert index.retrieve([], k=3) == []
    index.update([], [query.id])
    assert index.retrieve([query], k=3) == [[]]


def test_a_text_without_words_does_no_harm(make):
    index = filled(make, [Problem(text="¿?", id="none")])
    index.retrieve([Problem(text="¿?"), Problem(text="red apples")], k=3)
    index.update([Problem(text="red apples", id="some")], [])
    assert found(index, "red apples")[0] == "some"


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(make, k):
    with pytest.raises(InvalidInputError, match="k must be at least 1"):
        filled(make, corpus(3)).retrieve([Problem(text="w1")], k=k)


def test_searching_while_others_write(make):
    problems = corpus(120)
    index = filled(make, problems[:60])
    failures = []
    done = threading.Event()

    def write():
        try:
            for _ in range(10):
                index.update(problems[60:], [problem.id for problem in problems[30:60]])
                index.update(problems[30:60], [problem.id for problem in problems[60:]])
        finally:
            done.set()

    def search():
        while not done.is_set():
            for query, hits in zip(problems[:30], index.retrieve(problems[:30], k=3), strict=True):
                if query.id not in {hit.problem_id for hit in hits}:
                    failures.append(query.id)

    with ThreadPoolExecutor(3) as threads:
        for done_with in [threads.submit(work) for work in (write, search, search)]:
            done_with.result()
    assert failures == []
    assert len(index) == 60


# ---------------------------------------------------------------- vectors


def rows_of(n: int, dim: int = 4, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 25), max_size=30)), max_size=30))
def test_vectors_equal_a_dictionary(history):
    rows, vectors, model = rows_of(26), Vectors(), {}
    for adds, numbers in history:
        ids = [str(i) for i in numbers]
        if adds:
            vectors.add(ids, rows[numbers])
            model |= {str(i): rows[i] for i in numbers if str(i) not in model}
        else:
            vectors.remove(ids)
            model = {key: row for key, row in model.items() if key not in ids}
        assert sorted(vectors.ids) == sorted(model)
        assert len(vectors) == len(vectors.matrix) == len(model)
        if model:
            np.testing.assert_array_equal(vectors.matrix, [model[i] for i in vectors.ids])
            np.testing.assert_array_equal(vectors.rows(list(model)), list(model.values()))


def test_vectors_grow_without_a_copy_for_each_and_shrink_again():
    vectors, buffers, rows = Vectors(), set(), rows_of(1000)
    for i in range(1000):
        vectors.add([str(i)], rows[i : i + 1])
        buffers.add(vectors.matrix.ctypes.data)
    assert len(buffers) < 40
    assert len(vectors._rows) <= 1500
    vectors.remove([str(i) for i in range(990)])
    assert len(vectors._rows) <= 40


def test_vectors_refuse_what_does_not_fit():
    vectors = Vectors()
    vectors.add(["a"], rows_of(1))
    with pytest.raises(EmbedderMismatchError, match="vectors of 4 numbers and the embedder now"):
        vectors.add(["b"], rows_of(1, dim=5))
    with pytest.raises(InvalidInputError, match="no vector of problem 'b'"):
        vectors.rows(["b"])


# ------------------------------------------------------------------- dense


class Table:
    """An embedder that looks rows up; a text is the number of its row."""

    fingerprint = "table"

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows
        self.calls: list[int] = []

    def embed(self, texts):
        self.calls.append(len(texts))
        return self.rows[[int(text) for text in texts]]


def numbered(numbers) -> list[Problem]:
    return [Problem(text=str(i), id=f"p{i}") for i in numbers]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 39), max_size=15)), max_size=12),
    st.integers(1, 12),
    st.sampled_from([1, 7, 16_000_000]),
)
def test_dense_equals_brute_force(history, k, block):
    rows = rows_of(50, dim=5)
    index, live = DenseRetriever(Table(rows)), set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dense, "_BLOCK_SCORES", block)
        for adds, numbers in history:
            problems = numbered(numbers)
            index.update(problems if adds else [], [] if adds else [p.id for p in problems])
            live = live | set(numbers) if adds else live - set(numbers)
        all_hits = index.retrieve(numbered(range(40, 50)), k=k)
    order = sorted(live)
    for query, hits in zip(range(40, 50), all_hits, strict=True):
        exact = rows[order].astype(float) @ rows[query].astype(float) if order else np.zeros(0)
        expected = sorted(zip(-exact, order, strict=True))[:k]
        assert [hit.problem_id for hit in hits] == [f"p{i}" for _, i in expected]
        np.testing.assert_allclose([h.score for h in hits], [-c for c, _ in expected], atol=1e-6)
        assert [h.similarity for h in hits] == [min(1.0, max(0.0, h.score)) for h in hits]


def test_similarities_of_named_problems():
    rows = np.array([[1, 0], [0, 1], [-1, 0], [0.6, 0.8]], dtype=np.float32)
    index = DenseRetriever(Table(rows))
    index.update(numbered([0, 1, 2]), [])
    a, b = index.similarities(numbered([3, 3]), [["p2", "p1", "p0", "unknown"], []])
    np.testing.assert_allclose(a, [0.0, 0.8, 0.6, 0.0], atol=1e-6)
    assert b.shape == (0,)
    assert index.similarities([], []) == []


def test_known_problems_are_not_embedded_again():
    embedder = Table(rows_of(10))
    index = DenseRetriever(embedder)
    index.update(numbered(range(6)), [])
    index.update(numbered(range(8)), [])
    assert embedder.calls == [6, 2]
    index.retrieve(numbered([8, 9]), k=3)
    assert embedder.calls == [6, 2, 2]


class Broken:
    """Two good rows, then whatever it is told to return."""

    fingerprint = "broken"

    def __init__(self, answer):
        self.answer, self.calls = answer, 0

    def embed(self, texts):
        self.calls += 1
        return rows_of(len(texts)) if self.calls == 1 else self.answer(len(texts))


@pytest.mark.parametrize(
    ("answer", "error", "complaint"),
    [
        pytest.param(lambda n: rows_of(n) * np.nan, InvalidInputError, "not finite", id="nan"),
        pytest.param(lambda n: rows_of(n) * 2, InvalidInputError, "length one", id="not unit"),
        pytest.param(lambda n: rows_of(n + 1), InvalidInputError, "returned shape", id="rows"),
        pytest.param(
            lambda n: rows_of(n, dim=5), EmbedderMismatchError, "new index", id="dimension"
        ),
    ],
)
@pytest.mark.parametrize("kind", ["dense", "cosine", "hybrid"])
def test_an_embedder_that_breaks_its_contract_is_refused(kind, answer, error, complaint):
    embedder = Broken(answer)
    index = {
        "dense": lambda: DenseRetriever(embedder),
        "cosine": lambda: CosineRetriever(BM25Retriever(), embedder),
        "hybrid": lambda: HybridRetriever(BM25Retriever(), DenseRetriever(embedder)),
    }[kind]()
    index.update(numbered([1, 2]), [])
    with pytest.raises(error, match=complaint):
        index.update(numbered([1, 2, 3]), [])
    with pytest.raises(error, match=complaint):
        index.retrieve(numbered([2]), k=1)
    assert len(index) == 2


# ------------------------------------------------------------------ cosine


class Listing:
    """A base that offers everything it has, in a fixed order, and counts how it is asked."""

    fingerprint, default_gamma = "listing", 0.5

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.asked: list[int] = []

    def update(self, added, removed):
        self.ids = [i for i in self.ids if i not in removed]
        self.ids += [p.id for p in added if p.id not in self.ids]

    def retrieve(self, queries, *, k):
        self.asked.append(k)
        return [[Hit(problem_id=i, score=1, similarity=1) for i in self.ids[:k]] for _ in queries]


class FastListing(Listing):
    def shortlist(self, queries, *, k):
        self.asked.append(-k)
        return [(self.ids[:k], np.ones(len(self.ids[:k]), dtype=np.float32)) for _ in queries]


def test_cosine_orders_the_shortlist_and_nothing_else():
    rows = rows_of(30)
    base = Listing()
    index = CosineRetriever(base, Table(rows), shortlist=5)
    index.update(numbered(range(29)), [])
    hits = index.retrieve(numbered([29]), k=3)[0]
    exact = {f"p{i}": float(rows[i] @ rows[29]) for i in range(5)}
    assert [hit.problem_id for hit in hits] == sorted(exact, key=exact.get, reverse=True)[:3]
    assert [hit.score for hit in hits] == pytest.approx(sorted(exact.values(), reverse=True)[:3])
    assert len(index.retrieve(numbered([29]), k=20)[0]) == 20  # k may ask for more
    assert base.asked == [5, 20]


def test_cosine_takes_the_fast_path_where_there_is_one():
    assert isinstance(BM25Retriever(), Shortlister)
    assert not isinstance(RankBM25Retriever(), Shortlister)
    slow, fast = Listing(), FastListing()
    both = [CosineRetriever(base, Table(rows_of(30)), shortlist=9) for base in (slow, fast)]
    for index in both:
        index.update(numbered(range(29)), [])
    a, b = (index.retrieve(numbered([29, 3]), k=4) for index in both)
    assert a == b
    assert (slow.asked, fast.asked) == ([9], [-9])


def test_cosine_embeds_all_queries_in_one_call_and_none_for_nothing():
    embedder = Table(rows_of(30))
    index = CosineRetriever(BM25Retriever(), embedder)
    index.update(numbered(range(20)), [])
    index.retrieve(numbered([1, 2, 25]), k=2)
    assert embedder.calls == [20, 3]
    assert index.retrieve(numbered([25]), k=2) == [[]]
    assert embedder.calls == [20, 3]


def test_cosine_leaves_out_what_is_gone_but_still_listed():
    base = Listing()
    index = CosineRetriever(base, Table(rows_of(30)))
    index.update(numbered(range(5)), [])
    base.ids.insert(0, "a stranger")
    assert {h.problem_id for h in index.retrieve(numbered([7]), k=9)[0]} == set(base.ids[1:])
    index.update([], base.ids[2:])
    assert [h.problem_id for h in index.retrieve(numbered([7]), k=9)[0]] == ["p0"]


def test_cosine_over_everything_equals_dense():
    problems, queries = corpus(60), corpus(10, seed=1)
    index = CosineRetriever(Listing(), HashingEmbedder())
    index.update(problems, [])
    exact = filled(MAKERS["dense"], problems)
    assert index.retrieve(queries, k=8) == exact.retrieve(queries, k=8)
    assert index.fingerprint == exact.fingerprint


def test_an_update_that_failed_can_be_made_again():
    class Moody(HashingEmbedder):
        fails = True

        def embed(self, texts):
            if self.fails:
                raise OSError("out of memory")
            return super().embed(texts)

    embedder = Moody()
    index = CosineRetriever(BM25Retriever(), embedder)
    with pytest.raises(OSError, match="out of memory"):
        index.update(corpus(5), [])
    embedder.fails = False
    assert index.retrieve(corpus(1), k=1) == [[]]
    index.update(corpus(5), [])
    assert index.retrieve(corpus(1), k=1)[0][0].problem_id == "p0"


def test_a_cached_embedder_embeds_nothing_when_a_pool_is_opened_again():
    store, problems = MemoryStore(), corpus(40)
    first = filled(lambda: DenseRetriever(CachedEmbedder(HashingEmbedder(), store)), problems)
    embedder = CachedEmbedder(HashingEmbedder(), store)
    second = filled(lambda: DenseRetriever(embedder), problems)
    queries = problems[:7]
    assert first.retrieve(queries, k=5) == second.retrieve(queries, k=5)
    assert embedder.embedded == 0


# ------------------------------------------------------------------ hybrid


def test_reciprocal_rank_fusion_by_hand():
    # cosines with p4: p0 0.8, p1 0.6, p2 0, p3 -1
    rows = np.array([[0.8, 0.6], [0.6, 0.8], [0, 1], [-1, 0], [1, 0]], dtype=np.float32)
    lexical = Listing()
    index = HybridRetriever(lexical, DenseRetriever(Table(rows)), shortlist=3)
    index.update(numbered(range(4)), [])
    lexical.ids = ["p3", "p1", "p2", "p0"]  # of these, three; dense: p0 p1 p2
    hits = index.retrieve(numbered([4]), k=3)[0]
    assert [hit.problem_id for hit in hits] == ["p1", "p2", "p0"]
    expected = [1 / 62 + 1 / 62, 1 / 63 + 1 / 63, 1 / 61]
    assert [hit.score for hit in hits] == pytest.approx(expected, rel=1e-12)
    assert [hit.similarity for hit in hits] == pytest.approx([0.6, 0.0, 0.8], abs=1e-6)
    # p0 and p3 are first once each: the closer one comes first; k of 4 reaches down both lists
    hits = index.retrieve(numbered([4]), k=4)[0]
    sums = {"p0": 1 / 61 + 1 / 64, "p1": 2 / 62, "p2": 2 / 63, "p3": 1 / 61 + 1 / 64}
    assert {hit.problem_id: hit.score for hit in hits} == pytest.approx(sums)
    assert [hit.problem_id for hit in hits] == ["p1", "p0", "p3", "p2"]


def test_lexical_hits_of_a_hybrid_carry_their_cosine():
    rows = np.array([[1, 0], [0.6, 0.8], [1, 0]], dtype=np.float32)
    lexical = Listing()
    index = HybridRetriever(lexical, DenseRetriever(Table(rows)), shortlist=1, rrf_k=0)
    index.update(numbered([0, 1]), [])
    lexical.ids = ["p1"]
    hits = index.retrieve(numbered([2]), k=1)[0]
    assert [(h.problem_id, h.score, h.similarity) for h in hits] == [("p0", 1.0, 1.0)]
    lexical.ids = ["p1", "p0"]
    hits = index.retrieve(numbered([2]), k=2)[0]
    assert [h.score for h in hits] == [1.5, 1.5]
    assert [(h.problem_id, round(h.similarity, 6)) for h in hits] == [("p0", 1.0), ("p1", 0.6)]


def test_a_hybrid_leaves_out_what_is_gone_but_still_listed():
    lexical = Listing()
    index = HybridRetriever(lexical, DenseRetriever(Table(rows_of(9))))
    index.update(numbered(range(3)), [])
    lexical.ids.insert(0, "a stranger")
    hits = index.retrieve(numbered([7]), k=9)[0]
    assert {hit.problem_id for hit in hits} == {"p0", "p1", "p2"}


def test_a_hybrid_embeds_each_query_once():
    embedder = Table(rows_of(30))
    index = HybridRetriever(BM25Retriever(), DenseRetriever(embedder, default_gamma=0.7))
    assert index.default_gamma == 0.7
    index.update(numbered(range(20)), [])
    index.retrieve(numbered([25, 26]), k=3)
    assert embedder.calls == [20, 2]


@pytest.mark.parametrize(
    "make",
    [
        lambda: CosineRetriever(BM25Retriever(), HashingEmbedder(), shortlist=0),
        lambda: HybridRetriever(BM25Retriever(), MAKERS["dense"](), shortlist=0),
        lambda: HybridRetriever(BM25Retriever(), MAKERS["dense"](), rrf_k=-1),
    ],
)
def test_settings_that_make_no_sense(make):
    with pytest.raises(ConfigError, match="shortlist"):
        make()


# --------------------------------------------------------------- rank_bm25


def test_rank_bm25_gives_the_packages_own_scores():
    from rank_bm25 import BM25Plus

    problems = corpus(50)
    index = filled(RankBM25Retriever, problems)
    reference = BM25Plus([p.text.split() for p in problems])
    for query in corpus(5, seed=1):
        scores = reference.get_scores(query.text.split())
        hits = index.retrieve([query], k=50)[0]
        expected = {p.id: s for p, s in zip(problems, scores, strict=True)}
        assert {h.problem_id: h.score for h in hits} == pytest.approx(
            {h.problem_id: expected[h.problem_id] for h in hits}, rel=1e-6
        )
        shared = {p.id for p in problems if set(p.text.split()) & set(query.text.split())}
        assert {h.problem_id for h in hits} == shared
        assert all(h.similarity > 0 for h in hits)


def test_rank_bm25_by_hand():
    index = RankBM25Retriever(k1=1.0, b=0.0, delta=1.0)
    index.update([Problem(text="a b", id="ab"), Problem(text="c c", id="cc")], [])
    hit = index.retrieve([Problem(text="a z")], k=2)[0][0]
    idf, unseen = np.log(3 / 1), np.log(3)  # N + 1 over df; an unseen word counts as df 1
    assert hit.score == pytest.approx(idf * (1 + 1 * 2 / (1 + 1)))
    assert hit.similarity == pytest.approx(idf / (idf + unseen))


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rank_bm25", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'lanpo\[bm25\]'"):
        RankBM25Retriever()
