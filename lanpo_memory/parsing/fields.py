"""The parts of an experience in what was read: flow of thought, principles, pitfalls."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lanpo_memory.parsing.loading import load
from lanpo_memory.parsing.names import Field, field_of
from lanpo_memory.texts import storable

__all__ = ["LIST_MARK", "Fields", "fields_of", "lines_of", "notes_of"]

Fields = dict[Field, list[str]]
"""Distinct lines, by the part of an experience that they belong to."""

LIST_MARK = re.compile(
    r"^\s*(?:[-*+•–—·▪◦●○]\s+|[①-⑳]\s*|\(?\d{1,3}[.):]\s+|\(?\d{1,3}[.)、．：]\s*(?=[^\W\d]|\*\*))"
)

_NOTE_KEYS = frozenset({"title", "description", "content"})  # a note has two of them
# What models write where they have nothing to say, with what they copy from a template.
_NOTHING = frozenset(
    """
    none|na|n a|nil|null|nothing|not applicable|not available|none identified|none found|unknown
    no pitfalls|no principles|no mistakes|no errors|none noted|none observed|none needed|nope
    tbd|todo|string|str|text|placeholder|etc|empty|as above|see above
    无|無|没有|沒有|暂无|暫無|不适用|不適用|keine|keiner|nichts|entfällt|aucun|aucune|néant|rien
    ninguno|ninguna|nada|nenhum|nenhuma|nessuno|nessuna|niente|нет|отсутствуют|なし|特になし|없음
    """.replace("\n", "|")
    .replace("    ", "")
    .strip("|")
    .split("|")
)
# a copied template's names, and the number of a list's entry alone on its line
_PLACEHOLDER = re.compile(
    r"<[^<>]{1,60}>|(?:principle|pitfall|lesson|step|thought)s?[ _]?[\dnx]\.?|\(?\d{1,3}[.):、．]"
)
_DEBRIS = re.compile(r"[\"”]\s{0,9}:\s{0,9}[\[{]")  # a key that repair took for text


def fields_of(value: Any) -> Fields:
    r"""Return the parts named in an object, in the objects it wraps, or in a list of objects.

    >>> fields_of({"experience": {"Key takeaways": "- count on\n- check"}})
    {'principles': ['count on', 'check']}
    """
    named: dict[Field, list[Any]] = {}
    _collect(value, named)
    return {field: lines_of(values) for field, values in named.items()}


def _collect(value: Any, named: dict[Field, list[Any]]) -> None:
    if isinstance(value, list):
        for item in value:
            if isinstance(item, Mapping):
                _collect(item, named)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            _collect_part(field_of(str(key)), _opened(part), named)


def _collect_part(field: Field | None, part: Any, named: dict[Field, list[Any]]) -> None:
    inner: dict[Field, list[Any]] = {}
    if field is None or isinstance(part, Mapping) or _holds_wholes(part):
        _collect(part, inner)
    for inner_field, values in inner.items():
        named.setdefault(inner_field, []).extend(values)
    if field is not None and not inner:
        is_plain = isinstance(part, Mapping) and not _is_note(part)
        named.setdefault(field, []).append(_titled(part) if is_plain else part)


def _holds_wholes(part: Any) -> bool:
    """Whether a list holds objects whose own parts are lists."""
    return isinstance(part, list) and any(
        isinstance(value, list) and field_of(str(key))
        for item in part
        if isinstance(item, Mapping)
        for key, value in item.items()
    )


def _opened(part: Any) -> Any:
    """An object that was written as a string, such as the arguments of a tool call."""
    if isinstance(part, str) and part.lstrip().startswith("{"):
        found = load(part.strip())
        return found if isinstance(found, Mapping) else part
    return part


def _titled(part: Mapping[Any, Any]) -> list[Any]:
    """The entries of an object, its keys in front unless they only count."""
    return [
        value if _counts(str(key)) or isinstance(value, (list, Mapping)) else f"{key}: {value}"
        for key, value in part.items()
        if value not in (None, "")
    ]


def _counts(key: str) -> bool:
    return bool(re.fullmatch(r"[\W_]*(?:\w{0,12}[\W_]*)?\d{1,3}[\W_]*", key))


def _is_note(value: Any) -> bool:
    keys = {str(key).strip().lower() for key in value} if isinstance(value, Mapping) else set()
    return len(keys & _NOTE_KEYS) > 1


def notes_of(value: Any) -> list[str]:
    """The lines of notes: objects of title, description and content that stand alone.

    >>> notes_of([{"title": "Units", "content": "Convert first."}])
    ['Units: Convert first.']
    """
    items = value if isinstance(value, list) else [value]
    return lines_of([item for item in items if _is_note(item)])


def lines_of(value: Any) -> list[str]:
    """Flatten a string, a number, a list or an object into distinct lines without list marks.

    What says nothing is left out: the dots of a copied template, "N/A".
    """
    if isinstance(value, Mapping):
        return lines_of([_joined(lines_of(list(value.values())))])
    if isinstance(value, (list, tuple)):
        return list(dict.fromkeys(line for item in value for line in lines_of(item)))
    if value is None or isinstance(value, bool):
        return []
    lines = (LIST_MARK.sub("", line).strip() for line in storable(str(value)).splitlines())
    return list(dict.fromkeys(line for line in lines if _says(line)))


def _joined(lines: list[str]) -> str:
    """One line of several: a sentence needs no colon after it."""
    ended = [line if line[-1] in ".!?:。！？：" else f"{line}:" for line in lines[:-1]]
    return " ".join([*ended, *lines[-1:]])


def _says(line: str) -> bool:
    words = " ".join(re.findall(r"\w+", line.casefold()))
    if not words.replace("_", "") or words in _NOTHING:
        return False
    bare = line.strip(" \"'`*-#:：")
    return not (
        _PLACEHOLDER.fullmatch(bare.casefold())
        or field_of(bare)  # a label alone
        or _DEBRIS.search(line)
    )
