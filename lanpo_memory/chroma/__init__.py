"""The way to Chroma, for the store and the retriever that use it: `chromadb` comes in here alone.

`ChromaPlace` is a folder or a server: it connects without telemetry and without Chroma's default
embedding function, tries again where that is safe, and raises this library's errors.
"""

from lanpo_memory.chroma.place import WAITS_S, ChromaPlace, check_name

__all__ = ["WAITS_S", "ChromaPlace", "check_name"]
