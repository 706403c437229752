"""What decoders would take, from forward times and acceptance: no model runs here."""

from decoders.schedule import (
    AHEAD,
    DRAFT_MODEL,
    Adaptive,
    Ahead,
    Alone,
    Branching,
    Parallel,
    Replicas,
    Retrieving,
    Schedule,
    Sequential,
    describe,
    drafted_alone,
    drafts_by,
    read_schedule,
)
from pearl_eval.simulation.acceptance import Acceptance, BlockRates, Lookups, Rate, Trace
from pearl_eval.simulation.forwards import ForwardTimes, Hardware, Slowdown, Surface, Switching
from pearl_eval.simulation.machine import Costs, Machine, SimulatedRound
from pearl_eval.simulation.retrievals import Retrievals, Retrieved
from pearl_eval.simulation.simulation import Result, Simulation, predict_speedup

__all__ = [
    "AHEAD",
    "DRAFT_MODEL",
    "Acceptance",
    "Adaptive",
    "Ahead",
    "Alone",
    "BlockRates",
    "Branching",
    "Costs",
    "ForwardTimes",
    "Hardware",
    "Lookups",
    "Machine",
    "Parallel",
    "Rate",
    "Replicas",
    "Result",
    "Retrievals",
    "Retrieved",
    "Retrieving",
    "Schedule",
    "Sequential",
    "SimulatedRound",
    "Simulation",
    "Slowdown",
    "Surface",
    "Switching",
    "Trace",
    "describe",
    "drafted_alone",
    "drafts_by",
    "predict_speedup",
    "read_schedule",
]
