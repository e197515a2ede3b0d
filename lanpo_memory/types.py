"""The vocabulary: every noun of the library, as frozen pydantic models.

what happened      `Problem` `Attempt` `Rollout`
what is kept       `Experience` (`ExperienceMetadata`) `Exposure` `FailedAnswer`
what comes back    `Hit` `Retrieved` `Guidance`
talking to models  `Message` `Request` `Completion` `Failure` `Usage`
solving with them  `Turn` `Solution`
honest writing     `Batch` `Limits` `Receipt` `Change` `Changes` `Promise`
what was seen      `RetrievalFigures` `Observation`

Two rules make leaks unrepresentable. A `Problem` has no field for its answer, and metadata
keys that look like one raise `LabelLeakError`. An `Attempt`, the only thing a reflector is ever
handed, has no reward and no verdict.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cache, cached_property, lru_cache
from json.encoder import encode_basestring_ascii
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    field_validator,
    model_validator,
)

from lanpo_memory.errors import InvalidInputError, LabelLeakError, LanpoError

__all__ = [
    "LABEL_KEYS",
    "MAX_ITEMS",
    "MAX_NAME_CHARS",
    "MAX_TEXT_CHARS",
    "SCHEMA_VERSION",
    "Attempt",
    "Batch",
    "Change",
    "Changes",
    "Completion",
    "Experience",
    "ExperienceMetadata",
    "Exposure",
    "FailedAnswer",
    "Failure",
    "Guidance",
    "GuidanceKind",
    "Hit",
    "Limits",
    "Message",
    "Messages",
    "Observation",
    "Problem",
    "Promise",
    "Prompt",
    "Receipt",
    "ReceiptStatus",
    "Request",
    "RetrievalFigures",
    "Retrieved",
    "Rollout",
    "Scalar",
    "Solution",
    "SolveMode",
    "Turn",
    "Usage",
    "fingerprint",
    "normalise",
]

SCHEMA_VERSION = 1
MAX_TEXT_CHARS = 2_000_000
"""Longest text of any field, in characters. Longer input is refused, never cut."""
MAX_NAME_CHARS = 10_000
"""Longest id, name or metadata value, in characters."""
MAX_ITEMS = 10_000
"""Most entries of any list or mapping of one record."""

LABEL_KEYS = frozenset(
    {"answer", "solution", "label", "gold", "target", "reference", "ground_truth"}
)
"""Metadata keys (in any case) that would carry a reference answer; refused on a `Problem`."""

Message = dict[str, Any]
Messages = list[Message]
Prompt = str | Messages
PromptT = TypeVar("PromptT", str, Messages)
GuidanceKind = Literal["none", "inter", "intra"]
SolveMode = Literal["zero_shot", "retrieval", "self_correct", "retrieval+self_correct"]
ReceiptStatus = Literal["added", "duplicate", "evicted", "rejected", "failed"]


def normalise(text: str) -> str:
    r"""Return `text` in Unicode NFC with every run of white space folded to one blank.

    Case is kept: in mathematics `X` and `x` are different things.

    >>> normalise("  two\n words ")
    'two words'
    """
    return " ".join((text if text.isascii() else unicodedata.normalize("NFC", text)).split())


def fingerprint(*parts: str) -> str:
    """Return a 20-digit hexadecimal hash of the parts (80 bits, BLAKE2b).

    >>> fingerprint("a", "b") == fingerprint("ab")
    False
    """
    return hashlib.blake2b(_listed(parts).encode(), digest_size=10).hexdigest()


def _listed(texts: Sequence[str]) -> str:
    """`json.dumps(texts)`, five times as fast: ids are made for every experience there is."""
    return f"[{', '.join(map(encode_basestring_ascii, texts))}]"


@lru_cache(4_096)
def _of_problem(problem_id: str) -> str:
    return fingerprint(problem_id)[:8]


def _check_text(text: str) -> str:
    if "\0" in text:
        raise ValueError("contains a NUL character; remove it first")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("contains a lone surrogate; it is not valid Unicode") from None
    if len(text) > MAX_TEXT_CHARS:
        raise ValueError(f"has {len(text):,} characters; at most {MAX_TEXT_CHARS:,} are stored")
    return text


def _check_filled(text: str) -> str:
    if not text or text.isspace():
        raise ValueError("is empty; give it some text")
    return _check_text(text)


def _check_scalars(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    if len(mapping) > MAX_ITEMS:
        raise ValueError(f"has {len(mapping):,} entries; at most {MAX_ITEMS:,} are stored")
    for key, value in mapping.items():
        for text in (key, value):
            if isinstance(text, str) and len(_check_text(text)) > MAX_NAME_CHARS:
                raise ValueError(
                    f"holds a text of {len(text):,} characters; at most "
                    f"{MAX_NAME_CHARS:,} are stored"
                )
    return mapping


Text = Annotated[str, AfterValidator(_check_text)]
FilledText = Annotated[str, AfterValidator(_check_filled)]
Name = Annotated[str, Field(max_length=MAX_NAME_CHARS), AfterValidator(_check_text)]
FilledName = Annotated[str, Field(max_length=MAX_NAME_CHARS), AfterValidator(_check_filled)]
Names = Annotated[tuple[Name, ...], Field(max_length=MAX_ITEMS)]
Texts = Annotated[tuple[FilledText, ...], Field(max_length=MAX_ITEMS)]
Rewards = Annotated[tuple[FiniteFloat, ...], Field(max_length=MAX_ITEMS)]
Integer = Annotated[int, Field(ge=-(2**53), le=2**53)]
Scalar = str | Integer | FiniteFloat | bool | None
Scalars = Annotated[Mapping[str, Scalar], AfterValidator(_check_scalars)]


class _Frozen(BaseModel):
    """Frozen, closed to unknown fields, and failing with this library's own errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise _typed(type(self).__name__, error) from None

    # Nested records and those read from a file are built by pydantic itself, without this detour.
    # Should pydantic drop the flag, they are built through it: slower, with the same result.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def _made(cls, **values: Any) -> Self:
        """An instance of all its values, unchecked: for thousands made from what was checked."""
        made = cls.__new__(cls)
        object.__setattr__(made, "__dict__", values)
        object.__setattr__(made, "__pydantic_fields_set__", _names(cls))
        object.__setattr__(made, "__pydantic_extra__", None)
        object.__setattr__(made, "__pydantic_private__", None)
        return made

    def _with(self, **update: Any) -> Self:
        """A copy with other values, unchecked: `model_copy(update=...)`, several times faster."""
        return self._made(**{**self.__dict__, **update})


