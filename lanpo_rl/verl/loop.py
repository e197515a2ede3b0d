"""An agent loop of verl's with memory: it asks before the generation and leaves a note for after.

The note goes into `extra_fields` and comes out where the rewards are known: `lanpo_rl.verl.report`
reads it there.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.protocols import ExperienceAdapter
from lanpo_memory.rollouts import problem_of
from lanpo_memory.types import Guidance, Messages, Problem
from lanpo_rl.verl.interface import FIELD, base_loop, check_base

__all__ = ["Note", "lanpo_agent_loop"]

_KEPT = 4_096  # answers of a worker: more than the groups that are under way at once
_THREADS = 4  # a pool opens one connection for each


class Note(BaseModel):
    """What a rollout was given, as it travels from a worker to the trainer.

    `too_long` says that there was guidance and that the prompt would not have held it.
    """

    model_config = ConfigDict(frozen=True)

    problem: Problem
    guidance: Guidance
    step: int
    too_long: bool = False


class _Asking:
    """The memory of one worker process: opened once, asked once for a problem and step."""

    def __init__(
        self,
        memory: Callable[[], ExperienceAdapter],
        problem: Callable[[Mapping[str, Any]], Problem],
    ) -> None:
        self.problem = problem
        self._open = memory
        self._memory: ExperienceAdapter | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._asked: OrderedDict[tuple[int, str], Future[Guidance]] = OrderedDict()
        self._lock, self._opening = threading.Lock(), threading.Lock()

    def guidance(self, problem: Problem, step: int) -> Future[Guidance]:
        """The same answer for every rollout of a group, whatever is written in between."""
        key = (step, problem.id)
        with self._lock:
            if key not in self._asked or _failed(self._asked[key]):
                if self._threads is None:
                    self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="lanpo")
                self._asked[key] = self._threads.submit(self._ask, problem, step)
            if len(self._asked) > _KEPT:
                self._asked.popitem(last=False)
            return self._asked[key]

    def _ask(self, problem: Problem, step: int) -> Guidance:
        with self._opening:
            if self._memory is None:
                self._memory = self._open()
        return self._memory.prepare([problem], step=step)[0]


class _LanpoLoop:
    """The half of the loop that is ours; verl's own `run` does the rest."""

    _lanpo: ClassVar[_Asking]

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> Any:
        """Guide `raw_prompt`, run verl's loop on it, and note down what it was given."""
        asking, step, bare = self._lanpo, _step_of(row), _messages_of(row)
        problem = asking.problem(row)
        # Shielded: what several rollouts wait for is not one's to cancel.
        waiting = asyncio.wrap_future(asking.guidance(problem, step))
        guidance = await asyncio.shield(waiting)
        prompt, too_long = guidance.apply(bare), False
        if guidance and not await asyncio.to_thread(self._lanpo_fits, prompt):
            guidance, prompt, too_long = Guidance(), bare, True
        note = Note(problem=problem, guidance=guidance, step=step, too_long=too_long)
        row["raw_prompt"] = prompt
        output = await super().run(sampling_params, **row)  # type: ignore[misc]
        final = output[-1] if isinstance(output, list) else output
        final.extra_fields = {**final.extra_fields, FIELD: note.model_dump_json()}
        return output

    def _lanpo_fits(self, prompt: Messages) -> bool:
        """Whether verl would take the whole prompt; images are not counted."""
        limit = getattr(self, "prompt_length", None)
        if limit is None:
            return True
        tokenizer: Any = self.tokenizer  # type: ignore[attr-defined]
        text = tokenizer.apply_chat_template(
            prompt,
            tools=getattr(self, "tool_schemas", None) or None,
            add_generation_prompt=True,
            tokenize=False,
            **(getattr(self, "apply_chat_template_kwargs", None) or {}),
        )
        return len(tokenizer.encode(text, add_special_tokens=False)) <= int(limit)


def lanpo_agent_loop(
    base: type[Any] | None = None,
    *,
    memory: Callable[[], ExperienceAdapter],
    problem: Callable[[Mapping[str, Any]], Problem] | None = None,
) -> type[Any]:
    """Return an agent loop class that asks a memory for guidance before each generation.

    Put it into a module that the workers can import, and name it as ``_target_`` in the file of
    `actor_rollout_ref.rollout.agent.agent_loop_config_path`. verl makes a loop for every rollout;
    the memory is opened once in each worker, at its first rollout, and a problem is asked about
    once a step: all rollouts of its group in this worker share the answer.

    The workers of one node open the same pool, an SQLite file; where nothing is written to it
    within a step, workers that share a group give it the same guidance. Guidance that would make
    the prompt longer than `rollout.prompt_length` is left out whole.

    The loop cannot tell validation from training: choose it by a column `agent_name` that only the
    training set has.

    Args:
        base: verl's loop to build on; by default `SingleTurnAgentLoop`.
        memory: opens the memory; called in the worker.
        problem: what a row asks, from its fields; by default the last user message of
            `raw_prompt`. The row holds the reference answer, too: leave it out.

    Raises:
        MissingVerlError: there is no `base`, and verl is not installed.
        ConfigError: `base` is no agent loop as expected, or `memory` is no function.
    """
    if not callable(memory):
        raise ConfigError(
            f"memory is a {type(memory).__name__}; give a function that opens one, such as "
            "lambda: PoolAdapter(open_pool(path)): every worker process opens its own"
        )
    if base is None:
        base = base_loop()
    check_base(base)
    asking = _Asking(memory, _asked_in if problem is None else problem)
    members = {"_lanpo": asking, "__module__": __name__}
    return type(f"Lanpo{base.__name__}", (_LanpoLoop, base), members)


def _asked_in(row: Mapping[str, Any]) -> Problem:
    return problem_of(_messages_of(row))


def _messages_of(row: Mapping[str, Any]) -> Messages:
    if row.get("raw_prompt") is None:
        raise ConfigError(
            "the row has no raw_prompt; set data.return_raw_chat=True (verl before 0.7)"
        )
    return list(row["raw_prompt"])


def _step_of(row: Mapping[str, Any]) -> int:
    if row.get("global_steps") is None:
        raise ConfigError(
            "the row does not say its step: use verl's trainer v1 (trainer.use_v1=True, from "
            "0.9), or return lanpo_rl.verl.stamped(gen_batch, self.global_steps) from "
            "_get_gen_batch of your trainer"
        )
    try:
        return int(row["global_steps"])
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"global_steps is no number: {row['global_steps']!r}") from error


def _failed(asked: Future[Guidance]) -> bool:
    """Whether asking has ended in an error: the next rollout asks again."""
    return asked.done() and (asked.cancelled() or asked.exception() is not None)
