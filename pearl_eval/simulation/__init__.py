"""What decoders would take, from forward times and acceptance: no model runs here."""

from decoders.schedule import (
    AHEAD,
    Adaptive,
    Ahead,
    Alone,
    Branching,
    Parallel,
    Replicas,
    Schedule,
    Sequential,
    describe,
    read_schedule,
)
from pearl_eval.simulation.acceptance import Acceptance, BlockRates, Rate, Trace
from pearl_eval.simulation.forwards import ForwardTimes, Hardware, Slowdown, Surface, Switching
from pearl_eval.simulation.machine import Costs, Machine, SimulatedRound
from pearl_eval.simulation.simulation import Result, Simulation, predict_speedup

__all__ = [
    "AHEAD",
    "Acceptance",
    "Adaptive",
    "Ahead",
    "Alone",
    "BlockRates",
    "Branching",
    "Costs",
    "ForwardTimes",
    "Hardware",
    "Machine",
    "Parallel",
    "Rate",
    "Replicas",
    "Result",
    "Schedule",
    "Sequential",
    "SimulatedRound",
    "Simulation",
    "Slowdown",
    "Surface",
    "Switching",
    "Trace",
    "describe",
    "predict_speedup",
    "read_schedule",
]
