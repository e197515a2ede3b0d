"""The report as one HTML file: pictures inside, nothing fetched, light and dark."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from itertools import count

from lanpo_rl.study.report.blocks import Block, Bullets, Grid, Heading, Item, Paragraph, Picture
from lanpo_rl.study.report.rows import Row

__all__ = ["as_html"]

_LONG = 40  # characters; a longer cell is text, and wrapped

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2128; --soft: #57606a; --page: #fff; --line: #d8dee4;
  --band: #f6f8fa; --link: #0550ae; --yes: #116329; --yes-bg: #dafbe1; --no: #a40e26;
  --no-bg: #ffebe9; --open: #6e5600; --open-bg: #fff3c4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e8ee; --soft: #9aa5b1; --page: #12161b;
  --line: #323a44; --band: #1b2129; --link: #79b8ff; --yes: #7ee2a0; --yes-bg: #123821;
  --no: #ffb1ab; --no-bg: #4a1a1d; --open: #f1d77a; --open-bg: #40360f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 74rem; color: var(--ink);
  background: var(--page); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto,
  "DejaVu Sans", sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .6rem; padding-top: .6rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.06rem; margin: 1.8rem 0 .4rem; }
p, li { max-width: 48rem; }
a { color: var(--link); }
nav { color: var(--soft); margin: 1rem 0; font-size: .92rem; line-height: 1.9; }
nav a { margin-right: 1rem; white-space: nowrap; }
ul { padding: 0; list-style: none; }
li { margin: .6rem 0; }
ul.answers { columns: 27rem 2; column-gap: 2.5rem; }
ul.answers li { break-inside: avoid; margin: 0 0 .8rem; }
ul.plain { padding-left: 1.2rem; list-style: disc; }
.detail, .note { color: var(--soft); font-size: .9rem; }
.detail { display: block; }
.badge { display: inline-block; padding: 0 .55em; margin-right: .5em; border-radius: 1em;
  font-size: .82rem; font-weight: 600; }
.yes { color: var(--yes); background: var(--yes-bg); }
.no { color: var(--no); background: var(--no-bg); }
.open { color: var(--open); background: var(--open-bg); }
.wide { overflow-x: auto; margin: .4rem 0 .6rem; border: 1px solid var(--line);
  border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: .88rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .38rem .7rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
tbody tr:last-child > * { border-bottom: 0; }
thead th { color: var(--soft); font-weight: 600; background: var(--band); vertical-align: bottom; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--page);
  border-right: 1px solid var(--line); }
thead th:first-child { background: var(--band); }
td.text { text-align: left; white-space: normal; min-width: 24rem; }
tbody th { font-weight: 500; }
h4 { font-size: .95rem; margin: 1.4rem 0 .3rem; }
summary { cursor: pointer; font-weight: 600; margin: 1.2rem 0 .3rem; }
figure { margin: 1rem 0; overflow-x: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 8px; }
figure img { display: block; width: 100%; height: auto; }
@media (max-width: 640px) { body { padding: 1rem .8rem 3rem; font-size: 15px; }
  h1 { font-size: 1.4rem; } td.text { text-align: left; white-space: normal; min-width: 24rem; }
tbody th { white-space: normal; min-width: 7.5rem; }
  th, td { padding: .35rem .5rem; } figure img { width: 44rem; max-width: none; } }
@media print { nav { display: none; } .wide { overflow: visible; } }
"""


def as_html(blocks: Sequence[Block]) -> str:
    """Return the report as a page of its own, with every picture in it."""
    title = next((b.text for b in blocks if isinstance(b, Heading) and b.level == 1), "Report")
    numbers = count(1)
    body: list[str] = []
    links: list[str] = []
    for block in blocks:
        anchor = f"s{next(numbers)}"
        if isinstance(block, Heading) and block.level == 2:
            links.append(f'<a href="#{anchor}">{escape(block.text)}</a>')
        body.append(_html(block, anchor))
    first = next((i for i, b in enumerate(blocks) if isinstance(b, Heading) and b.level == 2), 0)
    body.insert(first, f"<nav>{' '.join(links)}</nav>")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _html(block: Block, anchor: str) -> str:
    if isinstance(block, Heading):
        return f'<h{block.level} id="{anchor}">{escape(block.text)}</h{block.level}>'
    if isinstance(block, Paragraph):
        return f"<p>{escape(block.text)}</p>"
    if isinstance(block, Bullets):
        kind = "answers" if any(item.verdict for item in block.items) else "plain"
        return f'<ul class="{kind}">{"".join(_item(item) for item in block.items)}</ul>'
    return _picture(block) if isinstance(block, Picture) else _grid(block)


def _picture(picture: Picture) -> str:
    content = base64.b64encode(picture.path.read_bytes()).decode("ascii")
    alt = escape(picture.alt)
    figure = f'<figure><img src="data:image/png;base64,{content}" alt="{alt}"></figure>'
    return f"<details><summary>{alt}</summary>{figure}</details>" if picture.folded else figure


def _item(item: Item) -> str:
    kind = {"yes": "yes", "no": "no"}.get(item.verdict, "open")
    badge = f'<span class="badge {kind}">{escape(item.verdict)}</span>' if item.verdict else ""
    detail = f'<span class="detail">{escape(item.detail)}</span>' if item.detail else ""
    return f"<li>{badge}{escape(item.text)}{detail}</li>"


def _grid(grid: Grid) -> str:
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in grid.rows[0])
    rows = "".join(_row(row) for row in grid.rows)
    note = f'<p class="note">{escape(grid.note)}</p>' if grid.note else ""
    table = (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(grid.title)}"><table>'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>{note}"
    )
    if grid.folded:
        return f"<details><summary>{escape(grid.title)}</summary>{table}</details>"
    return f"<h4>{escape(grid.title)}</h4>{table}"


def _row(row: Row) -> str:
    name, *cells = row.values()
    return (
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(_cell(cell) for cell in cells)
        + "</tr>"
    )


def _cell(text: str) -> str:
    kind = ' class="text"' if len(text) > _LONG else ""
    return f"<td{kind}>{escape(text)}</td>"
