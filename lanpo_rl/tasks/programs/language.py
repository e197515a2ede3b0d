"""A string-rewriting language: instruction words that change a word of letters one after another.

``[rot dup]swp`` makes *abc* into *bca*, *bcabca*, *cbabca*. Brackets group and do nothing. Every
text has a meaning: `execute` returns a word, or `None` where the text is no program or the word
grows too long.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from lanpo_rl.tiny.alphabet import VOCABULARY

__all__ = [
    "INSTRUCTIONS",
    "LONGEST_PROGRAM",
    "LONGEST_WORD",
    "PROGRAM_VOCABULARY",
    "STEP_WORDS",
    "execute",
    "read_program",
]

_NEXT = str.maketrans("abcdefghijklmnopqrstuvwxyz", "bcdefghijklmnopqrstuvwxyza")

INSTRUCTIONS: Mapping[str, Callable[[str], str]] = {
    "rev": lambda word: word[::-1],
    "rot": lambda word: word[1:] + word[:1],
    "swp": lambda word: word[:2][::-1] + word[2:],
    "tip": lambda word: word[-1:] + word[1:-1] + word[:1] if len(word) > 1 else word,
    "dup": lambda word: word + word,
    "mir": lambda word: word + word[::-1],
    "dbl": lambda word: word[:1] + word,
    "cap": lambda word: word + word[:1],
    "add": lambda word: "a" + word,
    "drp": lambda word: word[1:],
    "cut": lambda word: word[:-1],
    "nxt": lambda word: word.translate(_NEXT),
}
"""What each instruction makes of a word.

Reverse it; move its first letter to the end; swap its first two letters, or its first and its last;
write it twice, or with its mirror image behind; double its first letter, or repeat that at the end;
put an *a* in front; leave out its first letter, or its last; put the next letter for each, *a* for
*z*.
"""

STEP_WORDS: Mapping[str, str] = {
    "reversed": "rev",
    "turned": "rot",
    "crossed": "swp",
    "exchanged": "tip",
    "twice": "dup",
    "mirrored": "mir",
    "stuttered": "dbl",
    "closed": "cap",
    "opened": "add",
    "beheaded": "drp",
    "curtailed": "cut",
    "shifted": "nxt",
}
"""How problems call the instructions."""

PROGRAM_VOCABULARY: tuple[str, ...] = (*VOCABULARY, "[", "]", *INSTRUCTIONS, *STEP_WORDS)
"""Every token of a policy that writes programs."""

LONGEST_PROGRAM = 64
"""Most instructions of a program."""
LONGEST_WORD = 1024
"""Most letters of a word; seven doublings of eight letters."""

_TOKEN = re.compile(r"[a-z]+|[\[\]]")
_PROGRAM = re.compile(r"[a-z\[\] ]*")


def read_program(text: str) -> tuple[str, ...] | None:
    """Return a program's instructions in order; `None` if the text is no program.

    Instructions are separated by blanks or brackets, and brackets match. A program has at least one
    instruction and at most `LONGEST_PROGRAM`.

    >>> read_program("[rot dup]swp"), read_program("[rot dup"), read_program("rotdup")
    (('rot', 'dup', 'swp'), None, None)
    """
    if _PROGRAM.fullmatch(text) is None:
        return None
    tokens = _TOKEN.findall(text)
    found = tuple(token for token in tokens if token not in "[]")
    known = all(token in INSTRUCTIONS for token in found)
    if not known or not 1 <= len(found) <= LONGEST_PROGRAM or not _brackets_match(tokens):
        return None
    return found


def _brackets_match(tokens: Sequence[str]) -> bool:
    open_ = 0
    for token in tokens:
        open_ += (token == "[") - (token == "]")
        if open_ < 0:
            return False
    return open_ == 0


def execute(program: str, word: str) -> str | None:
    """Return what a program makes of a word.

    `None` if the text is no program, or if the word is longer than `LONGEST_WORD` at any time.

    >>> execute("[rot dup]swp", "abc"), execute("rot rot", "abc"), execute("rut", "abc")
    ('cbabca', 'cab', None)
    """
    instructions = read_program(program)
    if instructions is None or len(word) > LONGEST_WORD:
        return None
    for instruction in instructions:
        word = INSTRUCTIONS[instruction](word)
        if len(word) > LONGEST_WORD:
            return None
    return word
