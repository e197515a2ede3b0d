"""P(yes) of a model that is asked whether an experience helps: the paper's own scorer."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lanpo_memory.answering import within_budget
from lanpo_memory.errors import ConfigError, positive
from lanpo_memory.prompts import EnglishPrompts
from lanpo_memory.protocols import ChoiceScorer, ExperienceStore, JudgePrompts
from lanpo_memory.types import Experience, Messages, Problem, Promise, fingerprint

__all__ = ["JudgeRelevance", "JudgeWarning"]

_CHOICES = ("yes", "no")
_BYTES = np.dtype("<f4")
_NOWHERE = Problem(text="(not told)")

Pair = tuple[Problem, Experience]


class JudgeWarning(UserWarning):
    """A judge gave no answer for some pairs: they count as irrelevant, without having been read."""


class JudgeRelevance:
    """How likely a model is to say yes when asked whether an experience helps with a problem.

    r = P(yes) / (P(yes) + P(no)). The model sees the problem's text and the lesson (thoughts,
    principles, pitfalls) and nothing else of either: neither reward nor outcome, metadata, family
    or the problem the experience comes from. So a score belongs to (judge, problem text, lesson)
    and is kept under these in the pool's file, where a store is given that keeps a cache.

    A pair whose call fails counts as 0.0, is not kept, and is asked again the next time; the first
    one is warned about. Threads may share a scorer; two may then ask about the same pair.

    Args:
        scorer: the model; another one is another judge, with a gamma and scores of its own.
        prompts: how the question is put; English by default. Other words are another judge.
        store: where scores are kept, `pool.store` as a rule; without one, each call asks anew.
        chunk: pairs asked at once, and kept before the next: what an interruption can lose.

    Attributes:
        asked: questions put to the model so far, those that failed included.
        reused: distinct pairs of a call whose score was known already.
        failed: questions without an answer.

    Raises:
        ConfigError: `chunk` is below 1; on `score`, the model tells no log-probabilities.
        BudgetExceeded: on `score`, the model's budget is used up; what was asked is kept.

    Source: arXiv 2510.16552 §4.

    >>> from lanpo_memory.testing import ScriptedChoiceScorer
    >>> judge = JudgeRelevance(ScriptedChoiceScorer(0.8))
    >>> lesson = Experience(problem=Problem(text="2 + 3?"), principles=("Count on.",))
    >>> round(float(judge.score([(Problem(text="4 + 5?"), lesson)])[0]), 2)
    0.8
    """

    default_gamma = 0.9  # γ = 0.9: arXiv 2510.16552 §5

    def __init__(
        self,
        scorer: ChoiceScorer,
        *,
        prompts: JudgePrompts | None = None,
        store: ExperienceStore | None = None,
        chunk: int = 64,
    ) -> None:
        positive("chunk", chunk)
        self._scorer = scorer
        self._prompts: JudgePrompts = EnglishPrompts() if prompts is None else prompts
        self._store = store if store is not None and Promise.CACHE in store.promises else None
        self._chunk = chunk
        self._lock = threading.Lock()
        self.fingerprint = f"judge:{scorer.fingerprint}:{_wording(self._prompts)}"
        self.asked = self.reused = self.failed = 0

    def score(self, pairs: Sequence[Pair]) -> NDArray[np.float32]:
        """See `Relevance.score`; a pair that stands twice in the call is asked once."""
        keys = [self._key(problem, experience) for problem, experience in pairs]
        distinct = dict(zip(keys, pairs, strict=True))
        known = self._known(list(distinct))
        missing = [key for key in distinct if key not in known]
        self._count(reused=len(known))
        for start in range(0, len(missing), self._chunk):
            chunk = missing[start : start + self._chunk]
            known |= self._ask({key: distinct[key] for key in chunk})
        return np.array([known[key] for key in keys], dtype=np.float32)

    def _key(self, problem: Problem, experience: Experience) -> str:
        # A hash: keys stay short, whatever the model is called and however long the problem is.
        return f"judge:{fingerprint(self.fingerprint, problem.text, experience.lesson_id)}"

    def _known(self, keys: Sequence[str]) -> dict[str, float]:
        if self._store is None or not keys:
            return {}
        found = zip(keys, self._store.cached(keys), strict=True)
        scores = {key: _decoded(value) for key, value in found}
        return {key: score for key, score in scores.items() if score is not None}

    def _ask(self, pairs: dict[str, Pair]) -> dict[str, float]:
        """Ask and keep; where a budget is too small for all, as many as it allows."""

        def ask(keys: Sequence[str]) -> list[float]:
            questions = [self._question(*pairs[key]) for key in keys]
            rows = self._scorer.choice_logprobs(questions, _CHOICES, role="judge")
            return self._kept(dict(zip(keys, _yes(rows, len(keys)), strict=True)))

        scores, ended = within_budget(list(pairs), ask)
        if ended is not None:
            raise ended
        return dict(zip(pairs, scores, strict=True))

    def _question(self, problem: Problem, experience: Experience) -> Messages:
        bare = Experience(
            problem=_NOWHERE,
            thoughts=experience.thoughts,
            principles=experience.principles,
            pitfalls=experience.pitfalls,
        )
        return self._prompts.judge(Problem(text=problem.text), bare)

    def _kept(self, scores: dict[str, float]) -> list[float]:
        """Store what was answered; what was not counts as 0.0 this once."""
        told = {key: score for key, score in scores.items() if not np.isnan(score)}
        if self._store is not None and told:
            self._store.cache([(key, _BYTES.type(s).tobytes()) for key, s in told.items()])
        self._count(asked=len(scores), failed=len(scores) - len(told))
        return [told.get(key, 0.0) for key in scores]

    def _count(self, *, asked: int = 0, reused: int = 0, failed: int = 0) -> None:
        with self._lock:
            first = failed > 0 and self.failed == 0
            self.asked += asked
            self.reused += reused
            self.failed += failed
        if first:
            warnings.warn(
                f"the judge gave no answer for {failed} of {asked} pairs. Such pairs count as 0.0 "
                "and are asked again the next time; `failed` counts them, this is said once",
                JudgeWarning,
                stacklevel=7,  # who called `score`
            )


def _wording(prompts: JudgePrompts) -> str:
    """A hash of the question's words, around fixed contents."""
    lesson = Experience(
        problem=_NOWHERE, thoughts="{thoughts}", principles=("{principle}",), pitfalls=("{pit}",)
    )
    asked = prompts.judge(Problem(text="{problem}"), lesson)
    return fingerprint(json.dumps(asked, sort_keys=True), *_CHOICES)


def _yes(rows: NDArray[np.float32], n: int) -> list[float]:
    """Softmax over the log-probabilities of yes and no, NaN where a call failed."""
    if rows.shape != (n, len(_CHOICES)):
        raise ConfigError(
            f"the judge's model returned log-probabilities of shape {rows.shape}, not "
            f"{(n, len(_CHOICES))}: one row for each question, one column for each of yes and no"
        )
    with np.errstate(invalid="ignore", over="ignore"):  # two impossible answers: nothing is known
        odds = np.exp(rows[:, 1].astype(np.float64) - rows[:, 0].astype(np.float64))
        return [float(p) for p in 1.0 / (1.0 + odds)]


def _decoded(value: bytes | None) -> float | None:
    if value is None or len(value) != _BYTES.itemsize:
        return None
    score = float(np.frombuffer(value, dtype=_BYTES)[0])
    return score if 0.0 <= score <= 1.0 else None
