"""Alarms: plain figures of a run in, messages about known failures out. No torch is imported."""

from lanpo_rl.alarms.base import Alarm, Figures, Watch
from lanpo_rl.alarms.bundle import Alarms, default_alarms
from lanpo_rl.alarms.canary import Canary
from lanpo_rl.alarms.collapse import BehaviourCollapse, HeadersVanish
from lanpo_rl.alarms.gradients import GradientGrowth
from lanpo_rl.alarms.leakage import Leakage
from lanpo_rl.alarms.monoculture import LessonsShown, Monoculture
from lanpo_rl.alarms.rot import NewEntries, SummaryDrift, by_age

__all__ = [
    "Alarm",
    "Alarms",
    "BehaviourCollapse",
    "Canary",
    "Figures",
    "GradientGrowth",
    "HeadersVanish",
    "Leakage",
    "LessonsShown",
    "Monoculture",
    "NewEntries",
    "SummaryDrift",
    "Watch",
    "by_age",
    "default_alarms",
]
