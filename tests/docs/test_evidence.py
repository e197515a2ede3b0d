"""No figure without its run: quoted tables stand in a report that is kept, word for word."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEPT = sorted((ROOT / "docs" / "studies").glob("*/report.md"))
_HEAD_OR_RULE = re.compile(r"^\|[ :|-]+\|$")


def rows(text: str) -> set[str]:
    """Rows of the tables of a page, without rules; cells may be marked bold."""
    lines = (line.strip().replace("**", "") for line in text.splitlines())
    return {line for line in lines if line.startswith("|") and not _HEAD_OR_RULE.match(line)}


def quoted(page: Path) -> set[str]:
    """Rows between ``<!-- from a report -->`` and the end of their table."""
    text = page.read_text(encoding="utf-8")
    tables = re.findall(r"<!-- from a report -->\n+((?:\|.*\n)+)", text)
    return {row for table in tables for row in rows(table)}


@pytest.mark.parametrize("page", ["README.md", "docs/evidence.md"])
def test_every_row_that_is_quoted_stands_in_a_report(page: str):
    known = {row for report in KEPT for row in rows(report.read_text(encoding="utf-8"))}
    found = quoted(ROOT / page)
    assert len(found) >= 3
    assert found <= known, sorted(found - known)


@pytest.mark.parametrize("report", KEPT, ids=lambda path: path.parent.name)
def test_a_kept_report_has_its_numbers_and_its_pictures(report: Path):
    results = json.loads((report.parent / "results.json").read_text(encoding="utf-8"))
    assert results["study"] == report.parent.name
    text = report.read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    assert pictures
    for picture in pictures:
        assert (report.parent / picture).read_bytes().startswith(b"\x89PNG")
    assert str(ROOT) not in text
