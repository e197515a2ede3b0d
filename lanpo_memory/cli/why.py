"""`lanpo pool why`: the way of every candidate from the search to the prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from lanpo_memory.calibration import load_calibration
from lanpo_memory.cli.common import GammaOption, NamespaceOption, PoolOption, command, first_words
from lanpo_memory.cli.embedding import (
    Bf16Option,
    EmbedderOption,
    about_similarity,
    searchable,
)
from lanpo_memory.cli.terminal import counted, cut, to_screen, wrapped
from lanpo_memory.filters import NotSameProblem, SimilarityAtLeast, is_template_of
from lanpo_memory.guide import Candidate, Guide
from lanpo_memory.types import Problem

__all__ = ["why"]

_NAMES = {
    SimilarityAtLeast.__name__: "the relevance filter",
    NotSameProblem.__name__: "the same-problem filter",
}
_LABEL = 12  # cells, of the labels below the candidates


@command()
def why(
    problem: Annotated[str, typer.Argument(help="The problem that wants guidance.")],
    pool: PoolOption = "pool.db",
    namespace: NamespaceOption = "default",
    gamma: GammaOption = None,
    embedder: EmbedderOption = None,
    bf16: Bf16Option = False,
    seed: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Draw from the shortlist with this seed, as training does. Without: take the "
            "first.",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, metavar="N", help="How many candidates to show.")
    ] = 8,
) -> None:
    """Explain which experiences a problem gets as guidance, and why not the others.

    Each candidate is shown with how far it came, or with the filter that dropped it. An embedder's
    vectors are kept in the pool; nothing else is written.

    Example: lanpo pool why "How many eggs are left?" --pool pool.db
    """
    asked = Problem(text=problem)
    console = to_screen()
    with searchable(pool, namespace, embedder, bf16=bf16) as opened:
        guide = Guide(opened, gamma=gamma)
        found = guide.explain(asked, seed=seed).candidates
        templates = {c.rank for c in found if is_template_of(asked, c.retrieved.experience.problem)}
        _print_candidates(console, guide, found, templates, seeded=seed is not None, limit=limit)
        for label, text in (
            ("guidance", _about_guidance(found)),
            ("candidates", _counts(found)),
            ("templates", _about_templates(found, templates)),
            ("gamma", _about_gamma(guide, given=gamma is not None)),
            ("similarity", about_similarity(opened)),
        ):
            console.print(wrapped(f"{label:<{_LABEL}}", text, console))
        console.print(f"{'scorer':<{_LABEL}}{guide.fingerprint}")


# ---------------------------------------------------------------------- candidates


def _print_candidates(
    console: Console,
    guide: Guide,
    found: Sequence[Candidate],
    templates: set[int],
    *,
    seeded: bool,
    limit: int,
) -> None:
    """The first ones, and those that came far."""
    scorer = guide.fingerprint.partition(":")[0]
    shown = [c for c in found if c.rank < limit or c.shortlisted]
    for c in shown:
        fate = _fate(c, guide.selection.shortlist, seeded=seeded)
        template = "; the same template with other numbers" if c.rank in templates else ""
        number = f"{c.rank + 1:>3}. "
        console.print(wrapped(number, fate + template, console))
        _print_facts(console, c, " " * len(number), scorer)
    if not found:
        console.print("no candidates: no problem in the pool shares a word with this one")
    elif len(shown) < len(found):
        console.print(f"     ... and {len(found) - len(shown)} more: --limit {len(found)}")
    console.print()


def _print_facts(console: Console, c: Candidate, indent: str, scorer: str) -> None:
    hit, room = c.retrieved, max(20, console.width - len(indent) - 9)
    facts = (
        f"similarity {hit.similarity:.3f}  score {hit.score:.3f} ({scorer})  "
        f"utility {hit.utility:.2f}  {hit.experience.id[:12]}"
    )
    console.print(wrapped(indent, facts, console))
    console.print(f"{indent}problem  {cut(hit.experience.problem.text, room)}")
    console.print(f"{indent}lesson   {cut(first_words(hit.experience), room)}")


def _fate(c: Candidate, shortlist: int, *, seeded: bool) -> str:
    if c.dropped is not None:
        return f"dropped by {_NAMES.get(str(c.dropped_by), c.dropped_by)}: {c.dropped}"
    if not c.shortlisted:
        return f"passed every filter, but {shortlist} are shortlisted and this is not among them"
    if not c.used:
        taken = "another was drawn" if seeded else "the first was taken; --seed draws"
        return f"passed every filter, shortlisted, not used: {taken}"
    taken = "drawn" if seeded else "taken as the first"
    return f"USED: passed every filter, shortlisted, {taken}; about {c.tokens:,} tokens of guidance"


# ---------------------------------------------------------------------- summary


def _about_guidance(found: Sequence[Candidate]) -> str:
    used = [c for c in found if c.used]
    if not used:
        return "none: no candidate passed every filter"
    return f"{counted(len(used), 'experience')}, about {used[0].tokens:,} tokens"


def _counts(found: Sequence[Candidate]) -> str:
    used, shortlisted = sum(c.used for c in found), sum(c.shortlisted for c in found)
    reasons = Counter(
        "below gamma" if c.dropped_by == SimilarityAtLeast.__name__ else c.dropped
        for c in found
        if c.dropped
    )
    problems = {c.retrieved.experience.problem.id for c in found}
    dropped = reasons.total()
    said = (
        f"{len(found)} from {counted(len(problems), 'problem')}; {dropped} dropped, "
        f"{len(found) - dropped} passed, {shortlisted} shortlisted, {used} used"
    )
    parts = "; ".join(f"{reason} ({n})" for reason, n in reasons.most_common())
    return f"{said}. Dropped: {parts}" if parts else said


def _about_templates(found: Sequence[Candidate], templates: set[int]) -> str:
    if not templates:
        return "no candidate is the same template with other numbers"
    kept = sum(c.rank in templates and c.dropped is None for c in found)
    said = f"{counted(len(templates), 'candidate')} of the same template with other numbers"
    return f"{said}, {kept} of them passed"


def _about_gamma(guide: Guide, *, given: bool) -> str:
    if given:
        return f"{guide.gamma:g}, as given"
    known = load_calibration(guide.pool.store, guide.fingerprint)
    if known is None:
        return (
            f"{guide.gamma:g}, this scorer's default; `lanpo pool calibrate` finds one for this "
            "pool"
        )
    return (
        f"{guide.gamma:g}, calibrated for this pool and scorer: {known.hit_rate:.0%} of "
        f"{known.queries:,} problems find guidance"
    )
