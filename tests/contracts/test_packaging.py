"""What the distribution promises: few dependencies, complete wheels, tested versions."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, entry_points, requires
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
MOST_PACKAGES = 15
"""A core that is imported into other people's trainers must not bring them version conflicts."""


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return table


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    found = [re.fullmatch(r"([\w.-]+)==(\S+)", line) for line in lines if line[:1] not in ("", "#")]
    assert all(found), "constraints.txt: one `name==version` a line"
    return {canonicalize_name(match[1]): match[2] for match in found if match}


def closure(dist: str, *extras: str) -> set[str]:
    """Name all third-party packages that installing `dist[extras]` here brings along."""
    seen: set[tuple[str, str]] = set()
    todo = [(dist, extra) for extra in ("", *extras)]
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for line in _requires(name):
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                target = canonicalize_name(need.name)
                todo += [(target, wanted) for wanted in ("", *need.extras)]
    return {name for name, _ in seen} - {dist}


def _requires(name: str) -> list[str]:
    try:
        return requires(name) or []
    except PackageNotFoundError:
        return []


def test_the_core_is_small() -> None:
    names = closure("lanpo")
    assert {"pydantic", "numpy", "typer", "rich"} <= names
    assert len(names) <= MOST_PACKAGES, sorted(names)


def test_extras(project: dict[str, Any]) -> None:
    extras = project["optional-dependencies"]
    mine = "all bm25 chroma dev embed llm lora parquet postgres rl testing"
    assert {*extras} == {*mine.split()}
    (everything,) = extras["all"]
    assert Requirement(everything).extras == {*extras} - {"all", "dev"}


@pytest.mark.parametrize("extras", [(), ("rl",), ("rl", "bm25", "dev")], ids="+".join)
def test_every_installed_package_has_a_tested_version(
    extras: tuple[str, ...], pins: dict[str, str]
) -> None:
    assert closure("lanpo", *extras) - {*pins} - _only_for_gpus() == set()


def _only_for_gpus() -> set[str]:
    """torch's builds for an accelerator bring packages of their own, pinned by torch itself."""
    prefixes = ("nvidia-", "cuda-", "triton")
    return {name for name in closure("torch") if name.startswith(prefixes)}


def test_tested_versions_satisfy_the_project(project: dict[str, Any], pins: dict[str, str]) -> None:
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    for need in (Requirement(line) for group in groups for line in group):
        if need.name != "lanpo":
            assert need.specifier.contains(pins[canonicalize_name(need.name)]), need


def test_the_command(project: dict[str, Any]) -> None:
    assert project["scripts"] == {"lanpo": "lanpo_rl.cli:main"}
    (command,) = entry_points(group="console_scripts", name="lanpo")
    if find_spec("lanpo_rl.cli"):
        assert callable(command.load())


def test_the_wheel_is_complete(tmp_path: Path) -> None:
    """All files of both packages that git knows, data included, and nothing else."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("lanpo-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {"lanpo_memory/py.typed", "lanpo_rl/py.typed"} <= packed
    assert {name.partition("/")[0] for name in packed} == {"lanpo_memory", "lanpo_rl"}
    for kind in ("lanpo_rl/**/*.safetensors", "lanpo_rl/recipes/*.yaml"):
        wanted = {path.relative_to(ROOT).as_posix() for path in ROOT.glob(kind)}
        assert wanted, f"there is no {kind} any more; take it out of this test"
        assert packed >= wanted


@pytest.mark.parametrize("host", ["93.184.216.34", "example.org", "10.0.0.1"])
def test_tests_cannot_leave_this_machine(host: str) -> None:
    with pytest.raises(RuntimeError, match=re.escape(host)):
        socket.create_connection((host, 80), timeout=1)
    with socket.socket() as plain, pytest.raises(RuntimeError, match=re.escape(host)):
        plain.connect((host, 80))


def test_tests_can_talk_to_themselves() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(("localhost", server.getsockname()[1])).close()


def test_tests_have_a_home_of_their_own() -> None:
    assert "lanpo-tests-" in str(Path.home())
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert Path(os.environ["HF_HOME"]).is_relative_to(Path.home())
