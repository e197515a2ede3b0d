"""The conformance kit: subclass a class of it, and learn what holds for a part you wrote.

It needs pytest and hypothesis: ``pip install 'lanpo[testing]'``.
"""

import pytest

# Before the modules are loaded: failing assertions then say what stood on either side.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{module}"
        for module in (
            "base",
            "machine",
            "promises",
            "store_cache",
            "store_limits",
            "store_log",
            "store_places",
            "store_processes",
            "store_records",
            "store_threads",
        )
    )
)

from lanpo_memory.testing.conformance.promises import proves  # noqa: E402
from lanpo_memory.testing.conformance.store import StoreConformance  # noqa: E402

__all__ = ["StoreConformance", "proves"]
