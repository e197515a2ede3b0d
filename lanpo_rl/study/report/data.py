"""``results.json``: everything the tables are made from, and nothing huge."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lanpo_rl.study.report.diagnostics import blocks_of, diagnostics
from lanpo_rl.study.report.findings import Failed, Findings, NotRun, SubjectRuns
from lanpo_rl.study.report.origins import machine, versions, without_places
from lanpo_rl.study.report.questions import Answer
from lanpo_rl.study.results import ArmResult

__all__ = ["SCHEMA", "as_json", "as_text"]

SCHEMA = 1
_DIGITS = 6


def as_json(findings: Findings, answered: Sequence[Answer]) -> dict[str, Any]:
    """Return a study's results as plain data, without folders and host names."""
    content = {
        "schema": SCHEMA,
        "study": findings.study.name,
        "question": findings.study.question,
        "date": findings.date,
        "machine": machine(),
        "versions": versions(),
        "seeds": findings.seeds,
        "subjects": [_subject(found) for found in findings.subjects],
        "answers": [answer.as_json() for answer in answered],
        "failed": [_failed(failed) for failed in findings.failed],
        "not_run": [_not_run(missing) for missing in findings.not_run],
        "runs": [_run(found, run) for found in findings.subjects for run in found.runs],
    }
    cleaned: dict[str, Any] = _clean(content)
    return cleaned


def as_text(content: Mapping[str, Any]) -> str:
    """Return results as JSON, a run or an answer in a line of its own.

    >>> print(as_text({"seeds": 2, "runs": [{"seed": 0}, {"seed": 1}]}))
    {
    "seeds": 2,
    "runs": [
    {"seed": 0},
    {"seed": 1}
    ]
    }
    """
    return "{\n" + ",\n".join(f"{_text(k)}: {_lines(v)}" for k, v in content.items()) + "\n}"


def _lines(value: Any) -> str:
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(_text(each) for each in value) + "\n]"
    return _text(value)


def _text(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def _subject(found: SubjectRuns) -> dict[str, Any]:
    return {
        "name": found.subject.name,
        "label": found.subject.label,
        "arms": {
            arm.name: {
                "label": arm.label,
                "planned": arm.planned,
                "finished": [run.seed for run in arm.runs],
                "crashed": arm.crashed,
            }
            for arm in found.arms.values()
        },
    }


def _run(found: SubjectRuns, run: ArmResult) -> dict[str, Any]:
    content = replace(run, log=[]).as_json()
    del content["log"]  # its means over blocks of steps stay
    return {
        "subject": found.subject.name,
        **content,
        "diagnostics": diagnostics(run),
        "log_by_10_steps": blocks_of(run),
    }


def _failed(failed: Failed) -> dict[str, str]:
    return {"key": failed.key, "label": failed.label, "error": failed.error}


def _not_run(missing: NotRun) -> dict[str, str]:
    return {"key": missing.key, "label": missing.label, "reason": missing.reason}


def _clean(value: Any) -> Any:
    """JSON's own types alone: no NaN, no needless digits, no local places."""
    if isinstance(value, float):
        return round(value, _DIGITS) if math.isfinite(value) else None
    if isinstance(value, str):
        return without_places(value)
    if isinstance(value, dict):
        return {str(name): _clean(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(each) for each in value]
    return value
