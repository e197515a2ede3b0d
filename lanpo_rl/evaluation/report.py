"""Results as Markdown and as JSON. The same samples make the same bytes: no date, no seconds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.types import Scalar, Usage
from lanpo_rl.evaluation.estimates import steps_to
from lanpo_rl.evaluation.results import Figure, ModeResults, Results

__all__ = [
    "About",
    "accuracy_rows",
    "as_json",
    "as_markdown",
    "figure_text",
    "sample_rows",
    "write_report",
]

About = Mapping[str, Mapping[str, Scalar]]
"""What results were made with: sections of names and values, such as ``model`` or ``pool``."""

_DIGITS = 6  # beyond them a sum depends on the order it is added up in
_NO_TIMES = {"seconds", "unpriced"}


def as_json(results: Results, about: About, *, level: float = 0.95) -> dict[str, Any]:
    """Return everything as plain data: what it was made with, figures, and each problem."""
    return {
        "made_with": {section: dict(values) for section, values in about.items()},
        "problems": results.problems,
        "samples_per_problem": results.k,
        "missing": results.missing,
        "level": level,
        "modes": {mode.mode: _mode_json(mode) for mode in results.modes},
        "differences": [_rounded(asdict(each)) for each in results.differences],
        "right": {
            id_: {
                mode: [None if r is None else int(r) for r in right] for mode, right in by.items()
            }
            for id_, by in results.right.items()
        },
    }


def _mode_json(mode: ModeResults) -> dict[str, Any]:
    fields = {k: v for k, v in asdict(mode).items() if k not in ("mode", "usage")}
    usage = {role: _usage_json(usage) for role, usage in mode.usage.items()}
    return {**_rounded(fields), "usage": usage}


def _usage_json(usage: Usage) -> dict[str, Any]:
    fields: dict[str, Any] = _rounded(usage.model_dump(exclude=_NO_TIMES))
    return fields


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, dict):
        return {str(name): _rounded(each) for name, each in value.items()}
    return value


# ---------------------------------------------------------------------- Markdown


def figure_text(figure: Figure, *, sign: bool = False) -> str:
    """Return a figure with its interval, three digits each; a dash where there is none.

    >>> figure_text(Figure(0.5, 0.25, 0.75, 8))
    '0.500 [0.250, 0.750]'
    """
    if figure.value is None:
        return "–"
    form = "+.3f" if sign else ".3f"
    if figure.low is None or figure.high is None:
        return f"{figure.value:{form}}"
    return f"{figure.value:{form}} [{figure.low:{form}}, {figure.high:{form}}]"


def accuracy_rows(results: Results) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of the table of accuracies, a column for each mode."""
    modes = results.modes
    mean = [f"mean@{results.k}", *(figure_text(mode.accuracy) for mode in modes)]
    passes = [
        [f"pass@{j}", *(figure_text(mode.pass_at[j]) for mode in modes)]
        for j in steps_to(results.k)
    ]
    return ["", *(mode.mode for mode in modes)], [mean, *passes]


def sample_rows(results: Results) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of the table of what the samples show, a column for each mode.

    Shares of the samples, and counts.
    """
    columns = [_shown(mode) for mode in results.modes]
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    return ["", *(mode.mode for mode in results.modes)], rows


def _shown(mode: ModeResults) -> dict[str, str]:
    """Figures by name; a dash where the mode cannot have one."""
    shares = {
        "no final answer": mode.unanswered,
        "refused or empty": mode.unusable,
        "truncated": mode.truncated,
        "with guidance": mode.guided if "retrieval" in mode.mode else None,
        "same template": mode.template if "retrieval" in mode.mode else None,
    }
    looked = "self_correct" in mode.mode
    counts = {
        "looked at again": mode.reflected if looked else None,
        "right to wrong": mode.right_to_wrong if looked else None,
        "wrong to right": mode.wrong_to_right if looked else None,
        "samples": mode.samples,
        "missing": mode.missing,
    }
    return {
        **{name: "–" if share is None else f"{share:.3f}" for name, share in shares.items()},
        **{name: "–" if count is None else f"{count:,}" for name, count in counts.items()},
    }


def as_markdown(results: Results, about: About, *, level: float = 0.95) -> str:
    """Return the report as a page."""
    return "\n".join([*_lines(results, about, level), ""])


def _lines(results: Results, about: About, level: float) -> Iterator[str]:
    each = "one sample" if results.k == 1 else f"{results.k} samples"
    yield "# Evaluation\n"
    yield (
        f"{results.problems:,} problems, {each} of each in each mode. In brackets: {level:.0%} "
        "bootstrap intervals over the problems.\n"
    )
    yield from _missing(results)
    yield from _table(*accuracy_rows(results))
    if results.differences:
        yield "\n## Differences on the same problems\n"
        rows = [
            [f"{each.mode} minus {each.other}", figure_text(each.accuracy, sign=True)]
            for each in results.differences
        ]
        yield from _table(["", f"mean@{results.k}"], rows)
    yield "\n## What the samples show\n"
    yield from _table(*sample_rows(results))
    yield "\n## What they cost\n"
    yield from _table(_COSTS, [row for mode in results.modes for row in _costs(mode)])
    yield "\n## Made with\n"
    for section, values in about.items():
        yield from _table([section, ""], [[name, str(value)] for name, value in values.items()])
        yield ""


def _missing(results: Results) -> Iterator[str]:
    if not results.missing:
        return
    least = ", ".join(f"{m.mode} {m.accuracy_least:.3f}" for m in results.modes if m.missing)
    yield (
        f"**Not complete: {results.missing:,} samples are missing.** Their calls failed, or nobody "
        "was asked yet; the same command asks for them. The figures leave them out. With "
        f"all of them counted as wrong, mean@{results.k} is: {least}.\n"
    )


_COSTS = ["mode", "role", "calls", "tokens in", "tokens out", "USD"]


def _costs(mode: ModeResults) -> Iterator[list[str]]:
    for role, usage in mode.usage.items():
        counts = (usage.calls, usage.prompt_tokens, usage.completion_tokens)
        cost = f"{usage.cost:.4f}" if usage.cost else "–"
        yield [mode.mode, role, *(f"{count:,}" for count in counts), cost]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join([':--', *['--:'] * (len(head) - 1)])}|"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


# ---------------------------------------------------------------------- files


def write_report(folder: Path, results: Results, about: About, *, level: float = 0.95) -> Path:
    """Write ``report.md`` and ``report.json`` into a folder, each whole or not at all.

    Returns:
        The path of the Markdown.

    Raises:
        InvalidInputError: the disk refuses.
    """
    data = json.dumps(as_json(results, about, level=level), ensure_ascii=False)
    _replace(folder / "report.json", data + "\n")
    return _replace(folder / "report.md", as_markdown(results, about, level=level))


def _replace(path: Path, text: str) -> Path:
    passing = path.with_name(f"{path.name}.new")
    try:
        passing.write_text(text, encoding="utf-8")
        passing.replace(path)
    except OSError as error:
        raise InvalidInputError(f"cannot write {path}: {error.strerror or error}") from error
    return path
