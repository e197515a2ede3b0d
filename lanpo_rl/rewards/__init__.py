"""Reward functions in TRL's form: lists in, one float per completion out.

`math_accuracy` compares final answers, `as_reward` takes any function of one completion, `checked`
names what is wrong with a reward function, `SectionReward` is the paper's bonus for headers.
"""

from lanpo_rl.rewards.accuracy import math_accuracy
from lanpo_rl.rewards.checking import RewardError, checked
from lanpo_rl.rewards.functions import RewardFunction, as_reward, completion_text
from lanpo_rl.rewards.sections import SectionReward

__all__ = [
    "RewardError",
    "RewardFunction",
    "SectionReward",
    "as_reward",
    "checked",
    "completion_text",
    "math_accuracy",
]
