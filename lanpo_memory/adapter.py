"""The plug for any trainer and any agent: `prepare` before a rollout, `observe` after it."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lanpo_memory.admission import Admission, admit_correct
from lanpo_memory.answering import answer
from lanpo_memory.errors import (
    ConfigError,
    InvalidInputError,
    PoolFormatError,
    PoolWriteError,
)
from lanpo_memory.filters import is_template_of
from lanpo_memory.guide import Guide, Inter, uniform
from lanpo_memory.hit_rate import HitRate
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.protocols import ChatModel, Summarizer
from lanpo_memory.reflectors import critique_entry
from lanpo_memory.rewinding import check_mark, mark
from lanpo_memory.schedules import Schedule, as_schedule
from lanpo_memory.snapshots import read_header, write_whole
from lanpo_memory.summarizers import provenance
from lanpo_memory.texts import storable
from lanpo_memory.types import (
    MAX_TEXT_CHARS,
    Attempt,
    Batch,
    Completion,
    Experience,
    Exposure,
    FailedAnswer,
    Failure,
    Guidance,
    Observation,
    Problem,
    Promise,
    Receipt,
    Request,
    RetrievalFigures,
    Rollout,
)

__all__ = ["Mode", "PoolAdapter"]

Mode = Literal["inter", "intra", "both", "none"]
_MODES = ("inter", "intra", "both", "none")

_Shown = tuple[tuple[str, ...], tuple[str, ...]]  # lesson ids, experience ids


_CHUNK = 64  # summaries asked for at once: what a budget does not cover is at most one such batch


@dataclass
class _Read:
    """What answers turned out to be; one receipt for each that is no experience."""

    experiences: list[Experience] = field(default_factory=list)
    failures: list[FailedAnswer] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)


@dataclass
class _Item:
    """One problem of a `prepare` call on its way to guidance."""

    problem: Problem
    seed: str
    kind: Literal["inter", "intra", "none"]
    attempt: Attempt | None = None


class PoolAdapter:
    """Ask the memory for guidance before a rollout, tell it afterwards what happened.

    Whether a problem draws guidance is decided by a coin made from (seed, step, problem id): the
    same on every rank and in every repetition. In mode ``both`` a second coin picks the kind; the
    other kind stands in where the first has nothing to offer. A cold pool gives no guidance; the
    realised ratio and hit rate are in the figures. A `HitRateWarning` comes, once, when of 200
    problems fewer than 2 % or more than 98 % find anything.

    Args:
        pool: where experiences and attempts go.
        guide: makes the guidance; a default one in English is built from the pool.
        summarizer: turns rollouts into experiences; without one the pool is only read.
        model: answers the summarizer's requests in `observe`; a trainer answers them itself.
        mode: ``inter``, ``intra``, ``both`` or ``none``.
        feedback_ratio: probability of drawing guidance (p_t), a number or a schedule of the step.
        intra_share: share of intra-sample guidance in mode ``both``.
        admission: which rollouts of a group are summarised.
        keep_attempts: store one attempt a group; by default where the mode can use them.
        seed: of the coin and of the sampling.
        randomised: whether guided and scratch rollouts of a group differ by chance alone.

    Raises:
        ConfigError: an unknown mode or a share outside 0..1.

    >>> memory = PoolAdapter(ExperiencePool(), mode="inter", feedback_ratio=1.0)
    >>> memory.prepare([Problem(text="2 + 3?")], step=0)[0].kind
    'none'
    """

    def __init__(
        self,
        pool: ExperiencePool,
        *,
        guide: Guide | None = None,
        summarizer: Summarizer | None = None,
        model: ChatModel | None = None,
        mode: Mode = "inter",
        feedback_ratio: float | Schedule = 0.75,  # best in the ablation, arXiv 2510.16552 §5
        intra_share: float = 0.5,
        admission: Admission | None = None,
        keep_attempts: bool | None = None,
        seed: int = 0,
        randomised: bool = False,
    ) -> None:
        if mode not in _MODES:
            raise ConfigError(f"mode must be one of {', '.join(_MODES)}; got {mode!r}")
        if not 0.0 <= intra_share <= 1.0:
            raise ConfigError(f"intra_share must lie between 0 and 1, got {intra_share}")
        self.pool = pool
        self.guide = Guide(pool) if guide is None else guide
        self.mode: Mode = mode
        self._summarizer, self._model = summarizer, model
        self._ratio = as_schedule(feedback_ratio)
        self._intra_share, self._seed = intra_share, seed
        self._admit = admit_correct() if admission is None else admission
        self._keep_attempts = mode in ("intra", "both") if keep_attempts is None else keep_attempts
        self._randomised = randomised
        self._figures = RetrievalFigures()
        self._hit_rate = HitRate(self.guide.gamma)
        self._lock = threading.Lock()

    # ------------------------------------------------------------------ before a rollout

    def prepare(
        self,
        problems: Sequence[Problem],
        *,
        step: int,
        wanted: Sequence[bool | None] | None = None,
        attempts: Sequence[Attempt | None] | None = None,
    ) -> list[Guidance]:
        """See `ExperienceAdapter.prepare`."""
        started, judging = time.perf_counter(), self.guide.judging_seconds
        for name, values in (("wanted", wanted), ("attempts", attempts)):
            if values is not None and len(values) != len(problems):
                raise InvalidInputError(f"{name} has {len(values)} items for {len(problems)}")
        items = self._items(problems, step, wanted, attempts)
        self._bring_attempts(items)
        inter = self._inter([i for i in items if i.kind == "inter"])
        intra = iter(self.guide.intra([i.attempt for i in items if i.attempt is not None]))
        by_seed = {item.seed: found for item, found in inter}
        result = [
            next(intra)
            if item.attempt is not None
            else by_seed[item.seed].guidance
            if item.kind == "inter"
            else Guidance()
            for item in items
        ]
        seconds = time.perf_counter() - started
        self._note(items, result, inter, step, seconds, self.guide.judging_seconds - judging)
        return result

    def _items(
        self,
        problems: Sequence[Problem],
        step: int,
        wanted: Sequence[bool | None] | None,
        attempts: Sequence[Attempt | None] | None,
    ) -> list[_Item]:
        occurrences: Counter[str] = Counter()
        items = []
        for i, problem in enumerate(problems):
            seed = f"{self._seed}|{step}|{problem.id}|{occurrences[problem.id]}"
            occurrences[problem.id] += 1
            fresh = attempts[i] if attempts is not None else None
            wish = wanted[i] if wanted is not None else None
            draws = self.draws(problem, step) if wish is None else wish
            kind = self._kind(problem, step) if draws else "none"
            attempt = fresh if kind == "intra" else None
            items.append(_Item(problem, seed, kind, attempt))
        return items

    def draws(self, problem: Problem, step: int) -> bool:
        """Whether the coin of a step has a problem draw guidance."""
        return uniform(self._seed, step, problem.id) < self._ratio(step)

    def _kind(self, problem: Problem, step: int) -> Literal["inter", "intra", "none"]:
        if self.mode != "both":
            return self.mode
        picks_intra = uniform(self._seed, step, problem.id, "kind") < self._intra_share
        return "intra" if picks_intra else "inter"

    def _bring_attempts(self, items: Sequence[_Item]) -> None:
        """Give intra items a stored attempt; in mode ``both`` the rest turns to inter."""
        waiting = [i for i in items if i.kind == "intra" and i.attempt is None]
        stored = self.pool.attempts_of([i.problem for i in waiting]) if waiting else []
        for item, attempts in zip(waiting, stored, strict=True):
            if attempts:
                # Newest first, weights 1/(i+1): arXiv 2510.16552 §4, ordered by time.
                weights = [1 / (i + 1) for i in range(len(attempts))]
                item.attempt = random.Random(item.seed).choices(attempts, weights)[0]
            else:
                item.kind = "inter" if self.mode == "both" else "none"

    def _inter(self, items: Sequence[_Item]) -> list[tuple[_Item, Inter]]:
        if not items:
            return []
        found = self.guide.inter([i.problem for i in items], seeds=[i.seed for i in items])
        return list(zip(items, found, strict=True))

    def _note(
        self,
        items: Sequence[_Item],
        result: Sequence[Guidance],
        inter: Sequence[tuple[_Item, Inter]],
        step: int,
        seconds: float,
        judging: float,
    ) -> None:
        shown = [(item.problem, c.retrieved) for item, found in inter for c in found.used]
        used = [retrieved for _, retrieved in shown]
        hits = sum(found.hit for _, found in inter)
        templates = sum(is_template_of(problem, r.experience.problem) for problem, r in shown)
        count = self.guide.count_tokens
        with self._lock:
            f = self._figures
            self._figures = RetrievalFigures(
                items=f.items + len(items),
                wanted=f.wanted + sum(i.kind != "none" for i in items),
                searched=f.searched + len(inter),
                hits=f.hits + hits,
                guided=f.guided + sum(map(bool, result)),
                abstracted=f.abstracted + sum(found.abstracted is not None for _, found in inter),
                dropped=f.dropped + sum(found.dropped_for_budget for _, found in inter),
                shortened=f.shortened + _shortened(items, result, inter),
                templates=f.templates + templates,
                guidance_tokens=f.guidance_tokens + sum(count(g.text) for g in result if g),
                similarities=(*f.similarities, *(r.similarity for r in used)),
                ages=(*f.ages, *(step - r.experience.metadata.step for r in used)),
                seconds=f.seconds + seconds,
                judging_seconds=f.judging_seconds + judging,
            )
            if inter and len(self.pool):  # an empty pool has nothing to find
                self._hit_rate.note(len(inter), hits)

    # ------------------------------------------------------------------ after it

    def ask(self, rollouts: Sequence[Rollout], *, step: int) -> list[Request]:
        """See `ExperienceAdapter.ask`: what the summarizer wants to know of admitted rollouts."""
        _check_list(rollouts)
        if self._summarizer is None:
            return []
        admitted = self._admitted(rollouts)
        return [
            request.model_copy(update={"rollouts": tuple(admitted[i] for i in request.rollouts)})
            for request in self._summarizer.ask([rollouts[i] for i in admitted])
        ]

    def ingest(
        self,
        rollouts: Sequence[Rollout],
        answers: Sequence[Completion | Failure],
        *,
        step: int,
    ) -> Observation:
        """See `ExperienceAdapter.ingest`."""
        _check_list(rollouts)
        started = time.perf_counter()
        found = self._read(rollouts, answers, step)
        batch = Batch(
            experiences=tuple(found.experiences),
            attempts=tuple(self._attempts(rollouts)),
            exposures=tuple(self._exposures(rollouts, step)),
            failures=tuple(found.failures),
        )
        written = self.pool.write(batch) if len(batch) else []
        self._keep_critiques(rollouts)
        receipts = (*written[: len(found.experiences)], *found.receipts)
        with self._lock:
            figures, self._figures = self._figures, RetrievalFigures()
        return Observation(
            receipts=receipts,
            counts=Counter(r.status for r in receipts),
            seconds={"persist": time.perf_counter() - started},
            retrieval=figures,
            pool_size=len(self.pool),
        )

    def observe(self, rollouts: Sequence[Rollout], *, step: int) -> Observation:
        """See `ExperienceAdapter.observe`.

        Raises:
            ConfigError: the summarizer asks for a model and none was given.
            BudgetExceeded: the model's budget ends before every rollout is summarised. All else is
                stored first; what was not asked is kept for `lanpo pool retry`.
        """
        requests = self.ask(rollouts, step=step)
        if not requests:
            return self.ingest(rollouts, [], step=step)
        if self._model is None:
            raise ConfigError(
                "the summarizer needs a model: give PoolAdapter(model=...), or answer `ask` "
                "yourself and call `ingest`"
            )
        found = answer(self._model, requests, chunk=_CHUNK)
        observation = self.ingest(rollouts, found.answers, step=step)
        if found.ended is not None:
            raise found.ended
        return observation

    def _admitted(self, rollouts: Sequence[Rollout]) -> list[int]:
        groups = _groups(rollouts)
        admitted = (
            members[i] for members in groups for i in self._admit([rollouts[m] for m in members])
        )
        return sorted(admitted)

    def _read(
        self, rollouts: Sequence[Rollout], answers: Sequence[Completion | Failure], step: int
    ) -> _Read:
        found = _Read()
        if self._summarizer is None:
            return found
        admitted = [rollouts[i] for i in self._admitted(rollouts)]
        asked: dict[tuple[int, ...], Request | None] | None = None
        for result in self._summarizer.read(admitted, answers):
            if isinstance(result, Experience):
                found.experiences.append(result)
            elif result.status == "rejected":
                found.receipts.append(Receipt(status="rejected", reason=result.reason))
            else:
                asked = self._questions(admitted) if asked is None else asked
                failed = _failed(result, admitted, asked.get(result.rollouts), step)
                found.failures.append(failed)
                found.receipts.append(Receipt(status="failed", id=failed.id, reason=failed.reason))
        return found

    def _questions(self, admitted: Sequence[Rollout]) -> dict[tuple[int, ...], Request | None]:
        """What was asked, by the rollouts it was about; `None` where there were several."""
        assert self._summarizer is not None
        found: dict[tuple[int, ...], Request | None] = {}
        for request in self._summarizer.ask(admitted):
            found[request.rollouts] = None if request.rollouts in found else request
        return found

    def _keep_critiques(self, rollouts: Sequence[Rollout]) -> None:
        """Critiques that came with the guidance, so that no attempt is asked about twice."""
        if Promise.CACHE not in self.pool.store.promises:
            return
        entries = [critique_entry(r.guidance) for r in rollouts if r.guidance]
        if kept := dict(entry for entry in entries if entry is not None):
            self.pool.store.cache(list(kept.items()))

    def _attempts(self, rollouts: Sequence[Rollout]) -> list[Attempt]:
        """One attempt a group, chosen blind to reward among the scratch rollouts."""
        if not self._keep_attempts:
            return []
        attempts = []
        for members in _groups(rollouts):
            filled = [i for i in members if rollouts[i].completion.strip()]
            scratch = [i for i in filled if not rollouts[i].guidance] or filled
            if scratch:
                first = rollouts[scratch[0]]
                draw = uniform(self._seed, first.step, first.problem.id, "attempt")
                chosen = rollouts[scratch[int(draw * len(scratch))]]
                attempts.append(
                    Attempt(
                        problem=chosen.problem,
                        text=chosen.completion,
                        step=chosen.step,
                        policy=chosen.policy,
                    )
                )
        return attempts

    def _exposures(self, rollouts: Sequence[Rollout], step: int) -> list[Exposure]:
        """For each group and guidance: the task rewards with it, and those from scratch."""
        exposures = []
        for number, members in enumerate(_groups(rollouts)):
            scratch: list[float] = []
            guided: defaultdict[_Shown, list[float]] = defaultdict(list)
            for i in members:
                guidance, reward = rollouts[i].guidance, rollouts[i].reward
                if reward is not None and not guidance:
                    scratch.append(reward)
                elif reward is not None and guidance and guidance.lesson_ids:
                    guided[guidance.lesson_ids, guidance.experience_ids].append(reward)
            exposures += [
                Exposure(
                    problem_id=rollouts[members[0]].problem.id,
                    lesson_ids=lessons,
                    experience_ids=ids,
                    step=step,
                    group=rollouts[members[0]].group or str(number),
                    guided=tuple(rewards),
                    scratch=tuple(scratch),
                    group_size=len(members),
                    randomised=self._randomised,
                )
                for (lessons, ids), rewards in guided.items()
            ]
        return exposures

    # ------------------------------------------------------------------ checkpoints

    def save(self, folder: Path) -> None:
        """Write the pool, and what identifies it and this adapter, into a folder.

        Raises:
            PoolWriteError: the disk refused.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PoolWriteError(f"cannot make the folder {folder}: {error.strerror}") from error
        saved = read_header(self.pool.snapshot(folder / "pool.jsonl")) or {}
        state = {**self._identity(), "pool": mark(self.pool), "digest": saved["digest"]}
        write_whole(folder / "adapter.json", json.dumps(state))

    def load(self, folder: Path) -> None:
        """Go back to what `save` wrote. Rows that came later are gone: see `set_aside`.

        Raises:
            PoolFormatError: the folder holds no saved adapter.
            ConfigError: it was saved with another seed, mode, retriever, embedder, gamma or pool.
                An empty pool is no other one: it is filled.
        """
        try:
            state = json.loads((folder / "adapter.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise PoolFormatError(f"{folder} holds no saved memory: {error}") from error
        for name, own in self._identity().items():
            if state.get(name, own) != own:
                raise ConfigError(
                    f"{folder} was saved with {name} {state[name]!r}, and this run has {own!r}; "
                    f"go on with the same {name}, or start anew without the checkpoint"
                )
        check_mark(self.pool, state.get("pool"), place=folder)
        self.pool.restore(folder / "pool.jsonl")

    def _identity(self) -> dict[str, Any]:
        """What a run must not change between being stopped and going on."""
        return {
            "seed": self._seed,
            "mode": self.mode,
            "retriever": self.pool.retriever.fingerprint,
            "embedder": self.pool.embedder.fingerprint if self.pool.embedder else None,
            "namespace": self.pool.store.namespace,
            "gamma": round(self.guide.gamma, 12),
        }


def _shortened(
    items: Sequence[_Item], result: Sequence[Guidance], inter: Sequence[tuple[_Item, Inter]]
) -> int:
    """How many problems lost experiences, or their attempt, to a token budget."""
    attempts = sum(i.attempt is not None and not g for i, g in zip(items, result, strict=True))
    return attempts + sum(found.dropped_for_budget > 0 for _, found in inter)


def _groups(rollouts: Sequence[Rollout]) -> list[list[int]]:
    """Indices of the rollouts that were sampled together, in order of first appearance."""
    groups: defaultdict[object, list[int]] = defaultdict(list)
    for i, rollout in enumerate(rollouts):
        groups[i if rollout.group is None else rollout.group].append(i)
    return list(groups.values())


def _check_list(rollouts: Any) -> None:
    if isinstance(rollouts, Rollout):
        raise InvalidInputError("give a list of rollouts, also for one: observe([rollout], ...)")


def _failed(
    failure: Failure, admitted: Sequence[Rollout], asked: Request | None, step: int
) -> FailedAnswer:
    """A dead letter: what was said, and what it takes to read it, or to ask, again."""
    about = [admitted[i] for i in failure.rollouts]
    question = (
        {}
        if asked is None
        else {"conversation": asked.conversation, "max_tokens": asked.max_tokens}
    )
    return FailedAnswer(
        role="summarise" if asked is None else asked.role,
        problem_id=about[0].problem.id if about else "",
        text=storable(failure.text)[:MAX_TEXT_CHARS],
        reason=storable(failure.reason)[:MAX_TEXT_CHARS],
        step=step,
        problem=about[0].problem if about else None,
        metadata=provenance(*about) if about else None,
        **question,
    )
