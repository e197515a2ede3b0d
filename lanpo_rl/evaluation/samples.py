"""Samples: what a model answered, as data, and the file they are kept in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanpo_memory.appending import AppendedLines
from lanpo_memory.errors import ConfigError, InvalidInputError
from lanpo_memory.types import Problem, Scalar, Solution, SolveMode, fingerprint, normalise

__all__ = ["FORMAT", "Key", "Sample", "SampleFile", "Settings", "key_of"]

FORMAT = "lanpo-sample"
_OWN = ("format", "number", "truncated", "template", "unusable", "settings")

Key = tuple[str, str, int]
"""Fingerprint of problem id and text, mode, number of the sample."""

Settings = Mapping[str, Scalar]
"""What decides an answer besides problem, mode and number, by name."""


def key_of(problem: Problem, mode: SolveMode, number: int) -> Key:
    """Return what a sample is kept under: another text under the same id is another problem."""
    return fingerprint(problem.id, normalise(problem.text)), mode, number


@dataclass(frozen=True)
class Sample:
    """One answer to one problem in one mode.

    `number` counts the samples of a problem from 0. `truncated` says that a text was cut at the
    token limit, in any turn; `template` that an experience shown came from the same problem with
    other numbers; `unusable` that the model was heard and its last answer was a refusal, filtered
    or empty.
    """

    solution: Solution
    number: int = 0
    truncated: bool = False
    template: bool = False
    unusable: bool = False

    @property
    def key(self) -> Key:
        """See `key_of`."""
        return key_of(self.solution.problem, self.solution.mode, self.number)

    @property
    def failed(self) -> bool:
        """Whether a call failed, so that the mode was not carried out.

        A refusal or an empty answer is an answer, and no right one: the model was heard.
        """
        return not self.unusable and any(turn.usage.failures for turn in self.solution.turns)


class SampleFile:
    """Where samples go as they come: what is acknowledged is on the disk, nothing is overwritten.

    Lines of other modes, problems or numbers stay and do no harm. Half a last line, left by a
    kill, is taken off. `finished` holds the keys of what is there.

    Args:
        path: the file, made where it is missing.
        settings: for each mode what decides its answers; samples of other settings are refused.

    Raises:
        ConfigError: it holds samples of one of these modes, made with other settings.
        InvalidInputError: it holds something else, or cannot be read or written.
    """

    def __init__(self, path: Path, settings: Mapping[SolveMode, Settings]) -> None:
        self.path = path
        self.finished: set[Key] = set()
        self._settings = {mode: dict(values) for mode, values in settings.items()}
        self._lines = AppendedLines(
            path, mark=FORMAT, take=self._take, instead="choose another folder"
        )

    def __enter__(self) -> SampleFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def write(self, samples: Sequence[Sample]) -> None:
        """Append samples; they survive kill -9 and a power cut from then on.

        Raises:
            InvalidInputError: the disk refuses.
        """
        self._lines.append([self._row(sample) for sample in samples])
        self.finished |= {sample.key for sample in samples}

    def samples(self) -> Iterator[Sample]:
        """Yield every sample of the file, in the order they came."""
        for row in self._lines.rows():
            yield _sample(row)

    def _row(self, sample: Sample) -> dict[str, Any]:
        solution = sample.solution
        return {
            "format": FORMAT,
            "number": sample.number,
            "truncated": sample.truncated,
            "template": sample.template,
            "unusable": sample.unusable,
            "settings": self._settings[solution.mode],
            **solution.model_dump(mode="json"),
        }

    def _take(self, row: Any) -> None:
        sample = _sample(row)
        wanted = self._settings.get(sample.solution.mode)
        if wanted is not None and row["settings"] != wanted:
            raise ConfigError(
                f"{self.path} holds samples of mode {sample.solution.mode} made with other "
                f"settings: {_difference(row['settings'], wanted)}. They are not mixed: write to "
                "another --out, or go back to those settings"
            )
        self.finished.add(sample.key)


def _sample(row: Any) -> Sample:
    if not isinstance(row, dict) or row.get("format") != FORMAT:
        raise InvalidInputError("the line holds no sample")
    number, settings = row.get("number"), row.get("settings")
    if not isinstance(number, int) or not isinstance(settings, dict):
        raise InvalidInputError("the line does not say which sample it is, made with what")
    return Sample(
        solution=Solution(**{name: row[name] for name in row.keys() - set(_OWN)}),
        number=number,
        truncated=row.get("truncated") is True,
        template=row.get("template") is True,
        unusable=row.get("unusable") is True,
    )


def _difference(there: Settings, now: Settings) -> str:
    """Name what differs, as it was and as it is."""
    names = [name for name in {**there, **now} if there.get(name) != now.get(name)]
    return "; ".join(f"{name} was {there.get(name)!r} and is {now.get(name)!r}" for name in names)
