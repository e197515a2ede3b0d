"""Several runs, one store: each has its own pool, and whoever reads sees what is there.

A run waits after every step until the reader has compared its digest with the writer's. At the end
each pool equals that of the same run alone, on a store of its own: nothing is lost, nothing mixed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lanpo_memory import ExperiencePool, open_pool
from tests.memory.chroma_server import chroma_server, chroma_url
from tests.memory.postgres_server import postgres_server, postgres_url

# Fixtures, which pytest finds by their names here.
__all__ = ["chroma_server", "chroma_url", "postgres_server", "postgres_url"]

STEPS = 4
SCRIPT = Path(__file__).with_name("shared_run.py")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


@dataclass
class Run:
    """A training run in processes of its own, one step at a time."""

    folder: Path
    url: str
    namespace: str
    seed: int
    ranks: int = 1
    digests: list[str] = field(default_factory=list)

    def start(self) -> Run:
        self.folder.mkdir()
        settings = {
            "pool": self.url,
            "pool_namespace": self.namespace,
            "seed": self.seed,
            "gradient_accumulation_steps": 2 // self.ranks,
            "max_steps": STEPS,
        }
        launcher = TORCHRUN if self.ranks > 1 else ()
        root = str(SCRIPT.parents[2])
        self._log = (self.folder / "log").open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, *launcher, str(SCRIPT), str(self.folder), json.dumps(settings)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        return self

    def said(self, step: int) -> dict[str, Any]:
        """What the run says after a step."""
        path = self.folder / f"step-{step}.json"
        deadline = time.monotonic() + 240.0
        while not path.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self.namespace}, step {step}: {self.output()}")
            time.sleep(0.01)
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        self.digests.append(found["digest"])
        return found

    def go_on(self, step: int) -> None:
        (self.folder / f"step-{step}.ok").touch()

    def ends(self) -> None:
        assert self._process.wait(timeout=240) == 0, self.output()

    def output(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")[-3000:]

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgres", marks=pytest.mark.server),
        pytest.param("chroma", marks=pytest.mark.server),
    ]
)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'shared.db'}"
    else:
        yield request.getfixturevalue(f"{request.param}_url")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int], list[str]]:
    """The digests of the same run with a file of its own, by seed and ranks."""
    folder = tmp_path_factory.mktemp("alone")

    @cache
    def digests(seed: int, ranks: int = 1) -> list[str]:
        name = f"{seed} {ranks}"
        run = Run(folder / name, str(folder / f"{name}.db"), "default", seed, ranks).start()
        try:
            for step in range(1, STEPS + 1):
                run.said(step)
                run.go_on(step)
            run.ends()
        finally:
            run.stop()
        return run.digests

    return digests


def followed(runs: list[Run]) -> None:
    """Let runs go on side by side; after every step a reader of all of them compares digests."""
    with ExitStack() as stack:
        for run in runs:
            stack.callback(run.start().stop)
        readers: list[ExperiencePool] = []
        for step in range(1, STEPS + 1):
            for run in runs:  # all wait at the same step: what they wrote stands side by side
                run.said(step)
            if not readers:
                readers = [
                    stack.enter_context(open_pool(run.url, namespace=run.namespace, create=False))
                    for run in runs
                ]
            for run, reader in zip(runs, readers, strict=True):
                assert reader.digest() == run.digests[-1], f"{run.namespace}, step {step}"
                said = json.loads((run.folder / f"step-{step}.json").read_text())
                assert len(reader) == said["experiences"]
                run.go_on(step)
        for run in runs:
            run.ends()
        for run, reader in zip(runs, readers, strict=True):
            assert reader.digest() == run.digests[-1]
            assert len(reader) > 0


@pytest.mark.slow
def test_two_runs_and_a_reader_share_one_store(
    url: str, alone: Callable[..., list[str]], tmp_path: Path
):
    runs = [Run(tmp_path / f"run {seed}", url, f"run {seed}", seed) for seed in (0, 1)]
    followed(runs)
    assert [run.digests for run in runs] == [alone(0), alone(1)]
    assert alone(0) != alone(1)


@pytest.mark.slow
def test_a_run_of_two_processes_writes_through_one_and_a_reader_follows(
    url: str, alone: Callable[..., list[str]], tmp_path: Path
):
    run = Run(tmp_path / "run", url, "two ranks", 0, ranks=2)
    followed([run])
    assert run.digests == alone(0, 2)
