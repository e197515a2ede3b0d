"""A throw-away PostgreSQL cluster on loopback, and a fresh database for each test."""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.memory.servers import absent, free_port

__all__ = ["Cluster", "postgres_server", "postgres_url", "run"]

_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
}


@dataclass
class Cluster:
    """A PostgreSQL server whose whole life belongs to the tests."""

    binaries: Path
    folder: Path
    user: str | None
    port: int
    settings: dict[str, str] = field(default_factory=lambda: dict(_SETTINGS))

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str, user: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        options = " ".join(f"-c {name}={value!r}" for name, value in self.settings.items())
        self._run(
            "pg_ctl", "start", "-w", "-t", "60", "-D", self.data,
            "-l", str(self.folder / "log"), "-o", f"-p {self.port} {options}",
        )  # fmt: skip

    def stop(self, mode: str = "fast") -> None:
        """Stop it: ``fast`` ends sessions, ``immediate`` is a crash that recovery follows."""
        self._run("pg_ctl", "stop", "-w", "-t", "60", "-m", mode, "-D", self.data)

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """End the server's processes as a power cut would; `start` recovers."""
        note = Path(self.data) / "postmaster.pid"
        pid = int(note.read_text().split("\n")[0])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        # The next start is refused as long as any of them holds the shared memory.
        while any(Path(f"/proc/{each}/exe").exists() for each in (pid, *children)):
            time.sleep(0.01)
        note.unlink(missing_ok=True)

    @property
    def running(self) -> bool:
        return self._try("pg_ctl", "status", "-D", self.data).returncode == 0

    @property
    def data(self) -> str:
        return str(self.folder / "data")

    def make(self) -> None:
        self._run(
            "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
            "--no-locale", "--no-sync",
        )  # fmt: skip
        # One user has to give a password; everybody else is trusted.
        rules = Path(self.data) / "pg_hba.conf"
        trusting = rules.read_text()
        rules.write_text(f"host all locked 127.0.0.1/32 scram-sha-256\n{trusting}")

    def _run(self, name: str, *arguments: str) -> None:
        done = self._try(name, *arguments)
        if done.returncode:
            log = self.folder / "log"
            told = log.read_text()[-2000:] if log.exists() else ""
            raise RuntimeError(f"{name} {arguments[0]} failed: {done.stdout}{done.stderr}{told}")

    def _try(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.binaries / name), *arguments]
        # The server inherits what it is given: a pipe would be open as long as it lives.
        with tempfile.TemporaryFile("w+") as told:
            done = subprocess.run(
                command,
                cwd="/",
                user=self.user,
                group=self.user,
                extra_groups=[] if self.user else None,
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=told,
                timeout=120,
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
            )
            told.seek(0)
            return subprocess.CompletedProcess(command, done.returncode, told.read(), "")


def _binaries() -> Path:
    """The folder of the newest PostgreSQL there is."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    on_path = shutil.which("initdb")
    if not found and not on_path:
        absent("PostgreSQL is not installed (no initdb in /usr/lib/postgresql or on the PATH)")
    return found[-1].parent if found else Path(str(on_path)).resolve().parent


def _user() -> str | None:
    """Whom the server runs as: it refuses to run as root."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        absent(f"PostgreSQL does not run as {getpass.getuser()}, and there is no user postgres")
    return "postgres"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Cluster]:
    """One cluster for all tests; a test that stops it starts it again."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    binaries, user = _binaries(), _user()
    folder = Path(tempfile.mkdtemp(prefix="lanpo-pg-", dir="/tmp"))
    if user is not None:
        shutil.chown(folder, user, user)
    server = Cluster(binaries, folder, user, free_port())
    try:
        server.make()
        server.start()
        yield server
    finally:
        if server.running:
            server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: Cluster) -> Iterator[str]:
    """The address of an empty database, dropped after the test."""
    import psycopg

    if not postgres_server.running:  # a test before this one left it so
        postgres_server.start()
    name = f"t_{uuid.uuid4().hex[:12]}"
    run(postgres_server.url, f"CREATE DATABASE {name} TEMPLATE template0")
    yield postgres_server.url_of(name)
    if not postgres_server.running:
        postgres_server.start()
    with psycopg.connect(postgres_server.url, autocommit=True) as db:
        db.execute(f"DROP DATABASE {name} WITH (FORCE)")


def run(url: str, sql: str, arguments: Sequence[object] = ()) -> list[tuple[object, ...]]:
    """Do one statement on a connection of its own, and return its rows."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as db:
        cursor = db.execute(sql, arguments or None)
        return cursor.fetchall() if cursor.description else []
