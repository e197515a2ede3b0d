"""Stand-ins for the parts of verl that `lanpo_rl.verl` touches, with the same signatures.

Written after the facts listed in `lanpo_rl/verl/interface.py`; nothing of verl's code is in here.
`install` puts them where verl's own modules would be.
"""

from __future__ import annotations

import asyncio
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

PACKAGE = "verl.experimental.agent_loop"
TOOL_SAID = "<tool>7"


class Tokenizer:
    """One token a character; a chat is its roles and contents. 0 pads."""

    def apply_chat_template(
        self, messages, *, tools=None, add_generation_prompt=False, tokenize=True
    ) -> Any:
        text = "".join(f"<{m['role']}>{m['content']}" for m in messages)
        text = f"{tools or ''}{text}" + ("<assistant>" if add_generation_prompt else "")
        return self.encode(text) if tokenize else text

    def encode(self, text, add_special_tokens=False):
        return [ord(c) for c in text]

    def decode(self, ids, skip_special_tokens=False):
        return "".join(chr(i) for i in ids if i or not skip_special_tokens)


class TokenOutput(BaseModel):
    token_ids: list[int]
    log_probs: list[float] | None = None
    num_preempted: int | None = None


class AgentLoopOutput(BaseModel):
    prompt_ids: list[int]
    response_ids: list[int]
    response_mask: list[int]
    response_logprobs: list[float] | None = None
    reward_score: float | None = None
    num_turns: int = 0
    metrics: dict[str, float] = {}
    extra_fields: dict[str, Any] = {}


class Server:
    """The server manager: it remembers what it was asked and says what it was told to say."""

    def __init__(self, says: str = "I multiply the groups by the size of one.") -> None:
        self.says, self.calls = says, []

    async def generate(
        self,
        request_id,
        *,
        prompt_ids: list[int],
        sampling_params: dict[str, Any],
        image_data: list[Any] | None = None,
        video_data: list[Any] | None = None,
        **kwargs: Any,
    ) -> TokenOutput:
        self.calls.append((request_id, prompt_ids, sampling_params))
        await asyncio.sleep(0)
        ids = [ord(c) for c in self.says]
        return TokenOutput(token_ids=ids, log_probs=[-0.5] * len(ids), num_preempted=0)


class AgentLoopBase:
    def __init__(
        self, trainer_config, server_manager, tokenizer, processor, dataset_cls, data_config, **kw
    ) -> None:
        self.config = trainer_config.config
        self.rollout_config = self.config.actor_rollout_ref.rollout
        self.server_manager, self.tokenizer, self.processor = server_manager, tokenizer, processor
        self.apply_chat_template_kwargs: dict[str, Any] = {}
        self.prompt_length = self.rollout_config.prompt_length
        self.response_length = self.rollout_config.response_length

    async def run(self, sampling_params: dict[str, Any], **kwargs) -> AgentLoopOutput:
        raise NotImplementedError


class SingleTurnAgentLoop(AgentLoopBase):
    async def run(
        self, sampling_params: dict[str, Any], priority: int = 0, **kwargs
    ) -> AgentLoopOutput:
        messages = list(kwargs["raw_prompt"])
        self.row = kwargs
        prompt_ids = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        said = await self.server_manager.generate(
            request_id="r", prompt_ids=prompt_ids, sampling_params=sampling_params
        )
        ids = said.token_ids[: self.response_length]
        return AgentLoopOutput(
            prompt_ids=prompt_ids,
            response_ids=ids,
            response_mask=[1] * len(ids),
            response_logprobs=said.log_probs,
            num_turns=2,
            extra_fields={"turn_scores": []},
        )


class ToolAgentLoop(AgentLoopBase):
    """Two turns of the model with a tool's answer in between, which no gradient may see."""

    async def run(
        self, sampling_params: dict[str, Any], priority: int = 0, **kwargs
    ) -> AgentLoopOutput:
        messages = list(kwargs["raw_prompt"])
        prompt_ids = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        ids, mask = [], []
        for answer in (TOOL_SAID, ""):
            said = await self.server_manager.generate(
                request_id="r", prompt_ids=prompt_ids + ids, sampling_params=sampling_params
            )
            tool = self.tokenizer.encode(answer)
            ids += said.token_ids + tool
            mask += [1] * len(said.token_ids) + [0] * len(tool)
        return AgentLoopOutput(prompt_ids=prompt_ids, response_ids=ids, response_mask=mask)


