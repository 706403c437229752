"""What decoders would take, from forward times and acceptance: no model runs here."""

from pearl_eval.simulation.acceptance import Acceptance, BlockRates, Rate, Trace
from pearl_eval.simulation.forwards import ForwardTimes, Hardware, Slowdown, Surface, Turning
from pearl_eval.simulation.machine import Costs, Round
from pearl_eval.simulation.simulation import Result, Simulation, predict_speedup, rules

__all__ = [
    "Acceptance",
    "BlockRates",
    "Costs",
    "ForwardTimes",
    "Hardware",
    "Rate",
    "Result",
    "Round",
    "Simulation",
    "Slowdown",
    "Surface",
    "Trace",
    "Turning",
    "predict_speedup",
    "rules",
]
