"""A short run on a pool that others look at, by hand or under torchrun; see test_shared_pools.

After every step rank 0 writes ``step-N.json`` with its pool's digest, then waits for ``step-N.ok``.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from lanpo_rl.collective import leave
from lanpo_rl.config import LanpoConfig
from lanpo_rl.rewards import as_reward
from lanpo_rl.tasks import LEXICAL_GAMMA, make_hidden_constants
from lanpo_rl.tiny import TinyPrompts, load_policy, load_tokenizer
from lanpo_rl.trainer import LanpoTrainer

_PATIENCE_S = 240.0


class Waits(TrainerCallback):
    """Says the digest after each step and waits for somebody who has compared it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trainer: LanpoTrainer | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        assert self.trainer is not None
        pool = self.trainer.memory.pool
        said = {"digest": pool.digest(), "experiences": len(pool)}
        path = self.folder / f"step-{state.global_step}.json"
        path.with_suffix(".part").write_text(json.dumps(said), encoding="utf-8")
        path.with_suffix(".part").rename(path)
        deadline = time.monotonic() + _PATIENCE_S
        while not path.with_suffix(".ok").exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"nobody has looked at step {state.global_step}")
            time.sleep(0.01)


def main(folder: Path, settings: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    task = make_hidden_constants(settings["seed"])
    config = LanpoConfig.preset(
        "recommended",
        **{
            "output_dir": str(folder / "out"),
            "gamma": LEXICAL_GAMMA,
            "feedback_ratio": 1.0,
            "max_steps": 4,
            "per_device_train_batch_size": 8,
            "num_generations": 8,
            "gradient_accumulation_steps": 2,
            "max_completion_length": 16,
            "summary_max_tokens": 8,
            "learning_rate": 1e-4,
            "use_cpu": True,
            "bf16": False,
            "activation_checkpointing": False,
            "dataloader_pin_memory": False,
            "report_to": [],
            "save_strategy": "no",
            "disable_tqdm": True,
            **settings,
        },
    )
    waits = Waits(folder)
    trainer = waits.trainer = LanpoTrainer(
        load_policy(),
        as_reward(task.reward),
        config,
        train_dataset=task.dataset("train"),
        processing_class=load_tokenizer(),
        prompts=TinyPrompts(),
        callbacks=[waits],
    )
    trainer.train()
    leave(trainer.accelerator)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
