"""`lanpo seed`: the tiny policy from templates, or any policy on lessons that a teacher wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from lanpo_memory.cli.models import (
    ApiBaseOption,
    MaxCallsOption,
    MaxCostOption,
    MaxTokensOption,
    ledger_of,
)
from lanpo_memory.errors import ConfigError
from lanpo_rl.cli.common import console_of, make_folder, needs_rl, progress_bar, quieten
from lanpo_rl.cli.teaching import Student, Teaching, read_examples
from lanpo_rl.seeding.lessons import read_lessons
from lanpo_rl.seeding.tallies import SKILLS, shared_out

if TYPE_CHECKING:
    from lanpo_memory.protocols import SolvePrompts

__all__ = ["seed"]

_TEMPLATES = ("steps",)
_WRITING = (
    *("problems", "problem_column", "answer_column", "answer_marker", "split", "n", "shares"),
    *("prompts", "temperature", "answer_tokens", "experiences", "gamma", "batch", "api_base"),
    *("max_calls", "max_tokens", "max_cost"),
)
_TRAINING = (
    *("epochs", "batch_size", "device_batch_size", "learning_rate", "max_length", "eos_token"),
    "use_cpu",
)


def seed(
    context: typer.Context,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Who writes the lessons: a folder with a Hugging Face model, or a litellm name "
            "such as openai/gpt-4o-mini, whose key is read from the environment.",
        ),
    ] = None,
    problems: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Problems with answers for the teacher: a JSON Lines file, or a folder or name of "
            "a dataset.",
        ),
    ] = None,
    n: Annotated[
        int, typer.Option("--n", "-n", min=1, metavar="N", help="How many lessons to keep.")
    ] = 3000,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Train on lessons that are there; no teacher is asked."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="STUDENT", help="Folder or name of the model to train."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for what is made.")] = Path("runs/seed"),
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps of the tiny policy; default: as shipped."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Makes weights, examples and orders.")] = 0,
    problem_column: Annotated[
        str, typer.Option("--problem-column", "--problem_column", help="Column of the problem.")
    ] = "problem",
    answer_column: Annotated[
        str, typer.Option("--answer-column", "--answer_column", help="Column of the answer.")
    ] = "answer",
    answer_marker: Annotated[
        str | None,
        typer.Option(
            "--answer-marker",
            "--answer_marker",
            help="The answer follows this mark; #### for GSM8K.",
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Split of a dataset.")] = "train",
    shares: Annotated[
        str, typer.Option(metavar="A:B:C", help="Parts of summarise, inter and intra.")
    ] = "1:1:1",
    prompts: Annotated[
        str, typer.Option(help="Language of the roles: english, or tiny for the built-in policy.")
    ] = "english",
    temperature: Annotated[float, typer.Option(min=0.0, help="Of the teacher; 0 is greedy.")] = 0.7,
    answer_tokens: Annotated[
        int, typer.Option(min=1, metavar="N", help="Most tokens of one answer of the teacher.")
    ] = 2048,
    experiences: Annotated[
        int, typer.Option(min=1, metavar="N", help="Most experiences in one prompt.")
    ] = 1,
    gamma: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, metavar="0..1", help="Least similarity of an experience, by BM25."
        ),
    ] = 0.0,
    batch: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Questions asked together; an interruption costs one batch at most.",
        ),
    ] = 16,
    epochs: Annotated[float, typer.Option(min=0.0, help="How often a lesson is seen.")] = 1.0,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Lessons of one training step.")
    ] = 64,
    device_batch_size: Annotated[
        int, typer.Option(min=1, help="Lessons in memory at once; fewer take less of it.")
    ] = 8,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="The highest one.")] = 1e-5,
    max_length: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Most tokens of a lesson; a longer one is left out, never cut."
        ),
    ] = 4096,
    eos_token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN", help="What ends a turn in the chat template of a base model."
        ),
    ] = None,
    use_cpu: Annotated[
        bool, typer.Option("--use-cpu", help="Train on the CPU even if there is a GPU.")
    ] = False,
    api_base: ApiBaseOption = None,
    max_calls: MaxCallsOption = None,
    max_tokens: MaxTokensOption = None,
    max_cost: MaxCostOption = None,
) -> None:
    """Teach a policy to read and write feedback before it is trained: literacy, not answers.

    With --teacher and --problems a teacher writes lessons of three skills into OUT/lessons.jsonl:
    summing an attempt up, solving with experiences of other problems, checking an earlier attempt.
    Wrong ones are rejected. Every answer is kept in OUT/answers.jsonl: the same command goes on
    where it was stopped. With --model, or with --data and --model, a model is trained on the
    lessons with TRL and saved in OUT/model.

    With none of these, the tiny policy is built from nothing and taught from templates; the result
    is compared with the shipped one.

    Example: lanpo seed --teacher openai/gpt-4o-mini --problems train.jsonl --out runs/seed
    """
    _check_given(_given(context))
    if teacher is None and data is None:
        _seed_tiny(out, steps, seed)
        return
    ledger = ledger_of(
        teacher,
        api_base=api_base,
        max_calls=max_calls,
        max_tokens=max_tokens,
        max_cost=max_cost,
    )
    language, parts = _prompts(prompts), _shares(shares)
    if model is not None and (out / "model").exists():
        raise ConfigError(f"{out / 'model'} is there already; move it, or name another --out")
    needs_rl("math_verify")
    quieten()
    make_folder(out)
    # What is wrong with problems, lessons or student is said before a teacher is paid.
    examples = (
        []
        if problems is None
        else read_examples(
            problems,
            prompts=language,
            problem_column=problem_column,
            answer_column=answer_column,
            answer_marker=answer_marker,
            split=split,
        )
    )
    lessons = [] if data is None else read_lessons(data)
    student = None if model is None else Student(model, eos_token=eos_token)
    if teacher is not None:
        settings = {
            "prompts": language,
            "shares": parts,
            "temperature": temperature,
            "max_tokens": answer_tokens,
            "experiences": experiences,
            "gamma": gamma,
            "batch": batch,
            "seed": seed,
        }
        lessons = Teaching(teacher, ledger, api_base, settings).write(
            examples, out / "lessons.jsonl", n=n
        )
    if student is not None:
        student.train(
            lessons,
            out / "model",
            epochs=epochs,
            batch_size=batch_size,
            device_batch_size=device_batch_size,
            learning_rate=learning_rate,
            max_length=max_length,
            use_cpu=use_cpu,
            seed=seed,
        )


# ---------------------------------------------------------------------- what was asked for


def _given(context: typer.Context) -> set[str]:
    """The names of the options that stand on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {
        name for name, source in sources.items() if source is not None and source.name != "DEFAULT"
    }