class Worker:
    """As a worker does it: a new loop for each row, all rows at once."""

    def __init__(self, loop: type, server: Server, *, prompt_length: int = 4_000) -> None:
        rollout = SimpleNamespace(prompt_length=prompt_length, response_length=200)
        config = SimpleNamespace(actor_rollout_ref=SimpleNamespace(rollout=rollout))
        self.server, self.tokenizer, self._loop, self.loops = server, Tokenizer(), loop, []
        self._config = SimpleNamespace(config=config)

    def run(self, rows: list[dict[str, Any]]) -> list[AgentLoopOutput]:
        return asyncio.run(self.gather(rows))

    async def gather(self, rows: list[dict[str, Any]]) -> list[AgentLoopOutput]:
        return await asyncio.gather(*(self.one(row) for row in rows))

    async def one(self, row: dict[str, Any]) -> AgentLoopOutput:
        loop = self._loop(
            trainer_config=self._config,
            server_manager=self.server,
            tokenizer=self.tokenizer,
            processor=None,
            dataset_cls=None,
            data_config=None,
            hf_model_type="qwen2",
            tools=None,
        )
        self.loops.append(loop)
        return await loop.run({"temperature": 1.0}, **row)


class DataProto:
    """Tensors in `batch`, everything else in `non_tensor_batch`, padded left and right."""

    def __init__(self, batch: dict[str, Any], non_tensor_batch: dict[str, Any]) -> None:
        self.batch, self.non_tensor_batch = batch, non_tensor_batch

    def __len__(self) -> int:
        return len(next(iter(self.non_tensor_batch.values())))


def objects(values: list[Any]) -> np.ndarray:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def merged(outputs: list[AgentLoopOutput], uids: list[str], rewards: list[float]) -> DataProto:
    """What the trainer before v1 holds when the rewards are known."""
    import torch

    width = max(len(o.response_ids) for o in outputs) + 2
    left = max(len(o.prompt_ids) for o in outputs)
    responses = torch.zeros(len(outputs), width, dtype=torch.long)
    attention = torch.zeros(len(outputs), left + width, dtype=torch.long)
    scores = torch.zeros(len(outputs), width)
    for i, output in enumerate(outputs):
        size = len(output.response_ids)
        responses[i, :size] = torch.tensor(output.response_ids)
        attention[i, left - len(output.prompt_ids) : left + size] = 1
        scores[i, size - 1] = rewards[i]
    keys = dict.fromkeys(key for output in outputs for key in output.extra_fields)
    extra = {key: objects([o.extra_fields.get(key) for o in outputs]) for key in keys}
    return DataProto(
        {"responses": responses, "attention_mask": attention, "token_level_scores": scores},
        {"uid": objects(uids), **extra},
    )


def queued(outputs: list[AgentLoopOutput], uids: list[str], rewards: list[float]) -> dict[str, Any]:
    """What the trainer v1 gets from its queue: ragged tensors, and a dict for each row."""
    import torch

    def ragged(rows):
        return torch.nested.as_nested_tensor(rows, layout=torch.jagged)

    scores = [torch.zeros(len(o.response_ids)) for o in outputs]
    for score, reward in zip(scores, rewards, strict=True):
        score[-1] = reward
    return {
        "uid": objects(uids),
        "responses": ragged([torch.tensor(o.response_ids) for o in outputs]),
        "rm_scores": ragged(scores),
        "extra_fields": [o.extra_fields for o in outputs],
    }


def install(patch: pytest.MonkeyPatch, **replaced: Any) -> None:
    """Put the stand-ins where `import verl...` finds them; None leaves a name out."""
    names = {
        f"{PACKAGE}.agent_loop": {"AgentLoopBase": AgentLoopBase, "AgentLoopOutput": None},
        f"{PACKAGE}.single_turn_agent_loop": {"SingleTurnAgentLoop": SingleTurnAgentLoop},
    }
    names[f"{PACKAGE}.agent_loop"]["AgentLoopOutput"] = AgentLoopOutput
    for name in ("verl", "verl.experimental", PACKAGE):
        module = ModuleType(name)
        module.__path__ = []
        patch.setitem(sys.modules, name, module)
    for name, members in names.items():
        module = ModuleType(name)
        for member, value in members.items():
            value = replaced.get(member, value)
            if value is not None:
                setattr(module, member, value)
        patch.setitem(sys.modules, name, module)
