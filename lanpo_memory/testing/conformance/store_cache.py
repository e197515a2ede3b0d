"""The cache: bytes under keys."""

from __future__ import annotations

from lanpo_memory.protocols import ExperienceStore
from lanpo_memory.testing.conformance.base import StoreBase
from lanpo_memory.testing.conformance.promises import proves
from lanpo_memory.testing.conformance.samples import KINDS, NO_LIMITS, batch_of
from lanpo_memory.types import Batch, Promise

__all__ = ["CacheTests"]

ENTRIES = [
    ("embedding:all bytes", bytes(range(256))),
    ("embedding:empty", b""),
    ("NUL", b"\0"),
    ("not text", b"\xff\xfe\xed\xa0\x80"),
    ("ключ / \"with\" 'everything' %s", b"value"),
    ("", b"an empty key"),
    ("k" * 500, b"a long key"),
]


class CacheTests(StoreBase):
    """`cache` and `cached`."""

    @proves(Promise.CACHE)
    def test_bytes_come_back_exactly(self, store: ExperienceStore, place: str) -> None:
        store.cache(ENTRIES)
        keys = [key for key, _ in ENTRIES]
        assert store.cached(keys) == [value for _, value in ENTRIES]
        assert [type(value) for value in store.cached(keys)] == [bytes] * len(keys)

    @proves(Promise.CACHE)
    def test_answers_come_in_the_order_of_the_keys_and_none_where_absent(
        self, store: ExperienceStore, place: str
    ) -> None:
        store.cache([(f"key {n}", str(n).encode()) for n in range(10)])
        asked = ["key 7", "absent", "key 0", "key 7", "KEY 7", "key 9"]
        assert store.cached(asked) == [b"7", None, b"0", b"7", None, b"9"]
        assert store.cached([]) == []
        store.cache([])

    @proves(Promise.CACHE)
    def test_the_last_word_stays(self, store: ExperienceStore, place: str) -> None:
        store.cache([("key", b"first"), ("other", b"o")])
        store.cache([("key", b"second"), ("key", b"third")])
        assert store.cached(["key", "other"]) == [b"third", b"o"]

    @proves(Promise.CACHE)
    def test_a_megabyte_fits(self, store: ExperienceStore, place: str) -> None:
        large = bytes(range(256)) * 4096
        store.cache([("large", large), ("small", b"s")])
        assert store.cached(["large"]) == [large]

    @proves(Promise.CACHE)
    def test_thousands_of_keys_at_once(self, store: ExperienceStore, place: str) -> None:
        entries = [(f"key {n}", n.to_bytes(4, "big")) for n in range(6_000)]
        store.cache(entries)
        keys = [key for key, _ in entries]
        assert store.cached([*keys, "absent"]) == [*(value for _, value in entries), None]

    @proves(Promise.CACHE)
    def test_the_cache_is_not_part_of_the_records(self, store: ExperienceStore, place: str) -> None:
        store.cache(ENTRIES)
        assert not any(map(store.count, KINDS))
        if Promise.CHANGE_LOG in store.promises:
            assert store.changes(0).items == ()
        store.write(batch_of(0), limits=NO_LIMITS)
        if Promise.ATOMIC in store.promises:
            store.write(Batch(replace=True), limits=NO_LIMITS)
        assert store.cached(["NUL"]) == [b"\0"], "embeddings outlive the records they came from"

    @proves(Promise.CACHE, Promise.DURABLE)
    def test_the_cache_is_there_after_reopening(self, store: ExperienceStore, place: str) -> None:
        store.cache(ENTRIES)
        store.close()
        with self.opened(place, create=False) as again:
            assert again.cached([key for key, _ in ENTRIES]) == [value for _, value in ENTRIES]

    @proves(Promise.CACHE, Promise.READERS)
    def test_a_reader_sees_what_was_cached(self, store: ExperienceStore, place: str) -> None:
        with self.follower(store, place) as reader:
            assert reader.cached(["key"]) == [None]
            store.cache([("key", b"value")])
            assert reader.cached(["key"]) == [b"value"]
            store.cache([("key", b"another")])
            assert reader.cached(["key"]) == [b"another"]
