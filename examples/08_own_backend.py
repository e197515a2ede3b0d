"""Your own backend: a pool in a folder of JSON files, one for each batch.

The store in memory does the work; opening reads the files. How it is tested: docs/own-parts.md.
"""

import fcntl
import json
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lanpo_memory import Experience, ExperiencePool, Problem
from lanpo_memory.errors import PoolBusyError, PoolClosedError, PoolNotFoundError, PromiseError
from lanpo_memory.snapshots import write_whole
from lanpo_memory.stores import MemoryStore
from lanpo_memory.types import Batch, Limits, Promise, Receipt


class JSONFolderStore(MemoryStore):
    promises = frozenset({Promise.ATOMIC, Promise.DURABLE, Promise.CHANGE_LOG})

    def __init__(self, folder: str, *, namespace: str = "default", create: bool = True) -> None:
        super().__init__(namespace=namespace)  # it refuses all but "default"
        self.folder, self.batches, self.writing = Path(folder), 0, threading.Lock()
        if not create and not self.folder.is_dir():
            raise PoolNotFoundError(f"there is no folder {folder}; create=True makes it")
        self.folder.mkdir(exist_ok=True)
        self.lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # gone when the process ends
        except BlockingIOError:
            self.lock.close()
            raise PoolBusyError(f"{folder} is open elsewhere; close it there first") from None
        for file in sorted(self.folder.glob("*.json")):
            said = json.loads(file.read_text())
            worth = said["worth"].__getitem__ if said["worth"] else None
            super().write(Batch(**said["batch"]), limits=Limits(**said["limits"]), worth=worth)
            self.batches += 1

    def write(self, batch: Batch, *, limits: Limits, worth: Any = None) -> list[Receipt]:
        with self.writing:
            if self.lock.closed:
                raise PoolClosedError(f"{self.folder} was closed; open it again")
            asked: dict[str, float] = {}  # a function cannot be stored, what it said can
            weigh = worth and (lambda lesson: asked.setdefault(lesson, worth(lesson)))
            receipts = super().write(batch, limits=limits, worth=weigh)
            said = {"batch": batch.model_dump(), "limits": limits.model_dump(), "worth": asked}
            try:  # whole or not at all, and on the disk before anyone is told
                write_whole(self.folder / f"{self.batches:09}.json", json.dumps(said))
            except OSError:  # PoolWriteError is one
                self.close()
                raise
            self.batches += 1
            return receipts

    def cached(self, *_: object) -> Any:
        raise PromiseError("a folder of JSON files keeps no cache")

    cache = cached

    def close(self) -> None:
        self.lock.close()


with TemporaryDirectory() as folder:
    lesson = Experience(problem=Problem(text="2 + 3?"), principles=("Count on.",))
    with ExperiencePool(JSONFolderStore(folder)) as pool:
        print(pool.add([lesson])[0].status)
    with ExperiencePool(JSONFolderStore(folder)) as pool:
        print(pool.retrieve([lesson.problem], k=1, filters=[])[0][0].experience.principles)
