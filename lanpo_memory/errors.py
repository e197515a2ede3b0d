"""Every error this library raises on purpose.

::

    LanpoError
    ├── InvalidInputError (ValueError)        a field or an argument that cannot be used
    │   └── LabelLeakError                    an answer-like field on a Problem
    ├── ConfigError (ValueError)              settings that make no sense, alone or together
    ├── MissingExtraError (ImportError)       an optional package is not installed
    ├── PromiseError (NotImplementedError)    a store was asked for what it does not promise
    ├── BudgetExceeded (RuntimeError)         the next model call would cross a hard budget
    ├── NoAnswerError (RuntimeError)          a model answered none of many questions
    └── PoolError
        ├── PoolURLError (ValueError)         an address `open_pool` cannot read
        ├── PoolNotFoundError (FileNotFoundError)
        ├── PoolFormatError (ValueError)      a file that is not a pool
        │   └── PoolDamagedError              a page or a record cannot be read
        ├── PoolVersionError                  a pool written by newer code
        ├── PoolBusyError (TimeoutError)      another process holds the write lock too long
        ├── PoolConnectionError (ConnectionError)  a server is not there, or went away
        ├── PoolWriteError (OSError)          the disk refused a write; nothing was half written
        │   ├── PoolFullError                 no space left
        │   ├── PoolReadOnlyError             the file or its folder may not be written
        │   └── PoolFileSystemError           a network file system, where pools get damaged
        ├── PoolClosedError                   used after `close()`
        └── EmbedderMismatchError (ValueError)  vectors of two embedders in one pool

A model's failure is not here: it is data, a `Failure` or a `Receipt` with status ``failed``.
`HitRateWarning` is a warning: nothing failed, but gamma filters everything or nothing.
"""

from __future__ import annotations

__all__ = [
    "BudgetExceeded",
    "ConfigError",
    "EmbedderMismatchError",
    "HitRateWarning",
    "InvalidInputError",
    "LabelLeakError",
    "LanpoError",
    "MissingExtraError",
    "NoAnswerError",
    "PoolBusyError",
    "PoolClosedError",
    "PoolConnectionError",
    "PoolDamagedError",
    "PoolError",
    "PoolFileSystemError",
    "PoolFormatError",
    "PoolFullError",
    "PoolNotFoundError",
    "PoolReadOnlyError",
    "PoolURLError",
    "PoolVersionError",
    "PoolWriteError",
    "PromiseError",
    "positive",
]


class LanpoError(Exception):
    """Base of every error raised on purpose by `lanpo_memory` and `lanpo_rl`."""


class InvalidInputError(LanpoError, ValueError):
    """A value that cannot be stored or used; the message names the field and the remedy."""


class LabelLeakError(InvalidInputError):
    """A reference answer was about to travel with a problem."""


class ConfigError(LanpoError, ValueError):
    """Settings that make no sense, alone or in combination."""


class MissingExtraError(LanpoError, ImportError):
    """An optional dependency is missing; the message holds the pip line that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this needs the package {package!r}, which is not installed. "
            f"Install it with: pip install 'lanpo[{extra}]', in a clone: pip install '.[{extra}]'"
        )
        self.package, self.extra = package, extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        """Errors travel between processes."""
        return type(self), (self.package, self.extra)


class PromiseError(LanpoError, NotImplementedError):
    """A store refuses an operation that it does not promise, instead of half doing it."""


class BudgetExceeded(LanpoError, RuntimeError):
    """The next model call would cross a hard budget; it was not made."""


class NoAnswerError(LanpoError, RuntimeError):
    """A model answered none of many questions: a wrong key or address, which more do not mend."""


class PoolError(LanpoError):
    """Base of everything that can be wrong with a pool."""


class PoolURLError(PoolError, ValueError):
    """An address that `open_pool` cannot read; the message lists the known schemes."""


class PoolNotFoundError(PoolError, FileNotFoundError):
    """The pool does not exist and creating it was not asked for."""


class PoolFormatError(PoolError, ValueError):
    """The file exists but is not a pool, or is damaged. It was not touched."""


class PoolDamagedError(PoolFormatError):
    """A page of the file or a record in it cannot be read; the message says what to do."""


class PoolVersionError(PoolError):
    """The pool was written by a newer version of this library. It was not touched."""


class PoolBusyError(PoolError, TimeoutError):
    """Another process held the write lock for longer than the time-out. Nothing was written."""


class PoolConnectionError(PoolError, ConnectionError):
    """A pool's server cannot be reached, or the connection broke. Nothing is half written."""


class PoolWriteError(PoolError, OSError):
    """The disk refused a write (full, read-only, I/O error). The transaction was rolled back."""


class PoolFullError(PoolWriteError):
    """There is no space left. The batch was rolled back; what was acknowledged before stays."""


class PoolReadOnlyError(PoolWriteError):
    """The pool's file or folder may not be written, which even reading needs (the log's index)."""


class PoolFileSystemError(PoolWriteError):
    """The folder lies on a network file system, where SQLite's write-ahead log does not work."""


class PoolClosedError(PoolError):
    """The pool was used after it was closed."""


class EmbedderMismatchError(PoolError, ValueError):
    """The pool holds vectors of another embedder; mixing spaces is refused."""


class HitRateWarning(UserWarning):
    """Hardly any problem finds an experience that is similar enough, or every one does."""


def positive(name: str, value: int | None) -> None:
    """Refuse a number below 1; `None`, where it means no limit, passes.

    Raises:
        ConfigError: it is.
    """
    if value is not None and value < 1:
        raise ConfigError(f"{name} must be at least 1, got {value}")
