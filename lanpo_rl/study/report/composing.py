"""The report as a whole: what stands in it, in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lanpo_rl.study.report.arm_tables import tables_of
from lanpo_rl.study.report.asked import QUESTIONS, QuestionGroup
from lanpo_rl.study.report.blocks import (
    Block,
    Bullets,
    Grid,
    Heading,
    Item,
    Paragraph,
    Picture,
)
from lanpo_rl.study.report.figures import cost_text, seeds_text, with_interval
from lanpo_rl.study.report.findings import Findings, SubjectRuns
from lanpo_rl.study.report.measures import MODE_LABELS, Cost, final
from lanpo_rl.study.report.origins import machine, versions, without_places
from lanpo_rl.study.report.pictures import grouped
from lanpo_rl.study.report.prose import cautions, paper_paragraphs
from lanpo_rl.study.report.questions import Answer, answers
from lanpo_rl.study.report.rows import Row
from lanpo_rl.study.report.targets import TARGETS
from lanpo_rl.study.statistics import FEWEST_SEEDS, estimate

__all__ = ["answered", "compose", "headline_rows"]

_MAIN = {
    *("no_rl", "memory_only", "grpo", "grpo_matched", "paper", "paper_intra"),
    *("inter", "intra", "both", "recommended", "recommended_300", "placebo"),
}

_FEW = 12  # arms that a short table has room for


def answered(findings: Findings) -> list[Answer]:
    """Answer every question that the study's arms allow."""
    groups = (TARGETS, *QUESTIONS)
    return [a for group in groups for a in answers(group.questions, findings.subjects)]


def compose(findings: Findings, pictures: Mapping[str, Sequence[Path]]) -> list[Block]:
    """Return the report.

    Args:
        findings: what it is made from.
        pictures: curves, by name of the subject.
    """
    return [
        *_opening(findings),
        *_headline(findings),
        Heading("Read this first"),
        Bullets(tuple(Item(text) for text in cautions(findings))),
        *_questions(findings),
        *_paper(findings),
        *(block for found in findings.subjects for block in _subject(found, pictures)),
        *_missing(findings),
        *_making(findings),
    ]


def _opening(findings: Findings) -> list[Block]:
    runs = sum(arm.planned for found in findings.subjects for arm in found.arms.values())
    crashed = sum(failed.is_run for failed in findings.failed)
    missing = sum(left.is_run for left in findings.not_run)
    return [
        Heading(f"Study: {findings.study.name}", 1),
        Paragraph(findings.study.question),
        Paragraph(
            f"{findings.finished} of {runs} runs finished, "
            f"{seeds_text(findings.seeds)} for each arm"
            f"{f'; {crashed} crashed' if crashed else ''}"
            f"{f'; {missing} not made' if missing else ''}. {findings.date}."
        ),
    ]


def _missing(findings: Findings) -> list[Block]:
    blocks: list[Block] = []
    unasked = [
        Item(
            f"{found.subject.label}, {run.label}, seed {run.seed}, {label}, "
            f"{split.replace('_', '-')}: {modes[mode].missing} of "
            f"{modes[mode].problems * modes[mode].samples}"
        )
        for found in findings.subjects
        for run in found.runs
        for split, modes in run.final.items()
        for mode, label in MODE_LABELS.items()
        if mode in modes and modes[mode].missing
    ]
    if unasked:
        blocks += [Heading("Samples that are missing"), Bullets(tuple(unasked))]
    if findings.failed:
        items = (Item(f"{f.label or f.key}: {without_places(f.error)}") for f in findings.failed)
        blocks += [Heading("Crashed runs"), Bullets(tuple(items))]
    if findings.not_run:
        items = (
            Item(f"{m.label or m.key}{': ' * bool(m.reason)}{without_places(m.reason)}")
            for m in findings.not_run
        )
        blocks += [Heading("Runs that were not made"), Bullets(tuple(items))]
    return blocks


# ---------------------------------------------------------------------- in short


def headline_rows(found: SubjectRuns) -> list[Row]:
    """Return accuracy by mode and the cost to 0.5: of all arms or, of many, the main ones."""
    arms = [arm for arm in found.arms.values() if arm.runs]
    main = arms if len(arms) <= _FEW else [arm for arm in arms if arm.name in _MAIN] or arms
    half = Cost(0.5, "tokens")
    return [
        {
            "arm": arm.label,
            "seeds": arm.seeds,
            **{
                MODE_LABELS[mode]: with_interval(estimate(arm.by_seed(final(mode).read)))
                for mode in found.modes
            },
            "tokens to 0.5": cost_text([half.read(run) for run in arm.runs]),
        }
        for arm in main
    ]


