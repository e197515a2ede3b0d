"""Receipts of a command: counted in a table, and written to a file if wanted."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from lanpo_memory.errors import InvalidInputError

__all__ = ["ReceiptFile", "ReceiptsOption", "receipt_table"]

ReceiptsOption = Annotated[
    Path | None, typer.Option(help="Write every receipt to this file, one JSON object a line.")
]


class ReceiptFile:
    """Where receipts go, if anywhere.

    Raises:
        InvalidInputError: the file cannot be written.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def __enter__(self) -> ReceiptFile:
        try:
            self._file = self._path.open("w", encoding="utf-8") if self._path else None
        except OSError as error:
            raise InvalidInputError(f"cannot write {self._path}: {error.strerror}") from error
        return self

    def __exit__(self, *error: object) -> None:
        if self._file:
            self._file.close()

    def write(self, row: dict[str, Any]) -> None:
        """Append a receipt."""
        if self._file:
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")


def receipt_table(counts: Counter[tuple[str, str]], noun: str) -> Table:
    """Return a table of receipts by status and reason; `noun` names what got them."""
    table = Table(title="receipts", title_justify="left")
    for name in ("status", noun, "reason"):
        table.add_column(name, justify="right" if name == noun else "left")
    for (status, reason), n in sorted(counts.items()):
        table.add_row(status, f"{n:,}", reason)
    return table
