"""From a batch of verl's, with rewards, to what the memory observes."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from lanpo_memory.errors import InvalidInputError
from lanpo_memory.protocols import ExperienceAdapter
from lanpo_memory.texts import storable
from lanpo_memory.types import Completion, Failure, Observation, Request, Rollout
from lanpo_rl.verl.interface import FIELD
from lanpo_rl.verl.loop import Note

__all__ = ["FIELDS", "report", "rollouts_of", "stamped", "uneven_groups"]

FIELDS = ("uid", "responses", "rm_scores", "extra_fields")
"""The columns to ask verl's TransferQueue for, under the trainer v1."""

_SCORES = ("token_level_scores", "rm_scores")

BatchT = TypeVar("BatchT")


def rollouts_of(
    rows: Any,
    *,
    tokenizer: Any,
    rewards: Sequence[float | None] | None = None,
    correct_above: float = 0.5,
    policy: str = "",
) -> list[Rollout]:
    """Return the rollouts of a batch that went through the agent loop, in order.

    Args:
        rows: a `DataProto` (`batch` and `non_tensor_batch`), or a table of columns as
            ``tq.kv_batch_get(..., select_fields=FIELDS)`` returns it. Rows of other loops and the
            earlier outputs of a rollout that has several are left out.
        tokenizer: decodes the responses.
        rewards: the task rewards, one for each row, where the scores hold a bonus, too.
        correct_above: a rollout is right if its reward is above this.
        policy: name of the model.

    Raises:
        InvalidInputError: a column is missing, or no row went through the loop.
    """
    notes = _notes(rows)
    if not any(notes):
        raise InvalidInputError(
            f"no row carries the field {FIELD!r}: none of them was made by an agent loop of "
            "lanpo_agent_loop; check the column agent_name of the training set, and that "
            "extra_fields is among the columns"
        )
    groups, responses = _column(rows, "uid"), _responses(rows)
    scores = _scores(rows) if rewards is None else [_score(reward) for reward in rewards]
    if not len(notes) == len(groups) == len(responses) == len(scores):
        raise InvalidInputError(
            f"{len(notes)} rows, {len(groups)} uids, {len(responses)} responses and "
            f"{len(scores)} rewards; there has to be one for each row"
        )
    return [
        Rollout(
            problem=note.problem,
            completion=storable(tokenizer.decode(responses[i], skip_special_tokens=True)),
            reward=score,
            correct=None if score is None else score > correct_above,
            step=note.step,
            policy=policy,
            group=str(groups[i]),
            guidance=note.guidance,
        )
        for i, (note, score) in enumerate(zip(notes, scores, strict=True))
        if note is not None
    ]


def report(
    rows: Any,
    memory: ExperienceAdapter,
    *,
    step: int,
    tokenizer: Any,
    rewards: Sequence[float | None] | None = None,
    correct_above: float = 0.5,
    policy: str = "",
    answer: Callable[[Sequence[Request]], Sequence[Completion | Failure]] | None = None,
) -> Observation:
    """Tell the memory what came of a batch; for the one process that has the rewards.

    Args:
        rows: see `rollouts_of`, also for `tokenizer`, `rewards`, `correct_above` and `policy`.
        memory: on the pool that the workers read.
        step: the trainer's.
        tokenizer: see `rollouts_of`.
        rewards: see `rollouts_of`.
        correct_above: see `rollouts_of`.
        policy: see `rollouts_of`.
        answer: answers the summarizer's requests, one for each in order; by default the memory's
            own model does.

    Raises:
        InvalidInputError: see `rollouts_of`; nothing was stored.
    """
    rollouts = rollouts_of(
        rows, tokenizer=tokenizer, rewards=rewards, correct_above=correct_above, policy=policy
    )
    if answer is None:
        return memory.observe(rollouts, step=step)
    requests = memory.ask(rollouts, step=step)
    return memory.ingest(rollouts, list(answer(requests)) if requests else [], step=step)


