"""Tables as rows of text, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

__all__ = ["Row", "markdown", "table"]

Row = dict[str, str]


def table(rows: Sequence[Row], *, title: str) -> Table:
    """A table for the terminal; the columns are the keys of the first row.

    On a narrow screen cells break at their blanks, but for those of the first column.
    """
    result = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for i, name in enumerate(rows[0]):
        result.add_column(name, justify="left" if i == 0 else "right", no_wrap=i == 0)
    for row in rows:
        result.add_row(*row.values())
    return result


def markdown(rows: Sequence[Row]) -> str:
    """The same table in Markdown."""
    heads = list(rows[0])
    lines = [heads, [":--" if i == 0 else "--:" for i in range(len(heads))]]
    lines += [list(row.values()) for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"