@cache
def _names(model: type[BaseModel]) -> set[str]:
    """All fields of a model: one set for all instances made of all their values."""
    return set(model.model_fields)


def _typed(model: str, error: ValidationError) -> LanpoError:
    """Turn a pydantic error into one sentence per bad field."""
    for item in error.errors():
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, LanpoError):
            return cause
    lines = [
        f"{model}.{'.'.join(map(str, item['loc'])) or '*'}: "
        + item["msg"].removeprefix("Value error, ")
        for item in error.errors()
        if item["type"] != "default_factory_not_called"
    ]
    return InvalidInputError("; ".join(lines))


class Problem(_Frozen):
    """A task to be solved. It has no field for its answer.

    A pool keeps a problem as it was first told; another text under the same id is rejected.

    `family` groups problems for reports. Neither it nor `metadata` is ever put into a prompt.

    Raises:
        LabelLeakError: a metadata key looks like a reference answer.
        InvalidInputError: the text is empty, too long, or not valid Unicode.

    >>> Problem(text="What is 2 + 3?").id == Problem(text=" What is  2 + 3? ").id
    True
    """

    text: FilledText
    id: FilledName = Field(default_factory=lambda data: fingerprint(normalise(data["text"])))
    family: Name | None = None
    metadata: Scalars = Field(default_factory=dict)

    @field_validator("metadata")
    @classmethod
    def _no_labels(cls, metadata: Mapping[str, Scalar]) -> Mapping[str, Scalar]:
        for key in metadata:
            if key.lower().strip() in LABEL_KEYS:
                raise LabelLeakError(
                    f"Problem.metadata[{key!r}] looks like the reference answer. Keep answers out "
                    "of the memory: hand them to your reward function only."
                )
        return metadata

    def __hash__(self) -> int:
        return hash(self.id)


class Attempt(_Frozen):
    """An earlier try at a problem, as a reflection may see it: no reward, no verdict."""

    problem: Problem
    text: FilledText
    step: Integer = 0
    policy: Name = ""

    @cached_property
    def id(self) -> str:
        """Hash of problem, text, step and policy: storing it again is idempotent."""
        return fingerprint(self.problem.id, self.text, str(self.step), self.policy)


