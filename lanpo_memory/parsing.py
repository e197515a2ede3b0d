r"""Reading what models write: boxed answers, sections, and summaries as JSON.

Nothing here raises for any text that a model wrote. A model that writes bad JSON is an everyday
event: the answer comes back as a `Failure` with its reason, so that it can be stored and counted.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.types import Experience, Failure, Problem

__all__ = ["EXPERIENCE_HEADER", "MAX_ANSWER_CHARS", "boxed_answer", "parse_summary", "sections"]

EXPERIENCE_HEADER = "### Experience"
"""Header of the JSON object in a summary."""

MAX_ANSWER_CHARS = 100_000
"""Longest summary that is read. A summary has at most 2048 tokens in the paper."""

_MAX_OBJECTS = 32  # places in one answer where an object is looked for, counted from the end
_MAX_DEPTH = 64  # keeps `ast.literal_eval`, which can exhaust the C stack, on shallow input

_FIELDS = {
    "flowofthought": "thoughts",
    "flowofthoughts": "thoughts",
    "thoughts": "thoughts",
    "principles": "principles",
    "takeaways": "principles",
    "pitfalls": "pitfalls",
}
# LaTeX commands that begin like the escapes for a new line or a tab. In "\nu" and "\times" no
# model means white space; the escapes \b, \f and \r are never meant as such.
_LATEX = re.compile(
    "n(abla|cong|e|earrow|eg|eq|ewline|exists|geq|leq|mid|ot|otin|parallel|subseteq|u|warrow)"
    "|t(an|anh|au|binom|ext|extbf|extit|extrm|frac|herefore|heta|ilde|imes|o|op|riangle|riangleq)"
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|[A-Za-z]+|.)", re.DOTALL)
_HEADER_LINE = re.compile(
    r"^[ \t]*#+[ \t]*\**experience\**[ \t]*:?\**(?=[ \t]*(?:\r?$|[{`]))",
    re.IGNORECASE | re.MULTILINE,
)
_BOX = re.compile(r"\\boxed\s*\{|\\.|[{}]", re.DOTALL)
_BRACES = re.compile(r'\\.|["{}]', re.DOTALL)
_TRAILING_COMMA = re.compile(r'(\\.|"(?:[^"\\]|\\.)*+")|,(?=\s*[}\]])', re.DOTALL)
_LIST_MARK = re.compile(r"^\s*(?:[-*•]|\(?\d+[.):])\s+")


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


def parse_summary(problem: Problem, answer: str) -> Experience | Failure:
    r"""Read a summary: the JSON object under `EXPERIENCE_HEADER`, or else anywhere in the answer.

    Understood are the keys ``flow_of_thought`` (or ``thoughts``), ``principles``, ``pitfalls`` and
    ``takeaways`` (which count as principles), each a string or a list; trailing commas, single
    quotes and LaTeX with unescaped backslashes. The last object that says something wins. All else
    is a `Failure` with a reason and the text.

    >>> one = parse_summary(Problem(text="2 + 3?"), '### Experience\n{"principles": ["count on"]}')
    >>> one.principles
    ('count on',)
    >>> parse_summary(Problem(text="2 + 3?"), "I am sorry.").reason
    'no JSON object in the answer'
    """
    text = _storable(answer[:MAX_ANSWER_CHARS])
    if len(answer) > MAX_ANSWER_CHARS:
        reason = f"the answer has {len(answer):,} characters; at most {MAX_ANSWER_CHARS:,} are read"
        return Failure(reason=reason, text=text)
    headers = list(_HEADER_LINE.finditer(text))
    regions = [text[headers[-1].end() :], text] if headers else [text]
    for region in regions:
        for found in reversed(list(_mappings(region))):
            if experience := _experience(problem, found):
                return experience
    return Failure(reason=_reason(text), text=text)


def _storable(text: str) -> str:
    """Remove NUL and lone surrogates, which no store takes."""
    return text.replace("\0", "").encode("utf-8", "ignore").decode()


def _reason(text: str) -> str:
    if not text.strip():
        return "the answer is empty"
    if not _starts(text):
        return "no JSON object in the answer"
    spans = list(_spans(text))
    if not spans:
        return "the JSON object is not closed; the answer may have been cut"
    loaded = [found for span in spans if (found := _load(span)) is not None]
    if not loaded:
        return "the JSON object cannot be read"
    if not any(_fields(found) for found in loaded):
        return "the JSON object has none of flow_of_thought, principles, pitfalls, takeaways"
    return "flow_of_thought, principles and pitfalls are all empty"


def _mappings(text: str) -> Iterator[Mapping[Any, Any]]:
    for span in _spans(text):
        if (found := _load(span)) is not None:
            yield found


def _starts(text: str) -> list[int]:
    """Where an object may begin: a brace before a quote, which leaves out sets and LaTeX."""
    return [match.start() for match in re.finditer(r"\{(?=\s*[\"'])", text)]


def _spans(text: str) -> Iterator[str]:
    """Yield the outermost balanced objects of a text."""
    past = 0
    for start in _starts(text)[-_MAX_OBJECTS:]:
        if start < past:
            continue
        end = _closing(text, start, in_strings=False) or _closing(text, start, in_strings=True)
        if end:
            past = end
            yield text[start:end]


def _closing(text: str, start: int, *, in_strings: bool) -> int | None:
    """Return the index after the brace that closes `start`.

    Braces within double quotes count only if `in_strings`: the second try, for bad quoting.
    """
    depth, quoted = 0, False
    for token in _BRACES.finditer(text, start):
        if token[0] == '"':
            quoted = not quoted and not in_strings
        elif token[0] in "{}" and not quoted:
            depth += 1 if token[0] == "{" else -1
            if depth == 0:
                return token.end()
    return None


def _load(span: str) -> Mapping[Any, Any] | None:
    """Read one object as JSON, as JSON with trailing commas, or as a Python literal."""
    if _depth(span) > _MAX_DEPTH:
        return None
    plain = _ESCAPE.sub(lambda match: _unescaped(match[1], quote="'"), span)
    python = _ESCAPE.sub(lambda match: _unescaped(match[1], quote="\\'"), span)
    comma_free = _TRAILING_COMMA.sub(lambda match: match[1] or "", plain)
    for load, source in ((_json, plain), (_json, comma_free), (ast.literal_eval, python)):
        try:
            found = load(source)
        # What a parser may say to arbitrary text; RecursionError and MemoryError are `ast`'s way
        # of refusing what is nested too deeply.
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, Mapping) else None
    return None


def _json(source: str) -> Any:
    return json.loads(source, strict=False)  # a raw line break within a string is harmless


def _depth(span: str) -> int:
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}()]", span):
        depth += 1 if bracket in "[{(" else -1
        deepest = max(deepest, depth)
    return deepest


def _unescaped(escape: str, *, quote: str) -> str:
    r"""Return an escape that both parsers take, given what follows the backslash.

    A real escape stays; any other backslash is LaTeX and is doubled, so that ``\frac`` does not
    turn into a form feed and four letters.
    """
    if escape == "'":
        return quote
    if escape == "/":
        return "/"
    if escape in ('"', "\\") or re.fullmatch("u[0-9a-fA-F]{4}", escape):
        return "\\" + escape
    if escape[0] in "nt" and not _LATEX.fullmatch(escape):
        return "\\" + escape
    return "\\\\" + escape


def _fields(found: Mapping[Any, Any]) -> dict[str, list[Any]]:
    """Return the known fields of an object, or of the one object that it wraps."""
    fields: dict[str, list[Any]] = {}
    for key, value in found.items():
        name = _FIELDS.get(re.sub(r"[\W_]+", "", str(key)).lower())
        inner = _fields(value) if isinstance(value, Mapping) else {}
        for inner_name, values in inner.items():
            fields.setdefault(inner_name, []).extend(values)
        if name and not inner:
            fields.setdefault(name, []).append(value)
    return fields


def _experience(problem: Problem, found: Mapping[Any, Any]) -> Experience | None:
    fields = {name: _lines(values) for name, values in _fields(found).items()}
    thoughts = fields.get("thoughts", [])
    try:
        return Experience(
            problem=problem,
            thoughts="\n".join(f"{i}. {line}" for i, line in enumerate(thoughts, 1)),
            principles=tuple(fields.get("principles", ())),
            pitfalls=tuple(fields.get("pitfalls", ())),
        )
    except InvalidInputError:
        return None


def _lines(value: Any) -> list[str]:
    """Flatten a string, a number, a list or an object into distinct lines without list marks.

    Lines without a letter or a digit, such as the dots of a copied template, say nothing.
    """
    if isinstance(value, Mapping):
        return _lines([": ".join(_lines(list(value.values())))])
    if isinstance(value, (list, tuple)):
        return list(dict.fromkeys(line for item in value for line in _lines(item)))
    if value is None or isinstance(value, bool):
        return []
    lines = (_LIST_MARK.sub("", line).strip() for line in _storable(str(value)).splitlines())
    return list(dict.fromkeys(line for line in lines if any(map(str.isalnum, line))))
