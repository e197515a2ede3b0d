"""What the layer costs: TRL's trainer against ours with nothing switched on, in one run.

    python -m benchmarks.overhead [--rounds 4] [--steps 60]

Both train the built-in policy on the same rows with the same seed: step for step the same rollouts.
They take turns within one process, a step of the one, the same step of the other, so that whatever
else the machine does hits both alike.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
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


class _Relay:
    """Two threads that take turns; each has torch's random numbers to itself."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._current, self._over = 0, {0: False, 1: False}
        self._random = {0: torch.get_rng_state(), 1: torch.get_rng_state()}

    def hand_over(self, me: int, *, over: bool = False) -> None:
        """Let the other go on until it hands over; without `over`, come back then."""
        with self._turn:
            self._random[me], self._over[me] = torch.get_rng_state(), over
            if not self._over[1 - me]:
                self._current = 1 - me
            self._turn.notify_all()
        if not over:
            self.wait(me)

    def wait(self, me: int) -> None:
        """Wait for one's turn."""
        with self._turn:
            self._turn.wait_for(lambda: self._current == me)
        torch.set_rng_state(self._random[me])


class _Begin(TrainerCallback):
    """Before all other callbacks."""

    def __init__(self, relay: _Relay, me: int) -> None:
        self.at, self._relay, self._me = 0.0, relay, me

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._relay.hand_over(self._me)
        self.at = time.perf_counter()


class _End(TrainerCallback):
    """After all other callbacks: theirs are part of the step."""

    def __init__(self, begin: _Begin) -> None:
        self.seconds: list[float] = []
        self._begin = begin

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self._begin.at)


def build(folder: Path, steps: int, *, ours: bool) -> Any:
    """Return TRL's trainer, or ours with nothing switched on."""
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
    if ours:
        pool = str(folder / "pool.db")
        folder.mkdir(parents=True)
        config = LanpoConfig.preset("grpo", **settings, pool=pool, summarise=False)
        trainer: Any = LanpoTrainer(args=config, prompts=TinyPrompts(), **given)
    else:
        trainer = GRPOTrainer(args=GRPOConfig(**settings), **given)
    trainer.log = lambda *_, **__: trainer._metrics["train"].clear()  # no printing
    return trainer


def race(folder: Path, steps: int) -> list[list[float]]:
    """Train both in turns; return the seconds of each step, TRL's first, then ours."""
    trainers = [build(folder / str(me), steps, ours=me == 1) for me in (0, 1)]
    torch.manual_seed(0)
    relay, ends, threads = _Relay(), [], []

    def run(me: int) -> None:
        torch.set_num_threads(1)
        relay.wait(me)
        trainers[me].train()
        relay.hand_over(me, over=True)

    for me, trainer in enumerate(trainers):
        begin = _Begin(relay, me)
        ends.append(_End(begin))
        trainer.callback_handler.callbacks.insert(0, begin)
        trainer.add_callback(ends[-1])
        threads.append(threading.Thread(target=run, args=(me,)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    plain, ours = (t.model.state_dict() for t in trainers)
    if not all(torch.equal(plain[name], ours[name]) for name in plain):
        raise SystemExit("the two runs are not the same run")
    return [end.seconds[_WARM:] for end in ends]


def main() -> None:
    """Print medians, and the median ratio of a step to the same step."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    plain: list[float] = []
    ours: list[float] = []
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            theirs, own = race(Path(folder) / str(number), options.steps)
            rounds.append(statistics.median(b / a for a, b in zip(theirs, own, strict=True)))
            plain += theirs
            ours += own
    machine = describe(Path.cwd())
    print(", ".join(f"{name}: {value}" for name, value in machine.items()))
    for name, steps in (("GRPOTrainer", plain), ("LanpoTrainer, nothing on", ours)):
        print(f"{name:<26} {1000 * statistics.median(steps):6.1f} ms a step (median)")
    print("ratio of the same step, median of each round:", *(f"{r:.4f}" for r in rounds))
    ratio = statistics.median(b / a for a, b in zip(plain, ours, strict=True))
    print(f"median of all {len(plain)} steps: {ratio:.4f}")


if __name__ == "__main__":
    main()
