"""The few collective operations of the trainer. In one process each is the plain thing itself."""

from __future__ import annotations

import atexit
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from lanpo_memory.errors import LanpoError

__all__ = ["from_main", "gathered", "leave", "spread"]

T = TypeVar("T")
R = TypeVar("R")


def gathered(rows: Sequence[T]) -> list[T]:
    """Every rank's rows, in rank order, on every rank."""
    return list(gather_object(list(rows)))


def from_main(accelerator: Accelerator, make: Callable[[], T]) -> T:
    """Rank 0 makes a value, every rank gets it. An error on rank 0 is raised on every rank."""
    box: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            box[0] = make()
        except Exception as error:
            if accelerator.num_processes == 1:
                raise
            box[1] = _travelling(error)  # the others would wait for ever
    broadcast_object_list(box)
    if box[1] is not None:
        raise box[1]
    return box[0]  # type: ignore[no-any-return]


def _travelling(error: Exception) -> Exception:
    """The error, or, where it cannot be sent to another process, what it says."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - whatever its class does on the way
        return LanpoError(f"{type(error).__name__}: {error}")
    return error


def spread(
    accelerator: Accelerator, items: Sequence[T], work: Callable[[list[T]], list[R]]
) -> list[R]:
    """Share `items` out over the ranks in equal parts and gather the answers in order.

    Every rank calls `work` with the same number of items (the last one is repeated as padding),
    because generation is a collective operation. With no items nobody calls it.
    """
    if not items:
        return []
    ranks = accelerator.num_processes
    share = -(-len(items) // ranks)
    padded = [*items, *[items[-1]] * (share * ranks - len(items))]
    start = accelerator.process_index * share
    return gathered(work(padded[start : start + share]))[: len(items)]


def leave(accelerator: Accelerator) -> None:
    """End the work of a run; in a group of processes on CPUs this ends the process, with code 0.

    There gloo's threads may still be letting go of the last tensors, for which they need the
    interpreter. Its end in the meantime aborts the process; and who frees the group first waits for
    these threads while they wait for the interpreter, for ever (torch 2.13). So what is registered
    with `atexit` is done, output is flushed, and the process ends without taking Python down.
    """
    accelerator.end_training()
    if accelerator.num_processes == 1 or accelerator.device.type != "cpu":
        return
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