def uneven_groups(rollouts: Sequence[Rollout]) -> list[str]:
    """Return the groups whose rollouts did not all have the same guidance, in order.

    It takes a group spread over workers, and a pool that was written to while they asked.

    >>> from lanpo_memory import Guidance, Problem
    >>> kinds = [("a", "inter"), ("a", "none"), ("b", "none")]
    >>> uneven_groups([Rollout(problem=Problem(text="2 + 3?"), completion="5", group=group,
    ...                        guidance=Guidance(kind=kind)) for group, kind in kinds])
    ['a']
    """
    seen: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for rollout in rollouts:
        if rollout.group is not None and rollout.guidance is not None:
            seen[rollout.group].add((rollout.guidance.kind, rollout.guidance.text))
    return [group for group, given in seen.items() if len(given) > 1]


def stamped(batch: BatchT, step: int) -> BatchT:
    """Write the step into every row of a `DataProto`, and return it: v1 does so by itself."""
    import numpy as np

    rows: Any = batch
    rows.non_tensor_batch["global_steps"] = np.array([step] * len(rows), dtype=object)
    return batch


# ------------------------------------------------------------------ columns


def _notes(rows: Any) -> list[Note | None]:
    if _has(rows, FIELD):
        texts = _column(rows, FIELD)
    else:
        texts = [_plain(each).get(FIELD) for each in _column(rows, "extra_fields")]
    return [None if text is None else Note.model_validate_json(text) for text in texts]


def _responses(rows: Any) -> list[list[int]]:
    """Token ids without their padding, where there is a mask that says what is padding."""
    responses = [_numbers(row) for row in _column(rows, "responses")]
    if not _has(rows, "attention_mask"):
        return [list(map(int, ids)) for ids in responses]
    masks = [_numbers(row) for row in _column(rows, "attention_mask")]
    return [
        [int(token) for token, keep in zip(ids, mask[len(mask) - len(ids) :], strict=True) if keep]
        for ids, mask in zip(responses, masks, strict=True)
    ]


def _scores(rows: Any) -> list[float | None]:
    name = next((name for name in _SCORES if _has(rows, name)), _SCORES[0])
    return [_score(sum(_numbers(row))) for row in _column(rows, name)]


def _score(value: Any) -> float | None:
    return None if value is None or value != value else float(value)  # NaN is not itself


def _tables(rows: Any) -> list[Any]:
    parts = (getattr(rows, "batch", None), getattr(rows, "non_tensor_batch", None))
    return [rows] if parts == (None, None) else [part for part in parts if part is not None]


def _has(rows: Any, name: str) -> bool:
    return any(name in table.keys() for table in _tables(rows))  # noqa: SIM118 - a TensorDict


def _column(rows: Any, name: str) -> list[Any]:
    for table in _tables(rows):
        if name in table.keys():  # noqa: SIM118 - a TensorDict is asked by its keys
            return _items(table[name])
    raise InvalidInputError(
        f"the batch has no column {name!r}; report it once the rewards are known, with the "
        f"columns {', '.join(FIELDS)} or their namesakes of a DataProto"
    )


def _items(column: Any) -> list[Any]:
    """The rows of a tensor, also of a ragged one, of an array, a stack or a list."""
    torch = sys.modules.get("torch")  # a tensor comes from where it was loaded
    if torch is not None and isinstance(column, torch.Tensor):
        return list(column.unbind(0))
    return list(column.tolist() if hasattr(column, "tolist") else column)


def _plain(value: Any) -> Mapping[str, Any]:
    """A row's dict, taken out of what tensordict may have wrapped it in."""
    found = value if isinstance(value, Mapping) else getattr(value, "data", None)
    return found if isinstance(found, Mapping) else {}


def _numbers(row: Any) -> list[Any]:
    return row.tolist() if hasattr(row, "tolist") else list(row)
