"""Run under torchrun by test_two_processes: a few steps, then each rank writes what it saw."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from lanpo_rl.collective import leave
from lanpo_rl.config import LanpoConfig
from lanpo_rl.rewards import as_reward
from lanpo_rl.tasks import LEXICAL_GAMMA, make_hidden_constants
from lanpo_rl.tiny import TinyPrompts, load_policy, load_tokenizer
from lanpo_rl.trainer import LanpoTrainer


class Recorder(LanpoTrainer):
    seen: list[dict[str, Any]]
    distilled: list[int]

    def _lanpo_weigh(self, batch: Any, plan: Any, outcome: Any) -> None:
        super()._lanpo_weigh(batch, plan, outcome)
        weights = batch.get("lanpo_advantages", torch.zeros(1))
        self.distilled = [*getattr(self, "distilled", []), int((weights > 0).sum())]
        seen = {
            "guidance": [[g.experience_ids for g in group] for group in plan.guidance_PG],
            "texts": [[g.text for g in group] for group in plan.guidance_PG],
            "guided": plan.guided_PG.tolist(),
            "looked_at": sorted(plan.looked_at.items()),
            "own": [plan.own.start, plan.own.stop],
            "prompts": [row["prompt"][0]["content"] for row in plan.rows],
        }
        self.seen = [*getattr(self, "seen", []), seen]


def scored(kind: str) -> Any:
    """The task's reward, or one that leaves a rank without anything to do."""
    task = make_hidden_constants(0)
    if kind == "task":
        return as_reward(task.reward)

    def nothing(completions: Any, **_: Any) -> list[float]:
        return [0.0 for _ in completions]

    def only_rank_0(completions: Any, answer: Any, **_: Any) -> list[float]:
        import torch.distributed as dist

        texts = [c[0]["content"] for c in completions]
        found = [task.reward(t, a) for t, a in zip(texts, answer, strict=True)]
        return found if dist.get_rank() == 0 else [0.0 for _ in found]

    return {"nothing": nothing, "only_rank_0": only_rank_0}[kind]


def main(folder: Path, settings: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    task = make_hidden_constants(0)
    reward, resume = settings.pop("reward", "task"), settings.pop("resume", None)
    config = LanpoConfig.preset(
        "recommended",
        **{
            "output_dir": str(folder / "out"),
            "pool": str(folder / "pool.db"),
            "gamma": LEXICAL_GAMMA,
            "feedback_ratio": 1.0,
            "max_steps": 6,
            # With groups of 8, the second group straddles the ranks.
            "per_device_train_batch_size": 12,
            "num_generations": 8,
            "max_completion_length": 16,
            "summary_max_tokens": 8,
            "learning_rate": 1e-4,
            "logging_steps": 1,
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
    trainer = Recorder(
        load_policy(),
        scored(reward),
        config,
        train_dataset=task.dataset("train"),
        processing_class=load_tokenizer(),
        prompts=TinyPrompts(),
    )
    trainer.train(resume_from_checkpoint=resume)
    weights = sum(float(p.double().sum()) for p in trainer.model.parameters())
    pool = digest = None
    if trainer.accelerator.is_main_process:
        pool = trainer.memory.pool.stats()
        digest = trainer.memory.pool.digest()
    result = {
        "seen": trainer.seen,
        "distilled": trainer.distilled,
        "weights": weights,
        "pool": pool,
        "digest": digest,
        "entropy": [r["entropy"] for r in trainer.state.log_history if "entropy" in r],
        "calls": trainer.summary_model.ledger.total.calls,
    }
    rank = trainer.accelerator.process_index
    (folder / f"rank{rank}.json").write_text(json.dumps(result), encoding="utf-8")
    leave(trainer.accelerator)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]) if len(sys.argv) > 2 else {})
