"""What is relied on of verl's agent loops, and a check that it is still so.

Read in verl 0.6.1, 0.7.1, 0.8.0 and 0.9.1 as published on PyPI, and in ``agent_loop.py`` at commit
02dd715167b4981645857b924df48e2fb6241b6d of https://github.com/verl-project/verl. Before 0.6 the
interface was another one.

1. A worker makes a new loop for every rollout, by hydra from the ``_target_`` of the loop's name,
   with keyword arguments. They grew over the versions: `trainer_config`, `server_manager`,
   `tokenizer`, `processor`; from 0.7 `dataset_cls`, `data_config`; from 0.8 `tools`; from 0.9
   `hf_model_type`.
2. It awaits ``run(sampling_params, **row)``. The row holds the fields of the data set, among them
   `raw_prompt`, a list of messages, and `uid`, which the rollouts of one prompt share. Under the
   trainer "v1" (0.9) it holds `global_steps`, too. It never says whether this is a validation.
3. The loop makes the tokens of `raw_prompt` itself: by `apply_chat_template` up to 0.8, by a
   "continuous token" builder from 0.9. Then it awaits ``server_manager.generate(request_id=...,
   prompt_ids=..., sampling_params=..., ...)``. It returns an `AgentLoopOutput`, or a list of them
   under v1, with `prompt_ids`, `response_ids`, `response_mask` (1 for what the model wrote) and
   `extra_fields`.
4. A prompt longer than `rollout.prompt_length` is cut on the left from 0.8; before, padding it
   fails. Loops keep that length as `self.prompt_length`.
5. Each key of `extra_fields` becomes a column of `non_tensor_batch`; under v1 there is one column
   `extra_fields` that holds a dict for each row. Rewards are `token_level_scores`, under v1
   `rm_scores`: a number for each token of the response, which add up to the reward.
6. Rows of one prompt may be spread over workers; under v1 one worker has them all.

The loop here is a subclass of one of verl's that changes `raw_prompt` and adds one key to
`extra_fields`; points 1 and 3 stay verl's own business.
"""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType
from typing import Any

from lanpo_memory.errors import ConfigError, LanpoError, MissingExtraError

__all__ = ["FIELD", "MissingVerlError", "base_loop", "check_base", "check_interface"]

FIELD = "lanpo"
"""The key of `extra_fields` under which a rollout's guidance travels to the trainer."""

_PACKAGE = "verl.experimental.agent_loop"
_READ = "lanpo_rl.verl was written against verl 0.6.1 to 0.9.1"
_NEEDED = ("prompt_ids", "response_ids", "response_mask", "extra_fields")


class MissingVerlError(MissingExtraError):
    """verl is not installed; no extra of this package brings it."""

    def __init__(self) -> None:
        LanpoError.__init__(
            self,
            "this needs the package 'verl', which is not installed and which no extra brings. "
            "Install it with: pip install verl, in the environment that trains",
        )
        self.package, self.extra = "verl", ""


def base_loop() -> type[Any]:
    """Return verl's own single-turn loop.

    Raises:
        MissingVerlError: verl is not installed.
        ConfigError: it is, and its agent loops are not what they were.
    """
    faults = check_interface()
    if faults:
        raise ConfigError(_changed("; ".join(faults)))
    module = _module("single_turn_agent_loop")
    base: type[Any] = module.SingleTurnAgentLoop
    return base


def check_interface() -> list[str]:
    """Say, one line each, what of verl's agent loops is not as the docstring above has it.

    Raises:
        MissingVerlError: verl is not installed.
    """
    try:
        loops, single = _module("agent_loop"), _module("single_turn_agent_loop")
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("verl."):
            raise  # something that verl itself needs
        return [f"there is no module {error.name}"]
    faults = [
        f"there is no {module.__name__}.{name}"
        for module, name in ((loops, "AgentLoopOutput"), (single, "SingleTurnAgentLoop"))
        if not hasattr(module, name)
    ]
    if not faults:
        fields = loops.AgentLoopOutput.model_fields
        faults = [f"AgentLoopOutput has no field {name}" for name in _NEEDED if name not in fields]
        faults += _faults_of(single.SingleTurnAgentLoop)
    return faults


def check_base(base: Any) -> None:
    """Refuse what is no agent loop.

    Raises:
        ConfigError: it is no class, or its `run` takes other arguments.
    """
    faults = _faults_of(base)
    if faults:
        raise ConfigError(_changed("; ".join(faults)))


def _faults_of(base: Any) -> list[str]:
    run = getattr(base, "run", None)
    if not isinstance(base, type) or run is None:
        return [f"{base!r} is no class with a method run"]
    if not inspect.iscoroutinefunction(run):
        return [f"{base.__name__}.run is no coroutine"]
    parameters = inspect.signature(run).parameters
    takes_row = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if list(parameters)[1:2] == ["sampling_params"] and takes_row:
        return []
    taken = ", ".join(parameters)
    return [f"{base.__name__}.run takes ({taken}), expected (self, sampling_params, ..., **row)"]


def _changed(faults: str) -> str:
    return (
        f"verl's agent loops are not as expected: {faults}. {_READ}; install one of these, or "
        "compare verl/experimental/agent_loop with the list in lanpo_rl/verl/interface.py"
    )


def _module(name: str) -> ModuleType:
    try:
        importlib.import_module("verl")
    except ModuleNotFoundError as error:
        if error.name == "verl":
            raise MissingVerlError from error
        raise
    return importlib.import_module(f"{_PACKAGE}.{name}")
