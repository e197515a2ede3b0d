r"""One JSON object or array, as a model wrote it, to Python values.

Strict JSON first, with LaTeX's backslashes put right; then `json_repair`, which knows trailing
commas, comments, missing quotes and brackets. What it takes for text is bounded beforehand: it may
need time that grows with the square of what it is given.
"""

from __future__ import annotations

import json
import re
from typing import Any

from lanpo_memory.parsing.names import field_of

__all__ = ["load"]

_MAX_DEPTH = 64
# json_repair: 0.2 s at worst within these; a summary of 2048 tokens has some 8,000 and 700.
_MAX_REPAIR_CHARS = 20_000
_MAX_REPAIR_MARKS = 1_000
_MARKS = re.compile(r"[\[\]{}()\"'“”:,/*#`]")

# LaTeX commands that begin like the escapes for a new line or a tab. In "\nu" and "\times" no
# model means white space; the escapes \b, \f and \r are never meant as such.
_LATEX = re.compile(
    "n(abla|cong|e|earrow|eg|eq|ewline|exists|geq|leq|mid|ot|otin|parallel|subseteq|u|warrow)"
    "|t(an|anh|au|binom|ext|extbf|extit|extrm|frac|herefore|heta|ilde|imes|o|op|riangle|riangleq)"
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|[A-Za-z]+|.)", re.DOTALL)
# A single quote opens after a bracket, a comma or a colon, and closes before one: the others are
# apostrophes.
_QUOTED = re.compile(
    r'("(?:\\.|[^"\\])*+")'
    r"|(?<=[\[{(,:\s])'((?:\\.|[^'\\]|'(?!\s{0,20}[\]}),:]))*+)'(?=\s{0,20}[\]}),:])",
    re.DOTALL,
)
_WIDE = re.compile(r'(?<=["”\]}])(\s{0,20})([：，])')
_ESCAPED_WHOLE = re.compile(r'[\[{]\s*\\"')
_BARE_VALUE = re.compile(
    r"[{,]\s{0,200}[\"'“]?(\w[\w ]{0,40}?)[\"'”]?\s{0,20}:\s{0,200}"
    r"(?!(?:true|false|null|none|nan|undefined|n/?a)\b)[^\W\d]\w{0,60}+\s{0,20}[,.()\[\]}]",
    re.IGNORECASE,
)


def load(source: str, *, repair: bool = True) -> Any:
    r"""Return what an object or array says, `None` if it cannot be read.

    Without `repair`, only strict JSON is.

    >>> load(r"{'principles': ['use \frac{1}{2}',], /* or not */}")
    {'principles': ['use \\frac{1}{2}']}
    """
    if _depth(source) > _MAX_DEPTH:
        return None
    if _ESCAPED_WHOLE.match(source):
        source = source.replace('\\"', '"').replace("\\\\", "\\")
    found = _strict(_with_latex(source))
    return _repaired(source) if found is None and repair else found


def _strict(source: str) -> Any:
    try:
        return json.loads(source, strict=False)  # a raw line break within a string is harmless
    except (ValueError, RecursionError):
        return None


def _repaired(source: str) -> Any:
    if len(source) > _MAX_REPAIR_CHARS or len(_MARKS.findall(source)) > _MAX_REPAIR_MARKS:
        return None
    # a word without quotes, in place of what a part says, is a variable or a call: this is code
    if any(field_of(bare[1]) for bare in _BARE_VALUE.finditer(source)):
        return None
    from json_repair import repair_json

    plain = _with_latex(_WIDE.sub(_narrow, _QUOTED.sub(_in_double_quotes, source)))
    try:
        return repair_json(plain, return_objects=True)
    # The one place where a parser may say what it likes to arbitrary text. It asserts things about
    # its own state, indexes by them, and refuses deep nesting with a ValueError.
    except (ValueError, AssertionError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _in_double_quotes(quoted: re.Match[str]) -> str:
    if quoted[1] is not None:
        return quoted[1]
    return '"' + re.sub(r'(\\.)|"', lambda found: found[1] or r"\"", quoted[2]) + '"'


def _narrow(wide: re.Match[str]) -> str:
    return wide[1] + {"：": ":", "，": ","}[wide[2]]


def _depth(source: str) -> int:
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}()]", source):
        depth += 1 if bracket in "[{(" else -1
        deepest = max(deepest, depth)
    return deepest


def _with_latex(source: str) -> str:
    return _ESCAPE.sub(lambda escape: _unescaped(escape[1]), source)


def _unescaped(escape: str) -> str:
    r"""Return an escape that JSON takes, given what follows the backslash.

    A real escape stays; any other backslash is LaTeX and is doubled, so that ``\frac`` does not
    turn into a form feed and four letters.
    """
    if escape in ("'", "/"):
        return escape
    if escape in ('"', "\\") or re.fullmatch("u[0-9a-fA-F]{4}", escape):
        return "\\" + escape
    if escape[0] in "nt" and not _LATEX.fullmatch(escape):
        return "\\" + escape
    return "\\\\" + escape
