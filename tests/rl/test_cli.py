"""`lanpo train` and its settings, run in this process through the installed command's `main`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import training_args

from lanpo_memory.errors import ConfigError, InvalidInputError, MissingExtraError
from lanpo_memory.pool import open_pool
from lanpo_rl import cli, seeding, training
from lanpo_rl.cli.common import needs_rl
from lanpo_rl.tasks import make_hidden_constants
from lanpo_rl.tiny import load_tokenizer, save_policy
from tests.rl.commands import Lanpo, Ran

CPU = ("--use_cpu", "true", "--bf16", "false", "--activation_checkpointing", "false")
NEEDED = ("--model", "m", "--data", "d", *CPU)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_policy(tmp_path_factory.mktemp("policy"))


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    rows = [
        {"problem": e.problem.text, "answer": e.answer, "family": e.problem.family}
        for e in make_hidden_constants(0).train[:64]
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def one_line(ran: Ran, *parts: str) -> None:
    assert ran.code == 2
    (line,) = [line for line in ran.err.splitlines() if "%|" not in line]  # no progress bars
    assert line.startswith("error: ")
    assert "Traceback" not in line
    for part in parts:
        assert part in line


# ---------------------------------------------------------------------- settings


def yaml_file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return str(path)


def test_the_recommended_preset_is_the_default():
    given, config = training.parse(NEEDED)
    assert (given.model, given.data, given.preset) == ("m", "d", "recommended")
    assert (config.objective, config.group_layout, config.feedback_ratio) == ("both", "mixed", 0.75)


def test_a_file_overrides_the_preset_and_flags_override_the_file(tmp_path: Path):
    file = yaml_file(
        tmp_path,
        "preset: paper\nmodel: ours\ndata: d\nfeedback_ratio: 0.25\nlearning_rate: 3e-5\n"
        "shortlist: 2\ngamma: null\n",
    )
    for named in (["--config", file], [f"--config={file}"]):
        given, config = training.parse(
            [*named, *CPU, "--shortlist", "3", "--feedback-ratio", "0.5"]
        )
        assert (given.model, given.preset) == ("ours", "paper")
        assert (config.objective, config.group_layout) == ("in_context", "shared")
        assert (config.feedback_ratio, config.shortlist) == (0.5, 3)
        assert (config.learning_rate, config.gamma) == (3e-5, None)


def test_a_preset_among_the_flags_wins_over_the_files(tmp_path: Path):
    file = yaml_file(tmp_path, "preset: paper\nfeedback_ratio: 0.25\n")
    for preset in (["--preset", "grpo"], ["--preset=grpo"]):
        given, config = training.parse([*NEEDED, *preset, "--config", file])
        assert (given.preset, config.feedback_ratio) == ("grpo", 0.25)
    assert training.parse([*NEEDED, "--preset", "grpo"])[1].feedback_ratio == 0.0


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (("--preset", "best"), ("'best'", "paper, recommended, grpo")),
        (("--preset",), ("--preset: expected one argument",)),
        (("--bogus", "3"), ("unknown options: --bogus 3", "--help-all")),
        (("--pres", "paper"), ("unknown options: --pres paper",)),
        (("stray",), ("unknown options: stray",)),
        (("--feedback_ratio", "1.5"), ("feedback_ratio must lie between 0 and 1, got 1.5",)),
        (("--mode", "sometimes"), ("mode must be one of inter, intra, both, none",)),
        (("--max_steps", "many"), ("--max_steps", "'many'", "--help-all")),
        (("--generation_batch_size", "7"), ("--help-all",)),
        (("--config", "none.yaml"), ("cannot read --config 'none.yaml'",)),
        (("--config",), ("--config: expected one argument",)),
        (("--resume_from_checkpoint", "none"), ("there is no checkpoint folder none",)),
        (("--prompts", "french"), ("prompts must be english or tiny, got 'french'",)),
    ],
    ids=lambda value: " ".join(value),
)
def test_what_makes_no_sense_is_one_line_and_exit_code_2(
    lanpo: Lanpo, tmp_path: Path, flags: tuple[str, ...], parts: tuple[str, ...]
):
    one_line(lanpo("train", *NEEDED, "--output_dir", tmp_path / "out", *flags), *parts)


def test_without_a_gpu_the_flags_for_a_cpu_are_named(
    lanpo: Lanpo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(training_args, "is_torch_bf16_gpu_available", lambda: False)
    ran = lanpo("train", "--model", "m", "--data", "d", "--output_dir", tmp_path / "out")
    one_line(ran, "use_cpu", "add --use_cpu true --bf16 false")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("bogus: 3\n", "unknown options: --bogus 3"),
        ("a: [\n", "cannot read --config"),
        ("- paper\n", "must hold one `option: value` a line"),
        ("", "must hold one `option: value` a line"),
        ("feedback_ratio: [1]\n", "--help-all"),
        ("feedback_ratio: high\n", "--feedback_ratio"),
        ("preset: [paper]\n", "there is no preset"),
    ],
)
def test_a_file_that_makes_no_sense_is_named(lanpo: Lanpo, tmp_path: Path, text: str, part: str):
    # Flags that name a preset must not keep the file from being checked.
    one_line(lanpo("train", *NEEDED, "--config", yaml_file(tmp_path, text)), part)


def test_a_file_that_is_not_text_is_named(lanpo: Lanpo, tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_bytes(b"\xff\xfe\xff")
    one_line(lanpo("train", *NEEDED, "--preset", "grpo", "--config", path), "cannot read --config")


@pytest.mark.parametrize("left", [(), ("--model", "m"), ("--data", "d")], ids=str)
def test_model_and_data_are_asked_for(lanpo: Lanpo, left: tuple[str, ...]):
    missing = {"--model", "--data"} - {*left}
    one_line(lanpo("train", *left), *missing, "lanpo train --help")


def test_every_option_is_explained(lanpo: Lanpo):
    ran = lanpo("train", "--help-all")
    assert ran.code == 0
    assert ran.out.startswith("usage: lanpo train --model MODEL --data DATA [options]")
    for option in ("--answer_marker", "--feedback_ratio", "--resume_from_checkpoint", "--beta"):
        assert option in ran.out


# ---------------------------------------------------------------------- model and tokenizer


def test_a_saved_policy_is_read_with_the_very_same_tokens(policy: Path):
    model, tokenizer = training.load_model(str(policy))
    expected = load_tokenizer()
    texts = [e.problem.text for e in make_hidden_constants(0).train[:20]]
    for text in [*texts, r"C09+14=\boxed{23}<e>", "bako C09 +3 *2", "unknown Ω"]:
        assert tokenizer(text)["input_ids"] == expected(text)["input_ids"]
    messages = [{"role": "user", "content": texts[0]}]
    asked = {"add_generation_prompt": True, "tokenize": False}
    rendered = tokenizer.apply_chat_template(messages, **asked)
    assert rendered == expected.apply_chat_template(messages, **asked)
    special = ("pad_token_id", "eos_token_id", "unk_token_id", "padding_side")
    assert [getattr(tokenizer, s) for s in special] == [getattr(expected, s) for s in special]
    ids = expected(texts[0])["input_ids"]
    assert tokenizer.decode(ids) == expected.decode(ids) == texts[0]
    assert model.config.vocab_size == len(tokenizer)


def test_a_tokenizer_without_a_chat_template_is_refused(policy: Path, tmp_path: Path):
    folder = tmp_path / "bare"
    shutil.copytree(policy, folder)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(InvalidInputError, match="has no chat template; add one"):
        training.load_model(str(folder))


def test_a_model_that_is_not_there(
    lanpo: Lanpo, problems: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    rest = ("--data", problems, *CPU, "--output_dir", tmp_path / "out")
    missing = tmp_path / "[/bold]none"
    one_line(lanpo("train", "--model", missing, *rest), f"there is no model in {missing}")
    one_line(lanpo("train", "--model", tmp_path, *rest), "no config.json")
    one_line(lanpo("train", "--model", "my/models/one", *rest), "no model in my/models/one")
    one_line(lanpo("train", "--model", "nobody/nothing", *rest), "'nobody/nothing'")


def test_a_damaged_model_is_named(policy: Path, tmp_path: Path):
    folder = tmp_path / "damaged"
    shutil.copytree(policy, folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InvalidInputError, match="damaged"):
        training.load_model(str(folder))
    (folder / "config.json").write_text("{")
    with pytest.raises(InvalidInputError, match="damaged"):
        training.load_model(str(folder))


def test_data_that_cannot_be_used_is_an_error_of_ours(lanpo: Lanpo, policy: Path, tmp_path: Path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"problem": "1 + 1?"}\n')
    options = ("--model", policy, *CPU, "--output_dir", tmp_path / "out")
    ran = lanpo("train", "--data", bad, *options)
    assert ran.code == 2
    assert f"{bad}, line 1: has no column 'answer'" in ran.err
    one_line(lanpo("train", "--data", tmp_path / "none.jsonl", *options), "no file or folder")


# ---------------------------------------------------------------------- training


def small(policy: Path, problems: Path, out: Path, **settings: object) -> list[str]:
    options: dict[str, object] = {
        "model": policy,
        "data": problems,
        "prompts": "tiny",
        "output_dir": out,
        "max_steps": 3,
        "learning_rate": 1e-4,
        "per_device_train_batch_size": 32,
        "num_generations": 8,
        "max_completion_length": 16,
        "summary_max_tokens": 8,
        "gamma": 0.4,
        "use_cpu": "true",
        "bf16": "false",
        "activation_checkpointing": "false",
        "dataloader_pin_memory": "false",
        "disable_tqdm": "true",
        "report_to": "none",
        "save_strategy": "no",
        **settings,
    }
    return [str(part) for name, value in options.items() for part in (f"--{name}", value)]


def test_train_leaves_a_model_and_a_pool_with_experiences(
    lanpo: Lanpo, policy: Path, problems: Path, tmp_path: Path
):
    out = tmp_path / "[bold]out"
    ran = lanpo("train", *small(policy, problems, out))
    assert ran.code == 0, ran.err
    assert f"model {out}, pool {out / 'pool.db'}" in ran.out
    assert f"lanpo pool stats --pool {out / 'pool.db'}" in ran.out
    with open_pool(out / "pool.db", create=False) as pool:
        found = pool.store.read("experience")
        size = len(pool)
    assert found
    trained_on = {json.loads(line)["problem"] for line in problems.read_text().splitlines()}
    assert {e.problem.text for e in found} <= trained_on
    assert all(e.problem.family for e in found)
    stats = lanpo("pool", "stats", "--pool", out / "pool.db")
    figures = dict(line.split(maxsplit=1) for line in stats.out.splitlines())
    assert (stats.code, figures["experiences"]) == (0, str(size))
    trained, tokenizer = training.load_model(str(out))
    before, _ = training.load_model(str(policy))
    assert any(
        not a.equal(b) for a, b in zip(trained.parameters(), before.parameters(), strict=True)
    )
    text = problems.read_text().split('"')[3]
    assert tokenizer(text)["input_ids"] == load_tokenizer()(text)["input_ids"]


def test_a_run_can_be_resumed_from_a_checkpoint(
    lanpo: Lanpo, policy: Path, problems: Path, tmp_path: Path
):
    out = tmp_path / "out"
    saving = {"save_strategy": "steps", "save_steps": 1, "save_only_model": "false"}
    assert lanpo("train", *small(policy, problems, out, max_steps=1, **saving)).code == 0
    again = small(policy, problems, out, max_steps=2, **saving)
    ran = lanpo("train", *again, "--resume_from_checkpoint", out / "checkpoint-1")
    assert ran.code == 0, ran.err
    state = json.loads((out / "checkpoint-2" / "trainer_state.json").read_text())
    assert state["global_step"] == 2


def test_a_pool_can_be_named(policy: Path, problems: Path, tmp_path: Path):
    pool = tmp_path / "mine.db"
    trainer = training.train(
        small(policy, problems, tmp_path / "out", pool=pool, pool_namespace="run 7")
    )
    assert trainer.args.pool == str(pool)
    with open_pool(pool, namespace="run 7", create=False) as opened:
        assert len(opened) > 0
    assert not (tmp_path / "out" / "pool.db").exists()


def test_seed_leaves_a_policy_that_train_can_read(
    lanpo: Lanpo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(seeding, "STEPS", 2, raising=False)
    measured: list[dict[str, float]] = []

    def measure(model: Any, tokenizer: Any) -> dict[str, float]:
        measured.append(original(model, tokenizer, size=8))
        return measured[-1]

    original = seeding.measure_skills
    monkeypatch.setattr(seeding, "measure_skills", measure)
    out = tmp_path / "[bold]seed"
    ran = lanpo("seed", "--out", out)
    assert ran.code == 0, ran.err
    assert "2/2" in ran.out
    assert "seeding, loss" in ran.out
    made, shipped = measured
    for name, value in made.items():
        assert re.search(rf"{re.escape(name)} .* {value:.2f} .* {shipped[name]:.2f} ", ran.out)
    assert f"model and tokenizer: {out}" in ran.out
    _, tokenizer = training.load_model(str(out))
    assert tokenizer("bako")["input_ids"] == load_tokenizer()("bako")["input_ids"]


@pytest.mark.parametrize("command", ["demo", "seed"])
def test_a_folder_that_cannot_be_made_is_named(
    lanpo: Lanpo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
):
    monkeypatch.setattr(seeding, "STEPS", 2, raising=False)
    (tmp_path / "file").write_text("")
    ran = lanpo(command, "--out", tmp_path / "file" / "[/bold]out")
    one_line(ran, f"cannot make the folder {tmp_path / 'file' / '[/bold]out'}")


# ---------------------------------------------------------------------- missing packages


@pytest.mark.parametrize(
    ("command", "package"),
    [
        ("train", "trl"),
        ("train", "math_verify"),
        ("demo", "torch"),
        ("demo", "matplotlib"),
        ("seed", "transformers"),
    ],
)
def test_a_missing_package_names_the_line_that_installs_it(
    lanpo: Lanpo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, package: str
):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.chdir(tmp_path)
    ran = lanpo(command, *(NEEDED if command == "train" else ()))
    one_line(ran, f"'{package}'", "pip install 'lanpo[rl]'")
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_there_but_broken_is_not_called_missing(monkeypatch: pytest.MonkeyPatch):
    class Broken:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "trl":
                raise ImportError("libfoo.so is gone", name="libfoo")

    monkeypatch.delitem(sys.modules, "trl")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(ImportError, match="libfoo") as caught:
        needs_rl()
    assert not isinstance(caught.value, MissingExtraError)


def test_the_exit_code_reaches_the_shell(tmp_path: Path):
    code = "import sys; from lanpo_rl.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", code, "pool", "list", "--pool", str(tmp_path / "none.db")],
        cwd=Path(cli.__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("error: there is no pool at")
    assert ran.stderr.count("\n") == 1


def test_a_pool_with_experiences_of_an_earlier_run_is_pointed_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    from lanpo_memory import Experience, Problem, open_pool
    from lanpo_rl.config import LanpoConfig
    from lanpo_rl.training import _warn_of_old_experiences

    path = tmp_path / "pool.db"
    config = LanpoConfig(
        output_dir=str(tmp_path), pool=str(path), use_cpu=True, bf16=False,
        activation_checkpointing=False,
    )  # fmt: skip
    _warn_of_old_experiences(config)
    assert not caplog.records
    with open_pool(path) as pool:
        pool.add([Experience(problem=Problem(text="p"), thoughts="t")])
    _warn_of_old_experiences(config)
    assert "1 experiences already" in caplog.text


def test_fewer_problems_than_a_batch_takes_are_refused(tmp_path: Path):
    from lanpo_memory.errors import InvalidInputError
    from lanpo_rl.config import LanpoConfig
    from lanpo_rl.training import TrainArguments, build_trainer

    data = tmp_path / "two.jsonl"
    data.write_text('{"problem": "1 + 1?", "answer": "2"}\n{"problem": "1 + 2?", "answer": "3"}\n')
    config = LanpoConfig(
        output_dir=str(tmp_path), per_device_train_batch_size=16, num_generations=4,
        use_cpu=True, bf16=False, activation_checkpointing=False,
    )  # fmt: skip
    with pytest.raises(InvalidInputError, match="2 problems, but one batch takes 4"):
        build_trainer(TrainArguments(model="none", data=str(data)), config)


# ---------------------------------------------------------------------- train: rewards, adapters


REWARD = """
def half(completions, answer, **kwargs):
    return [0.5 for _ in completions]

