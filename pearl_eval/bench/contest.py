"""Contenders that decode the same prompts in one run, one after the other in random order."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from omegaconf import DictConfig, OmegaConf

from decoders.decoder import Decoder
from decoders.generation import Generation
from decoders.pearl import Pearl
from decoders.process.clock import clock, no_garbage_collection
from decoders.process.drafter import Drafter
from decoders.process.models import Models
from decoders.sampling.sampler import Greedy
from decoders.speculative import Speculative
from pearl_eval.bench.config import REFERENCE
from pearl_eval.bench.limits import Forwards, Rounds, Timer
from pearl_eval.bench.results import Measurement, Results
from pearl_eval.checks.equivalence import EquivalenceChecker, Verdict, unchecked_verdict
from pearl_eval.config.paths import config_dir
from pearl_eval.config.schema import build
from pearl_eval.errors import UserError
from pearl_eval.evaluation.plan import check_target
from pearl_eval.evaluation.reservation import reserve
from pearl_eval.machine.placement import placed
from pearl_eval.pairs.pair import Pair
from pearl_eval.pairs.setup import Setup
from pearl_eval.shell.progress import steps
from pearl_eval.simulation.acceptance import merge, record

#: The reference a second time: how far its ratio to itself is from 1 is the measuring's own error.
AGAIN = f"{REFERENCE} again"
#: Decoders whose rounds judge tokens that follow the text verified before.
_JUDGES_IN_PLACE = (Pearl, Speculative)


@dataclass(frozen=True)
class Contender:
    """A decoder, with a draft length where it has one."""

    label: str
    decoder: Decoder
    gamma: int | None = None

    def decode(self, prompt: Sequence[int], limit: int) -> tuple[Generation, float]:
        """Decode a prompt to ``limit`` tokens; also the seconds that took, all told."""
        if self.gamma is not None:
            self.decoder.chosen_gamma = self.gamma
        # What new shapes of forwards take to set up is no part of a measurement.
        self.decoder.prepare(len(prompt), len(prompt) + limit)
        start = clock()
        generation = self.decoder.decode(prompt, limit, ())
        return generation, clock() - start


def contenders(decoders: Sequence[str], gammas: Sequence[int]) -> list[Contender]:
    """The contenders that a benchmark names, not started yet.

    A decoder with a draft length competes with each of ``gammas``. Raises :class:`UserError` for
    what is no decoder.
    """
    found = []
    for name in dict.fromkeys([REFERENCE, *decoders]):
        path = config_dir() / "decoder" / f"{name}.yaml"
        if not path.is_file():
            raise UserError(f"decoders: there is no decoder {name}")
        node = cast(DictConfig, OmegaConf.load(path))
        has_gamma = "gamma" in node
        if has_gamma:
            node.gamma = 1  # set for each text
        decoder = build("decoder", node, Decoder)
        if name == REFERENCE:
            found += [Contender(REFERENCE, decoder), Contender(AGAIN, decoder)]
        elif has_gamma:
            found += [Contender(f"{name} γ={gamma}", decoder, gamma) for gamma in gammas]
        else:
            found.append(Contender(name, decoder))
    return found


def check_contenders(
    entrants: Sequence[Contender], pair: Pair, prompts: Sequence[Sequence[int]], limit: int
) -> None:
    """Refuse contenders that can't decode a pair's target, or these prompts with it."""
    for entrant in entrants:
        check_target(entrant.decoder, pair)
        if not entrant.decoder.follows_rope_switch:
            for prompt in prompts:
                pair.check_rope_switch("a prompt", len(prompt), len(prompt), limit)


@contextlib.contextmanager
def started(entrants: Sequence[Contender], models: Models, forward_repeats: int) -> Iterator[Timer]:
    """Start the decoders, one process for all draft lengths of each, and what times forwards."""
    with contextlib.ExitStack() as stack:
        for decoder in {id(one.decoder): one.decoder for one in entrants}.values():
            stack.callback(decoder.stop)
            decoder.start(models, Greedy())
        # Where PEARL competes, its draft process is timed; it is idle between the prompts.
        own = [one.decoder.drafter for one in entrants if type(one.decoder) is Pearl]
        if not own:
            own = [Drafter(models.load_draft, Greedy(), models.draft_process)]
            stack.callback(own[0].close)
            own[0].wait_ready()
        # Where speculative decoding competes, so are its turns.
        turning = [one.decoder for one in entrants if isinstance(one.decoder, Speculative)]
        draft = turning[0].draft if turning else None
        yield Timer(
            models.target,
            own[0],
            _gammas(entrants, Pearl),
            forward_repeats,
            draft,
            _gammas(entrants, Speculative),
        )


def _gammas(entrants: Sequence[Contender], kind: type[Decoder]) -> list[int]:
    return sorted({one.gamma for one in entrants if one.gamma and isinstance(one.decoder, kind)})


class Contest:
    """Lets contenders decode prompts, and compares what comes out.

    Parameters
    ----------
    entrants
        The contenders, started; the reference is among them.
    models
        The pair they were started with.
    timer
        Times forwards alone after each prompt, at the middle of its text.
    label
        What the progress bar says.
    """

    def __init__(
        self, entrants: Sequence[Contender], models: Models, timer: Timer, label: str
    ) -> None:
        self._entrants = entrants
        self._timer = timer
        self._label = label
        self._checker = EquivalenceChecker(models.target)

    def run(self, prompts: Sequence[Sequence[int]], limit: int, repeats: int, seed: int) -> Results:
        """Decode every prompt ``repeats`` times by every contender, in an order drawn anew."""
        rng = random.Random(seed)
        for one in self._entrants:
            one.decode(prompts[0], limit)
        measurements: list[Measurement] = []
        timed: list[Forwards] = []
        traces: dict[int, str] = {}
        rounds = [(repeat, index) for repeat in range(repeats) for index in range(len(prompts))]
        for repeat, index in steps(rounds, self._label):
            prompt = prompts[index]
            order = rng.sample(self._entrants, len(self._entrants))
            with no_garbage_collection():
                done = {one.label: one.decode(prompt, limit) for one in order}
                forwards = self._timer.forwards(len(prompt) + limit // 2, len(prompt))
            timed.append(forwards)
            traces[index] = self._trace(done)
            made = {label: generation for label, (generation, _) in done.items()}
            verdicts = judged(self._checker, self._entrants, prompt, limit, made)
            measurements += [
                Measurement.of(
                    one.label,
                    index,
                    repeat,
                    *done[one.label],
                    verdict=verdicts[one.label].kind,
                    why=verdicts[one.label].why,
                    draft_alone=forwards.draft,
                    pearl=Rounds.of(done[one.label][0], forwards)
                    if isinstance(one.decoder, Pearl)
                    else None,
                )
                for one in self._entrants
            ]
        return Results(measurements, timed, list(traces.values()))

    def _trace(self, done: Mapping[str, tuple[Generation, float]]) -> str:
        """Which tokens of a text the draft model gets right, as far as that was seen."""
        expected = done[REFERENCE][0].output_ids
        judging = [one.label for one in self._entrants if isinstance(one.decoder, _JUDGES_IN_PLACE)]
        generations = [done[label][0] for label in judging]
        recorded = [record(one.rounds) for one in generations if one.output_ids == expected]
        return merge(["-" * len(expected), *recorded])


def judged(
    checker: EquivalenceChecker,
    entrants: Sequence[Contender],
    prompt: Sequence[int],
    limit: int,
    made: Mapping[str, Generation],
) -> dict[str, Verdict]:
    """The verdict on every contender's output against the reference's, by their labels."""
    expected = made[REFERENCE].output_ids
    verdicts = {}
    for one in entrants:
        output, events = made[one.label].output_ids, made[one.label].events
        if one.decoder.lossless:
            verifier = Greedy().verifier(0, len(prompt))
            verdict = checker.compare(prompt, output, expected, limit, (), verifier, events)
        else:
            verdict = unchecked_verdict("lossy", output, expected)
        verdicts[one.label] = verdict
    return verdicts


def hold(
    setup: Setup,
    entrants: Sequence[Contender],
    prompts: Sequence[Sequence[int]],
    limit: int,
    repeats: int,
    *,
    seed: int,
    forward_repeats: int,
    label: str,
) -> Results:
    """Load a pair, let contenders compete on it, and free it all."""
    with reserve(setup) as setup, placed(setup.processes.target), setup.target() as target:
        models = setup.models(target)
        with started(entrants, models, forward_repeats) as timer:
            return Contest(entrants, models, timer, label).run(prompts, limit, repeats, seed)