class ExperienceMetadata(_Frozen):
    """Where an experience comes from. Never rendered into a prompt.

    `reward` is the task reward without any format bonus; `step` the training step (0-based);
    `created_at` seconds since the epoch, set by the pool's clock when absent; `parents` the ids
    of the experiences that guided the rollout it was made from.
    """

    reward: FiniteFloat | None = None
    correct: bool | None = None
    source: Name = ""
    step: Integer = 0
    policy: Name = ""
    created_at: FiniteFloat | None = None
    parents: Names = ()
    extra: Scalars = Field(default_factory=dict)


class Experience(_Frozen):
    """What one rollout taught: a flow of thought, principles to follow, pitfalls to avoid.

    >>> Experience(problem=Problem(text="2 + 3?"), principles=("count on",)).principles
    ('count on',)
    """

    problem: Problem
    thoughts: Text = ""
    principles: Texts = ()
    pitfalls: Texts = ()
    metadata: ExperienceMetadata = Field(default_factory=ExperienceMetadata)
    schema_version: int = SCHEMA_VERSION

    @model_validator(mode="after")
    def _says_something(self) -> Experience:
        if not (self.thoughts.strip() or self.principles or self.pitfalls):
            raise ValueError("needs thoughts, principles or pitfalls; all three are empty")
        length = len(self.thoughts) + sum(map(len, (*self.principles, *self.pitfalls)))
        if length > MAX_TEXT_CHARS:
            raise ValueError(
                f"has {length:,} characters in all; at most {MAX_TEXT_CHARS:,} are stored"
            )
        return self

    @cached_property
    def id(self) -> str:
        """Hash of problem, thoughts, principles and pitfalls: adding again is idempotent.

        Eight digits for the problem, twelve for the experience: a store that is sorted by id has
        the experiences of one problem side by side.
        """
        return _of_problem(self.problem.id) + fingerprint(self.problem.id, self.lesson_id)[:12]

    @cached_property
    def lesson_id(self) -> str:
        """Like `id` without the problem: the same lesson learned elsewhere shares its evidence."""
        return fingerprint(
            normalise(self.thoughts), _listed(self.principles), _listed(self.pitfalls)
        )


class Hit(NamedTuple):
    """A problem found by a retriever. `score` is in the retriever's unit, `similarity` in 0..1."""

    problem_id: str
    score: float
    similarity: float


class Retrieved(_Frozen):
    """A stored experience that may help, with the figures that speak for it.

    `similarity` and `utility` are in 0..1, higher is better; `utility` is 0.5 for a lesson that
    was never tried.
    """

    experience: Experience
    score: float
    similarity: float
    utility: float = 0.5


class Guidance(_Frozen):
    r"""What the memory puts in front of a problem: nothing, experiences, or an earlier attempt.

    `critique` is what a model said of the attempt, where a two-stage reflector asked one.

    >>> Guidance(kind="inter", text="Hint: count on.\n").apply("2 + 3?")
    'Hint: count on.\n2 + 3?'
    """

    kind: GuidanceKind = "none"
    text: str = ""
    experience_ids: tuple[str, ...] = ()
    lesson_ids: tuple[str, ...] = ()
    attempt: Attempt | None = None
    critique: str = ""

    def __bool__(self) -> bool:
        return self.kind != "none"

    def apply(self, prompt: PromptT) -> PromptT:
        """Return the prompt with the guidance in front of the last user message.

        Takes a plain string or a list of messages and returns the same kind; the argument is not
        changed.
        """
        if not self.text:
            return prompt
        if isinstance(prompt, str):
            return self.text + prompt
        return self._in_front(prompt)

    def _in_front(self, messages: Messages) -> Messages:
        users = [i for i, message in enumerate(messages) if message["role"] == "user"]
        if not users:
            raise InvalidInputError("the prompt has no user message to put guidance in front of")
        last = users[-1]
        content: str | list[Any] = messages[last]["content"]
        guided: str | list[Any]
        if isinstance(content, str):
            guided = self.text + content
        else:
            guided = [{"type": "text", "text": self.text}, *content]
        return [*messages[:last], {**messages[last], "content": guided}, *messages[last + 1 :]]


class Rollout(_Frozen):
    """What a trainer or an agent reports: a completion and what came of it.

    `reward` is the task reward, without any bonus for format. `group` names the rollouts of one
    problem that were sampled together; rollouts without a group are their own.
    """

    problem: Problem
    completion: Text
    reward: FiniteFloat | None = None
    correct: bool | None = None
    step: Integer = 0
    policy: Name = ""
    group: Name | None = None
    guidance: Guidance | None = None

    @property
    def succeeded(self) -> bool | None:
        """The verdict where there is one, else whether the reward is positive, else `None`."""
        if self.correct is not None:
            return self.correct
        return None if self.reward is None else self.reward > 0


