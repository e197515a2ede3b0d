"""Waiting for the commits of others, without asking for them all the time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lanpo_memory.stores.postgres_connection import Server

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["wait"]

_LOOK_EVERY_S = 5.0  # should the server's word be lost on the way
_PAUSE_S = 0.5  # between tries to listen


def wait(server: Server, channel: str, news: Callable[[], bool], timeout_s: float) -> bool:
    """Wait until there is news, and tell whether there is.

    The server tells of commits. Where it cannot, because the connection breaks, `news` is asked
    every now and then.

    Args:
        server: where to listen.
        channel: what the writers notify when they commit.
        news: looks whether there is any.
        timeout_s: how long to wait at most.
    """
    import psycopg

    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with server.connect() as db:
                db.execute(f"LISTEN {channel}")
                return _heard(db, news, deadline)
        except psycopg.Error:
            if news():
                return True
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(left, _PAUSE_S))


def _heard(db: Connection[Any], news: Callable[[], bool], deadline: float) -> bool:
    # Asked after LISTEN: a commit in between is heard of.
    while not news():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        told = db.notifies(timeout=min(left, _LOOK_EVERY_S), stop_after=1)
        with contextlib.closing(told):
            next(told, None)
    return True
