"""Which promise a test proves, and what a store that does not make it has to do instead."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from lanpo_memory.errors import LanpoError, PoolBusyError, PromiseError
from lanpo_memory.protocols import ExperienceStore
from lanpo_memory.testing.conformance.samples import KINDS, NO_LIMITS, batch_of
from lanpo_memory.types import Batch, Promise

__all__ = ["proves", "refused"]

TestT = TypeVar("TestT", bound=Callable[..., None])
Refusal = Callable[[Any, ExperienceStore, str], None]


def proves(*promises: Promise) -> Callable[[TestT], TestT]:
    """Say which promises a test is about.

    The test runs if the store makes all of them. If not, what runs in its place is the check that
    the store refuses what it does not promise: see the words of each `Promise`. The test has to
    take the fixtures `store` and `place`.
    """

    def decorate(test: TestT) -> TestT:
        @functools.wraps(test)
        def run(self: Any, *, store: ExperienceStore, place: str, **fixtures: Any) -> None:
            missing = [promise for promise in promises if promise not in store.promises]
            for promise in missing:
                _REFUSALS[promise](self, store, place)
            if not missing:
                test(self, store=store, place=place, **fixtures)

        run.proves = promises  # type: ignore[attr-defined]
        return run  # type: ignore[return-value]

    return decorate


@contextmanager
def refused(what: str) -> Iterator[None]:
    """What happens within has to be refused with `PromiseError`."""
    try:
        yield
    except PromiseError:
        return
    pytest.fail(
        f"{what} is not promised (`promises`), and it was not refused: raise PromiseError. "
        "A promise is kept, or refused, never half kept"
    )


def _no_replace(_: Any, store: ExperienceStore, __: str) -> None:
    store.write(batch_of(0), limits=NO_LIMITS)
    before = store.count("experience")
    with refused("`Batch.replace`, which needs ATOMIC,"):
        store.write(Batch(replace=True), limits=NO_LIMITS)
    assert store.count("experience") == before, "a refused `replace` has deleted records"


def _forgets(kit: Any, store: ExperienceStore, place: str) -> None:
    store.write(batch_of(0), limits=NO_LIMITS)
    store.close()
    with kit.opened(place) as again:
        left = {kind: again.count(kind) for kind in KINDS}
        assert not any(left.values()), (
            f"DURABLE is not promised, and after opening again there is {left}: a store keeps "
            "everything, or begins empty"
        )


def _no_changes(_: Any, store: ExperienceStore, __: str) -> None:
    store.write(batch_of(0), limits=NO_LIMITS)
    with refused("`changes`, which needs CHANGE_LOG,"):
        store.changes(0)


def _no_cache(_: Any, store: ExperienceStore, __: str) -> None:
    with refused("`cache`, which needs CACHE,"):
        store.cache([("key", b"value")])
    with refused("`cached`, which needs CACHE,"):
        store.cached(["key"])


def _one_namespace(kit: Any, store: ExperienceStore, place: str) -> None:
    store.close()
    with refused("a namespace, which needs NAMESPACES,"):
        kit.open(place, namespace="another").close()


def _no_readers(kit: Any, store: ExperienceStore, place: str) -> None:
    """Another process is refused, or what it sees is empty."""
    store.write(batch_of(0), limits=NO_LIMITS)
    with kit.process(place) as other:
        opened = other.answer("open")
        if not _is_refused(opened, "another reader"):
            seen = other.answer("counts")
            if not _is_refused(seen, "another reader"):
                assert not any(seen["said"].values()), (
                    f"READERS is not promised, and another process read {seen['said']}: refuse it "
                    "with PoolBusyError, or show nothing"
                )
    _lives_on(store)


def _one_writer(kit: Any, store: ExperienceStore, place: str) -> None:
    """A second process that writes is refused, or writes into a store of its own."""
    store.write(batch_of(0), limits=NO_LIMITS)
    held = store.read("experience")
    with kit.process(place) as other:
        opened = other.answer("open")
        if not _is_refused(opened, "a second writer"):
            seen = other.answer("counts")
            told = other.answer("write", first=1, count=1)
            if not _is_refused(told, "a second writer"):
                assert not any(seen["said"].values()), (
                    "PROCESSES is not promised, and a second process wrote into the same store: "
                    "refuse it with PoolBusyError"
                )
    assert store.read("experience") == held, "a refused second writer has changed the store"
    _lives_on(store)


def _is_refused(answer: dict[str, Any], who: str) -> bool:
    """Whether a process was refused in the way it should be; a crash is a failure."""
    if "error" not in answer:
        return False
    names = (PromiseError.__name__, PoolBusyError.__name__)
    assert answer["error"] in names, (
        f"{who} got {answer['error']}: {answer['message']}; refuse it with one of {names}"
    )
    assert answer["message"], f"{who} is refused without a word: say what to do instead"
    return True


def _lives_on(store: ExperienceStore) -> None:
    try:
        receipts = store.write(batch_of(2), limits=NO_LIMITS)
    except LanpoError as error:
        pytest.fail(f"after another process was refused, the first cannot write: {error}")
    assert {r.status for r in receipts} == {"added"}


_REFUSALS: dict[Promise, Refusal] = {
    Promise.ATOMIC: _no_replace,
    Promise.DURABLE: _forgets,
    Promise.CHANGE_LOG: _no_changes,
    Promise.CACHE: _no_cache,
    Promise.NAMESPACES: _one_namespace,
    Promise.READERS: _no_readers,
    Promise.PROCESSES: _one_writer,
}
