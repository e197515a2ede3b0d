"""Training on lessons: the loss falls, completions alone are learned, nothing is cut."""

from __future__ import annotations

import random

import pytest
import torch

from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_rl import training
from lanpo_rl.seeding import (
    WrittenLesson,
    build_sft_trainer,
    draw_lessons,
    save_lessons,
    train_on_lessons,
)
from lanpo_rl.seeding.tuning import count_tokens
from lanpo_rl.tiny import build_model, generate_texts, load_policy, load_tokenizer

TOKENIZER = load_tokenizer()
LESSONS = [
    WrittenLesson(lesson.skill, lesson.messages, lesson.completion)
    for lesson in draw_lessons(32, random.Random(0))
]
SMALL = {"use_cpu": True, "batch_size": 8, "device_batch_size": 4, "learning_rate": 2e-3}


def test_the_loss_falls_and_the_folder_holds_what_was_trained(tmp_path):
    steps = []
    model = build_model(TOKENIZER)
    trained = train_on_lessons(
        model,
        TOKENIZER,
        LESSONS,
        tmp_path / "model",
        epochs=4,
        progress=lambda *at: steps.append(at),
        **SMALL,
    )
    assert (trained.used, trained.left_out) == (32, 0)
    assert len(trained.losses) == 16
    assert sum(trained.losses[-4:]) < 0.8 * sum(trained.losses[:4])
    assert [step for step, _, _ in steps] == list(range(1, 17))
    assert {total for _, total, _ in steps} == {16}
    assert [loss for _, _, loss in steps] == list(trained.losses)
    assert [each.name for each in tmp_path.iterdir()] == ["model"]
    saved, tokenizer = training.load_model(str(tmp_path / "model"))
    assert tokenizer("bako 8_6")["input_ids"] == TOKENIZER("bako 8_6")["input_ids"]
    expected = model.state_dict()
    assert all(torch.equal(expected[name], t) for name, t in saved.state_dict().items())


def test_a_lesson_seen_often_is_known_by_heart_and_ends(tmp_path):
    lesson = WrittenLesson("inter", LESSONS[0].prompt, r"C09+14=\boxed{23}")
    train_on_lessons(
        build_model(TOKENIZER), TOKENIZER, [lesson] * 4, tmp_path / "model", epochs=60, **SMALL
    )
    model, tokenizer = training.load_model(str(tmp_path / "model"))
    said = generate_texts(model, tokenizer, [lesson.prompt], max_new_tokens=40)
    assert said == [lesson.completion]


