"""From a study to its jobs: which policies have to be made, and which runs there are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import MethodType
from typing import Any, TypeGuard

from lanpo_memory.errors import ConfigError
from lanpo_memory.types import fingerprint
from lanpo_rl.config import preset_settings
from lanpo_rl.seeding.tiny_skills.policies import SHIPPED, SeededPolicy
from lanpo_rl.study.arms import Arm
from lanpo_rl.study.controls import Control
from lanpo_rl.study.jobs import Job, Tell
from lanpo_rl.study.running.outcomes import RESULT_NAME, folder_of
from lanpo_rl.study.studies import Part, Study
from lanpo_rl.study.subjects import Policy

__all__ = ["plan", "run_key"]

POLICIES = "policies"
"""Where in a study's folder policies made on demand are kept."""
_RUN = "lanpo_rl.study.run"


def run_key(part: Part, arm: str, seed: int) -> str:
    """Return the key of a run's job, which is also its folder."""
    return f"{part.subject.name}/{arm}/seed-{seed}"


def plan(
    study: Study,
    *,
    seeds: int | None = None,
    arms: Sequence[str] | None = None,
    subjects: Sequence[str] | None = None,
) -> list[Job]:
    """Return a study's jobs, policies first, then seed by seed.

    So a study that ends early has every arm with the seeds it came to.

    Args:
        study: what is to be run.
        seeds: how many, from the study's first on; by default the study's own number.
        arms: names of those to run; by default all. What one of them is measured by comes along.
        subjects: names of those to run on; by default all.

    Raises:
        ConfigError: no seed, an arm or a subject that the study does not have, no arm at all, one
            whose tokens are those of an arm that is not there, or two policies of one name.
    """
    seeds = study.seeds if seeds is None else seeds
    if seeds < 1:
        raise ConfigError(f"a study needs at least one seed, got {seeds}")
    for what, known, names in (
        ("arm", study.arms, arms),
        ("subject", [part.subject.name for part in study.parts], subjects),
    ):
        for name in names or ():
            if name not in known:
                there = ", ".join(known)
                raise ConfigError(f"{study.name} has no {what} {name!r}; there are {there}")
    parts = [
        (part, _chosen(part, arms))
        for part in study.parts
        if subjects is None or part.subject.name in subjects
    ]
    if not any(chosen for _, chosen in parts):
        there = "; ".join(
            f"{part.subject.name}: {', '.join(arm.name for arm in part.arms)}" for part, _ in parts
        )
        raise ConfigError(f"none of these arms is run on these subjects; there are {there}")
    jobs = [_policy_job(policy) for policy in _made_here(parts)]
    for seed in range(study.first_seed, study.first_seed + seeds):
        jobs += [_run_job(part, arm, seed) for part, chosen in parts for arm in chosen]
    return jobs


def _made_here(parts: Sequence[tuple[Part, Sequence[Arm]]]) -> list[SeededPolicy]:
    """The policies that have to be made first, each once."""
    found: dict[str, SeededPolicy] = {}
    for part, chosen in parts:
        for arm in chosen:
            policy = arm.policy or part.subject.policy
            if not _is_made_here(policy):
                continue
            if found.setdefault(policy.name, policy).fingerprint != policy.fingerprint:
                raise ConfigError(f"two policies are called {policy.name!r}: rename one of them")
    return [*found.values()]


def _is_made_here(policy: Policy) -> TypeGuard[SeededPolicy]:
    return isinstance(policy, SeededPolicy) and not policy.is_shipped


def _chosen(part: Part, arms: Sequence[str] | None) -> list[Arm]:
    names = {arm.name for arm in part.arms if arms is None or arm.name in arms}
    there = {arm.name for arm in part.arms}
    for arm in part.arms:
        if arm.name in names and arm.tokens_of:
            if arm.tokens_of not in there:
                raise ConfigError(
                    f"{arm.name} on {part.subject.name} has the tokens of {arm.tokens_of}: add "
                    f"that arm, too, or leave {arm.name} out"
                )
            names.add(arm.tokens_of)
    return [arm for arm in part.arms if arm.name in names]


def _policy_job(policy: SeededPolicy) -> Job:
    return Job(
        key=f"{POLICIES}/{policy.name}",
        label=f"policy {policy.name}",
        work=_MakePolicy(policy),
        fingerprint=policy.fingerprint,
        result=False,
        imports=(_RUN,),
    )


@dataclass(frozen=True)
class _MakePolicy:
    policy: SeededPolicy

    def __call__(self, folder: Path, tell: Tell) -> Mapping[str, Any]:
        steps = self.policy.steps
        losses: list[float] = []

        def progress(step: int, loss: float) -> None:
            losses.append(loss)
            tell(step / steps, "is seeded")

        self.policy.make(_policies(folder, f"{POLICIES}/{self.policy.name}"), progress)
        return {"policy": self.policy.name, "loss": losses[-1] if losses else None}


