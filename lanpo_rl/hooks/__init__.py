"""What is overridden of TRL's trainer, one subject a file. `lanpo_rl.trainer` puts it together."""

from lanpo_rl.hooks.checkpointing import KeepsMemory
from lanpo_rl.hooks.losses import DistillingLoss
from lanpo_rl.hooks.measuring import Measures
from lanpo_rl.hooks.turns import SamplesInTurns

__all__ = ["DistillingLoss", "KeepsMemory", "Measures", "SamplesInTurns"]
