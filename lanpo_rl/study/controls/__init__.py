"""Control arms: what a memory must not be credited with, each as a change to how one is built.

None of them can be switched on in `LanpoTrainer`: no setting of `LanpoConfig` names one.
"""

from lanpo_rl.study.controls.base import Control, Surroundings, WrappedMemory
from lanpo_rl.study.controls.leaky import LeakyControl
from lanpo_rl.study.controls.placebo import PlaceboControl
from lanpo_rl.study.controls.pools import FrozenPoolControl, OracleControl, RawSolutionsControl

__all__ = [
    "Control",
    "FrozenPoolControl",
    "LeakyControl",
    "OracleControl",
    "PlaceboControl",
    "RawSolutionsControl",
    "Surroundings",
    "WrappedMemory",
]
