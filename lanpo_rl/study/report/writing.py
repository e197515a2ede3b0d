"""A report in a folder: Markdown, HTML, pictures and results, each whole or not there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from lanpo_memory.snapshots import write_whole
from lanpo_rl.study.report.blocks import as_markdown
from lanpo_rl.study.report.composing import answered, compose, headline_rows
from lanpo_rl.study.report.data import as_json, as_text
from lanpo_rl.study.report.findings import Failed, Findings, NotRun
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
        failed: runs that crashed.
        not_run: runs that were not made.
    """

    markdown: Path
    html: Path
    json: Path
    pictures: Sequence[Path]
    headline: dict[str, list[Row]]
    failed: Sequence[Failed] = ()
    not_run: Sequence[NotRun] = ()


def write_report(folder: Path, findings: Findings) -> StudyReport:
    """Write the report of a study into `folder`, over an earlier one.

    It can be made from any number of finished runs, none included.

    Raises:
        PoolWriteError: the disk refused; what was there before stays whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    subjects = findings.subjects
    pictures = {found.subject.name: draw_subject(found, folder) for found in subjects if found.runs}
    _tidy(folder, findings, keep={path for paths in pictures.values() for path in paths})
    blocks = compose(findings, pictures)
    results = as_text(as_json(findings, answered(findings)))
    report = StudyReport(
        markdown=folder / "report.md",
        html=folder / "report.html",
        json=folder / "results.json",
        pictures=[path for paths in pictures.values() for path in paths],
        headline={found.subject.label: headline_rows(found) for found in subjects if found.runs},
        failed=findings.failed,
        not_run=findings.not_run,
    )
    write_whole(report.json, results + "\n")
    write_whole(report.markdown, as_markdown(blocks))
    write_whole(report.html, as_html(blocks))
    return report


def _tidy(folder: Path, findings: Findings, *, keep: Collection[Path]) -> None:
    """Remove the pictures of an earlier report that had more of them."""
    for part in findings.study.parts:
        for path in folder.glob(f"{escape(part.subject.name)}-[0-9]*.png"):
            if path not in keep and path.stem.rpartition("-")[2].isdigit():
                path.unlink(missing_ok=True)
