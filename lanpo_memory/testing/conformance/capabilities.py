"""Which store keeps which promise, as a table: each cell comes from a run of the kit.

A plugin of pytest. ``pytest -p lanpo_memory.testing.conformance.capabilities --capabilities PAGE``
puts the table between the markers ``<!-- capabilities -->`` and ``<!-- /capabilities -->`` of a
page. If any test fails or is skipped, nothing is written and pytest fails.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lanpo_memory.snapshots import write_whole
from lanpo_memory.testing.conformance.base import StoreBase
from lanpo_memory.types import Promise

__all__ = ["Capabilities", "rewritten", "table"]

BASE = "base contract"
_BLOCK = re.compile(r"(<!-- capabilities -->\n).*?(<!-- /capabilities -->)", re.DOTALL)

Cells = Mapping[str, Mapping[str, int | None]]
"""By store and column: how many tests prove it, `None` where it is refused."""


class Capabilities:
    """Collects what the tests of each store have shown.

    Args:
        page: where the table goes.
    """

    def __init__(self, page: Path) -> None:
        self.page = page
        self.cells: dict[str, dict[str, int | None]] = defaultdict(dict)
        self.unproven: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note what a test has shown."""
        report = yield
        kit = getattr(item, "cls", None)
        if kit is not None and issubclass(kit, StoreBase):
            self._note(item, kit.NAME or kit.__name__, report)
        return report

    def _note(self, item: pytest.Item, name: str, report: pytest.TestReport) -> None:
        if not report.passed:
            self.unproven.append(f"{report.nodeid}: {report.outcome} ({report.when})")
        elif report.when == "call":
            about = getattr(getattr(item, "function", None), "proves", ())
            kept: Any = dict(item.user_properties).get("promises", [])
            missing = [promise for promise in about if promise not in kept]
            row = self.cells[name]
            row.update(dict.fromkeys(missing))
            for column in () if missing else about or (BASE,):
                row[column] = (row.get(column) or 0) + 1

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the table if every test has passed."""
        if exitstatus == 0 and not self.unproven and self.cells:
            text = self.page.read_text(encoding="utf-8")
            write_whole(self.page, rewritten(text, table(self.cells)))
        elif exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say what became of the table."""
        for line in self.unproven:
            terminalreporter.write_line(f"not proven: {line}")
        written = "written to" if self.cells and not self.unproven else "not written:"
        terminalreporter.write_line(f"capabilities {written} {self.page}")


def table(cells: Cells) -> str:
    """The table in Markdown: a row for each store, a column for each promise.

    >>> print(table({"mine": {"base contract": 30, "atomic": 5, "durable": None}}))
    | store | base contract | atomic | durable |
    |:--|:--|:--|:--|
    | mine | kept (30 tests) | kept (5 tests) | refused |
    """
    seen = {column for row in cells.values() for column in row}
    columns = [column for column in (BASE, *Promise) if column in seen]
    rows = [
        [name, *(_cell(row.get(column, 0)) for column in columns)] for name, row in cells.items()
    ]
    head = [["store", *map(str, columns)], [":--"] * (len(columns) + 1)]
    lines = (f"|{'|'.join(row)}|" if row[0] == ":--" else f"| {' | '.join(row)} |" for row in head)
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _cell(tests: int | None) -> str:
    if tests is None:
        return "refused"
    return f"kept ({tests} test{'s' * (tests != 1)})" if tests else "–"


def rewritten(page: str, block: str) -> str:
    r"""A page with another table between the markers.

    Raises:
        ValueError: the page has no such markers, or has them twice.

    >>> rewritten("a\n<!-- capabilities -->\nold\n<!-- /capabilities -->\nb", "new")
    'a\n<!-- capabilities -->\nnew\n<!-- /capabilities -->\nb'
    """
    text, found = _BLOCK.subn(lambda m: f"{m[1]}{block}\n{m[2]}", page)
    if found != 1:
        raise ValueError(
            "the page needs the lines <!-- capabilities --> and <!-- /capabilities --> once"
        )
    return text


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option that turns it on."""
    parser.addoption("--capabilities", type=Path, help="a page to write the table of stores to")


def pytest_configure(config: pytest.Config) -> None:
    """Collect only if a page was named."""
    page: Path | None = config.getoption("--capabilities")
    if page is not None:
        rewritten(page.read_text(encoding="utf-8"), "")  # the markers are there
        config.pluginmanager.register(Capabilities(page.absolute()))
