"""What a study shows: tables, learning curves, answers to its questions, everything as JSON."""

from lanpo_rl.study.report.findings import Failed, Findings, NotRun
from lanpo_rl.study.report.origins import machine, versions
from lanpo_rl.study.report.rows import Row, markdown, table
from lanpo_rl.study.report.single import draw_curves, write_results
from lanpo_rl.study.report.writing import StudyReport, write_report

__all__ = [
    "Failed",
    "Findings",
    "NotRun",
    "Row",
    "StudyReport",
    "draw_curves",
    "machine",
    "markdown",
    "table",
    "versions",
    "write_report",
    "write_results",
]
