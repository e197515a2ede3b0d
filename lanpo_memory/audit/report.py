"""An audit in words and tables: for the terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lanpo_memory.audit.records import Audit, AuditedEntry, Share, Spread
from lanpo_memory.audit.summing import CONDITIONS, MEASURES, WORST

__all__ = ["NOTES", "Section", "overview", "sections", "to_markdown"]

_DIGITS = {
    **dict.fromkeys(("copied", "numbers_repeated", "shared_words", "utility", "uplift"), 2),
    **dict.fromkeys(("numbers_per_100_words", "age_days"), 1),
}
_THAT, _FIRST = "that", "first words"  # columns of text
NOTES = (
    "share copied: of its words, four in a row or more, from the problem or a stored attempt.",
    "Numbers count as equal there: a copy with other or masked numbers is a copy.",
    "problem's numbers repeated: of its different ones, those in the lesson; one alone is none.",
    "words shared with the problem: of the lesson's different words of four letters and more.",
    "nearly the same: the sets of words overlap by 80 % (Jaccard index).",
    "utility and uplift: of those lessons that were ever shown; see `lanpo pool utility`.",
)
"""What the figures mean."""


@dataclass(frozen=True)
class Section:
    """A table with its title; cells are text, and may come from a model."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    @property
    def ends_in_text(self) -> bool:
        """Whether the last column is a text, as long as it may be, and no figure."""
        return self.header[-1] in (_THAT, _FIRST)


def overview(audit: Audit) -> list[tuple[str, str]]:
    """Return labels and sentences: what was looked at."""
    size = len(audit.entries)
    drawn = "all of them" if size == audit.experiences else f"drawn uniformly, seed {audit.seed}"
    lines = [
        ("pool", f"{audit.experiences:,} experiences with {audit.lessons:,} different lessons"),
        ("sample", f"{size:,} experiences, {drawn}"),
        ("outcomes", _counts(audit.outcomes)),
        ("sources", _counts(audit.sources)),
        ("attempts", _compared(audit.entries)),
    ]
    if audit.verdicts or audit.stopped:
        judged = sum(audit.verdicts.values())
        lines.append(("judged", f"{judged:,} of {size:,}: {_counts(audit.verdicts)}"))
    if audit.stopped:
        lines.append(("stopped", audit.stopped))
    return lines


def _compared(entries: Sequence[AuditedEntry]) -> str:
    n = sum(e.attempts > 0 for e in entries)
    said = f"stored for {n:,} of {len(entries):,}"
    if n == len(entries):
        return said
    return f"{said}; without them, only what was copied from the problem itself can be seen"


def sections(audit: Audit) -> list[Section]:
    """Return the tables of a report."""
    found = [
        Section(
            "Measures",
            ("measure", "entries", "lowest", "quartile", "median", "quartile", "highest"),
            [_spread(name, audit.spreads[name]) for name in MEASURES if name in audit.spreads],
        ),
        Section(
            "Shares",
            ("share", "entries", _THAT),
            [_share(name, audit.shares[name]) for name in CONDITIONS if name in audit.shares],
        ),
    ]
    for name, (title, unit, _) in WORST.items():
        if shown := audit.worst.get(name):
            rows = [(e.id, _number(name, e.value), e.first_words) for e in shown]
            found.append(Section(f"Look at: {title}", ("id", unit, _FIRST), rows))
    return found


def to_markdown(audit: Audit, *, title: str = "Audit of a pool") -> str:
    """Return a report with all tables and one line for each entry of the sample."""
    parts = [f"# {_cell(title)}", _bullets(overview(audit))]
    for section in [*sections(audit), _listing(audit.entries)]:
        parts += [f"## {section.title}", _table(section)]
    parts += ["## What the figures mean", "\n".join(f"- {note}" for note in NOTES)]
    return "\n\n".join(parts) + "\n"


def _listing(entries: Sequence[AuditedEntry]) -> Section:
    header = ("id", "outcome", "step", "tokens", "copied", "numbers", "verdict", _FIRST)
    rows = [
        (
            e.id,
            e.outcome,
            str(e.step),
            str(e.tokens),
            _number("copied", e.copied),
            _number("numbers_repeated", e.numbers_repeated),
            e.verdict or "-",
            e.first_words,
        )
        for e in entries
    ]
    return Section("The sample", header, rows)


def _spread(name: str, spread: Spread) -> tuple[str, ...]:
    five = ("low", "lower_quartile", "median", "upper_quartile", "high")
    figures = [_number(name, getattr(spread, field)) for field in five]
    return (MEASURES[name], f"{spread.n:,}", *figures)


def _share(name: str, share: Share) -> tuple[str, ...]:
    return f"{share.n / share.of:.0%}", f"{share.n:,} of {share.of:,}", CONDITIONS[name][0]


def _number(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.{_DIGITS.get(name, 0)}f}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in sorted(counts.items())) or "none"


def _bullets(lines: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- {label}: {_cell(text)}" for label, text in lines)


def _table(section: Section) -> str:
    rows = [section.header, tuple("---" for _ in section.header), *section.rows]
    return "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in rows)


def _cell(text: str) -> str:
    """A text on one line that neither ends a cell nor is read as mark-up."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    for sign in ("\\", "|", "<", "`", "*", "_", "$", "#"):
        line = line.replace(sign, f"\\{sign}")
    return line.replace("](", "]\\(")  # no links
