r"""What stands in ``\boxed{}``, and what stands under which header."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lanpo_memory.errors import InvalidInputError

__all__ = ["boxed_answer", "sections"]

_BOX = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)


def boxed_answer(text: str) -> str | None:
    r"""Return what stands in the last closed, non-empty ``\boxed{...}``; `None` without one.

    >>> boxed_answer(r"first \boxed{1}, then \boxed{\frac{1}{2}}")
    '\\frac{1}{2}'
    """
    open_braces: list[tuple[bool, int]] = []
    last, answer = -1, None
    for token in _BOX.finditer(text):
        if token[0].endswith("{") and token[0] != r"\{":
            open_braces.append((token[0] != "{", token.end()))
        elif token[0] == "}" and open_braces:
            is_box, start = open_braces.pop()
            body = text[start : token.start()].strip() if is_box and start > last else ""
            if body:
                last, answer = start, body
    return answer


def sections(text: str, headers: Sequence[str]) -> list[tuple[str, str]]:
    r"""Split a text at its section headers, in the order in which they stand in the text.

    A header counts at the start of a line, in any case, followed by its colon or by nothing. Each
    body reaches to the next header, white space around it removed; text before the first header
    is left out.

    Raises:
        InvalidInputError: a header is empty.

    >>> sections("so:\n### Plan: add\n### Solution:\n5", ["### Plan:", "### Solution:"])
    [('### Plan:', 'add'), ('### Solution:', '5')]
    """
    names = [header.strip().rstrip(":").rstrip() for header in headers]
    if not all(names):
        raise InvalidInputError("an empty section header")
    if not names:
        return []
    # one group for each header, so that the match itself says which one it is
    pattern = "|".join(f"({re.escape(name)})" for name in names)
    line = re.compile(rf"^[ \t]*(?:{pattern})[ \t\r]*(?::|$)", re.IGNORECASE | re.MULTILINE)
    found = list(line.finditer(text))
    ends = [*(match.start() for match in found[1:]), len(text)]
    return [
        (headers[(match.lastindex or 1) - 1], text[match.end() : end].strip())
        for match, end in zip(found, ends, strict=False)  # without a match, one end is left over
    ]