class Exposure(_Frozen):
    """How one group of rollouts did with certain lessons in the prompt, and without them.

    `guided` and `scratch` are task rewards; `group_size` counts all rollouts of the group.
    `randomised` is true where guided and scratch rollouts differ by chance alone, the only case in
    which their difference may be called causal.
    """

    problem_id: FilledName
    lesson_ids: Names
    experience_ids: Names = ()
    step: Integer = 0
    group: Name = ""
    guided: Rewards = ()
    scratch: Rewards = ()
    group_size: int = Field(default=1, ge=1)
    randomised: bool = False

    @cached_property
    def id(self) -> str:
        """Hash of problem, step, group and lessons: recording it again is idempotent."""
        return fingerprint(self.problem_id, str(self.step), self.group, *self.lesson_ids)


class FailedAnswer(_Frozen):
    """A model's answer that could not be read, kept so that nothing is lost in silence.

    What is needed to read it again is kept with it: the problem and the `metadata` of the
    experience it would have become; and what is needed to ask again: the `conversation`.
    """

    role: Name
    problem_id: Name
    text: Text
    reason: Text
    step: Integer = 0
    problem: Problem | None = None
    metadata: ExperienceMetadata | None = None
    conversation: list[dict[str, Any]] | None = None
    max_tokens: int = Field(default=2048, ge=1)

    @cached_property
    def id(self) -> str:
        """Hash of role, problem, text, step and conversation."""
        asked = () if self.conversation is None else (json.dumps(self.conversation),)
        return fingerprint(self.role, self.problem_id, self.text, str(self.step), *asked)


class Request(_Frozen):
    """A conversation that a model is to answer. `rollouts` are indices into the asker's list."""

    role: str
    conversation: list[dict[str, Any]]
    rollouts: tuple[int, ...] = ()
    max_tokens: int = Field(default=512, ge=1)


class Usage(_Frozen):
    """What model calls cost. Usages add up.

    `calls` counts requests sent, tries after a failure included, `failures` those among them that
    brought no answer. `seconds` is the time spent waiting, `cost` US dollars, where a price is
    known: the calls without one are counted in `unpriced`.

    >>> (Usage(calls=1, prompt_tokens=9) + Usage(calls=1, completion_tokens=4)).tokens
    13
    """

    calls: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    cost: float = 0.0
    unpriced: int = 0

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in _names(Usage)})


class Completion(_Frozen):
    """A model's answer, with what it cost in tokens (0 when the model does not say).

    `seconds` and `cost` (US dollars, 0 where unknown) are this answer's share.
    """

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    truncated: bool = False
    seconds: float = 0.0
    cost: float = 0.0


class Failure(_Frozen):
    """A model call or an answer that came to nothing, as data. `text` is what was said.

    ``failed`` could not be had or read; ``rejected`` could be, and was refused for what it says.

    `answered`, of a model's call: the model was heard and gave nothing of use, such as a refusal, a
    filtered or an empty answer. Otherwise the call itself failed, and says nothing about the model.
    """

    reason: str
    text: str = ""
    rollouts: tuple[int, ...] = ()
    status: Literal["failed", "rejected"] = "failed"
    answered: bool = False


class Receipt(_Frozen):
    """What became of one candidate. Every candidate gets exactly one.

    added: it is stored. duplicate: it was there already. evicted: stored and pushed out again in
    the same batch by later ones. rejected: refused, with the reason. failed: a model's answer that
    could not be read.
    """

    status: ReceiptStatus
    id: str = ""
    reason: str = ""


class Limits(_Frozen):
    """How much a store keeps. `None` means no limit.

    Per problem: `capacity` experiences, `per_step` new experiences a training step (counted among
    those that are held), `attempts` attempts. Over capacity, ``by="fifo"`` drops the oldest;
    ``by="utility"`` drops the lesson whose utility can at best be the lowest (upper bound of its
    95 % interval). A lesson with fewer than `min_exposures` counts as possibly perfect, so that
    newcomers stay until they were tried.

    In the whole pool: `failures` failed answers, of which each may hold its question; the oldest
    go first.
    """

    # 32 entries a problem, 8 new ones a problem and step: arXiv 2510.16552, appendix.
    capacity: int | None = Field(default=32, ge=1)
    per_step: int | None = Field(default=8, ge=1)
    attempts: int | None = Field(default=8, ge=1)
    failures: int | None = Field(default=10_000, ge=1)
    by: Literal["fifo", "utility"] = "fifo"
    min_exposures: int = Field(default=8, ge=1)


