"""What a report says in sentences: cautions, and why the paper's objective falls behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from lanpo_memory.errors import LanpoError
from lanpo_memory.types import SolveMode
from lanpo_rl.seeding.tiny_skills.policies import SeededPolicy
from lanpo_rl.study.report.diagnostics import diagnostics
from lanpo_rl.study.report.figures import mean_of, seeds_text, share, with_interval
from lanpo_rl.study.report.findings import ArmRuns, Findings, SubjectRuns
from lanpo_rl.study.report.measures import Measure, final
from lanpo_rl.study.statistics import Estimate, estimate, paired_difference, verdict
from lanpo_rl.tasks import Task

__all__ = ["cautions", "constant_guess", "paper_paragraphs"]

_PAPER_ARMS = ("paper", "paper_intra", "paper_both_kinds")
_ZERO_SHOT, _RETRIEVAL = final("zero_shot"), final("retrieval")
_WAYS: Mapping[SolveMode, tuple[str, Measure]] = {
    "retrieval": ("With retrieval", _RETRIEVAL),
    "self_correct": ("After self-correction", final("self_correct")),
}


def paper_paragraphs(findings: Findings) -> list[str]:
    """Say of each subject how the paper's objective does against GRPO, and show what goes with it.

    Zero-shot is what is compared: what the weights have learned. Empty without both arms.
    """
    return [
        paragraph
        for found in findings.subjects
        for name in _PAPER_ARMS
        if name in found.arms and "grpo" in found.arms
        if (paragraph := _against_grpo(found, found.arms[name], found.arms["grpo"]))
    ]


def _against_grpo(found: SubjectRuns, paper: ArmRuns, grpo: ArmRuns) -> str:
    ours, theirs = paper.by_seed(_ZERO_SHOT.read), grpo.by_seed(_ZERO_SHOT.read)
    difference = paired_difference(ours, theirs)
    if difference is None:
        return ""
    text = (
        f"On {found.subject.label}, {paper.label} {_how(difference, grpo.label)}: "
        f"{with_interval(estimate(ours))} against {with_interval(estimate(theirs))}, difference "
        f"{with_interval(difference, sign=True)} on "
        f"{seeds_text(difference.seeds, 'common')}."
    )
    if difference.mean >= 0:
        return text
    way, measure = next((w for mode, w in _WAYS.items() if mode in found.modes), (None, None))
    kept = estimate(paper.by_seed(measure.read)) if measure else None
    return " ".join(
        [text, _shown(paper, grpo), *([f"{way} it is at {with_interval(kept)}."] if kept else [])]
    )


def _how(difference: Estimate, other: str) -> str:
    decided = verdict(difference.interval, 0.0, difference.seeds)
    if difference.mean >= 0:
        if decided == "yes":
            return f"does better than {other} zero-shot"
        return f"is level with or above {other} zero-shot, though that is not decided"
    if decided == "no":
        return f"does worse than {other} zero-shot"
    return f"is below {other} zero-shot, though that is not decided"


def _shown(paper: ArmRuns, grpo: ArmRuns) -> str:
    """The numbers that go with falling behind."""
    a, b = _figures(paper), _figures(grpo)
    parts = []
    if a["guided_rows"] is not None:
        parts.append(
            f"{share(a['guided_rows'])} of its rollouts were guided, so that "
            f"{share(1 - a['guided_rows'])} trained the bare prompt it is asked here."
        )
    if a["reward_guided_late"] is not None:
        parts.append(
            f"In the last steps guided rollouts earned {share(a['reward_guided_late'])} and "
            f"scratch ones {share(a['reward_scratch_late'])} ({grpo.label}: "
            f"{share(b['reward_scratch_late'])}). The loss scores guided rollouts under the "
            "guided prompt: what they learn is to read the guidance."
        )
    parts.append(
        f"Groups without any difference in reward, and so without gradient: "
        f"{share(a['zero_variance_guided'])} of the guided and "
        f"{share(a['zero_variance_scratch'])} of the scratch ones "
        f"({grpo.label}: {share(b['zero_variance_scratch'])})."
    )
    parts.append(
        f"Entropy went from {share(a['entropy_early'])} to {share(a['entropy_late'])} nats a token "
        f"({grpo.label}: {share(b['entropy_early'])} to {share(b['entropy_late'])})."
    )
    return " ".join(parts)


def _figures(arm: ArmRuns) -> dict[str, float | None]:
    each = [diagnostics(run) for run in arm.runs]
    return {name: mean_of([found[name] for found in each]) for name in each[0]}


# ---------------------------------------------------------------------- cautions


def cautions(findings: Findings) -> list[str]:
    """Return what every reader has to know before believing a number."""
    made_up = any(isinstance(p.subject.policy, SeededPolicy) for p in findings.study.parts)
    return [
        _SMALL if made_up else _ONE_MODEL,
        f"{_ONLY_A_RISE}{_untrained(findings)}",
        *_guesses(findings),
        _FEW_SEEDS,
    ]


_SMALL = (
    "These are small policies on made-up tasks, built so that memory can help. They show whether a "
    "mechanism works as described; they prove nothing about models of 7B parameters, and the size "
    "of a difference here is no forecast."
)
_ONE_MODEL = (
    "This is one model on one set of problems. What holds here need not hold for another model, "
    "another size or other problems."
)
_ONLY_A_RISE = (
    "What memory reaches without any training is retrieval's merit. Only a rise of zero-shot "
    "accuracy, with the use of memory kept, speaks for training."
)
_FEW_SEEDS = (
    "Intervals over a few seeds are narrow: they know only the seeds that were run, all of which "
    "begin with the same policy. Where there is no difference at all, chance alone makes a yes "
    "once in 8 times for 3 seeds and about once in 13 for 5. Of many questions, some are answered "
    "by chance."
)


def _untrained(findings: Findings) -> str:
    """Without training: a pool, or where attempts guide, a second look at the own one."""
    parts = [
        f" On {found.subject.label}: {share(helped.mean)} {way.lower()} and {share(bare.mean)} "
        "zero-shot."
        for found in findings.subjects
        for name, mode in (("memory_only", "retrieval"), ("no_rl", "self_correct"))
        if mode in found.modes and (arm := found.arms.get(name))
        for way, measure in [_WAYS[mode]]
        if (helped := estimate(arm.by_seed(measure.read)))
        and (bare := estimate(arm.by_seed(_ZERO_SHOT.read)))
    ]
    return "".join(parts)


def _guesses(findings: Findings) -> list[str]:
    shares = [
        f"{share(mean)} on {found.subject.label}"
        for found in findings.subjects
        if (mean := _guess(found)) is not None
    ]
    text = "Reaching GRPO's final accuracy is no threshold: tokens to 0.5 and to 0.8 are."
    if not shares:
        return [text]
    return [f"A policy that always guesses the same gets {', '.join(shares)}. {text}"]


def _guess(found: SubjectRuns) -> float | None:
    try:
        return mean_of(
            [constant_guess(found.subject.make(s)) for s in sorted({r.seed for r in found.runs})]
        )
    except (LanpoError, OSError):  # a task that is read from a file which is gone
        return None


def constant_guess(task: Task) -> float:
    """Return what always naming the same answer gets on the held-out problems.

    Where families hide a rule, the same rule for every family is meant: the rest can be computed.

    >>> from lanpo_rl.tasks import make_hidden_constants
    >>> constant_guess(make_hidden_constants(0))
    0.0625
    """
    rule = getattr(task, "rule", None) or {}
    named = [str(rule.get(example.problem.family, example.answer)) for example in task.held_out]
    return Counter(named).most_common(1)[0][1] / len(named) if named else 0.0
