"""What the layer costs: TRL's trainer against ours with nothing switched on, in one run.

    python -m benchmarks.overhead [--rounds 6] [--steps 30]

Both train the built-in policy on the same rows with the same seed: step for step the same rollouts,
so that each step is compared with itself. Rounds alternate which of the two goes first.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from benchmarks.machine import describe
from lanpo_rl.config import LanpoConfig
from lanpo_rl.rewards import as_reward
from lanpo_rl.tasks import make_hidden_constants
from lanpo_rl.tiny import TinyPrompts, load_policy, load_tokenizer
from lanpo_rl.trainer import LanpoTrainer

_WARM = 3  # first steps of a run, left out


class _Begin(TrainerCallback):
    """Before all other callbacks."""

    at = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.at = time.perf_counter()


class _End(TrainerCallback):
    """After all other callbacks: theirs are part of the step."""

    def __init__(self, begin: _Begin) -> None:
        self.seconds: list[float] = []
        self._begin = begin

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self._begin.at)


def timed(folder: Path, steps: int, *, ours: bool) -> tuple[list[float], float]:
    """Train; return the seconds of each step, and a sum over the weights to compare."""
    torch.manual_seed(0)
    task = make_hidden_constants(0)
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": 64,
        "num_generations": 8,
        "max_completion_length": 16,
        "learning_rate": 1e-4,
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "dataloader_pin_memory": False,
        "logging_steps": 10,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "seed": 0,
    }
    given: dict[str, Any] = {
        "model": load_policy(),
        "reward_funcs": as_reward(task.reward),
        "train_dataset": task.dataset("train"),
        "processing_class": load_tokenizer(),
    }
    begin = _Begin()
    end = _End(begin)
    if ours:
        pool = str(folder / "pool.db")
        config = LanpoConfig.preset("grpo", **settings, pool=pool, summarise=False)
        trainer = LanpoTrainer(args=config, prompts=TinyPrompts(), **given)
    else:
        trainer = GRPOTrainer(args=GRPOConfig(**settings), **given)
    trainer.callback_handler.callbacks.insert(0, begin)
    trainer.add_callback(end)
    trainer.log = lambda *_, **__: trainer._metrics["train"].clear()  # no printing
    trainer.train()
    weights = sum(float(p.detach().double().sum()) for p in trainer.model.parameters())
    return end.seconds[_WARM:], weights


def main() -> None:
    """Print medians, and the median over rounds of the ratio of medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    ratios, all_steps = [], {True: [], False: []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            found = {}
            for ours in (True, False) if number % 2 else (False, True):
                found[ours] = timed(Path(folder) / f"{number}{ours}", options.steps, ours=ours)
            if found[True][1] != found[False][1]:
                raise SystemExit("the two runs are not the same run")
            pairs = zip(found[True][0], found[False][0], strict=True)
            ratios.append(statistics.median(a / b for a, b in pairs))
            for ours, (seconds, _) in found.items():
                all_steps[ours] += seconds
    machine = describe(Path.cwd())
    print(", ".join(f"{name}: {value}" for name, value in machine.items()))
    for name, ours in (("GRPOTrainer", False), ("LanpoTrainer, nothing on", True)):
        print(f"{name:<26} {1000 * statistics.median(all_steps[ours]):7.1f} ms a step (median)")
    print("ratio of the same step, median of each round:", " ".join(f"{r:.4f}" for r in ratios))
    print(f"median of rounds: {statistics.median(ratios):.4f}")


if __name__ == "__main__":
    main()