class Batch(_Frozen):
    """Everything one transaction writes. Receipts come back in the order of these fields.

    With `replace`, every record that was there is deleted first, in the same transaction. `now` is
    the `created_at` of experiences that have none.
    """

    experiences: tuple[Experience, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    exposures: tuple[Exposure, ...] = ()
    failures: tuple[FailedAnswer, ...] = ()
    deletions: tuple[str, ...] = ()
    replace: bool = False
    now: FiniteFloat | None = None

    def __len__(self) -> int:
        records = (self.experiences, self.attempts, self.exposures, self.failures, self.deletions)
        return sum(map(len, records))


class Change(NamedTuple):
    """One line of a store's change log."""

    seq: int
    op: Literal["add", "evict", "delete"]
    kind: Literal["experience", "attempt", "exposure", "failure"]
    id: str
    problem_id: str


class Changes(NamedTuple):
    """A piece of the change log, oldest first, and the number of the store's newest line.

    `head` may count the lines of other namespaces, too; those are not among the items.
    """

    items: tuple[Change, ...]
    head: int


class Promise(StrEnum):
    """What a store may promise; the conformance kit tests what it declares.

    What a store does not promise it refuses with a typed error: it never keeps it by halves.
    """

    ATOMIC = "atomic"
    """A batch is written whole or not at all. Without it, `Batch.replace` is refused."""
    DURABLE = "durable"
    """An acknowledged write survives kill -9. Without it, a store that is opened again is empty."""
    CHANGE_LOG = "change_log"
    """`changes` tells in which order everything happened. Without it, `changes` is refused."""
    CACHE = "cache"
    """Keeps bytes under keys: embeddings, scores, calibrations. Without it, both are refused."""
    NAMESPACES = "namespaces"
    """Several pools lie side by side and never meet. Without it, only ``default`` is opened."""
    READERS = "readers"
    """Other processes may read while one writes. Without it, they are refused or see nothing."""
    PROCESSES = "processes"
    """Several processes may write at once. Without it, a second writer is refused."""


class RetrievalFigures(_Frozen):
    """What `prepare` did since the last observation.

    `items` problems were asked about, `wanted` of them drew guidance by the coin, `searched` went
    to the index, `hits` of those found at least one experience that passed all filters, `guided`
    got guidance. `similarities` are those of the experiences used; `dropped` counts whole
    experiences left out for the token budget, `shortened` the problems that lost some, or an
    attempt, to it; `templates` the experiences used that come from the same template with other
    numbers; `abstracted` guidances were rewritten for their problem. `judging_seconds` of the
    `seconds` went to a relevance.
    """

    items: int = 0
    wanted: int = 0
    searched: int = 0
    hits: int = 0
    guided: int = 0
    dropped: int = 0
    shortened: int = 0
    templates: int = 0
    abstracted: int = 0
    guidance_tokens: int = 0
    similarities: tuple[float, ...] = ()
    ages: tuple[int, ...] = ()
    seconds: float = 0.0
    judging_seconds: float = 0.0


class Observation(_Frozen):
    """What the memory did with a batch of rollouts: receipts, counts and times (seconds)."""

    receipts: tuple[Receipt, ...] = ()
    counts: Mapping[str, int] = Field(default_factory=dict)
    seconds: Mapping[str, float] = Field(default_factory=dict)
    retrieval: RetrievalFigures = Field(default_factory=RetrievalFigures)
    pool_size: int = 0


class Turn(_Frozen):
    """One answer of a model on the way to a solution.

    `conversation` is what the model was sent, `guidance` what of it came from the memory (with the
    ids of the experiences used, or the attempt looked at). `answer` is the final answer found in
    `text`; `verdict` what a reflection concluded about the attempt: right, wrong, or nothing that
    can be read. `failure` says why there is no text.
    """

    conversation: list[dict[str, Any]]
    guidance: Guidance = Field(default_factory=Guidance)
    text: str = ""
    answer: str | None = None
    verdict: bool | None = None
    failure: str = ""
    usage: Usage = Field(default_factory=Usage)


class Solution(_Frozen):
    """What a solver makes of one problem: the answer, and every step that led to it.

    `answer` is that of the last turn which gave one, `text` the part of this turn that solves the
    problem. Where no turn gave an answer it is `None`, and `failure` says why. `ledger` holds what
    the turns cost, by role.
    """

    problem: Problem
    mode: SolveMode
    answer: str | None = None
    text: str = ""
    turns: tuple[Turn, ...] = ()
    failure: str = ""
    ledger: Mapping[str, Usage] = Field(default_factory=dict)
