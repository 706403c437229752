"""Runs whose prompts are decoded in turn, in an order that is drawn anew for each prompt."""

from __future__ import annotations

import contextlib
import copy
import functools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hydra import compose
from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict

from decoders.process.models import Models
from decoders.schedule import Extents
from decoders.session import Session
from pearl_eval.bench.config import Contestants
from pearl_eval.bench.limits import TimedForwards, Timer
from pearl_eval.bench.results import Entry, Results
from pearl_eval.config.building import plain
from pearl_eval.config.schema import Names
from pearl_eval.errors import UserError
from pearl_eval.evaluation.comparison import Comparison, reference_of
from pearl_eval.evaluation.identity import run_identity
from pearl_eval.evaluation.judge import Judge
from pearl_eval.evaluation.plan import Parts, Plan, Prompt
from pearl_eval.evaluation.recorder import Recorder
from pearl_eval.evaluation.reservation import reserve
from pearl_eval.evaluation.run_files import RunFiles
from pearl_eval.machine import environment
from pearl_eval.machine.placement import placed
from pearl_eval.pairs.setup import Setup
from pearl_eval.results.labels import labels, of_overrides
from pearl_eval.results.records import OVERRIDES
from pearl_eval.shell.progress import steps

#: What a run's configuration has of its benchmark's.
_SHARED = ("pair", "task", "sampling", "engine", "runtime", "protocol", "seed")


@dataclass(frozen=True)
class Contender:
    """One of the runs: its plan, configuration and command-line overrides, and its folder.

    ``gamma`` is the draft length that it competes with, if there are several to choose from.
    """

    names: Names
    gamma: int | None
    plan: Plan
    cfg: DictConfig
    overrides: list[str]
    folder: Path

    def write_config(self) -> None:
        """Leave what Hydra leaves of a run."""
        path = self.folder / OVERRIDES
        path.parent.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.cfg, path.with_name("config.yaml"))
        OmegaConf.save(OmegaConf.create(self.overrides), path)


def run_config(cfg: DictConfig) -> DictConfig:
    """A run's configuration as far as it is its benchmark's; the decoder is missing."""
    shared = {name: cfg._get_node(name) for name in _SHARED}
    return OmegaConf.create(shared | {"tracking": {"backend": "none"}})


def contenders(
    config: Contestants,
    cfg: DictConfig,
    names: Names,
    folder: Path,
    first: Callable[[Parts], Plan],
    dials: Sequence[str] = (),
) -> list[Contender]:
    """The runs that a benchmark, or a part of it, consists of, found and checked but not begun.

    Parameters
    ----------
    config
        Which decoders compete.
    cfg
        The configuration of each run but for its decoder.
    names
        What their pair and task are called; the decoders' own come instead of its.
    folder
        Where they go, each to a folder of its own.
    first
        Plans the first of them; the others decode the same prompts.
    dials
        Overrides that all of them share.
    """
    found: list[Contender] = []
    for name in dict.fromkeys(config.decoders):
        node = _decoder(name)
        for gamma in config.gammas if _has_gamma(node) else [None]:
            own = copy.deepcopy(cfg)
            with open_dict(own):
                own.decoder = node
                if gamma is not None:
                    own.decoder.gamma = gamma
            parts = Parts.make(own)
            plan = found[0].plan.beside(parts) if found else first(parts)
            asked = [f"decoder={name}"] + ([f"decoder.gamma={gamma}"] if gamma else [])
            place = "-".join([f"{len(found):02}", name, *([str(gamma)] if gamma else [])])
            found.append(
                Contender(
                    replace(names, decoder=name), gamma, plan, own, [*asked, *dials], folder / place
                )
            )
    return found


def _has_gamma(node: DictConfig) -> bool:
    """Whether a decoder has a draft length, as it is configured."""
    # One that follows from the pair can't be resolved yet.
    known = "gamma" in node
    return known and (OmegaConf.is_interpolation(node, "gamma") or node.gamma is not None)


def _decoder(name: str) -> DictConfig:
    """A decoder's configuration, found as ``decoder=NAME`` is."""
    try:
        found: DictConfig = compose(f"decoder/{name}").decoder
    except MissingConfigException as error:
        raise UserError(
            f"decoders: there is no decoder {name}, neither in conf/decoder nor in a decoder folder"
            " of --config-dir"
        ) from error
    return found


