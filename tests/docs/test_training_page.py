"""The tables of the page on training: complete, and true."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from lanpo_memory.errors import ConfigError
from lanpo_rl import combinations
from lanpo_rl.config import _CHOICES, LanpoConfig, preset_settings

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of all tables under a heading, header lines left out."""
    part = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    section = next(text for text in part if text.startswith(heading))
    lines = [line for line in section.splitlines() if line.startswith("|")]
    kept = [i for i in range(len(lines)) if not _is_header(lines, i)]
    return [[cell.strip() for cell in lines[i].strip("|").split("|")] for i in kept]


def _is_header(lines: list[str], i: int) -> bool:
    after = lines[i + 1] if i + 1 < len(lines) else ""
    return lines[i].startswith("|:") or after.startswith("|:")


REFUSED = [row[0].strip("`") for row in rows("What is refused")]


def refusal(settings: str, folder: Path) -> str:
    given: dict[str, Any] = eval(f"dict({settings})", {})
    with pytest.raises(ConfigError) as caught:
        LanpoConfig.preset(
            "recommended",
            **{"output_dir": str(folder), "use_cpu": True, "bf16": False, **given},
            activation_checkpointing=False,
        )
    return str(caught.value)


@pytest.mark.parametrize("settings", REFUSED)
def test_what_the_page_says_is_refused_is_refused(settings: str, tmp_path: Path):
    assert refusal(settings, tmp_path)


def test_every_refusal_of_a_combination_is_on_the_page(tmp_path: Path):
    said = [refusal(settings, tmp_path) for settings in REFUSED]
    tree = ast.parse(inspect.getsource(combinations))
    for node in ast.walk(tree):
        if isinstance(node, ast.Yield):
            words = [c.value for c in ast.walk(node) if isinstance(c, ast.Constant)]
            longest = max((w for w in words if isinstance(w, str)), key=len)
            assert any(longest in message for message in said), f"not on the page: {longest}"


def test_every_objective_and_layout_has_its_row():
    found = [tuple(cell.strip("`") for cell in row[:2]) for row in rows("Which loss")]
    for pair in itertools.product(_CHOICES["objective"], _CHOICES["group_layout"]):
        assert found.count(pair) == 1


def test_every_gate_is_there_and_said_to_be_agnostic_or_not():
    table = {row[0]: row[-1] for row in rows("When") if row[0].startswith("`")}
    gates = {re.findall(r"`(\w+)`", name)[0] for name in table if "objective" not in name}
    assert gates >= set(_CHOICES["gate"])
    for name, verdict in table.items():
        if re.findall(r"`(\w+)`", name)[0] in _CHOICES["gate"]:
            assert verdict == ("yes" if "always" in name else "no: outcome-gated")


def test_the_recommended_preset_is_the_one_explained():
    cells = [row[0].strip("`") for row in rows("Presets")]
    told = dict(eval(f"dict({cell})", {}).popitem() for cell in cells if cell)
    defaults = {f.name: f.default for f in fields(LanpoConfig)}
    for name, value in {**defaults, **preset_settings("recommended")}.items():
        if name in told:
            assert told[name] == value
    assert set(preset_settings("recommended")) <= set(told)
