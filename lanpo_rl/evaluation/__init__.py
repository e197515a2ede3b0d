"""What a policy can do with and without memory, on problems it was not trained on."""

from lanpo_rl.evaluation.contamination import Contamination, contamination_of, refuse_copies
from lanpo_rl.evaluation.estimates import Interval, bootstrap_interval, mean_at_k, pass_at_k
from lanpo_rl.evaluation.greedy import Evaluation, evaluate
from lanpo_rl.evaluation.report import write_report
from lanpo_rl.evaluation.results import (
    Difference,
    Figure,
    ModeResults,
    Results,
    evaluate_samples,
)
from lanpo_rl.evaluation.running import Run
from lanpo_rl.evaluation.samples import Sample, SampleFile
from lanpo_rl.evaluation.sampling import Evaluator, SeededModels

__all__ = [
    "Contamination",
    "Difference",
    "Evaluation",
    "Evaluator",
    "Figure",
    "Interval",
    "ModeResults",
    "Results",
    "Run",
    "Sample",
    "SampleFile",
    "SeededModels",
    "bootstrap_interval",
    "contamination_of",
    "evaluate",
    "evaluate_samples",
    "mean_at_k",
    "pass_at_k",
    "refuse_copies",
    "write_report",
]