def hold(entrants: Sequence[Contender], forward_repeats: int, seed: int, label: str) -> Results:
    """Load the pair, let contenders decode, record what comes of it, and free it all.

    Parameters
    ----------
    entrants
        The runs, planned.
    forward_repeats
        How often each forward is timed alone after each prompt; 0: none is.
    seed
        What the order of decoding is drawn from.
    label
        What the progress bar says.
    """
    environment.reset_peak_memory()
    with contextlib.ExitStack() as stack:
        files = [
            stack.enter_context(RunFiles(one.folder, run_identity(plain(one.cfg), one.plan)))
            for one in entrants
        ]
        for one in entrants:
            one.write_config()
        setup = stack.enter_context(held(entrants))
        stack.enter_context(placed(setup.processes.target))
        models = setup.models(setup.load_target())
        plans = [replace(one.plan, setup=setup) for one in entrants]
        judge = Judge(plans[0], models.target)
        sessions = stack.enter_context(started(entrants, models))
        references = stack.enter_context(_references(plans, models))
        recorders = []
        for one, plan, session, own in zip(entrants, plans, sessions, files, strict=True):
            start = functools.partial(references.__getitem__, _reference(plan))
            comparison = Comparison(plan, models, start, judge=judge)
            comparison.session = session
            recorders.append(Recorder(plan, one.names, own, comparison))
        gammas = [one.gamma for one in entrants if one.plan.decoder.uses_draft]
        lengths = [gamma for gamma in gammas if gamma is not None]
        extents = Extents.of(one.plan.decoder.simulated_as() for one in entrants)
        timing = Timer.started(models, lengths, forward_repeats, None in gammas, extents)
        timer = stack.enter_context(timing) if forward_repeats else None
        forwards = _decode(plans[0], recorders, timer, random.Random(seed), label)
        # All of them before the first is stopped, since some share processes.
        memories = [one.peak_memory_bytes() for one in recorders]
        for session in sessions:
            session.stop()
        for recorder, memory in zip(recorders, memories, strict=True):
            recorder.finish(memory, lambda text: None)
            recorder.files.end()
    known = labels(
        [
            of_overrides(one.overrides, one.names.decoder, plain(one.cfg)["decoder"])
            for one in entrants
        ]
    )
    return Results(
        {
            name: Entry(one.names.decoder, own.records, own.traces.rounds, own.summary)
            for name, one, own in zip(known, entrants, recorders, strict=True)
        },
        forwards,
        [
            f"{name}: {why}"
            for name, own in zip(known, recorders, strict=True)
            if (why := own.wrong_outputs())
        ],
    )


@contextlib.contextmanager
def held(entrants: Sequence[Contender]) -> Iterator[Setup]:
    """Their pair, with cores and GPUs to itself: enough for the engine that needs most."""
    setups = [one.plan.setup for one in entrants]
    most = max(setup.engine_gpus for setup in setups)
    with reserve(setups[0].with_engine(most)) as setup:
        yield setup


def _reference(plan: Plan) -> str:
    """What tells the reference of a contender from those of others."""
    return repr(plan.reference)


@contextlib.contextmanager
def _references(plans: Sequence[Plan], models: Models) -> Iterator[dict[str, Session]]:
    """The references of all contenders, started: one for those that have the same."""
    with contextlib.ExitStack() as stack:
        found: dict[str, Session] = {}
        for plan in plans:
            if _reference(plan) not in found:
                session = found[_reference(plan)] = reference_of(plan, models)()
                stack.callback(session.stop)
        yield found


@contextlib.contextmanager
def started(entrants: Sequence[Contender], models: Models) -> Iterator[list[Session]]:
    """Start the decoders; those that differ in their draft length alone share what they load."""
    found: list[Session] = []
    started: dict[str, Session] = {}
    with contextlib.ExitStack() as stack:
        for one in entrants:
            first = started.get(one.names.decoder)
            # One that does not say which draft length it uses can't be given another.
            if first is not None and first.gamma is not None and one.gamma is not None:
                found.append(first.with_gamma(one.gamma))
                continue
            session = one.plan.decoder.start(models, one.plan.sampler)
            stack.callback(session.stop)
            started[one.names.decoder] = session
            found.append(session)
        yield found


def _decode(
    plan: Plan, recorders: Sequence[Recorder], timer: Timer | None, rng: random.Random, label: str
) -> list[TimedForwards]:
    """Let all decode all prompts and record them; the forwards timed after each prompt."""
    # One contender of each reference has that decode.
    leaders = {_reference(one.plan): one for one in recorders}
    for one in recorders:
        # Apart, so that every prompt is timed.
        one.comparison.measure_reference(plan.prompts[0])
        one.begin(one.comparison.decode(plan.prompts[0])[0].rounds)
    forwards = []
    # Repeats are samples, each after all prompts have had the one before.
    for first in steps(sorted(plan.prompts, key=lambda one: one.sample), label):
        prompt: Prompt | None = first
        while prompt is not None:
            made = {}
            # Where there is none it is the reference's turn.
            measured = {}
            turns: list[str | Recorder] = [*leaders, *recorders]
            for turn in rng.sample(turns, len(turns)):
                if isinstance(turn, str):
                    measured[turn] = leaders[turn].comparison.measure_reference(prompt)
                else:
                    made[turn] = turn.comparison.decode(prompt)
            if timer is not None:
                middle = len(prompt.ids) + plan.task.max_new_tokens // 2
                forwards.append(timer.forwards(prompt.key, middle, len(prompt.ids)))
            for one in recorders:
                reference = measured[_reference(one.plan)]
                one.add(one.comparison.judged(prompt, made[one], reference))
            answer = measured[_reference(plan)].output_ids
            prompt = plan.next_turn(prompt, plan.pair.answer(answer))
    return forwards
