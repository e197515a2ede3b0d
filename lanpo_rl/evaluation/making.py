"""What an evaluation is made with: problems, language, and everything a report has to say of it."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from lanpo_memory.errors import ConfigError, MissingExtraError
from lanpo_memory.guide import Guide
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.protocols import SolvePrompts
from lanpo_memory.stores import local_path, shown
from lanpo_memory.types import (
    Attempt,
    Experience,
    Problem,
    Retrieved,
    Scalar,
    SolveMode,
    fingerprint,
)
from lanpo_rl.data import load_problems
from lanpo_rl.evaluation.outcomes import distinct
from lanpo_rl.evaluation.samples import Settings
from lanpo_rl.evaluation.sampling import Evaluator
from lanpo_rl.rewards import RewardFunction, as_reward, math_accuracy
from lanpo_rl.tasks.base import Example, boxed_reward
from lanpo_rl.tiny.prompts import TinyPrompts

__all__ = [
    "Language",
    "about_data",
    "about_pool",
    "data_fingerprint",
    "language_of",
    "name_of",
    "read_examples",
    "settings_of",
    "versions",
]

_PACKAGES = ("lanpo", "numpy", "math-verify", "torch", "transformers", "litellm")


class Language(NamedTuple):
    """How problems are put and answers read, and how answers are judged."""

    prompts: SolvePrompts
    score: RewardFunction


def language_of(name: str) -> Language:
    """Return a language by its name: ``english``, or ``tiny`` for the built-in policy.

    Raises:
        ConfigError: there is no such language.
        MissingExtraError: math-verify, which judges English answers, is not installed.
    """
    if name == "tiny":
        return Language(TinyPrompts(), as_reward(boxed_reward))
    if name != "english":
        raise ConfigError(f"prompts must be english or tiny, got {name!r}")
    if find_spec("math_verify") is None:  # now, not after everything has been paid for
        raise MissingExtraError("math-verify", "rl")
    return Language(EnglishPrompts(), math_accuracy)


def read_examples(
    source: str,
    prompts: SolvePrompts,
    *,
    problem_column: str,
    answer_column: str,
    answer_marker: str | None,
    split: str,
    config: str | None,
    limit: int | None,
) -> list[Example]:
    """Return the first problems of a file or dataset, each once, with their answers.

    See `load_problems` for the arguments.

    Raises:
        InvalidInputError: there are none, or a row cannot be used.
        MissingExtraError: datasets is not installed.
    """
    if find_spec("datasets") is None:
        raise MissingExtraError("datasets", "rl")
    rows = load_problems(
        source,
        prompts=prompts,
        problem_column=problem_column,
        answer_column=answer_column,
        answer_marker=answer_marker,
        split=split,
        config=config,
    )
    examples = [
        Example(Problem(text=r["problem"], id=r["problem_id"], family=r.get("family")), r["answer"])
        for r in rows
    ]
    return distinct(examples)[:limit]


def settings_of(
    evaluator: Evaluator, *, model: str, seed: int | None, drop_templates: bool
) -> dict[SolveMode, Settings]:
    """Return for each mode of an evaluator what decides its answers, as far as the mode uses it.

    The pool counts by its content: samples drawn with two pools are two measurements.

    Args:
        evaluator: which will ask.
        model: fingerprint of the model.
        seed: of sampling; `None` where the model takes none.
        drop_templates: of the guide.
    """
    common: dict[str, Scalar] = {
        "model": model,
        "prompts": _wording(evaluator.prompts),
        "answer tokens": evaluator.max_tokens,
        "temperature": float(evaluator.temperature),
    }
    if evaluator.temperature and seed is not None:
        common["seed"] = seed
    guided: Settings = {}
    if evaluator.guide is not None:
        found = _guided(evaluator.guide, drop_templates)
        guided = {"pool": evaluator.pool_digest, **found}
    return {
        mode: {
            **common,
            **({"rounds": evaluator.rounds} if "self_correct" in mode else {}),
            **(guided if "retrieval" in mode else {}),
        }
        for mode in evaluator.modes
    }


def _guided(guide: Guide, drop_templates: bool) -> dict[str, Scalar]:
    return {
        "search": guide.fingerprint,
        "gamma": float(guide.gamma),
        "experiences": guide.selection.experiences,
        "drop templates": drop_templates,
    }


def _wording(prompts: SolvePrompts) -> str:
    """Name prompts so that other words have another name."""
    problem = Problem(text="2 + 3?")
    lesson = Experience(problem=problem, principles=("Count on.",), pitfalls=("Count twice.",))
    shown = Retrieved(experience=lesson, score=1.0, similarity=1.0)
    words = (
        json.dumps(prompts.solve(problem)),
        prompts.inter(problem, [shown]),
        prompts.intra(Attempt(problem=problem, text="It is 5.")),
    )
    return f"{type(prompts).__name__} {fingerprint(*words)[:8]}"


def data_fingerprint(examples: Sequence[Example]) -> str:
    """Return a hash of problems and answers, in order: two reports on the same data share it."""
    return fingerprint(
        *(part for e in examples for part in (e.problem.id, e.problem.text, e.answer))
    )


def about_data(
    source: str, split: str, config: str | None, examples: Sequence[Example]
) -> dict[str, Scalar]:
    """Return what a report says of the problems."""
    part = {} if Path(source).expanduser().is_file() else {"split": split}
    if config is not None:
        part["configuration"] = config
    return {
        "name": name_of(source),
        **part,
        "problems": len(examples),
        "fingerprint": data_fingerprint(examples),
    }


def about_pool(
    evaluator: Evaluator, name: str, templates: int, *, drop_templates: bool
) -> dict[str, Scalar]:
    """Return what a report says of a pool: its name without place or password, near-duplicates."""
    guide = evaluator.guide
    if guide is None:
        return {}
    return {
        "name": name_of(str(local_path(name) or shown(name))),
        "namespace": guide.pool.store.namespace,
        "digest": evaluator.pool_digest,
        "experiences held": len(guide.pool),
        "problems of which it has the same template": templates,
        **_guided(guide, drop_templates),
    }


def name_of(place: str) -> str:
    """Return the name of a file or folder without the way to it; a name on a hub as it is.

    >>> name_of("/home/ann/models/tiny"), name_of("openai/gsm8k")
    ('tiny', 'openai/gsm8k')
    """
    path = Path(place).expanduser()
    return path.resolve().name if path.exists() or path.is_absolute() else place


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that figures depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
