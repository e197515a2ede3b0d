"""`lanpo pool judge`: a judge's scores ahead of a run, so that the run need not ask."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from lanpo_memory.calibration import gamma_of
from lanpo_memory.cli.common import NamespaceOption, PoolOption, command
from lanpo_memory.cli.embedding import Bf16Option, EmbedderOption, searchable
from lanpo_memory.cli.models import (
    INTERRUPTED,
    ApiBaseOption,
    MaxCallsOption,
    MaxCostOption,
    MaxTokensOption,
    ModelOption,
    check_answering,
    ledger_of,
    load_model,
    print_faults,
    print_ledger,
)
from lanpo_memory.cli.problems import read_problems
from lanpo_memory.cli.terminal import counted, progress, report, to_screen, wrapped
from lanpo_memory.errors import BudgetExceeded, NoAnswerError
from lanpo_memory.guide import Guide
from lanpo_memory.ledger import Ledger
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.relevance import JudgeRelevance, JudgeWarning
from lanpo_memory.types import Experience, Problem

__all__ = ["judge"]

_FIRST = 16  # pairs asked before all others
_CHUNK = 64  # pairs asked and kept at once: what an interruption can lose
_BLOCK = 64  # problems searched at once
_LABEL = 12  # cells
_AGAIN = ": no answer, so they are not kept; the same command asks again"

Pair = tuple[Problem, Experience]


@command()
def judge(
    model: ModelOption,
    problems: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSON Lines with `problem`, `question` or `text`, or strings: the problems to "
            "come. Without: the pool's own, each without itself.",
        ),
    ] = None,
    pool: PoolOption = "pool.db",
    namespace: NamespaceOption = "default",
    k: Annotated[
        int,
        typer.Option(
            "-k",
            "--k",
            min=1,
            metavar="N",
            help="How many problems search proposes for each; of each of those the newest four "
            "experiences are judged. A run asks about 32.",
        ),
    ] = 32,
    embedder: EmbedderOption = None,
    bf16: Bf16Option = False,
    api_base: ApiBaseOption = None,
    max_calls: MaxCallsOption = None,
    max_tokens: MaxTokensOption = None,
    max_cost: MaxCostOption = None,
) -> None:
    """Ask a model beforehand which experiences help with which problems, and keep its scores.

    A run whose relevance is this judge finds the scores in the pool and does not ask again, as long
    as the pool stays as it is. The model has to tell log-probabilities. Every 64 answers are kept:
    the same command goes on where it was stopped, and asks nothing where all is known. Lines of
    FILE that cannot be read are named; the others count, and the exit code is 1.

    Example: lanpo pool judge --problems train.jsonl --model models/judge --pool pool.db
    """
    given, errors = (None, []) if problems is None else read_problems(problems)
    console = to_screen()
    ledger = ledger_of(
        model,
        api_base=api_base,
        max_calls=max_calls,
        max_tokens=max_tokens,
        max_cost=max_cost,
    )
    with searchable(pool, namespace, embedder, bf16=bf16) as opened:
        scorer = JudgeRelevance(
            load_model(model, ledger, api_base=api_base), store=opened.store, chunk=_CHUNK
        )
        asked = opened.store.read("problem") if given is None else given
        work = _Work(scorer, _pairs(opened, scorer, asked, k), ledger)
        try:
            work.do()
        except BudgetExceeded as error:
            print_ledger(console, ledger)
            raise BudgetExceeded(f"{work.so_far()}. {error}") from error
        except NoAnswerError:
            print_ledger(console, ledger)
            raise
        except KeyboardInterrupt:
            print_ledger(console, ledger)
            report().print(f"stopped: {work.so_far()}; the same command goes on from there")
            raise typer.Exit(INTERRUPTED) from None
        gamma = gamma_of(opened.store, scorer)
    _print_summary(console, work, len(asked), gamma)
    print_ledger(console, ledger)
    print_faults(console, [("not read:", error) for error in errors])
    if errors or scorer.failed:
        raise typer.Exit(1)


class _Noted:
    """Stands in for a judge, and only notes what it would be asked."""

    default_gamma = 0.0

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.pairs: dict[tuple[str, str], Pair] = {}
        self._lessons: dict[str, Experience] = {}

    def score(self, pairs: Sequence[Pair]) -> NDArray[np.float32]:
        """Note the distinct pairs of problem text and lesson; no experience is held twice."""
        for problem, experience in pairs:
            lesson = self._lessons.setdefault(experience.lesson_id, experience)
            self.pairs.setdefault((problem.text, lesson.lesson_id), (problem, lesson))
        return np.zeros(len(pairs), dtype=np.float32)


def _pairs(
    pool: ExperiencePool, scorer: JudgeRelevance, problems: Sequence[Problem], k: int
) -> list[Pair]:
    """What a guide with this judge would ask about, by making one do it."""
    noted = _Noted(scorer.fingerprint)
    guide = Guide(pool, relevance=noted, width=k)
    with progress() as bar:
        task = bar.add_task("searching", total=len(problems))
        for start in range(0, len(problems), _BLOCK):
            block = problems[start : start + _BLOCK]
            guide.inter(block)
            bar.advance(task, len(block))
    return list(noted.pairs.values())


class _Work:
    """Pairs on their way through a judge, a chunk at a time."""

    def __init__(self, scorer: JudgeRelevance, pairs: Sequence[Pair], ledger: Ledger) -> None:
        self.scorer, self.pairs, self.ledger = scorer, pairs, ledger
        self.scores: list[float] = []

    def do(self) -> None:
        """Judge them all, with a bar."""
        with progress() as bar, warnings.catch_warnings():
            warnings.simplefilter("ignore", JudgeWarning)  # the summary says it
            task = bar.add_task("judging", total=len(self.pairs))
            # A few first: a model that answers nothing is found out soon.
            starts = [0, *range(_FIRST, len(self.pairs), _CHUNK)]
            for start, end in zip(starts, [*starts[1:], len(self.pairs)], strict=True):
                chunk = self.pairs[start:end]
                self.scores += self.scorer.score(chunk).tolist()
                bar.advance(task, len(chunk))
                check_answering(self.ledger)

    def so_far(self) -> str:
        """How far it got."""
        done, pairs = self.scorer.asked - self.scorer.failed, counted(len(self.pairs), "pair")
        known = self.scorer.reused
        return (
            f"{done:,} of {pairs} were judged now, and stay so; {known:,} seen so far were before"
        )


def _print_summary(console: Console, work: _Work, problems: int, gamma: float) -> None:
    pairs, scorer = len(work.pairs), work.scorer
    if not pairs:
        found = "search finds no experience of another problem for any of them"
        console.print(f"nothing to judge: {counted(problems, 'problem')}, and {found}")
        return
    relevant = [pair for pair, score in zip(work.pairs, work.scores, strict=True) if score >= gamma]
    reached = len({problem.text for problem, _ in relevant})
    for label, text in (
        ("pairs", f"{pairs:,} of {counted(problems, 'problem')} and a lesson that search proposes"),
        ("asked", f"{scorer.asked:,}"),
        ("from cache", f"{scorer.reused:,}"),
        ("failed", f"{scorer.failed:,}{_AGAIN if scorer.failed else ''}"),
        ("relevant", f"{len(relevant) / pairs:.1%} of the pairs have P(yes) >= {gamma:g} (gamma)"),
        ("hit rate", f"{reached / problems:.3f} of the problems find such a lesson"),
        ("judge", scorer.fingerprint),
    ):
        console.print(wrapped(f"{label:<{_LABEL}}", text, console))
