"""Keeping keys out of whatever is shown."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

__all__ = ["Scrubber", "Secret", "secrets_in"]

MASK = "[key]"
_LONGEST = 10_000  # characters of a message: nobody reads more, and looking for keys takes time
_SHORTEST = 4  # what is shorter is no secret, and masking it would garble every message
_SHORTEST_IN_ENVIRONMENT = 8  # nobody said that these are secrets but their names
_NAMES = re.compile(r"key|token|secret|passw|credential|authorization|cookie", re.IGNORECASE)
_NAMES_IN_ENVIRONMENT = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)
_LOOKS_SECRET = re.compile(
    r"(?<=Bearer )[^\s\"',}]+"
    r"|(?<=Basic )[\w+/=-]{8,}"
    r"|\b(?:sk|pk|rk)-[\w*…-]{4,}"
    r"|\b(?:csk|ghp|glpat|gsk|hf|nvapi|pplx|tgp|xai)[-_][\w*-]{8,}"
    r"|\bAIza[\w-]{10,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{8,}"
    r"|\beyJ[\w-]{8,}\.[\w.-]+"  # a JSON web token
    r"|(?<![\w-])[\w-]*\*{3,}[\w-]*|\*{3,}[\w-]*"  # half masked by the provider
    r"|(?<=key=)[^\s&\"']+|(?<=key: )[^\s\"',}]{8,}"
    r"|(?<=key\": \")[^\"]+|(?<=key': ')[^']+",
    re.IGNORECASE,
)


class Secret(str):
    """A key whose `repr` hides it, so that no traceback with local variables tells it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)


class Scrubber:
    """Masks keys in messages: those it is told, those in the environment, and what looks like one.

    Args:
        secrets: texts that must never be shown; those of fewer than 4 characters are left alone.

    >>> Scrubber(["hunter22"])("refused hunter22 and sk-abc123***9xyz")
    'refused [key] and [key]'
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = {str(each) for each in secrets}

    def __call__(self, text: str) -> str:
        """Return the text with every key masked; of a very long one only its beginning."""
        known = self._secrets | set(_in_environment())
        # The longest first: one may be part of another.
        for secret in sorted(known, key=len, reverse=True):
            if len(secret) >= _SHORTEST:
                text = text.replace(secret, MASK)
        # Cut last: of a key that is known, no half may be left.
        return _LOOKS_SECRET.sub(MASK, text[:_LONGEST])


def secrets_in(settings: Mapping[str, Any], *, secret: bool = False) -> Iterator[str]:
    """Yield the texts, at any depth, that stand under a name such as ``api_key``.

    >>> list(secrets_in({"top_p": 1, "extra_headers": {"X-Api-Key": "abcd", "Accept": "json"}}))
    ['abcd']
    """
    for name, value in settings.items():
        hidden = secret or bool(_NAMES.search(str(name)))
        if isinstance(value, Mapping):
            yield from secrets_in(value, secret=hidden)
        elif hidden and isinstance(value, str):
            yield value


def _in_environment() -> Iterator[str]:
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_IN_ENVIRONMENT and _NAMES_IN_ENVIRONMENT.search(name):
            yield value
