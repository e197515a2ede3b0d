"""A run that can be stopped: what is in the file already, and what is still to be asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lanpo_memory.errors import BudgetExceeded
from lanpo_memory.types import Solution
from lanpo_rl.evaluation.results import Results, evaluate_samples
from lanpo_rl.evaluation.samples import SampleFile, key_of
from lanpo_rl.evaluation.sampling import Evaluator
from lanpo_rl.rewards import RewardFunction
from lanpo_rl.tasks.base import Example

__all__ = ["Run"]


class Run:
    """The samples that an evaluator and its problems stand for, kept in a file.

    Args:
        evaluator: asks for what is missing.
        examples: problems, each once, with their reference answers.
        file: where samples are kept.
    """

    def __init__(self, evaluator: Evaluator, examples: Sequence[Example], file: SampleFile) -> None:
        self._evaluator, self._examples, self._file = evaluator, examples, file
        self._wanted = {
            key_of(example.problem, mode, number)
            for example in examples
            for mode in evaluator.modes
            for number in range(evaluator.samples)
        }

    @property
    def wanted(self) -> int:
        """How many samples there will be."""
        return len(self._wanted)

    @property
    def done(self) -> int:
        """How many of them are in the file."""
        return len(self._wanted & self._file.finished)

    def ask(self, on_batch: Callable[[int], object] = lambda n: None) -> list[Solution]:
        """Ask for what is missing, once; return those of which a call failed.

        Args:
            on_batch: called with the number of samples of each batch, once they are on the disk.
                An error of it ends the run and loses nothing.

        Raises:
            BudgetExceeded: the next call could cross a budget. What came before is in the file.
        """
        failed: list[Solution] = []
        problems = [example.problem for example in self._examples]
        try:
            for batch in self._evaluator.run(problems, finished=self._file.finished):
                self._file.write([sample for sample in batch if not sample.failed])
                failed += [sample.solution for sample in batch if sample.failed]
                on_batch(len(batch))
        except BudgetExceeded as error:
            raise BudgetExceeded(
                f"{error}. {self.done:,} of {self.wanted:,} samples are in {self._file.path}; the "
                "same command with a larger budget goes on from there"
            ) from error
        return failed

    def results(
        self,
        score: RewardFunction,
        *,
        seed: int = 0,
        on_sample: Callable[[], object] = lambda: None,
    ) -> Results:
        """Judge what is in the file; see `evaluate_samples`.

        Raises:
            InvalidInputError: nothing is there yet.
        """
        return evaluate_samples(
            self._file.samples(),
            self._examples,
            score=score,
            prompts=self._evaluator.prompts,
            modes=self._evaluator.modes,
            k=self._evaluator.samples,
            seed=seed,
            progress=on_sample,
        )