def _headline(findings: Findings) -> list[Block]:
    grids = [
        Grid(f"{found.subject.label[:1].upper()}{found.subject.label[1:]}", rows)
        for found in findings.subjects
        if (rows := headline_rows(found))
    ]
    if not grids:
        return [Heading("In short"), Paragraph("No run has finished: there is nothing to show.")]
    note = (
        "Accuracy on held-out problems when training has ended (mean@k at temperature 1), mean "
        "over seeds with its 95 % bootstrap interval. Tokens to 0.5 greedy zero-shot accuracy: "
        "median, and how many seeds got there."
    )
    return [Heading("In short"), *grids, Paragraph(note)]


# ---------------------------------------------------------------------- questions


def _questions(findings: Findings) -> list[Block]:
    groups = [block for group in (*QUESTIONS, TARGETS) for block in _group(group, findings)]
    if not any(isinstance(block, Bullets) for block in groups):
        return []
    return [Heading("Questions and answers"), Paragraph(_DEFINITION), *groups]


_DEFINITION = (
    "No: the whole interval of the difference is below 0, or within a margin that makes no "
    "difference (0.02 of accuracy, 0.05 of tokens or time). Yes: otherwise, if it is above 0. "
    f"Else, with fewer than {FEWEST_SEEDS} common seeds, and where two arms made the very same "
    "runs, it is not decided. Arms are compared seed by seed: a seed makes the task and the run."
)


def _group(group: QuestionGroup, findings: Findings) -> list[Block]:
    found = answers(group.questions, findings.subjects)
    if group.questions and not found:
        return []
    blocks: list[Block] = [Heading(group.title, 3)]
    if group.remark:
        blocks.append(Paragraph(group.remark))
    if found:
        blocks.append(Bullets(tuple(_answer(answer) for answer in found)))
    return blocks


def _answer(answer: Answer) -> Item:
    expected = answer.question.expected
    detail = f"{answer.sentence[:1].upper()}{answer.sentence[1:]}"
    if expected:
        detail += f" Expected: {expected}."
    where = answer.found.subject.label
    return Item(f"{where[:1].upper()}{where[1:]}: {answer.question.text}", answer.verdict, detail)


def _paper(findings: Findings) -> list[Block]:
    paragraphs = paper_paragraphs(findings)
    if not paragraphs:
        return []
    return [Heading("The paper's objective against GRPO"), *(Paragraph(p) for p in paragraphs)]


# ---------------------------------------------------------------------- subjects and settings


def _subject(found: SubjectRuns, pictures: Mapping[str, Sequence[Path]]) -> list[Block]:
    label = found.subject.label
    blocks: list[Block] = [Heading(f"{label[:1].upper()}{label[1:]}")]
    if not found.runs:
        return [*blocks, Paragraph("No run has finished.")]
    first, *others = tables_of(found)
    return [*blocks, first, *_curves(found, pictures.get(found.subject.name, ())), *others]


def _curves(found: SubjectRuns, paths: Sequence[Path]) -> list[Block]:
    """One picture to look at, and the others for whoever looks for their arms."""
    return [
        Picture(path, f"Learning curves of {'; '.join(arm.label for arm in arms)}", folded=i > 0)
        for i, (path, arms) in enumerate(zip(paths, grouped(found), strict=False))
    ]


def _making(findings: Findings) -> list[Block]:
    settings = [
        Grid(f"Settings: {found.subject.label}", rows, _SETTINGS_NOTE, folded=True)
        for found in findings.subjects
        if (rows := _settings_rows(found))
    ]
    where = [{"what": name, "version": number} for name, number in versions().items()]
    return [
        Heading("How it was made"),
        Paragraph(f"{machine()}. {findings.date}."),
        Grid("Versions", where),
        *settings,
        Paragraph("Every number stands in results.json, next to this report."),
    ]


_SETTINGS_NOTE = "Those that differ from the defaults. The seed is the run's own."


def _settings_rows(found: SubjectRuns) -> list[Row]:
    """Settings by arm: first what all have in common, then each arm's own."""
    by_arm = {
        arm.label: {k: v for k, v in arm.runs[0].settings.items() if k != "seed"}
        for arm in found.arms.values()
        if arm.runs
    }
    if not by_arm:
        return []
    first = next(iter(by_arm.values()))
    shared = {
        name: value
        for name, value in first.items()
        if all(name in own and own[name] == value for own in by_arm.values())
    }
    rows = [{"arm": "all", "settings": _listed(shared)}] if len(by_arm) > 1 else []
    own = {arm: {k: v for k, v in all_.items() if k not in shared} for arm, all_ in by_arm.items()}
    return rows + [
        {"arm": arm, "settings": _listed(own[arm] if rows else by_arm[arm])} for arm in by_arm
    ]


def _listed(settings: Mapping[str, Any]) -> str:
    return without_places(", ".join(f"{k}={v}" for k, v in settings.items())) or "–"
