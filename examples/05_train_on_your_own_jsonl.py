"""Train on a JSONL file of your own: a problem and an answer in each line.

The file here is written in the tiny policy's alphabet: 80 steps take half a minute on a CPU. For a
model that reads English change the three numbered lines, and give your own file.
"""

import json
import tempfile
from pathlib import Path

from transformers import PrinterCallback

from lanpo_memory import Problem, open_pool
from lanpo_rl import LanpoConfig, LanpoTrainer, math_accuracy
from lanpo_rl.data import load_problems
from lanpo_rl.tasks import LEXICAL_GAMMA, make_hidden_constants
from lanpo_rl.tiny import TinyPrompts, load_policy, load_tokenizer

model, tokenizer = load_policy(), load_tokenizer()  # 1: "Qwen/Qwen3-0.6B", None
prompts = TinyPrompts()  # 2: lanpo_memory.EnglishPrompts()
sizes = {  # 3: what suits your model and your GPU; docs/scale.md has recipes
    "per_device_train_batch_size": 64,
    "max_completion_length": 16,
    "summary_max_tokens": 8,
    "learning_rate": 2e-4,
    "lr_scheduler_type": "constant",
    "gamma": LEXICAL_GAMMA,
    "use_cpu": True,
    "bf16": False,
    "activation_checkpointing": False,
    "dataloader_pin_memory": False,
}

folder = Path(tempfile.mkdtemp(prefix="own-run-", dir="."))
data, pool_file = folder / "problems.jsonl", str(folder / "pool.db")
lines = [{"problem": e.problem.text, "answer": e.answer} for e in make_hidden_constants(0).train]
data.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")

config = LanpoConfig.preset(
    "recommended",
    output_dir=str(folder),
    pool=pool_file,
    num_generations=8,
    max_steps=80,
    logging_steps=20,
    save_strategy="no",
    report_to=[],
    disable_tqdm=True,
    seed=0,
    **sizes,
)
dataset = load_problems(str(data), prompts=prompts)
given = {"train_dataset": dataset, "processing_class": tokenizer, "prompts": prompts}
trainer = LanpoTrainer(model, math_accuracy, config, **given)
trainer.remove_callback(PrinterCallback)  # every figure; here three are enough
trainer.train()

print(f"{len(dataset)} problems, such as {dataset[0]['problem']!r}")
for row in trainer.state.log_history[:-1]:
    steps = f"steps {row['step'] - 19} to {row['step']}"
    print(f"{steps}, with guidance: {row['lanpo/reward_guided']:.2f} right")
    print(f"{steps}, from scratch: {row['lanpo/reward_scratch']:.2f} right")

# What was learned in words. In a shell: lanpo pool list --pool own-run-.../pool.db
with open_pool(pool_file) as pool:
    print(f"{len(pool)} lessons in {pool_file}, of these nearest to {dataset[0]['problem']!r}:")
    for hit in pool.retrieve([Problem(text=dataset[0]["problem"])], k=3)[0]:
        print(f"{hit.similarity:.2f} {hit.experience.problem.text} -> {hit.experience.principles}")
