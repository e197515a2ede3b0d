"""Run by test_resuming in a process of its own, which may kill itself with -9 in some step."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from lanpo_rl.config import LanpoConfig
from lanpo_rl.rewards import as_reward
from lanpo_rl.tasks import LEXICAL_GAMMA, make_hidden_constants
from lanpo_rl.tiny import TinyPrompts, load_policy, load_tokenizer
from lanpo_rl.trainer import LanpoTrainer


class Mortal(LanpoTrainer):
    seen: list[dict[str, Any]]

    def _lanpo_guide(self, inputs: Any) -> Any:
        plan = super()._lanpo_guide(inputs)
        texts = [[g.text for g in group] for group in plan.guidance_PG]
        self.seen = [*getattr(self, "seen", []), {"step": plan.step, "guidance": texts}]
        return plan

    def _lanpo_weigh(self, *args: Any) -> None:
        super()._lanpo_weigh(*args)  # the rows of this step are in the pool by now
        if str(self.state.global_step) == os.environ.get("KILL_AT"):
            os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, *, resume: bool) -> None:
    torch.set_num_threads(1)
    task = make_hidden_constants(0)
    config = LanpoConfig.preset(
        "recommended",
        output_dir=str(folder / "out"),
        pool=str(folder / "pool.db"),
        gamma=LEXICAL_GAMMA,
        feedback_ratio=1.0,
        max_steps=7,
        per_device_train_batch_size=32,
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
        save_strategy="steps",
        save_steps=3,
        disable_tqdm=True,
    )
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Mortal(
        load_policy(),
        as_reward(task.reward),
        config,
        train_dataset=task.dataset("train"),
        processing_class=load_tokenizer(),
        prompts=TinyPrompts(),
    )
    trainer.train(resume_from_checkpoint=resume or None)
    result = {
        "guidance": trainer.seen,
        "digest": trainer.memory.pool.digest(),
        "weights": sum(float(p.double().sum()) for p in trainer.model.parameters()),
    }
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), resume="--resume" in sys.argv)