def _run_job(part: Part, arm: Arm, seed: int) -> Job:
    policy = arm.policy or part.subject.policy
    needs = [f"{POLICIES}/{policy.name}"] if _is_made_here(policy) else []
    if arm.tokens_of:
        needs += [run_key(part, arm.tokens_of, seed)]
    return Job(
        key=run_key(part, arm.name, seed),
        label=f"{part.subject.name}, {arm.label}, seed {seed}",
        work=_RunArm(part, arm, seed),
        fingerprint=_fingerprint(part, arm, seed, policy),
        needs=tuple(needs),
        imports=(_RUN,) if isinstance(policy, SeededPolicy) else (),  # tiny ones train on CPUs
    )


@dataclass(frozen=True)
class _RunArm:
    part: Part
    arm: Arm
    seed: int

    def __call__(self, folder: Path, tell: Tell) -> Mapping[str, Any]:
        from lanpo_rl.study.run import run_arm  # with torch: not for who only plans

        key = run_key(self.part, self.arm.name, self.seed)
        tokens = None
        if self.arm.tokens_of:
            tokens = _tokens_of(folder, key, run_key(self.part, self.arm.tokens_of, self.seed))
        result = run_arm(
            self.arm,
            self.part.subject,
            seed=self.seed,
            steps=self.part.steps,
            folder=folder / "files",
            policies=_policies(folder, key),
            evaluate_every=self.part.evaluate_every,
            tokens=tokens,
            on_step=lambda step, total, what: tell(step / max(1, total), what),
        )
        return result.as_json()


def _tokens_of(folder: Path, key: str, other: str) -> int:
    """Return the tokens that another run generated."""
    path = folder_of(_root(folder, key), other) / RESULT_NAME
    content = json.loads(path.read_text(encoding="utf-8"))
    return int(content["result"]["curve"][-1]["tokens"])


def _root(folder: Path, key: str) -> Path:
    """The study's folder, from that of a job."""
    return folder.parents[key.count("/") + 1]


def _policies(folder: Path, key: str) -> Path:
    return _root(folder, key) / POLICIES


def _fingerprint(part: Part, arm: Arm, seed: int, policy: Policy) -> str:
    """Changes with whatever the run depends on, but for the code of the packages."""
    subject = part.subject
    about = {
        "settings": {**preset_settings(arm.preset), **subject.settings, **arm.settings},
        "learning_rate": [arm.learning_rate, arm.schedule],
        "control": _told(arm.control),
        "policy": "shipped" if policy is SHIPPED else policy.fingerprint,
        "task": [_name_of(subject.make), seed],
        "steps": [part.steps if arm.steps is None else arm.steps, part.evaluate_every],
        "tokens_of": arm.tokens_of and _matched_to(part, arm.tokens_of, seed),
        "looked_at": [
            "every mode",
            *subject.modes,
            subject.answer_tokens,
            subject.problems,
            subject.samples,
        ],
    }
    return fingerprint(json.dumps(about, sort_keys=True, default=repr))


def _told(control: Control) -> str:
    """The control and all that it was given, also where it is no dataclass of its own."""
    known = {field.name for field in fields(control)}
    further = {name: value for name, value in vars(control).items() if name not in known}
    return repr(control) + (repr(sorted(further.items())) if further else "")


def _name_of(make: Any) -> str:
    """The same in every process, which the text of a function is not; another for other files."""
    if isinstance(make, partial):
        given = [make.func, *make.args, *(v for _, v in sorted(make.keywords.items()))]
        return f"{[_name_of(value) for value in given]} {sorted(make.keywords)}"
    if isinstance(make, Path) and (digest := _digest_of(make.expanduser())):
        return f"{make} {digest}"
    if isinstance(make, MethodType):
        return f"{make.__qualname__} of {make.__self__!r}"
    return str(getattr(make, "__qualname__", repr(make)))


def _digest_of(path: Path) -> str:
    """Of a file, or of all files of a folder; empty where there is neither."""
    if path.is_file():
        return sha256(path.read_bytes()).hexdigest()
    inside = sorted(each for each in path.rglob("*") if each.is_file())
    return fingerprint(*(f"{each} {_digest_of(each)}" for each in inside)) if inside else ""


def _matched_to(part: Part, name: str, seed: int) -> str:
    """The fingerprint of the run whose tokens are matched."""
    arm = next(arm for arm in part.arms if arm.name == name)
    return _fingerprint(part, arm, seed, arm.policy or part.subject.policy)
