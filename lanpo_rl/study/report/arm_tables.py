"""The tables of one subject: arms in rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lanpo_rl.study.report.blocks import Grid
from lanpo_rl.study.report.diagnostics import diagnostics
from lanpo_rl.study.report.figures import (
    DASH,
    cost_text,
    count,
    mean_of,
    share,
    thousands,
    with_interval,
)
from lanpo_rl.study.report.findings import ArmRuns, SubjectRuns
from lanpo_rl.study.report.measures import MODE_LABELS, Cost, Measure, final, passing
from lanpo_rl.study.report.rows import Row
from lanpo_rl.study.results import ArmResult, Point
from lanpo_rl.study.statistics import estimate, paired_difference
from lanpo_rl.tasks import Split

__all__ = ["accuracy_rows", "tables_of"]

_HALF, _MOST = Cost(0.5, "tokens"), Cost(0.8, "tokens")


def tables_of(found: SubjectRuns) -> list[Grid]:
    """Return every table of a subject; none without a finished run."""
    if not found.runs:
        return []
    k = _samples(found)
    grids = [
        Grid(f"Held-out problems, mean@{k}", accuracy_rows(found, final), _MODES_NOTE),
        Grid(f"Held-out problems, pass@{k}", accuracy_rows(found, passing), folded=True),
    ]
    if any("shifted" in run.final for run in found.runs):
        grids += [
            Grid(f"Shifted problems, mean@{k}", accuracy_rows(found, final, "shifted")),
            Grid(
                f"Shifted problems, pass@{k}",
                accuracy_rows(found, passing, "shifted"),
                folded=True,
            ),
        ]
    grids += [
        Grid("Cost, and greedy accuracy at the last evaluation", _cost_rows(found), _COST_NOTE),
        Grid("Differences, seed by seed", _difference_rows(found), _DIFFERENCE_NOTE),
        Grid("Where the time goes", _stage_rows(found), _STAGE_NOTE),
        Grid("How it trained", _diagnostic_rows(found), _DIAGNOSTIC_NOTE),
        Grid("Every seed", _seed_rows(found), _SEED_NOTE, folded=True),
    ]
    return [grid for grid in grids if grid.rows]


_MODES_NOTE = (
    "Mean over seeds with its 95 % bootstrap interval; samples at temperature 1 when training has "
    "ended. Retrieval: experiences of the arm's own pool in the prompt; an empty pool, as that of "
    "the seeded policy and of token-matched GRPO, makes it zero-shot. Self-correct: the answer "
    "after a second look at the own attempt. Both: the one after the other. Every mode is asked, "
    "also one that the policy was never taught."
)
_COST_NOTE = (
    "Tokens: generated ones; those of summaries count where the arm reads its pool in training. To "
    "0.5 and 0.8: of greedy zero-shot accuracy, on a straight line between evaluations; median "
    "over seeds, where one that never got there counts as the dearest, and in brackets how many "
    "got there. Right family: how often what the pool showed came from the problem's own family."
)
_DIFFERENCE_NOTE = (
    "The arm minus GRPO, and minus its reference: the arm it changes or, where that was not run "
    "here, the recommended preset. On common seeds; mean@k on held-out problems."
)
_STAGE_NOTE = "Seconds of training and their share, mean over seeds."
_DIAGNOSTIC_NOTE = (
    "Zero variance: share of groups whose rollouts of that kind all had the same reward. Early and "
    "late: first and last 40 steps, or halves of a shorter run; entropy in nats a token. Guided: "
    "share of all rollouts. Shortened and dropped: prompts that lost experiences for want of room, "
    "and experiences lost, a run. Length in tokens."
)
_SEED_NOTE = "mean@k on held-out problems, then greedy figures of the last evaluation."


def _samples(found: SubjectRuns) -> str:
    counts = {f.samples for run in found.runs for s in run.final.values() for f in s.values()}
    return str(counts.pop()) if len(counts) == 1 else "k"


Reader = Callable[..., Measure]


def accuracy_rows(found: SubjectRuns, reader: Reader, split: Split = "held_out") -> list[Row]:
    """Return arms by inference mode: the mean over seeds with its interval."""
    modes = [
        mode for mode in MODE_LABELS if any(mode in run.final.get(split, {}) for run in found.runs)
    ]
    return [
        {
            "arm": arm.label,
            "seeds": arm.seeds,
            **{
                MODE_LABELS[mode]: with_interval(estimate(arm.by_seed(reader(mode, split).read)))
                for mode in modes
            },
        }
        for arm in found.arms.values()
        if modes
    ]


def _last(arm: ArmRuns, look: Callable[[Point], float | None]) -> str:
    return with_interval(estimate(arm.by_seed(lambda run: look(run.last))))


def _mean(arm: ArmRuns, look: Callable[[Point], float | None]) -> float | None:
    return mean_of([look(run.last) for run in arm.runs])


def _checks(found: SubjectRuns) -> bool:
    return any(run.last.self_corrected is not None for run in found.runs)


def _cost_rows(found: SubjectRuns) -> list[Row]:
    rows: list[Row] = []
    for arm in found.arms.values():
        row = {"arm": arm.label, "zero-shot": _last(arm, lambda p: p.zero_shot)}
        if found.retrieves:
            row["with memory"] = _last(arm, lambda p: p.with_memory)
            row["right family"] = share(_mean(arm, lambda p: p.right_family))
        if _checks(found):
            row["self-corrected"] = _last(arm, lambda p: p.self_corrected)
        row |= {
            "tokens to 0.5": cost_text([_HALF.read(run) for run in arm.runs]),
            "tokens to 0.8": cost_text([_MOST.read(run) for run in arm.runs]),
            "tokens": thousands(_mean(arm, lambda p: p.tokens)),
            "seconds": count(_mean(arm, lambda p: p.seconds)),
        }
        rows.append(row)
    return rows


def _reference(found: SubjectRuns, arm: ArmRuns) -> ArmRuns | None:
    """The arm that another changes, if it was run here; else the recommended preset."""
    reference = found.arms.get(arm.of or "") or found.arms.get("recommended")
    return reference if reference is not arm else None


def _difference_rows(found: SubjectRuns) -> list[Row]:
    grpo = found.arms.get("grpo")
    rows: list[Row] = []
    for arm in found.arms.values():
        reference = _reference(found, arm)
        row = {"arm": arm.label}
        for mode in found.modes[:3]:
            row[f"{MODE_LABELS[mode]} − GRPO"] = _difference(arm, grpo, final(mode))
        row["reference"] = reference.label if reference else DASH
        for mode in found.modes[:3]:
            row[f"{MODE_LABELS[mode]} − reference"] = _difference(arm, reference, final(mode))
        if {*row.values()} - {arm.label, DASH, row["reference"]}:
            rows.append(row)
    return rows


def _difference(a: ArmRuns, b: ArmRuns | None, measure: Measure) -> str:
    if b is None or a.name == b.name:
        return DASH
    found = paired_difference(a.by_seed(measure.read), b.by_seed(measure.read))
    return with_interval(found, sign=True)


def _stage_rows(found: SubjectRuns) -> list[Row]:
    stages = list(dict.fromkeys(name for run in found.runs for name in run.stage_seconds))
    return [
        {
            "arm": arm.label,
            "seconds": f"{total:.1f}",
            "a step": _step_time(arm),
            **{stage: _part(seconds[stage], total) for stage in stages},
        }
        for arm in found.arms.values()
        if (seconds := {s: _stage(arm.runs, s) for s in stages})
        and (total := sum(seconds.values()))
    ]


def _stage(runs: Sequence[ArmResult], stage: str) -> float:
    return mean_of([run.stage_seconds.get(stage) for run in runs]) or 0.0


def _part(seconds: float, total: float) -> str:
    return f"{seconds:.1f} ({seconds / total:.0%})".replace("%", " %")


def _step_time(arm: ArmRuns) -> str:
    times = [run.last.seconds / run.last.step for run in arm.runs if run.last.step]
    mean = mean_of(times)
    return DASH if mean is None else f"{1000 * mean:.0f} ms"


def _diagnostic_rows(found: SubjectRuns) -> list[Row]:
    rows: list[Row] = []
    for arm in found.arms.values():
        each = [diagnostics(run) for run in arm.runs if run.log]
        if not each:
            continue
        mean = {name: mean_of([d[name] for d in each]) for name in each[0]}

        def two(name: str, mean: dict[str, float | None] = mean) -> str:
            early, late = mean[f"{name}_early"], mean[f"{name}_late"]
            return DASH if early is None and late is None else f"{share(early)} → {share(late)}"

        rows.append(
            {
                "arm": arm.label,
                "zero variance, scratch": share(mean["zero_variance_scratch"]),
                "zero variance, guided": share(mean["zero_variance_guided"]),
                "entropy": two("entropy"),
                "guided": share(mean["guided_rows"]),
                "reward, scratch": two("reward_scratch"),
                "reward, guided": two("reward_guided"),
                "shortened": count(mean["truncated_prompts"]),
                "dropped": count(mean["dropped_for_budget"]),
                "length, scratch": count(mean["length_scratch"]),
                "length, guided": count(mean["length_guided"]),
                "summary tokens": count(mean["summary_tokens"]),
            }
        )
    return rows


def _seed_rows(found: SubjectRuns) -> list[Row]:
    modes = [m for m in MODE_LABELS if any(m in r.final.get("held_out", {}) for r in found.runs)]
    return [
        {
            "arm": arm.label,
            "seed": str(run.seed),
            **{MODE_LABELS[mode]: share(final(mode).read(run)) for mode in modes},
            "greedy zero-shot": share(run.last.zero_shot),
            **({"with memory": share(run.last.with_memory)} if found.retrieves else {}),
            **({"self-corrected": share(run.last.self_corrected)} if _checks(found) else {}),
            "tokens to 0.5": thousands(_HALF.read(run)),
            "tokens to 0.8": thousands(_MOST.read(run)),
            "tokens": thousands(run.last.tokens),
            "seconds": count(run.last.seconds),
        }
        for arm in found.arms.values()
        for run in arm.runs
    ]
