"""PostgreSQL's errors in this library's own words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lanpo_memory.errors import (
    InvalidInputError,
    LanpoError,
    PoolBusyError,
    PoolConnectionError,
    PoolFormatError,
    PoolFullError,
    PoolNotFoundError,
    PoolReadOnlyError,
    PoolWriteError,
)

if TYPE_CHECKING:
    import psycopg

__all__ = ["is_lost", "is_refused", "translated"]

# Error codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
_GONE = ("08", "57P", "25P03", "25P04", "40")  # a connection, or a transaction: try again
_FULL = ("53100",)
_DENIED = ("42501", "25006")
_BUSY = ("55P03",)
_CANCELLED = ("57014",)
_MISSING = ("3F000", "42P01", "42703")
# A refused log-in has no code, only the server's words.
_REFUSALS = (
    "authentication failed",
    "does not exist",
    "no password supplied",
    "pg_hba.conf",
    "not permitted to log in",
    "invalid port",
)


def is_refused(error: psycopg.Error) -> bool:
    """Whether the server was reached and said no, or the address makes no sense."""
    return error.sqlstate is None and any(words in str(error) for words in _REFUSALS)


def is_lost(error: psycopg.Error) -> bool:
    """Whether the connection broke or cannot be had just now, so that trying again may help."""
    import psycopg

    if error.sqlstate is not None:
        return error.sqlstate.startswith(_GONE)
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and not is_refused(
        error
    )


def translated(error: psycopg.Error, address: str, timeout_s: float) -> LanpoError:
    """The typed error, with its remedy, for an error at an address that may be shown."""
    import psycopg

    code, said = error.sqlstate or "", " ".join(str(error).split())
    if is_refused(error):
        return _refused(said, address)
    if is_lost(error):
        return PoolConnectionError(
            f"{address} cannot be reached, or the connection broke ({said}); nothing is half "
            "written. Is the server running? Then try again."
        )
    if code in _BUSY:
        return PoolBusyError(
            f"others have been writing to {address} for {timeout_s:g} s; nothing was written, "
            "try again"
        )
    if code in _CANCELLED:
        return PoolBusyError(
            f"{address} stopped a statement ({said}); nothing was written. Try again, with a "
            "longer statement_timeout if that is why"
        )
    if code in _FULL:
        return PoolFullError(
            f"the disk of {address} is full ({said}); nothing of this batch was written, all "
            "before it is there. Make space and add the batch again."
        )
    if code in _DENIED:
        return PoolReadOnlyError(
            f"{address} may not be written ({said}). Ask its owner for the rights to the schema "
            "lanpo, or use the address of the primary server."
        )
    if code in _MISSING:
        return PoolFormatError(
            f"the schema lanpo of {address} does not have the tables of a pool ({said}); it was "
            "not touched"
        )
    if isinstance(error, psycopg.DataError):
        return InvalidInputError(f"{address} cannot store this: {said}; nothing was written")
    return PoolWriteError(f"{address}: {said}; nothing was written")


def _refused(said: str, address: str) -> LanpoError:
    if "database" in said and "does not exist" in said:
        return PoolNotFoundError(
            f"there is no such database at {address} ({said}). Make it first, with: "
            "createdb -E UTF8 -T template0 NAME"
        )
    return PoolConnectionError(
        f"{address} refuses to be opened ({said}). Check user and password in the address, in "
        "PGPASSWORD or in ~/.pgpass, and the server's pg_hba.conf."
    )
