"""Where experiences are kept. A store is the only truth of a pool and knows no search."""

from lanpo_memory.stores.memory import MemoryStore
from lanpo_memory.stores.sqlite import SQLiteStore

__all__ = ["MemoryStore", "SQLiteStore"]
