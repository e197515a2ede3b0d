"""The seams. Each is a small `Protocol`; implementations do not inherit from it.

Common contract: batch first and synchronous. A method that takes a sequence returns a list of the
same length in the same order. Bad arguments raise `InvalidInputError`; a model's failure is
returned as a `Failure`, never raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload, runtime_checkable

from lanpo_memory.types import (
    Attempt,
    Batch,
    Changes,
    Completion,
    Experience,
    Exposure,
    FailedAnswer,
    Failure,
    Guidance,
    GuidanceKind,
    Hit,
    Limits,
    Messages,
    Observation,
    Problem,
    Promise,
    Receipt,
    Request,
    Retrieved,
    Rollout,
)

if TYPE_CHECKING:  # a third of the time an import would take
    import numpy as np
    from numpy.typing import NDArray

    from lanpo_memory.ledger import Ledger

__all__ = [
    "AbstractPrompts",
    "Abstractor",
    "ChatModel",
    "ChoiceScorer",
    "ContrastPrompts",
    "CritiquePrompts",
    "Embedder",
    "ExperienceAdapter",
    "ExperienceFilter",
    "ExperienceStore",
    "JudgePrompts",
    "ProblemFilter",
    "Prompts",
    "Reflector",
    "Relevance",
    "Retriever",
    "SolvePrompts",
    "Summarizer",
]

Conversations = Sequence[Messages]


@runtime_checkable
class ExperienceStore(Protocol):
    """The only truth about a pool. It says nothing about search."""

    @property
    def promises(self) -> frozenset[Promise]:
        """What this store guarantees; it refuses the rest with `PromiseError`."""

    @property
    def namespace(self) -> str:
        """Which of the pools in this store this is."""

    def write(
        self, batch: Batch, *, limits: Limits, worth: Callable[[str], float] | None = None
    ) -> list[Receipt]:
        """Dedupe, insert, evict and log, in one transaction.

        Returns one receipt for each item, in the order of the batch's fields. A deletion of an id
        that is not there is ``rejected``. Over capacity the oldest experiences of a problem go;
        with `worth` (of a lesson id) those that are worth least, the oldest of equals first.
        """

    @overload
    def read(
        self,
        kind: Literal["experience"],
        *,
        ids: Sequence[str] | None = None,
        problems: Sequence[str] | None = None,
        newest: int | None = None,
    ) -> list[Experience]: ...
    @overload
    def read(
        self,
        kind: Literal["attempt"],
        *,
        ids: Sequence[str] | None = None,
        problems: Sequence[str] | None = None,
        newest: int | None = None,
    ) -> list[Attempt]: ...
    @overload
    def read(
        self,
        kind: Literal["exposure"],
        *,
        ids: Sequence[str] | None = None,
        problems: Sequence[str] | None = None,
        newest: int | None = None,
    ) -> list[Exposure]: ...
    @overload
    def read(
        self,
        kind: Literal["failure"],
        *,
        ids: Sequence[str] | None = None,
        problems: Sequence[str] | None = None,
        newest: int | None = None,
    ) -> list[FailedAnswer]: ...
    @overload
    def read(
        self,
        kind: Literal["problem"],
        *,
        ids: Sequence[str] | None = None,
        problems: Sequence[str] | None = None,
        newest: int | None = None,
    ) -> list[Problem]: ...
    def read(
        self,
        kind: Any,
        *,
        ids: Sequence[str] | None = None,
        problems: Sequence[str] | None = None,
        newest: int | None = None,
    ) -> list[Any]:
        """Return records in the order they were written, oldest first.

        Restricted to `ids` and to problem ids `problems` where given (unknown ones are left out);
        `newest` keeps only that many latest records of each problem. Kind ``problem`` returns the
        problems that hold at least one experience.
        """

    def scan(
        self,
        kind: Literal["experience", "attempt", "exposure", "failure"],
        *,
        newest_first: bool = False,
    ) -> Iterator[Any]:
        """Yield every record of a kind, oldest first, without holding them all in memory."""

    def view(self) -> AbstractContextManager[None]:
        """Within it, all reads of this thread see the store as it was at one moment."""

    def count(self, kind: str) -> int:
        """How many records of a kind there are."""

    def changes(self, since: int, *, limit: int = 10_000) -> Changes:
        """Return the change log after line `since`, so that every process can follow every other.

        `limit=0` returns no lines and the number of the newest.
        """

    def cached(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return cached bytes (embeddings, judge scores, calibrations), `None` where absent."""

    def cache(self, items: Sequence[tuple[str, bytes]]) -> None:
        """Store cached bytes, replacing what was there."""

    def close(self) -> None:
        """Release files and connections. Closing twice does nothing."""


