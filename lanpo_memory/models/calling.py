"""Calls over a network: so many at once, in order, and how long to wait before the next try."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

__all__ = ["Backoff", "in_threads", "retry_after_s"]

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Backoff:
    """Pauses that double from `first_s` up to `most_s` seconds, shortened by chance by up to half.

    Chance is a function of seed, item and try: the same in every run, whatever the threads do.

    >>> backoff = Backoff(first_s=1.0, most_s=60.0, seed=0)
    >>> [2 ** k / 2 <= backoff.pause_s(item=0, tries=k + 1) <= 2 ** k for k in range(5)]
    [True, True, True, True, True]
    >>> backoff.pause_s(item=0, tries=1, at_least_s=3600.0)
    60.0
    """

    first_s: float
    most_s: float
    seed: int

    def pause_s(self, *, item: int, tries: int, at_least_s: float = 0.0) -> float:
        """Seconds to wait after so many tries; `at_least_s` is what the server asked for."""
        doubled = min(self.most_s, self.first_s * 2.0 ** min(tries - 1, 64))
        chance = random.Random(f"{self.seed}:{item}:{tries}").random()
        return min(self.most_s, max(at_least_s, doubled * (1.0 - chance / 2.0)))


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Seconds a server asks to wait in `Retry-After`, as a number or a date; 0 if it does not.

    A date is compared with the server's own `Date`, whose clock may differ from ours. Names of
    headers are in lower case.

    >>> retry_after_s({"retry-after": "2.5"})
    2.5
    >>> retry_after_s(
    ...     {
    ...         "date": "Wed, 21 Oct 2015 07:28:00 GMT",
    ...         "retry-after": "Wed, 21 Oct 2015 07:28:30 GMT",
    ...     }
    ... )
    30.0
    """
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        return _seconds_until(_date(text), _date(headers.get("date", "")))
    return 0.0 if math.isnan(seconds) else max(0.0, seconds)


def _seconds_until(date: datetime | None, now: datetime | None) -> float:
    if date is None:
        return 0.0
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def in_threads(
    work: Callable[[int, Item], Result],
    items: Sequence[Item],
    *,
    threads: int,
    stop: threading.Event,
) -> list[Result]:
    """Return `work(index, item)` of each item, in order, with so many threads at once.

    When one raises, or the caller is interrupted, `stop` is set, what has not begun is dropped,
    and what has begun is waited for: it was sent, and is booked.
    """
    if not items:
        return []

    def run(index: int, item: Item) -> Result:
        try:
            return work(index, item)
        except BaseException:
            stop.set()  # before this thread takes the next item
            raise

    pool = ThreadPoolExecutor(min(threads, len(items)), thread_name_prefix="lanpo-model")
    try:
        futures = [pool.submit(run, index, item) for index, item in enumerate(items)]
        wait(futures, return_when=FIRST_EXCEPTION)
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
    # Whatever was dropped, was dropped for an error, which is raised here.
    return [future.result() for future in futures if not future.cancelled()]
