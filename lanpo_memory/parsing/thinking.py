"""Thinking out loud, which some models do between tags before they answer."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Spoken", "spoken"]

_NAME = r"(?:\w{1,10}:)?(?:think|thinking|thought|reasoning|reflection|scratchpad)"
# A tag in the middle of a sentence is talked about, not used: one that opens begins its line; one
# that closes what nobody opened (the prompt did) ends its line, or the answer proper follows.
_TAG = re.compile(
    rf"(?P<open>^[ \t]*(?:<{_NAME}>|\[THINK\]|◁think▷))"
    rf"|(?P<close></{_NAME}>|\[/THINK\]|◁/think▷)(?P<alone>[ \t]*(?:$|[{{\[#`]))?",
    re.IGNORECASE | re.MULTILINE,
)
_FINAL_CHANNEL = re.compile(r"<\|channel\|>\s*final\b[^<]{0,40}<\|message\|>")
_CHANNEL = re.compile(r"<\|channel\|>")
_CONTROL = re.compile(r"<[|｜][\w▁ -]{1,40}[|｜]>")


class Spoken(NamedTuple):
    """An answer without its thinking; `cut` if the thinking never ended."""

    text: str
    cut: bool


def spoken(answer: str) -> Spoken:
    r"""Return what a model says after, before and between its thinking.

    >>> spoken("<think>\nIs it 5?\n</think>\nIt is 5.")
    Spoken(text='\nIt is 5.', cut=False)
    """
    finals = list(_FINAL_CHANNEL.finditer(answer))
    if not finals and _CHANNEL.search(answer):
        return Spoken("", cut=True)
    found = _outside_tags(answer[finals[-1].end() :] if finals else answer)
    return found._replace(text=_CONTROL.sub("", found.text))


def _outside_tags(text: str) -> Spoken:
    pieces: list[str] = []
    start, thinking = 0, False
    for tag in _TAG.finditer(text):
        if tag["open"] and not thinking:
            pieces.append(text[start : tag.start()])
            thinking = True
        elif tag["close"] and thinking:
            start, thinking = tag.end("close"), False
        elif tag["close"] and tag["alone"] is not None:
            pieces, start = [], tag.end("close")
    if not thinking:
        pieces.append(text[start:])
    return Spoken("".join(pieces), cut=thinking)