@runtime_checkable
class Retriever(Protocol):
    """Search over problems, not over entries.

    The fingerprint names everything that decides what a similarity means; `default_gamma` is the
    least similarity worth showing, until it has been calibrated.
    """

    fingerprint: str
    default_gamma: float

    def update(self, added: Sequence[Problem], removed: Sequence[str]) -> None:
        """Index new problems and forget removed ids. Adding a known id again does nothing."""

    def retrieve(self, queries: Sequence[Problem], *, k: int) -> list[list[Hit]]:
        """Return at most `k` hits for each query, best first, ties broken the same way always."""


class ExperienceFilter(Protocol):
    """Decides what may be shown for a problem."""

    def verdicts(self, problem: Problem, hits: Sequence[Retrieved]) -> list[str | None]:
        """Return `None` for each hit to keep, else the reason for dropping it."""


@runtime_checkable
class ProblemFilter(Protocol):
    """A filter that needs no experience: it looks at the problem found and at its similarity.

    An `ExperienceFilter` may be one, too. What it drops here is never read from the store.
    """

    def problem_verdicts(
        self, problem: Problem, others: Sequence[Problem], similarities: Sequence[float]
    ) -> list[str | None]:
        """Return `None` (keep) or the reason for dropping, for each problem found."""


class Relevance(Protocol):
    """r(problem, feedback) in 0..1. A gamma belongs to one fingerprint and to no other."""

    fingerprint: str
    default_gamma: float

    def score(self, pairs: Sequence[tuple[Problem, Experience]]) -> NDArray[np.float32]:
        """Return one score in 0..1 for each pair, shape (n,); higher is more relevant."""


