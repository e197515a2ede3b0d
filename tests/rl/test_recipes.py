"""Every recipe is parsed and built as far as it goes without weights, a GPU, vLLM or DeepSpeed.

The machine that tests has no GPU: the number of processes is put in by hand, and the settings are
built for the CPU. Nothing else is left out but what is said where it is.
"""

from __future__ import annotations

import dataclasses
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DeepSpeedPlugin, FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env
from peft import get_peft_model
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen3Config, TrainingArguments
from trl import get_peft_config

from lanpo_memory import EnglishPrompts
from lanpo_memory.errors import ConfigError
from lanpo_rl.config import LanpoConfig
from lanpo_rl.memory import build_memory
from lanpo_rl.recipes import recipe, recipes
from lanpo_rl.recipes.__main__ import main
from lanpo_rl.training import TrainArguments, parse

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
LAUNCHERS = [name for name in recipes() if name.startswith("accelerate-")]
LARGE = [name for name in recipes() if name.startswith(("qwen2.5-7b-", "qwen3-14b-"))]
SMALL = [name for name in recipes() if name.endswith("-lora")]
PROCESSES = {
    **dict.fromkeys(LARGE, 8),
    **dict.fromkeys(SMALL, 1),
    "qwen2.5-7b-paper-server": 4,  # the other four of the machine serve
    "qwen2.5-7b-recommended-server": 4,
}

# As the models' config.json say; their parameters are counted without weights.
MODELS: dict[str, Any] = {
    "Qwen/Qwen2.5-7B": Qwen2Config(
        vocab_size=152064,
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
    ),
    "Qwen/Qwen3-14B-Base": Qwen3Config(
        vocab_size=151936,
        hidden_size=5120,
        intermediate_size=17408,
        num_hidden_layers=40,
        num_attention_heads=40,
        num_key_value_heads=8,
        head_dim=128,
    ),
    "Qwen/Qwen2.5-0.5B-Instruct": Qwen2Config(
        vocab_size=151936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    ),
    "Qwen/Qwen2.5-1.5B-Instruct": Qwen2Config(
        vocab_size=151936,
        hidden_size=1536,
        intermediate_size=8960,
        num_hidden_layers=28,
        num_attention_heads=12,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    ),
}


def content(name: str) -> dict[str, Any]:
    return yaml.safe_load(recipe(name).read_text(encoding="utf-8"))


def names(kind: type) -> set[str]:
    return {f.name for f in dataclasses.fields(kind)}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch):
    """Read a recipe as `lanpo train` does, as if as many processes had been launched."""

    def parsed(name: str, *flags: str) -> tuple[TrainArguments, LanpoConfig]:
        monkeypatch.setattr(TrainingArguments, "world_size", property(lambda _: PROCESSES[name]))
        return parse(["--config", str(recipe(name)), "--use_cpu", "true", *flags])

    return parsed


# ------------------------------------------------------------------ finding them


def test_recipes_are_found_by_name(capsys: pytest.CaptureFixture[str]):
    assert {*LARGE, *SMALL, *LAUNCHERS} == {*recipes()}
    assert (len(LARGE), len(SMALL), len(LAUNCHERS)) == (8, 2, 2)
    assert main([]) == 0
    assert capsys.readouterr().out.split() == [*recipes()]
    assert main(["accelerate-fsdp"]) == 0
    assert Path(capsys.readouterr().out.strip()) == recipe("accelerate-fsdp")
    assert main(["nonsense"]) == 2
    assert "there is no recipe 'nonsense'; known: accelerate-fsdp" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="no recipe"):
        recipe("nonsense")


