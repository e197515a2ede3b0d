"""Where experiences are kept. A store is the only truth of a pool and knows no search.

Those that need an optional package are imported from their own modules: `stores.chroma`,
`stores.postgres`. `open_store` does it for an address.
"""

from lanpo_memory.stores.addresses import local_path, open_store, shown
from lanpo_memory.stores.memory import MemoryStore
from lanpo_memory.stores.sqlite import SQLiteStore

__all__ = ["MemoryStore", "SQLiteStore", "local_path", "open_store", "shown"]