class Embedder(Protocol):
    """Text to unit vectors. The fingerprint names model, dimension and normalisation."""

    fingerprint: str

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit rows, shape (n, d)."""


class ChatModel(Protocol):
    """Anything that answers conversations. Its ledger counts what that costs."""

    @property
    def ledger(self) -> Ledger:
        """What was asked so far, by role; it may hold a budget."""

    def generate(
        self,
        conversations: Conversations,
        *,
        max_tokens: int,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        role: str = "solve",
    ) -> list[Completion | Failure]:
        """Answer each conversation with at most `max_tokens` tokens.

        A call that fails is a `Failure` in its place.

        Raises:
            BudgetExceeded: the calls could cross a budget; none of them was made.
        """


class ChoiceScorer(Protocol):
    """A model that tells how likely each of a few answers is.

    The fingerprint names the model: scores are kept under it.
    """

    @property
    def fingerprint(self) -> str:
        """Which model this is."""

    @property
    def ledger(self) -> Ledger:
        """What was asked so far, by role; it may hold a budget."""

    def choice_logprobs(
        self, conversations: Conversations, choices: Sequence[str], *, role: str = "judge"
    ) -> NDArray[np.float32]:
        """Return log-probabilities of each choice as the answer, shape (n, choices).

        A conversation whose call fails has a row of NaN.

        Raises:
            BudgetExceeded: the calls could cross a budget; none of them was made.
            ConfigError: the model does not tell log-probabilities.
        """


class Prompts(Protocol):
    """The language of the roles. Another domain, or a tiny policy, brings its own."""

    def solve(self, problem: Problem) -> Messages:
        """The bare prompt: the problem and how to give the final answer."""

    def inter(self, problem: Problem, retrieved: Sequence[Retrieved]) -> str:
        """Guidance text from experiences of other problems, put in front of the bare prompt."""

    def intra(self, attempt: Attempt) -> str:
        """Guidance text from an earlier attempt, put in front of the bare prompt."""

    def sections(self, kind: GuidanceKind) -> Sequence[tuple[str, ...]]:
        """Section headers a guided completion must have; a tuple holds alternatives."""

    def solution(self, kind: GuidanceKind, completion: str) -> str | None:
        """The part of a completion that solves the problem, or `None` if it is missing."""

    def summarise(self, problem: Problem, completion: str) -> Messages:
        """Ask for an experience. There is no argument for a reward, a verdict or an answer."""

    def parse(self, problem: Problem, answer: str) -> Experience | Failure:
        """Read the answer to `summarise`."""


class SolvePrompts(Prompts, Protocol):
    """What a solver reads out of completions, besides `Prompts`."""

    def answer(self, completion: str) -> str | None:
        """The final answer that a completion gives, `None` without one."""

    def verdict(self, completion: str) -> bool | None:
        """What a reflection concluded about the attempt, `None` where it cannot be read."""


class ContrastPrompts(Protocol):
    """How to ask what right rollouts of a problem did that wrong ones did not."""

    def contrast(self, problem: Problem, right: Sequence[str], wrong: Sequence[str]) -> Messages:
        """Ask for an experience from completions that were right and completions that were not."""

    def parse(self, problem: Problem, answer: str) -> Experience | Failure:
        """Read the answer to `contrast`."""


class CritiquePrompts(Protocol):
    """How to ask for a critique of an attempt first, and how to show it to the policy then."""

    def critique(self, attempt: Attempt) -> Messages:
        """Ask what is right and wrong in an attempt, which nobody has checked."""

    def intra_after(self, attempt: Attempt, critique: str) -> str:
        """Guidance text from an earlier attempt and a critique of it."""


class AbstractPrompts(Protocol):
    """How to ask what experiences of other problems mean for this one."""

    def abstract(self, problem: Problem, retrieved: Sequence[Retrieved]) -> Messages:
        """Ask for principles and pitfalls for `problem`."""

    def parse(self, problem: Problem, answer: str) -> Experience | Failure:
        """Read the answer to `abstract`."""


class JudgePrompts(Protocol):
    """How to ask whether an experience helps with a problem."""

    def judge(self, problem: Problem, experience: Experience) -> Messages:
        """Ask a question whose answer is ``yes`` or ``no``."""


class Abstractor(Protocol):
    """Experiences that passed the filters to principles and pitfalls for the problem at hand."""

    def abstract(
        self, items: Sequence[tuple[Problem, Sequence[Retrieved]]]
    ) -> list[Experience | Failure]:
        """Return one experience for each item; a `Failure` leaves the notes as they are."""


class Summarizer(Protocol):
    """Rollouts to experiences."""

    def ask(self, rollouts: Sequence[Rollout]) -> list[Request]:
        """Return the conversations to be answered: any number, the same for the same rollouts."""

    def read(
        self, rollouts: Sequence[Rollout], answers: Sequence[Completion | Failure]
    ) -> list[Experience | Failure]:
        """Read the answers, which come in the order of the requests."""


class Reflector(Protocol):
    """Guidance from an earlier attempt. It takes an `Attempt`: it cannot be handed a reward."""

    def reflect(self, attempts: Sequence[Attempt]) -> list[Guidance]:
        """Return one guidance for each attempt."""


class ExperienceAdapter(Protocol):
    """The plug for any trainer and any agent: ask before a rollout, tell after it."""

    def prepare(
        self,
        problems: Sequence[Problem],
        *,
        step: int,
        wanted: Sequence[bool | None] | None = None,
        attempts: Sequence[Attempt | None] | None = None,
    ) -> list[Guidance]:
        """Return guidance for each problem.

        `wanted` overrides the coin per item (`None` leaves it), `attempts` brings fresh attempts.
        A problem that stands twice in the call may get different guidance.
        """

    def ask(self, rollouts: Sequence[Rollout], *, step: int) -> list[Request]:
        """Return what the memory wants to have answered about these rollouts."""

    def ingest(
        self,
        rollouts: Sequence[Rollout],
        answers: Sequence[Completion | Failure],
        *,
        step: int,
    ) -> Observation:
        """Store what the rollouts and the answers taught, in one transaction."""

    def observe(self, rollouts: Sequence[Rollout], *, step: int) -> Observation:
        """`ask`, answer with the adapter's own model, `ingest`."""

    def save(self, folder: Path) -> None:
        """Write everything needed to go on from here into a folder."""

    def load(self, folder: Path) -> None:
        """Go back to what `save` wrote."""
