"""Run under torchrun by test_two_processes: a few steps, then each rank writes what it saw."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from lanpo_rl.config import LanpoConfig
from lanpo_rl.rewards import as_reward
from lanpo_rl.tasks import LEXICAL_GAMMA, make_hidden_constants
from lanpo_rl.tiny import TinyPrompts, load_policy, load_tokenizer
from lanpo_rl.trainer import LanpoTrainer


class Recorder(LanpoTrainer):
    def _lanpo_guide(self, inputs: Any) -> Any:
        plan = super()._lanpo_guide(inputs)
        self.seen = getattr(self, "seen", [])
        self.seen.append(
            {
                "guidance": [[g.experience_ids for g in group] for group in plan.guidance_PG],
                "guided": plan.guided_PG.tolist(),
                "own": [plan.own.start, plan.own.stop],
                "prompts": [row["prompt"][0]["content"] for row in plan.rows],
            }
        )
        return plan


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    task = make_hidden_constants(0)
    config = LanpoConfig.preset(
        "recommended",
        output_dir=str(folder / "out"),
        pool=str(folder / "pool.db"),
        gamma=LEXICAL_GAMMA,
        feedback_ratio=1.0,
        max_steps=6,
        per_device_train_batch_size=12,  # with groups of 8, the second group straddles the ranks
        num_generations=8,
        max_completion_length=16,
        summary_max_tokens=8,
        learning_rate=1e-4,
        logging_steps=1,
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
        dataloader_pin_memory=False,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = Recorder(
        load_policy(),
        as_reward(task.reward),
        config,
        train_dataset=task.dataset("train"),
        processing_class=load_tokenizer(),
        prompts=TinyPrompts(),
    )
    trainer.train()
    weights = sum(float(p.double().sum()) for p in trainer.model.parameters())
    pool = None
    if trainer.accelerator.is_main_process:
        pool = trainer.memory.pool.stats()
    result = {"seen": trainer.seen, "weights": weights, "pool": pool}
    rank = trainer.accelerator.process_index
    (folder / f"rank{rank}.json").write_text(json.dumps(result), encoding="utf-8")
    # Left to the end of the interpreter, gloo's threads now and then abort it.
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