async def later(completions, answer, **kwargs):
    return [0.25 for _ in completions]
"""


def test_a_reward_of_ones_own_is_named_by_file_or_module(tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text(REWARD)
    assert training.load_reward(f"{file}:half")(["a"], ["b"]) == [0.5]
    assert training.load_reward("lanpo_rl.rewards:math_accuracy") is training.load_reward("math")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("maths", "is math, FILE.py:FUNCTION"),
        ("nowhere.py:f", "there is no file nowhere.py"),
        ("no_such_module:f", "No module named"),
        ("lanpo_rl.rewards:nothing", "has no function 'nothing'"),
    ],
)
def test_rewards_that_are_not_there(name: str, reason: str):
    with pytest.raises(ConfigError, match=reason):
        training.load_reward(name)


def test_trls_name_of_the_model_will_do(tmp_path: Path):
    given, _ = training.parse(["--model_name_or_path", "there", "--data", "d", *CPU])
    assert given.model == "there"


def test_adapters_without_peft_name_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(training, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"lora"):
        training._adapters(training.TrainArguments(use_peft=True))


def test_evaluating_on_training_problems_is_refused(tmp_path: Path, policy: Path, lanpo: Lanpo):
    file = tmp_path / "problems.jsonl"
    rows = make_hidden_constants(0).train[:16]
    file.write_text(
        "\n".join(json.dumps({"problem": e.problem.text, "answer": e.answer}) for e in rows)
    )
    ran = lanpo(
        *("train", "--model", policy, "--data", file, "--eval_data", file, "--prompts", "tiny"),
        *("--per_device_train_batch_size", 8, "--num_generations", 8, "--use_cpu", "true"),
        *("--bf16", "false", "--output_dir", tmp_path / "out"),
    )
    one_line(ran, "16 problems of --eval_data are in --data too")


def test_a_run_with_adapters_held_out_problems_and_an_own_reward(
    tmp_path: Path, policy: Path, lanpo: Lanpo
):
    task, files = make_hidden_constants(0), []
    for name, examples in (("train", task.train[:16]), ("held", task.held_out[:8])):
        files.append(tmp_path / f"{name}.jsonl")
        lines = [{"problem": e.problem.text, "answer": e.answer} for e in examples]
        files[-1].write_text("\n".join(map(json.dumps, lines)))
    mine = tmp_path / "mine.py"
    mine.write_text(REWARD)
    ran = lanpo(
        *("train", "--model", policy, "--data", files[0], "--eval_data", files[1]),
        *("--prompts", "tiny", "--reward", f"{mine}:later", "--use_peft", "true"),
        *("--lora_target_modules", "q_proj", "v_proj", "--eval_strategy", "steps"),
        *("--eval_steps", 1, "--per_device_eval_batch_size", 8, "--max_steps", 2),
        *("--per_device_train_batch_size", 8, "--num_generations", 8, "--use_cpu", "true"),
        *("--bf16", "false", "--output_dir", tmp_path / "out", "--report_to", "none"),
        *("--max_completion_length", 16, "--summary_max_tokens", 8, "--save_strategy", "steps"),
        *("--save_steps", 1, "--activation_checkpointing", "false"),
        *("--dataloader_pin_memory", "false"),
    )
    assert ran.code == 0, ran.err
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
    log = json.loads((tmp_path / "out/checkpoint-2/trainer_state.json").read_text())["log_history"]
    assert [row["eval_reward"] for row in log if "eval_reward" in row] == [0.25, 0.25]


# ---------------------------------------------------------------------- train: what users try


def tiny(policy: Path, problems: Path, out: Path, *more: object) -> tuple[object, ...]:
    return (
        *("train", "--model", policy, "--data", problems, "--prompts", "tiny", *CPU),
        *("--per_device_train_batch_size", 8, "--num_generations", 8, "--output_dir", out),
        *("--max_completion_length", 16, "--summary_max_tokens", 8, "--report_to", "none"),
        *("--dataloader_pin_memory", "false", "--disable_tqdm", "true", *more),
    )


def last_line(ran: Ran, *parts: str) -> None:
    """What libraries say while they load may stand before it."""
    assert ran.code == 2
    assert "Traceback" not in ran.err
    line = ran.err.strip().rpartition("\n")[2]
    assert line.startswith("error: ")
    assert all(part in line for part in parts), line


def test_a_finished_run_has_nothing_left_to_do(
    lanpo: Lanpo, tmp_path: Path, policy: Path, problems: Path
):
    out = tmp_path / "out"
    steps = ("--max_steps", 2, "--save_strategy", "steps", "--save_steps", 1)
    assert lanpo(*tiny(policy, problems, out, *steps)).code == 0
    weights = (out / "model.safetensors").read_bytes()
    again = lanpo(*tiny(policy, problems, out, *steps, "--resume_from_checkpoint", "true"))
    last_line(again, "is at step 2, and max_steps is 2", "raise max_steps")
    assert (out / "model.safetensors").read_bytes() == weights
    assert (
        lanpo(
            *tiny(policy, problems, out, "--max_steps", 3, "--resume_from_checkpoint", "true")
        ).code
        == 0
    )


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        (("--eval_strategy", "steps"), ("--eval_data and --eval_strategy belong together",)),
        (("--use_vllm", "true"), ("vllm", "lanpo train --help-all")),
        (("--resume_from_checkpoint", "nonsense"), ("no checkpoint folder nonsense", "true")),
    ],
)
def test_what_libraries_raise_is_one_line(
    lanpo: Lanpo, tmp_path: Path, policy: Path, problems: Path, more: Any, parts: Any
):
    last_line(lanpo(*tiny(policy, problems, tmp_path / "out", *more)), *parts)


def test_an_output_folder_that_is_a_file(lanpo: Lanpo, policy: Path, problems: Path):
    one_line(lanpo(*tiny(policy, problems, problems)), "cannot make --output_dir")


def test_an_answer_that_is_null_is_called_empty(lanpo: Lanpo, tmp_path: Path, policy: Path):
    file = tmp_path / "null.jsonl"
    file.write_text('{"problem": "1 + 1?", "answer": null}\n')
    one_line_more = lanpo(*tiny(policy, file, tmp_path / "out"))
    assert one_line_more.code == 2
    assert "has nothing in column 'answer'" in one_line_more.err


def test_ctrl_c_says_how_to_go_on(
    lanpo: Lanpo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: Path, problems: Path
):
    def stop(arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", stop)
    ran = lanpo(*tiny(policy, problems, tmp_path / "out"))
    assert ran.code == 130
    assert "--resume_from_checkpoint true goes on" in ran.out
