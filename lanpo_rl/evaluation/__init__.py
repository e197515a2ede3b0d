"""What a policy can do with and without memory, on problems it was not trained on."""

from lanpo_rl.evaluation.greedy import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
