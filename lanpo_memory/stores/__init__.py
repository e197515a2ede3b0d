"""Where experiences are kept. A store is the only truth about a pool; it knows nothing of search."""

from lanpo_memory.stores.memory import MemoryStore
from lanpo_memory.stores.sqlite import SQLiteStore

__all__ = ["MemoryStore", "SQLiteStore"]
