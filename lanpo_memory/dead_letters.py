"""Answers that could not be read, read again: by today's parser, or after asking once more."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter

from lanpo_memory.answering import within_budget
from lanpo_memory.errors import positive
from lanpo_memory.pool import ExperiencePool
from lanpo_memory.protocols import ChatModel, Prompts
from lanpo_memory.summarizers import SummaryCheck
from lanpo_memory.summarizers.reading import Check, check_for, checked, read_answer
from lanpo_memory.types import (
    Batch,
    Completion,
    Experience,
    ExperienceMetadata,
    FailedAnswer,
    Failure,
    Problem,
    Receipt,
)

__all__ = ["Progress", "read_again", "retry"]

Progress = Callable[[Sequence[Receipt]], None]
"""Is told each time that some answers are settled: what became of them is stored by then."""

_Waiting = Mapping[tuple[bool, int], list[str]]  # ids by whether they were answered, length limit

_ASKED_ROLE = "summarise"  # answers of other roles are read if they can be, and never asked for
_READ_AT_ONCE = 256
_GONE = Receipt(status="duplicate", reason="settled by somebody else meanwhile")
# How prompts quote what was summarised; the text inside can neither close nor imitate the tag.
_ATTEMPT = re.compile(r"<attempt[^>\n]*>\n(.*?)\n</attempt>", re.DOTALL)


def retry(
    pool: ExperiencePool,
    *,
    prompts: Prompts,
    model: ChatModel | None = None,
    check: Check = "default",
    chunk: int = 32,
    progress: Progress | None = None,
) -> list[Receipt]:
    r"""Read the pool's failed answers again, oldest first; one receipt each, in that order.

    First with today's parser, which costs nothing. With a model, the summaries among the others
    whose conversation is known are asked for again: first those that never got an answer (a
    time-out, the end of a budget), then those whose answer cannot be read, the oldest of each
    first. The model's budget bounds what that costs.

    What is read becomes an experience, with the metadata that its answer was kept with, and leaves
    the failed answers in the same transaction: ``added``, ``duplicate`` if it was there already,
    ``rejected`` if the check or the pool's limits refuse it, as they would have at first. The
    others stay as they are: ``failed``, with today's reason. Answers of other roles than summaries
    are read if they can be, and never asked for.

    Args:
        pool: holds the failed answers, and takes the experiences.
        prompts: how to read.
        model: asked again for what cannot be read.
        check: refuses summaries that teach nothing; by default as for `LLMSummarizer`.
        chunk: conversations a model answers at once; what they bring is stored before the next.
        progress: is told what is settled.

    Raises:
        BudgetExceeded: the model's budget does not cover the next answer. What was read until then
            is stored; calling again goes on from there.
        ConfigError: `chunk` is below 1, or the check is none.

    >>> from lanpo_memory.prompts import EnglishPrompts
    >>> pool, problem = ExperiencePool(), Problem(text="2 + 3?")
    >>> kept = FailedAnswer(role="summarise", problem_id=problem.id, problem=problem,
    ...                     text="Pitfalls:\n- guessing", reason="no JSON object in the answer")
    >>> receipts = pool.write(Batch(failures=(kept,)))
    >>> retry(pool, prompts=EnglishPrompts())[0].status, len(pool), pool.store.count("failure")
    ('added', 1, 0)
    """
    positive("chunk", chunk)
    replay = _Replay(pool, prompts, check_for(prompts, check), progress)
    ids = [letter.id for letter in pool.store.scan("failure")]
    waiting = replay.read(ids, askable=model is not None)
    if model is not None:
        replay.ask(waiting, model, chunk)
    return [replay.receipts[each] for each in ids]


def read_again(
    pool: ExperiencePool, *, prompts: Prompts, check: Check = "default"
) -> Iterator[tuple[FailedAnswer, Experience | Failure]]:
    """Yield each failed answer, oldest first, with what today's parser makes of it.

    Nothing is written and no model is asked.

    Raises:
        ConfigError: the check is none.
    """
    replay = _Replay(pool, prompts, check_for(prompts, check), None)
    ids = [letter.id for letter in pool.store.scan("failure")]
    for some in _chunks(ids, _READ_AT_ONCE):
        letters = pool.store.read("failure", ids=some)
        yield from zip(letters, replay.read_letters(letters), strict=True)


class _Replay:
    """One round of reading failed answers again; `receipts` says what became of each, by id."""

    def __init__(
        self,
        pool: ExperiencePool,
        prompts: Prompts,
        check: SummaryCheck | None,
        progress: Progress | None,
    ) -> None:
        self.receipts: dict[str, Receipt] = {}
        self._pool, self._prompts, self._check = pool, prompts, check
        self._progress = progress

    def read(self, ids: Sequence[str], *, askable: bool) -> _Waiting:
        """Settle what the parser reads; return what else can be asked for."""
        waiting: defaultdict[tuple[bool, int], list[str]] = defaultdict(list)
        for some in _chunks(ids, _READ_AT_ONCE):
            letters = self._letters(some)
            settled = []
            for letter, found in zip(letters, self.read_letters(letters), strict=True):
                if askable and _failed(found) and _may_be_asked(letter):
                    waiting[_answered(letter), letter.max_tokens].append(letter.id)
                else:
                    settled.append((letter, found))
            self._settle(settled)
        return waiting

    def ask(self, waiting: _Waiting, model: ChatModel, chunk: int) -> None:
        """Ask again, first for what was never answered, and settle every answer."""
        for answered, max_tokens in sorted(waiting, key=itemgetter(0)):
            ask = partial(self._ask_some, model=model, max_tokens=max_tokens)
            for some in _chunks(waiting[answered, max_tokens], chunk):
                _, ended = within_budget(some, ask)
                if ended is not None:
                    raise ended

    def _ask_some(self, ids: Sequence[str], model: ChatModel, max_tokens: int) -> list[Receipt]:
        letters = self._letters(ids)
        conversations = [letter.conversation or [] for letter in letters]
        answers = model.generate(conversations, max_tokens=max_tokens, role=_ASKED_ROLE)
        problems = self._problems(letters)
        read = [
            self._read(letter, problems.get(letter.problem_id), answer)
            for letter, answer in zip(letters, answers, strict=True)
        ]
        self._settle(list(zip(letters, read, strict=True)))
        return [self.receipts[each] for each in ids]

    def read_letters(self, letters: Sequence[FailedAnswer]) -> list[Experience | Failure]:
        """What today's parser makes of answers."""
        problems = self._problems(letters)
        return [
            self._read(letter, problems.get(letter.problem_id), _said(letter)) for letter in letters
        ]

    def _read(
        self, letter: FailedAnswer, problem: Problem | None, answer: Completion | Failure
    ) -> Experience | Failure:
        if problem is None:
            reason = "its problem is not known: it was kept by an older version, without one"
            return Failure(reason=reason)
        metadata = letter.metadata or ExperienceMetadata(source="rollout", step=letter.step)
        read = read_answer(self._prompts, problem, answer, metadata)
        return checked(read, answer, _summarised(letter), self._check, rollouts=())

    def _letters(self, ids: Sequence[str]) -> list[FailedAnswer]:
        """The answers that are still there; the others were settled by another process."""
        letters = self._pool.store.read("failure", ids=ids)
        gone = set(ids) - {letter.id for letter in letters}
        self._note({each: _GONE.model_copy(update={"id": each}) for each in ids if each in gone})
        return letters

    def _problems(self, letters: Sequence[FailedAnswer]) -> dict[str, Problem]:
        """The problems of answers by id; those of older versions as the pool knows them."""
        known = {letter.problem_id: letter.problem for letter in letters if letter.problem}
        store = self._pool.store
        if missing := [each.problem_id for each in letters if each.problem_id not in known]:
            known.update((p.id, p) for p in store.read("problem", problems=missing))
            for attempt in store.read("attempt", problems=missing, newest=1):
                known.setdefault(attempt.problem.id, attempt.problem)
        return known

    def _settle(self, read: Sequence[tuple[FailedAnswer, Experience | Failure]]) -> None:
        """Store experiences and delete the answers they came from, in one transaction."""
        batch = Batch(
            experiences=tuple(found for _, found in read if isinstance(found, Experience)),
            deletions=tuple(letter.id for letter, found in read if not _failed(found)),
        )
        written = iter(self._pool.write(batch) if len(batch) else [])
        self._note({letter.id: _receipt(letter, found, written) for letter, found in read})

    def _note(self, receipts: dict[str, Receipt]) -> None:
        self.receipts.update(receipts)
        if self._progress is not None and receipts:
            self._progress(list(receipts.values()))


def _answered(letter: FailedAnswer) -> bool:
    """Whether a model said anything: no time-out, and no budget that ended before."""
    return bool(letter.text.strip())


def _said(letter: FailedAnswer) -> Completion | Failure:
    """What a model said, or what kept it from saying anything."""
    return Completion(text=letter.text) if _answered(letter) else Failure(reason=letter.reason)


def _receipt(
    letter: FailedAnswer, found: Experience | Failure, written: Iterator[Receipt]
) -> Receipt:
    if isinstance(found, Experience):
        return next(written)
    return Receipt(status=found.status, id=letter.id, reason=found.reason)


def _failed(found: Experience | Failure) -> bool:
    return isinstance(found, Failure) and found.status == "failed"


def _may_be_asked(letter: FailedAnswer) -> bool:
    return letter.role == _ASKED_ROLE and bool(letter.conversation)


def _summarised(letter: FailedAnswer) -> list[str]:
    """The completions that were summarised: as prompts quote them, else all that was sent."""
    sent = [str(message.get("content") or "") for message in letter.conversation or []]
    quoted = [attempt for content in sent for attempt in _ATTEMPT.findall(content)]
    return quoted or sent


def _chunks(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
