"""The tables of a pool in a PostgreSQL database, as numbered migrations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lanpo_memory.errors import PoolFormatError, PoolNotFoundError, PoolVersionError

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["VERSION", "prepare"]

# Everything of a namespace is numbered from its own counters, which its writers change one at a
# time: `seq` of a record is the number of the line in the log that tells of it. Texts that are
# compared are of collation "C", so that no change of the system's language touches an index. What
# may be longer than an index allows (ids of problems, keys, names) is found by a 128-bit hash.
_VERSION_1 = """
    CREATE TABLE lanpo.about (application text NOT NULL, version int NOT NULL);
    INSERT INTO lanpo.about VALUES ('lanpo', 0);
    CREATE TABLE lanpo.namespace (
        ns bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key uuid NOT NULL UNIQUE,
        name text NOT NULL, head bigint NOT NULL DEFAULT 0, problems bigint NOT NULL DEFAULT 0,
        experiences bigint NOT NULL DEFAULT 0);
    CREATE TABLE lanpo.problem (
        ns bigint NOT NULL, rid bigint NOT NULL, key uuid NOT NULL, pid text COLLATE "C" NOT NULL,
        text text NOT NULL, family text, metadata jsonb NOT NULL, exact text,
        PRIMARY KEY (ns, rid), UNIQUE (ns, key));
    CREATE TABLE lanpo.experience (
        ns bigint NOT NULL, seq bigint NOT NULL, rid bigint NOT NULL, step bigint NOT NULL,
        id text COLLATE "C" NOT NULL, lesson text COLLATE "C" NOT NULL,
        payload jsonb NOT NULL, exact text, PRIMARY KEY (ns, seq), UNIQUE (ns, id));
    CREATE INDEX experience_of ON lanpo.experience (ns, rid, seq);
    CREATE TABLE lanpo.attempt (
        ns bigint NOT NULL, seq bigint NOT NULL, rid bigint NOT NULL,
        id text COLLATE "C" NOT NULL, payload jsonb NOT NULL, exact text,
        PRIMARY KEY (ns, seq), UNIQUE (ns, id));
    CREATE INDEX attempt_of ON lanpo.attempt (ns, rid, seq);
    CREATE TABLE lanpo.exposure (
        ns bigint NOT NULL, seq bigint NOT NULL, key uuid NOT NULL,
        id text COLLATE "C" NOT NULL, pid text COLLATE "C" NOT NULL, payload jsonb NOT NULL,
        exact text, PRIMARY KEY (ns, seq), UNIQUE (ns, id));
    CREATE INDEX exposure_of ON lanpo.exposure (ns, key, seq);
    CREATE TABLE lanpo.failure (
        ns bigint NOT NULL, seq bigint NOT NULL, key uuid NOT NULL,
        id text COLLATE "C" NOT NULL, pid text COLLATE "C" NOT NULL, payload jsonb NOT NULL,
        exact text, PRIMARY KEY (ns, seq), UNIQUE (ns, id));
    CREATE INDEX failure_of ON lanpo.failure (ns, key, seq);
    CREATE TABLE lanpo.change (
        ns bigint NOT NULL, seq bigint NOT NULL, op text COLLATE "C" NOT NULL,
        kind text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL,
        pid text COLLATE "C" NOT NULL, batch uuid, PRIMARY KEY (ns, seq));
    CREATE TABLE lanpo.cached (key uuid PRIMARY KEY, value bytea NOT NULL);
    ALTER TABLE lanpo.cached ALTER COLUMN value SET STORAGE EXTERNAL
    """

# `lanpo.about` says how many of these a database has seen. Never edit, only append.
_MIGRATIONS = (_VERSION_1,)
VERSION = len(_MIGRATIONS)
_TABLES = frozenset(
    {"about", "namespace", "problem", "experience", "attempt", "exposure", "failure", "change",
     "cached"}
)  # fmt: skip
_LOCK = 0x4C414E504F  # "LANPO": one process at a time makes or migrates the schema


def prepare(db: Connection[Any], address: str, *, create: bool) -> None:
    """Make sure that the schema is there and current; several processes may do this at once.

    Raises:
        PoolNotFoundError: there is none, and `create` is false.
        PoolFormatError: the schema `lanpo` is something else, or the database is not in UTF-8.
        PoolVersionError: it was made by newer code.
    """
    if _version(db, address) == VERSION:
        return
    db.execute("BEGIN")
    db.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    seen = _version(db, address)  # another process may have been first
    if not seen and not create:
        raise PoolNotFoundError(f"there is no pool at {address}")
    if not seen and db.execute("SELECT to_regnamespace('lanpo')").fetchone() == (None,):
        db.execute("CREATE SCHEMA lanpo")
    for script in _MIGRATIONS[seen:]:
        for statement in script.split(";\n"):
            db.execute(statement)
    db.execute("UPDATE lanpo.about SET version = %s", (VERSION,))
    db.execute("COMMIT")


def _version(db: Connection[Any], address: str) -> int:
    """The schema's version, 0 where there is none or an empty one."""
    encoding = db.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise PoolFormatError(
            f"{address} keeps its texts in {encoding}, which does not have every character. Make "
            "a database with: createdb -E UTF8 -T template0 NAME"
        )
    rows = db.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = 'lanpo' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
    ).fetchall()
    found = {name for (name,) in rows}
    if not found:
        return 0
    foreign = PoolFormatError(
        f"the schema lanpo of {address} is not a pool of this library; it was not touched. Give "
        "another database."
    )
    if "about" not in found:
        raise foreign
    row = db.execute("SELECT to_jsonb(a) FROM lanpo.about a").fetchone()
    about = row[0] if row else {}
    if about.get("application") != "lanpo" or not isinstance(about.get("version"), int):
        raise foreign
    version = int(about["version"])
    if version > VERSION:
        raise PoolVersionError(
            f"{address} has schema version {version}, this code knows {VERSION}. "
            "Update with: pip install -U lanpo"
        )
    if not found >= _TABLES:
        raise PoolFormatError(
            f"{address} lacks tables of a pool ({', '.join(sorted(_TABLES - found))}); it was not "
            "touched"
        )
    return version