def test_the_same_seed_trains_the_same(tmp_path):
    losses = [
        train_on_lessons(
            build_model(TOKENIZER), TOKENIZER, LESSONS, tmp_path / name, seed=seed, **SMALL
        ).losses
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    assert losses[0] == losses[1] != losses[2]


def test_only_completion_tokens_are_trained_under_the_prompt_that_generation_makes(tmp_path):
    trainer, _ = build_sft_trainer(
        build_model(TOKENIZER), TOKENIZER, LESSONS, tmp_path / "x", **SMALL
    )
    assert len(trainer.train_dataset) == len(LESSONS)
    for row, lesson in zip(trainer.train_dataset, LESSONS, strict=True):
        learned = [label for label in row["labels"] if label != -100]
        assert TOKENIZER.decode(learned) == lesson.completion + TOKENIZER.eos_token
        prompt = row["input_ids"][: -len(learned)]
        rendered = TOKENIZER.apply_chat_template(
            lesson.prompt, tokenize=False, add_generation_prompt=True
        )
        assert TOKENIZER.decode(prompt) == rendered
        assert all(label == -100 for label in row["labels"][: len(prompt)])


def test_what_stands_in_a_prompt_gets_no_gradient_of_its_own(tmp_path):
    """The loss of a batch is that of its completion tokens, computed by hand."""
    model = load_policy()
    trainer, _ = build_sft_trainer(model, TOKENIZER, LESSONS[:4], tmp_path / "x", **SMALL)
    batch = next(iter(trainer.get_train_dataloader()))
    model.train(mode=False)
    with torch.no_grad():
        loss = trainer.compute_loss(model, dict(batch)).item()
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    logprobs = logits[:, :-1].log_softmax(-1)
    labels = batch["labels"][:, 1:]
    of_labels = logprobs.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    by_hand = -of_labels[labels != -100].mean().item()
    assert loss == pytest.approx(by_hand, rel=1e-5)


def test_a_batch_is_gathered_from_what_fits_into_memory(tmp_path):
    def steps(**settings):
        trainer, _ = build_sft_trainer(
            build_model(TOKENIZER), TOKENIZER, LESSONS, tmp_path / "x", use_cpu=True, **settings
        )
        args = trainer.args
        return args.per_device_train_batch_size, args.gradient_accumulation_steps

    assert steps() == (8, 8), "64 lessons a step, as in the paper"
    assert steps(batch_size=6, device_batch_size=4) == (2, 3)
    assert steps(batch_size=4, device_batch_size=8) == (4, 1)


def test_too_long_lessons_are_left_out_and_counted_and_none_is_cut(tmp_path):
    lengths = sorted(count_tokens(TOKENIZER, lesson) for lesson in LESSONS)
    limit = lengths[len(lengths) // 2]
    trainer, left_out = build_sft_trainer(
        build_model(TOKENIZER), TOKENIZER, LESSONS, tmp_path / "x", max_length=limit, **SMALL
    )
    assert left_out == sum(length > limit for length in lengths) > 0
    kept = sorted(len(row["input_ids"]) for row in trainer.train_dataset)
    assert kept == [length for length in lengths if length <= limit]


def test_where_no_lesson_fits_the_option_is_named(tmp_path):
    with pytest.raises(InvalidInputError, match=r"none of 32 lessons.*--max-length"):
        train_on_lessons(
            build_model(TOKENIZER), TOKENIZER, LESSONS, tmp_path / "model", max_length=3, **SMALL
        )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_not_written_over(tmp_path):
    with pytest.raises(ConfigError, match="is there already"):
        train_on_lessons(load_policy(), TOKENIZER, LESSONS, tmp_path, **SMALL)


def test_what_a_stopped_training_left_is_no_obstacle(tmp_path):
    def stop(step, *_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_on_lessons(
            load_policy(), TOKENIZER, LESSONS, tmp_path / "model", progress=stop, **SMALL
        )
    assert not (tmp_path / "model").exists()
    train_on_lessons(load_policy(), TOKENIZER, LESSONS, tmp_path / "model", max_steps=1, **SMALL)
    assert (tmp_path / "model" / "config.json").is_file()


def test_weights_are_trained_in_full_precision_and_saved_in_their_own(tmp_path):
    seen = []
    model = load_policy().to(torch.bfloat16)
    train_on_lessons(
        model,
        TOKENIZER,
        LESSONS,
        tmp_path / "model",
        max_steps=1,
        progress=lambda *_: seen.append(model.dtype),
        **SMALL,
    )
    assert seen == [torch.float32]
    assert training.load_model(str(tmp_path / "model"))[0].dtype == torch.bfloat16


@pytest.mark.parametrize("token", ["<u>", "<no such token>"])
def test_a_template_that_never_ends_a_turn_is_refused(tmp_path, token):
    tokenizer = load_tokenizer()
    tokenizer.eos_token = "<u>"
    with pytest.raises(ConfigError, match="--eos-token"):
        train_on_lessons(
            load_policy(), tokenizer, LESSONS, tmp_path / "m", eos_token=token, **SMALL
        )


def test_the_token_that_ends_a_turn_can_be_named(tmp_path):
    tokenizer = load_tokenizer()
    tokenizer.eos_token = "<u>"
    train_on_lessons(
        load_policy(), tokenizer, LESSONS, tmp_path / "m", eos_token="<e>", max_steps=1, **SMALL
    )
    assert training.load_model(str(tmp_path / "m"))[1].eos_token == "<e>"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("batch_size", 0),
        ("device_batch_size", 0),
        ("max_length", 0),
        ("max_steps", 0),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path, setting, value):
    with pytest.raises(ConfigError, match=setting):
        train_on_lessons(
            load_policy(), TOKENIZER, LESSONS, tmp_path / "m", **{**SMALL, setting: value}
        )
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_one_that_trl_reads_as_it_is(tmp_path):
    from datasets import load_dataset
    from trl import SFTConfig, SFTTrainer

    save_lessons(tmp_path / "lessons.jsonl", LESSONS[:4])
    data = load_dataset(
        "json", data_files=str(tmp_path / "lessons.jsonl"), split="train", cache_dir=str(tmp_path)
    )
    trainer = SFTTrainer(
        load_policy(),
        args=SFTConfig(
            output_dir=str(tmp_path),
            use_cpu=True,
            bf16=False,
            activation_checkpointing=False,
            report_to=[],
        ),
        train_dataset=data,
        processing_class=TOKENIZER,
    )
    learned = [label for label in trainer.train_dataset[0]["labels"] if label != -100]
    assert TOKENIZER.decode(learned) == LESSONS[0].completion + TOKENIZER.eos_token
