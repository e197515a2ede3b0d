"""The conformance kit: subclass a class of it, and learn what holds for a part you wrote.

`StoreConformance` `RetrieverConformance` `SummarizerConformance` `RelevanceConformance`
`ReflectorConformance` `EmbedderConformance`

It needs pytest and hypothesis: ``pip install 'lanpo[testing]'``.
"""

from lanpo_memory.errors import MissingExtraError

try:
    import hypothesis  # noqa: F401 - so that its absence is told here, too
    import pytest
except ImportError as error:
    raise MissingExtraError(error.name or "pytest", "testing") from error

# Before the modules are loaded: failing assertions then say what stood on either side.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{module}"
        for module in (
            "base",
            "embedder",
            "machine",
            "promises",
            "reflector",
            "relevance",
            "retriever",
            "store_cache",
            "store_limits",
            "store_log",
            "store_places",
            "store_processes",
            "store_records",
            "store_threads",
            "summarizer",
        )
    )
)

from lanpo_memory.testing.conformance.embedder import EmbedderConformance  # noqa: E402
from lanpo_memory.testing.conformance.promises import proves  # noqa: E402
from lanpo_memory.testing.conformance.reflector import ReflectorConformance  # noqa: E402
from lanpo_memory.testing.conformance.relevance import RelevanceConformance  # noqa: E402
from lanpo_memory.testing.conformance.retriever import RetrieverConformance  # noqa: E402
from lanpo_memory.testing.conformance.store import StoreConformance  # noqa: E402
from lanpo_memory.testing.conformance.summarizer import SummarizerConformance  # noqa: E402

__all__ = [
    "EmbedderConformance",
    "ReflectorConformance",
    "RelevanceConformance",
    "RetrieverConformance",
    "StoreConformance",
    "SummarizerConformance",
    "proves",
]