def test_the_module_runs_and_loads_nothing_heavy():
    code = (
        "import sys; sys.argv = ['recipes', 'qwen2.5-0.5b-lora']\n"
        "from lanpo_rl.recipes.__main__ import main\n"
        "main(sys.argv[1:])\n"
        "assert not {'torch', 'transformers', 'trl', 'yaml'} & {*sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == recipe("qwen2.5-0.5b-lora")


def test_every_recipe_is_on_the_page():
    assert [name for name in recipes() if f"`{name}`" not in PAGE] == []


# ------------------------------------------------------------------ settings


@pytest.mark.parametrize("name", [*LARGE, *SMALL])
def test_every_key_is_a_setting(name: str):
    assert {*content(name)} - names(TrainArguments) - names(LanpoConfig) == set()


@pytest.mark.parametrize("name", [*LARGE, *SMALL])
def test_a_recipe_is_read_as_it_is_written(name: str, settings: Any):
    given, config = settings(name)
    for key, value in content(name).items():
        read = getattr(config if key in names(LanpoConfig) else given, key)
        assert [read] == value if key == "lora_target_modules" else read == value, key
    assert config.bf16
    assert config.activation_checkpointing
    assert config.get_warmup_steps(config.max_steps) == math.ceil(config.max_steps / 10)


@pytest.mark.parametrize("name", LARGE)
def test_the_papers_settings(name: str, settings: Any):
    given, config = settings(name)
    assert given.model in ("Qwen/Qwen2.5-7B", "Qwen/Qwen3-14B-Base")
    assert config.num_generations == 16
    assert (config.epsilon, config.epsilon_high) == (0.2, 0.28)
    assert (config.beta, config.learning_rate) == (0.0005, 1e-6)
    assert config.lr_scheduler_type == "cosine"
    assert (config.max_prompt_tokens, config.max_completion_length) == (3072, 8192)
    assert config.summary_max_tokens == 2048
    assert not given.use_peft
    assert config.objective == ("in_context" if "paper" in name else "both")
    shared = "paper" in name or "server" in name
    assert config.group_layout == ("shared" if shared else "mixed")


@pytest.mark.parametrize("name", LARGE)
def test_the_papers_batches(name: str, settings: Any):
    _, config = settings(name)
    rollouts = config.per_device_train_batch_size * PROCESSES[name]
    assert config.generation_batch_size == 512 * 16
    assert rollouts * config.gradient_accumulation_steps == 64 * 16
    updates = config.steps_per_generation // config.gradient_accumulation_steps
    assert updates == 512 // 64
    assert config.max_steps == 330 * updates
    assert config.save_steps % updates == 0, "a checkpoint lies between two batches"
    assert 9.5 < 330 * 512 / 17_398 < 10, "about ten epochs of DAPO-17K"


@pytest.mark.parametrize("name", SMALL)
def test_batches_on_one_gpu(name: str, settings: Any):
    _, config = settings(name)
    assert config.steps_per_generation == config.gradient_accumulation_steps, "one update a batch"
    assert config.generation_batch_size // config.num_generations == 16


@pytest.mark.parametrize("name", [*LARGE, *SMALL])
def test_with_another_number_of_gpus_a_recipe_says_so(
    name: str, settings: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(PROCESSES, name, 7)
    with pytest.raises(ConfigError, match="generation_batch_size"):
        settings(name)


@pytest.mark.parametrize("name", [n for n in LARGE if n.endswith("server")])
def test_a_server_with_a_mixed_layout_is_refused(name: str, settings: Any):
    with pytest.raises(ConfigError, match="vLLM server mode samples one prompt"):
        settings(name, "--group_layout", "mixed")


@pytest.mark.parametrize("name", [n for n in LARGE if n.endswith("colocate")])
def test_a_colocated_engine_has_room_for_a_summary(name: str, settings: Any):
    _, config = settings(name)
    guided = config.max_prompt_tokens + config.max_completion_length
    told = config.max_completion_length + config.max_prompt_tokens  # a rollout and its problem
    assert config.vllm_max_model_length >= max(guided, told + config.summary_max_tokens)
    assert PROCESSES[name] % config.vllm_tensor_parallel_size == 0


# ------------------------------------------------------------------ what is built


@pytest.mark.parametrize("name", [*LARGE, *SMALL])
def test_the_memory_is_built(name: str, settings: Any):
    _, config = settings(name)
    adapter = build_memory(config, prompts=EnglishPrompts())
    with adapter.pool as pool:
        assert len(pool) == 0


@pytest.mark.parametrize("name", SMALL)
def test_lora_is_put_around_the_model(name: str, settings: Any):
    given, _ = settings(name)
    lora = get_peft_config(given)
    assert (lora.r, lora.lora_alpha, lora.lora_dropout) == (32, 64, 0.0)
    assert (lora.target_modules, lora.task_type) == ("all-linear", "CAUSAL_LM")
    model = get_peft_model(on_paper(given.model), lora)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert 16 * trained < 1e9, "weights, gradients and Adam of the adapters, as the page says"
    projections = {n.rpartition(".")[2] for n in model.targeted_module_names}
    assert projections == {f"{part}_proj" for part in ("q", "k", "v", "o", "gate", "up", "down")}


@pytest.mark.parametrize("name", [*LARGE, *SMALL])
def test_the_model_is_built_without_weights(name: str, settings: Any):
    given, config = settings(name)
    model = on_paper(given.model)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert model._no_split_modules, "by these FSDP wraps"
    assert model.config.max_position_embeddings >= (config.vllm_max_model_length or 0)


def on_paper(model: str) -> Any:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(MODELS[model])


@pytest.mark.parametrize("name", LAUNCHERS)
def test_what_the_launcher_makes_of_its_file(name: str, monkeypatch: pytest.MonkeyPatch):
    config = load_config_from_file(str(recipe(name)))  # refuses unknown keys
    assert isinstance(config, ClusterConfig)
    assert (config.num_processes, config.mixed_precision) == (8, "bf16")
    arguments = launch_command_parser().parse_args(["--config_file", str(recipe(name)), "x.py"])
    known = {*vars(arguments)}
    assert {*config.deepspeed_config, *config.fsdp_config} <= known
    arguments, _, _ = _validate_launch_command(arguments)
    if config.fsdp_config:
        environment = prepare_multi_gpu_env(arguments)
    else:
        # as `launch_command` does
        arguments.deepspeed_fields_from_accelerate_config = ",".join(config.deepspeed_config)
        environment = prepare_deepspeed_cmd_env(arguments)[1]
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    plugin = FullyShardedDataParallelPlugin() if config.fsdp_config else DeepSpeedPlugin()
    if isinstance(plugin, DeepSpeedPlugin):
        assert plugin.deepspeed_config["zero_optimization"]["stage"] == 3
        assert plugin.zero3_init_flag
        assert plugin.zero3_save_16bit_model
    else:
        assert (plugin.fsdp_version, plugin.reshard_after_forward) == (2, True)
        assert not plugin.activation_checkpointing, "the trainer has its own"


# ------------------------------------------------------------------ memory, by arithmetic


def gigabytes(name: str, config: LanpoConfig, given: TrainArguments) -> dict[str, float]:
    """What the page's table says, per GPU: see there for what is counted and what is not."""
    shape, gpus = MODELS[given.model], PROCESSES[name]
    parameters = sum(p.numel() for p in on_paper(given.model).parameters())
    head = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
    whole = name in LARGE
    tokens = config.max_prompt_tokens + config.max_completion_length
    passes = 2 if config.objective == "both" else 1
    per_token = shape.num_hidden_layers * shape.hidden_size * 2
    return {
        "weights": parameters * (16 / gpus if whole else 2) / 1e9,
        "reference": parameters * 2 / gpus / 1e9 if config.beta else 0.0,
        "activations": per_token * tokens * config.per_device_train_batch_size * passes / 1e9,
        "engine": config.vllm_gpu_memory_utilization * 80 * (config.vllm_mode == "colocate")
        if config.use_vllm
        else 2
        * shape.num_hidden_layers
        * shape.num_key_value_heads
        * head
        * 2
        * tokens
        * config.generation_batch_size
        / 1e9,
    }


@pytest.mark.parametrize("name", [*LARGE, *SMALL])
def test_the_pages_memory_is_what_arithmetic_says_and_fits(name: str, settings: Any):
    given, config = settings(name)
    found = gigabytes(name, config, given)
    rows = re.findall(rf"^\| `{re.escape(name)}` \|(.*)\|$", PAGE, re.MULTILINE)
    shown = [cell.strip() for cell in rows[-1].split("|")]
    assert shown[0] == str(PROCESSES[name])
    training = found["weights"] + found["reference"] + found["activations"]
    generating = found["weights"] + found["reference"] + found["engine"]
    numbers = [*found.values(), training, generating]
    assert shown[1:] == [f"{number:.1f}" for number in numbers]
    room = 80 if name in LARGE else 24
    assert max(training, generating) < 0.92 * room
