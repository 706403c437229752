"""What decoders would take, from forward times and acceptance: no model runs here."""

from decoders.schedule import Ahead, Alone, Parallel, Schedule, Turns, describe, read_schedule
from pearl_eval.simulation.acceptance import Acceptance, BlockRates, Rate, Trace
from pearl_eval.simulation.forwards import ForwardTimes, Hardware, Slowdown, Surface, Turning
from pearl_eval.simulation.machine import Costs, Machine, SimulatedRound
from pearl_eval.simulation.simulation import Result, Simulation, predict_speedup

__all__ = [
    "Acceptance",
    "Ahead",
    "Alone",
    "BlockRates",
    "Costs",
    "ForwardTimes",
    "Hardware",
    "Machine",
    "Parallel",
    "Rate",
    "Result",
    "Schedule",
    "SimulatedRound",
    "Simulation",
    "Slowdown",
    "Surface",
    "Trace",
    "Turning",
    "Turns",
    "describe",
    "predict_speedup",
    "read_schedule",
]
