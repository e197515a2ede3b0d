"""What the commands share: the application, options, opening a pool, writing a file."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.pool import ExperiencePool, open_pool
from lanpo_memory.snapshots import holds_pool
from lanpo_memory.types import Experience, Hit, Limits, Problem

__all__ = [
    "OUTCOMES",
    "GammaOption",
    "NamespaceOption",
    "PoolOption",
    "app",
    "command",
    "first_words",
    "found_by_id",
    "look_into",
    "spared",
    "tools",
]

app = typer.Typer(
    name="pool",
    help="Look into an experience pool, fill it from files, fit it, compare it, move it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

tools = typer.Typer(pretty_exceptions_enable=False)
"""Commands that stand beside `lanpo pool`, not below it."""

OUTCOMES = {True: "correct", False: "wrong", None: "unjudged"}

_SEE_LIST = "see `lanpo pool list`"

PoolOption = Annotated[
    str, typer.Option("--pool", "-p", help="Path or address of the pool.", metavar="PATH_OR_URL")
]
GammaOption = Annotated[
    float | None,
    typer.Option(
        metavar="0..1",
        help="Least similarity. Without: the calibrated one, else the scorer's default.",
    ),
]
NamespaceOption = Annotated[str, typer.Option(help="Namespace within the pool.", metavar="NAME")]

Function = TypeVar("Function", bound=Callable[..., None])


def command(
    name: str | None = None, *, of: typer.Typer = app, **settings: Any
) -> Callable[[Function], Function]:
    """Register a command; typer would keep the line ends of its docstring at any width.

    Args:
        name: what it is called; by default as the function.
        of: the application.
        settings: of `typer.Typer.command`.
    """

    def register(function: Function) -> Function:
        paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
        text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
        return of.command(name, help=text, **settings)(function)

    return register


class _NoSearch:
    """A retriever for commands that do not search: the index of a large pool takes its time."""

    fingerprint = "none"
    default_gamma = 0.0

    def update(self, added: Sequence[Problem], removed: Sequence[str]) -> None:
        """Index nothing."""

    def retrieve(self, queries: Sequence[Problem], *, k: int) -> list[list[Hit]]:
        """Find nothing."""
        return [[] for _ in queries]


def look_into(
    pool: str, namespace: str, *, create: bool = False, limits: Limits | None = None
) -> ExperiencePool:
    """Open a pool that nobody is going to search.

    Raises:
        PoolNotFoundError: there is no such pool or namespace and `create` is false.
    """
    return open_pool(pool, namespace=namespace, create=create, retriever=_NoSearch(), limits=limits)


def found_by_id(pool: ExperiencePool, start: str) -> Experience:
    """Return the one experience whose id starts so.

    Raises:
        InvalidInputError: there is none, or more than one.
    """
    if not start.strip():
        raise InvalidInputError(f"the id is empty; {_SEE_LIST}")
    exact = pool.get([start])[0]
    if exact is not None:
        return exact
    first: Experience | None = None
    n = 0
    for experience in pool.store.scan("experience"):
        if experience.id.startswith(start):
            first, n = first or experience, n + 1
    if first is None:
        raise InvalidInputError(f"no experience has an id that starts with {start!r}; {_SEE_LIST}")
    if n > 1:
        raise InvalidInputError(
            f"{n:,} experiences have an id that starts with {start!r}; give more of it"
        )
    return first


def first_words(experience: Experience) -> str:
    """Return what an experience says first: a principle, else a pitfall, else its thoughts."""
    return next(iter((*experience.principles, *experience.pitfalls, experience.thoughts)), "")


def spared(target: Path, *others: Path) -> Path:
    """Return a path that may be written: no pool, and none of the other files in use.

    Raises:
        InvalidInputError: writing there would destroy what is in use.
    """
    try:
        if target.is_file() and (
            holds_pool(target) or any(target.samefile(other) for other in others)
        ):
            raise InvalidInputError(f"{target} would be overwritten; write to another file")
    except OSError as error:
        raise InvalidInputError(f"cannot write {target}: {error.strerror}") from error
    return target
