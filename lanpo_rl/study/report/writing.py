"""A report in a folder: Markdown, HTML, pictures and results, each whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lanpo_rl.study.report.blocks import as_markdown
from lanpo_rl.study.report.composing import answered, compose, headline_rows
from lanpo_rl.study.report.data import as_json
from lanpo_rl.study.report.findings import Findings
from lanpo_rl.study.report.page import as_html
from lanpo_rl.study.report.pictures import draw_subject
from lanpo_rl.study.report.rows import Row

__all__ = ["StudyReport", "write_report"]


@dataclass(frozen=True)
class StudyReport:
    """What was written.

    Attributes:
        markdown: the report.
        html: the same as one self-contained page.
        json: every number.
        pictures: the curves.
        headline: tables in short, by label of the subject.
    """

    markdown: Path
    html: Path
    json: Path
    pictures: Sequence[Path]
    headline: dict[str, list[Row]]


def write_report(folder: Path, findings: Findings) -> StudyReport:
    """Write the report of a study into `folder`, over an earlier one.

    It can be made from any number of finished runs, none included.

    Raises:
        OSError: the disk is full, or the folder cannot be written to; files that were there stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    subjects = findings.subjects
    pictures = {found.subject.name: draw_subject(found, folder) for found in subjects if found.runs}
    blocks = compose(findings, pictures)
    results = json.dumps(as_json(findings, answered(findings)), indent=1, allow_nan=False)
    return StudyReport(
        markdown=_write(folder / "report.md", as_markdown(blocks)),
        html=_write(folder / "report.html", as_html(blocks)),
        json=_write(folder / "results.json", results + "\n"),
        pictures=[path for paths in pictures.values() for path in paths],
        headline={found.subject.label: headline_rows(found) for found in subjects if found.runs},
    )


def _write(path: Path, text: str) -> Path:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
