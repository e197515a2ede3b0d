"""A report in a folder: Markdown, HTML, pictures and results, each whole or not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lanpo_memory.snapshots import write_whole
from lanpo_rl.study.report.blocks import as_markdown
from lanpo_rl.study.report.composing import answered, compose, headline_rows
from lanpo_rl.study.report.data import as_json, as_text
from lanpo_rl.study.report.findings import Failed, Findings, NotRun
from lanpo_rl.study.report.page import as_html
from lanpo_rl.study.report.pictures import draw_subject
from lanpo_rl.study.report.rows import Row
from lanpo_rl.study.results import ArmResult
from lanpo_rl.study.running.outcomes import Outcome
from lanpo_rl.study.studies import Study

__all__ = ["StudyReport", "findings_of", "write_report", "write_study_report"]


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
        PoolWriteError: the disk refused; what was there before stays whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    subjects = findings.subjects
    pictures = {found.subject.name: draw_subject(found, folder) for found in subjects if found.runs}
    blocks = compose(findings, pictures)
    results = as_text(as_json(findings, answered(findings)))
    report = StudyReport(
        markdown=folder / "report.md",
        html=folder / "report.html",
        json=folder / "results.json",
        pictures=[path for paths in pictures.values() for path in paths],
        headline={found.subject.label: headline_rows(found) for found in subjects if found.runs},
    )
    write_whole(report.json, results + "\n")
    write_whole(report.markdown, as_markdown(blocks))
    write_whole(report.html, as_html(blocks))
    return report


def write_study_report(
    folder: Path,
    study: Study,
    outcomes: Sequence[Outcome],
    *,
    seeds: int,
    arms: Sequence[str] | None = None,
    date: str | None = None,
) -> StudyReport:
    """Write the report of what became of a study's jobs.

    Args:
        folder: for the report's files.
        study: what was planned.
        outcomes: of its jobs.
        seeds: how many runs each arm was to have.
        arms: those that were asked for; by default all.
        date: of the report; today's by default.

    Raises:
        PoolWriteError: the disk refused; what was there before stays whole.
    """
    date = date or datetime.now(UTC).date().isoformat()
    return write_report(folder, findings_of(study, outcomes, seeds=seeds, arms=arms, date=date))


def findings_of(
    study: Study, outcomes: Sequence[Outcome], *, seeds: int, arms: Sequence[str] | None, date: str
) -> Findings:
    """Sort outcomes by what became of them. Keys of runs begin with ``SUBJECT/ARM/``."""
    subjects = {part.subject.name for part in study.parts}
    runs: dict[str, list[ArmResult]] = {}
    for outcome in outcomes:
        subject = outcome.key.partition("/")[0]
        if outcome.status == "finished" and subject in subjects:
            runs.setdefault(subject, []).append(ArmResult.from_json(outcome.result))
    return Findings(
        study,
        runs,
        seeds,
        date,
        failed=[
            Failed(o.key, o.label, o.trace or o.reason) for o in outcomes if o.status == "crashed"
        ],
        not_run=[NotRun(o.key, o.label, o.reason) for o in outcomes if o.status == "not_run"],
        only=tuple(arms or ()),
    )
