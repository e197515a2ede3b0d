"""How large gamma has to be: the share of problems that find guidance, for a scorer at hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, FiniteFloat

from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.protocols import ExperienceStore, Relevance, Retriever
from lanpo_memory.types import Problem, Promise

if TYPE_CHECKING:
    from lanpo_memory.guide import Guide

__all__ = [
    "Calibration",
    "calibrate_gamma",
    "evenly",
    "fit_gamma",
    "gamma_of",
    "load_calibration",
    "store_calibration",
]

_GRID = tuple(round(0.05 * i, 2) for i in range(21))


class Calibration(BaseModel):
    """A gamma for one scorer on one pool, and the hit-rate curve that it was read from.

    `hit_rate` is the share of the `queries` for which at least one experience is `gamma` similar
    or more; `curve` holds (gamma, hit rate) from 0 to 1 in steps of 0.05.
    """

    model_config = ConfigDict(frozen=True)

    fingerprint: str
    gamma: FiniteFloat
    hit_rate: FiniteFloat
    target: FiniteFloat
    queries: int
    curve: tuple[tuple[float, float], ...]


def fit_gamma(best: Sequence[float], *, target: float, fingerprint: str) -> Calibration:
    """Return the largest gamma at which the share of `best` that reach it is at least `target`.

    Where even 0 is too much, gamma is 0 and the hit rate is what can be had.

    Args:
        best: for each query the similarity of its best candidate, -1 where there is none.
        target: the wanted hit rate, in (0, 1].
        fingerprint: of the scorer.

    Raises:
        ConfigError: a target outside (0, 1].
        InvalidInputError: no queries.

    >>> fit_gamma([0.2, 0.4, 0.6, 0.8], target=0.5, fingerprint="cosine").gamma
    0.6
    """
    if not 0.0 < target <= 1.0:
        raise ConfigError(f"target must lie in (0, 1], got {target}")
    if not best:
        raise InvalidInputError("calibration needs problems; there are none")
    wanted = math.ceil(target * len(best))
    decides = sorted(best, reverse=True)[wanted - 1]
    # Rounded down, so that the query that decides still reaches it.
    gamma = max(0.0, math.floor(decides * 1e4) / 1e4)

    def rate(gamma: float) -> float:
        return sum(similarity >= gamma for similarity in best) / len(best)

    return Calibration(
        fingerprint=fingerprint,
        gamma=gamma,
        hit_rate=rate(gamma),
        target=target,
        queries=len(best),
        curve=tuple((g, rate(g)) for g in _GRID),
    )


def calibrate_gamma(
    guide: Guide,
    problems: Sequence[Problem] | None = None,
    *,
    target: float = 0.5,
    save: bool = True,
) -> Calibration:
    """Find the gamma at which a share `target` of the problems gets inter-sample guidance.

    A problem never counts as its own guidance: what a guide's filters drop (the problem itself,
    reworded or not, and whatever else it was given) does not count here.

    Args:
        guide: its pool, retriever, relevance and filters are those that are calibrated.
        problems: the queries, as they will come; by default a sample of the pool's own problems.
        target: the wanted hit rate, in (0, 1].
        save: keep the result in the pool, for every guide with this scorer and ``gamma=None``.
            What misses the target is not kept: too few problems find anything at all.

    Raises:
        ConfigError: a target outside (0, 1].
        InvalidInputError: the pool or the list of problems is empty.

    >>> from lanpo_memory import Experience, ExperiencePool, Guide
    >>> pool = ExperiencePool()
    >>> texts = ["Sum 1 to 9", "Sum 1 to 99", "Area of a circle", "Area of a square"]
    >>> lessons = [Experience(problem=Problem(text=t), thoughts=t) for t in texts]
    >>> receipts = pool.add(lessons)
    >>> found = calibrate_gamma(Guide(pool), target=1.0)
    >>> found.hit_rate, Guide(pool).gamma == found.gamma
    (1.0, True)
    """
    pool = guide.pool
    if problems is None:
        held = pool.store.read("problem")
        problems = evenly(sorted(held, key=lambda problem: problem.id))
    result = fit_gamma(
        guide.best_similarities(problems), target=target, fingerprint=guide.fingerprint
    )
    if save and result.hit_rate >= target:
        store_calibration(pool.store, result)
    return result


def store_calibration(store: ExperienceStore, calibration: Calibration) -> None:
    """Keep a calibration in a pool, in place of an older one of the same scorer."""
    key = _key(store, calibration.fingerprint)
    store.cache([(key, calibration.model_dump_json().encode())])


def load_calibration(store: ExperienceStore, fingerprint: str) -> Calibration | None:
    """Return what was kept for a scorer, `None` if nothing was or it cannot be read."""
    if Promise.CACHE not in store.promises:
        return None
    value: Any = store.cached([_key(store, fingerprint)])[0]
    if value is None:
        return None
    try:
        return Calibration.model_validate_json(value)
    except ValueError:
        return None


def gamma_of(store: ExperienceStore, scorer: Retriever | Relevance) -> float:
    """Return the gamma calibrated for a scorer on this pool, else the scorer's default."""
    known = load_calibration(store, scorer.fingerprint)
    return scorer.default_gamma if known is None else known.gamma


def evenly(problems: Sequence[Problem], most: int = 1_000) -> list[Problem]:
    """At most so many problems, from the whole list: a thousand tell a hit rate to about 3 %."""
    return list(problems[:: max(1, -(-len(problems) // most))])


def _key(store: ExperienceStore, fingerprint: str) -> str:
    return f"gamma:{store.namespace}:{fingerprint}"
