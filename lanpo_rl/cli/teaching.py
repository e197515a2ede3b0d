"""How `lanpo seed` has lessons written and a student trained, and what it says about that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table

from lanpo_memory.cli.models import INTERRUPTED, check_answering, load_model, print_ledger
from lanpo_memory.cli.terminal import counted, progress, report, to_screen, wrapped
from lanpo_memory.errors import BudgetExceeded
from lanpo_rl.cli.common import console_of, program, progress_bar
from lanpo_rl.seeding.answers import AnswerFile
from lanpo_rl.seeding.lessons import check_lesson_file, save_lessons
from lanpo_rl.seeding.tallies import SKILLS, Tally

if TYPE_CHECKING:
    from rich.progress import Progress

    from lanpo_memory.ledger import Ledger
    from lanpo_memory.protocols import SolvePrompts
    from lanpo_rl.seeding.lessons import WrittenLesson
    from lanpo_rl.seeding.writing import LessonWriter
    from lanpo_rl.tasks.base import Example

__all__ = ["Student", "Teaching", "read_examples"]

_ROWS = {"solve": "attempts", **{skill: skill for skill in SKILLS}}
_FEW = 0.1  # of the reflections: less than that of one verdict teaches to give the other


def read_examples(problems: str, *, prompts: SolvePrompts, **columns: Any) -> list[Example]:
    """Return the problems and answers of a file or a dataset.

    Raises:
        InvalidInputError: there is none, or rows cannot be used; they are named.
    """
    from lanpo_memory.types import Problem
    from lanpo_rl.data import load_problems
    from lanpo_rl.tasks.base import Example

    rows = load_problems(problems, prompts=prompts, **columns)
    return [
        Example(Problem(text=row["problem"], id=row["problem_id"]), row["answer"]) for row in rows
    ]


@dataclass(frozen=True)
class Teaching:
    """A teacher at work, with a bar for each skill, and what is said about it at the end."""

    teacher: str
    ledger: Ledger
    api_base: str | None
    settings: Mapping[str, Any]

    def write(self, examples: Sequence[Example], path: Path, *, n: int) -> list[WrittenLesson]:
        """Write lessons to a file, what became of the questions to the screen.

        Raises:
            BudgetExceeded: with how far it came; all of it is kept.
            Exit: 1 where the problems ran out before there were enough lessons.
        """
        from lanpo_rl.seeding.writing import LessonWriter

        check_lesson_file(path)
        with AnswerFile(path.with_name("answers.jsonl")) as answers, progress() as bar:
            writer = LessonWriter(
                load_model(self.teacher, self.ledger, api_base=self.api_base),
                name=self.teacher,
                answers=answers,
                follow=self._follower(bar),
                **self.settings,
            )
            self._write(writer, examples, path, n)
        _say_enough(writer, path)
        return writer.lessons

    def _follower(self, bar: Progress) -> Callable[..., None]:
        tasks = {skill: bar.add_task(skill, total=None) for skill in SKILLS}

        def follow(tallies: Mapping[str, Tally], wanted: Mapping[str, int]) -> None:
            for skill, task in tasks.items():
                bar.update(task, completed=tallies[skill].kept, total=wanted[skill])
            check_answering(self.ledger)

        return follow

    def _write(self, writer: LessonWriter, examples: Sequence[Example], path: Path, n: int) -> None:
        try:
            writer.write(examples, n=n)
        except BudgetExceeded as error:
            raise BudgetExceeded(
                f"{error}. {counted(len(writer.lessons), 'lesson')} of {n:,} are in {path}; the "
                "same command with a larger budget goes on from there"
            ) from error
        except KeyboardInterrupt:
            report().print("stopped; the same command goes on from here")
            raise typer.Exit(INTERRUPTED) from None
        finally:
            save_lessons(path, writer.lessons)
            _print_tallies(to_screen(), writer)
            print_ledger(report(), self.ledger)


def _say_enough(writer: LessonWriter, path: Path) -> None:
    """Say how many there are; where that is too few, what helps, with exit code 1."""
    console = to_screen()
    console.print(f"{counted(len(writer.lessons), 'lesson')}: {path}")
    if note := _one_sided(writer):
        console.print(wrapped("note: ", note, console))
    missing = {skill: writer.missing(skill) for skill in SKILLS if writer.missing(skill)}
    if not missing:
        return
    said = ", ".join(f"{n:,} of {writer.wanted[skill]:,} {skill}" for skill, n in missing.items())
    report().print(
        f"error: the problems ran out; missing: {said}. Give more problems or a stronger teacher, "
        "and run the same command again: only what is new is asked. To train on what there is: "
        f"{program()} seed --data {path} --model STUDENT",
        style="red",
    )
    raise typer.Exit(1)


def _print_tallies(console: Console, writer: LessonWriter) -> None:
    table = Table("lessons", "wanted", "asked", "kept", "rejected")
    for name, tally in writer.tallies.items():
        wanted = f"{writer.wanted[name]:,}" if name in writer.wanted else "–"
        reasons = [f"{n:,} {reason}" for reason, n in tally.rejected.most_common()]
        table.add_row(
            _ROWS[name], wanted, f"{tally.asked:,}", f"{tally.kept:,}", "\n".join(reasons)
        )
    console.print(table)
    console.print(
        f"{writer.right_attempts:,} of {writer.tallies['solve'].kept:,} attempts are right"
    )


def _one_sided(writer: LessonWriter) -> str | None:
    """What to say where hardly any reflection confirms, or hardly any corrects."""
    verdicts = [
        writer.prompts.verdict(each.completion) for each in writer.lessons if each.skill == "intra"
    ]
    right, few = sum(map(bool, verdicts)), _FEW * len(verdicts)
    if not verdicts or few <= right <= len(verdicts) - few:
        return None
    return (
        f"{right:,} of {len(verdicts):,} reflections confirm their attempt. A policy may learn to "
        "give this verdict always. Harder or easier problems, or another --temperature, mix them."
    )


# ---------------------------------------------------------------------- training


class Student:
    """The model to be trained: loaded, and looked at, before a teacher is paid.

    Raises:
        InvalidInputError: there is no such model, or it has no chat template.
        ConfigError: it could not learn to stop.
    """

    def __init__(self, source: str, *, eos_token: str | None) -> None:
        from lanpo_rl import training
        from lanpo_rl.seeding.tuning import check_end

        self._model, self._tokenizer = training.load_model(source)
        self._eos_token = eos_token
        check_end(self._tokenizer, eos_token)

    def train(self, lessons: Sequence[WrittenLesson], folder: Path, **settings: Any) -> None:
        """Train on lessons, with a bar, and save."""
        from lanpo_rl.seeding.tuning import train_on_lessons

        console = console_of()
        with progress_bar(console) as bar:
            task = bar.add_task("training", total=None)
            trained = train_on_lessons(
                self._model,
                self._tokenizer,
                lessons,
                folder,
                progress=lambda step, steps, loss: bar.update(
                    task, completed=step, total=steps, description=f"training, loss {loss:.3f}"
                ),
                eos_token=self._eos_token,
                **settings,
            )
        left = f", {trained.left_out:,} left out as too long" if trained.left_out else ""
        console.print(f"trained on {counted(trained.used, 'lesson')}{left}")
        console.print(f"model and tokenizer: {folder}", soft_wrap=True)