def _check_given(given: set[str]) -> None:
    """Refuse options that do not belong together.

    Raises:
        ConfigError: one of them has nothing to act on; the message names what it needs.
    """
    writes, trains = "teacher" in given, "model" in given
    if writes and "data" in given:
        raise ConfigError("--teacher writes lessons, --data names some that are there: give one")
    if writes and "problems" not in given:
        raise ConfigError("--teacher needs --problems FILE, with problems and answers")
    if "data" in given and not trains:
        raise ConfigError("--data needs --model STUDENT: which model is to be trained on it?")
    if trains and not (writes or "data" in given):
        raise ConfigError("--model needs lessons: name a --teacher with --problems, or --data FILE")
    for names, there, needs in (
        (_WRITING, writes, "--teacher MODEL"),
        (_TRAINING, trains, "--model STUDENT"),
        (
            _TEMPLATES,
            not (writes or trains),
            "no --teacher and no --data: it is for the tiny policy",
        ),
    ):
        unused = [name for name in names if name in given]
        if unused and not there:
            raise ConfigError(f"--{unused[0].replace('_', '-')} needs {needs}")


def _shares(text: str) -> dict[str, float]:
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    if len(parts) != len(SKILLS):
        raise ConfigError(f"--shares must be three numbers such as 1:1:1, got {text!r}")
    shares = dict(zip(SKILLS, parts, strict=True))
    shared_out(len(SKILLS), shares)
    return shares


def _prompts(name: str) -> SolvePrompts:
    if name not in ("english", "tiny"):
        raise ConfigError(f"prompts must be english or tiny, got {name!r}")
    from lanpo_memory.prompts import EnglishPrompts
    from lanpo_rl.tiny import TinyPrompts

    return EnglishPrompts() if name == "english" else TinyPrompts()


# ---------------------------------------------------------------------- the tiny policy


def _seed_tiny(out: Path, steps: int | None, seed: int) -> None:
    console = console_of()
    needs_rl()
    quieten()
    from lanpo_rl.seeding import STEPS, measure_skills, seed_tiny_policy
    from lanpo_rl.tiny import load_policy, load_tokenizer, save_policy

    total = STEPS if steps is None else steps
    make_folder(out)
    with progress_bar(console) as bar:
        task = bar.add_task("seeding", total=total)
        model = seed_tiny_policy(
            steps=total,
            seed=seed,
            progress=lambda step, loss: bar.update(
                task, completed=step, description=f"seeding, loss {loss:.3f}"
            ),
        )
    save_policy(out, model)
    tokenizer = load_tokenizer()
    made, shipped = measure_skills(model, tokenizer), measure_skills(load_policy(), tokenizer)
    skills = Table("skill", "this one", "shipped", title="share of right answers, greedy")
    for name, value in made.items():
        skills.add_row(name, f"{value:.2f}", f"{shipped[name]:.2f}")
    console.print(skills)
    console.print(f"model and tokenizer: {out}", soft_wrap=True)
