"""What a report consists of, and how it is written as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lanpo_rl.study.report.rows import Row, markdown

__all__ = ["Block", "Bullets", "Grid", "Heading", "Item", "Paragraph", "Picture", "as_markdown"]


@dataclass(frozen=True)
class Heading:
    """A title; level 1 is the report's."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """Plain text; no markup is read from it."""

    text: str


@dataclass(frozen=True)
class Item:
    """A line of a list, with a verdict in front or none."""

    text: str
    verdict: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: tuple[Item, ...]


@dataclass(frozen=True)
class Grid:
    """A table; `folded` ones are closed at first where that is possible."""

    title: str
    rows: Sequence[Row]
    note: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Picture:
    """A picture beside the report; `folded` ones are closed at first where that is possible."""

    path: Path
    alt: str
    folded: bool = False


Block = Heading | Paragraph | Bullets | Grid | Picture

# What Markdown would read as markup; an underscore within a word it leaves alone.
_MARKUP = re.compile(r"[\\`*<>|#~]|(?<!\w)_|_(?!\w)|\](?=[(\[:])")


def as_markdown(blocks: Sequence[Block]) -> str:
    r"""Return the report as Markdown; pictures are looked for beside it.

    >>> print(as_markdown([Heading("A"), Bullets((Item("b*c", "yes"),))]))
    ## A
    <BLANKLINE>
    - **Yes.** b\*c
    <BLANKLINE>
    """
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {_plain(block.text)}"
    if isinstance(block, Paragraph):
        return _plain(block.text)
    if isinstance(block, Bullets):
        return "\n".join(_item(item) for item in block.items)
    if isinstance(block, Picture):
        return f"![{_plain(block.alt)}]({block.path.name})"
    rows = [{_plain(k): _plain(v) for k, v in row.items()} for row in block.rows]
    note = f"\n\n{_plain(block.note)}" if block.note else ""
    return f"**{_plain(block.title)}**\n\n{markdown(rows).rstrip()}{note}"


def _item(item: Item) -> str:
    verdict = f"**{item.verdict.capitalize()}.** " if item.verdict else ""
    detail = f"  \n  {_plain(item.detail)}" if item.detail else ""
    return f"- {verdict}{_plain(item.text)}{detail}"


def _plain(text: str) -> str:
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split()))
