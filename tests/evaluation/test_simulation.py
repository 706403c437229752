"""The simulator's rounds are the decoders' own; its arithmetic is that of forwards."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from decoder_cases import ALL_NAMES, make_decoder
from recorded import record
from small_pair import SmallPair, save_pair
from test_relay import make_ends
from toy import Inline, InlineDrafter, InlineRetriever

from decoders import pearl, pearl_async, pearl_retrieval
from decoders.decoder import Decoder
from decoders.generation import Generation
from decoders.model.cached_model import CachedModel
from decoders.process import forerunner_service
from decoders.process.forerunner import Drafted, Forerunner
from decoders.process.models import Models
from decoders.process.worker import WorkerOptions
from decoders.round import Round
from decoders.sampling.sampler import Greedy
from decoders.schedule import BOTH, DRAFT_MODEL, LOOK_UP, Adaptive, Replicas
from decoders.session import Session
from pearl_eval.simulation import (
    Ahead,
    Alone,
    BlockRates,
    Branching,
    Costs,
    ForwardTimes,
    Lookups,
    Parallel,
    Rate,
    Retrievals,
    Retrieving,
    Sequential,
    Simulation,
    Slowdown,
    Surface,
    Switching,
    Trace,
    describe,
    drafted_alone,
    drafts_by,
    predict_speedup,
    read_schedule,
)
from pearl_eval.simulation.acceptance import merge
from pearl_eval.simulation.retrievals import retrieved

PROMPT = list(range(20, 60))
LIMIT = 90
BOTH_ENDS = Parallel(4, ends=2)
#: PEARL without either of its strategies, which is in no configuration.
NEITHER = "pearl with neither"
#: Decoders whose rounds do not depend on how long anything takes.
UNTIMED = [
    *itertools.product(
        [
            "speculative",
            "pearl",
            "pearl_no_pre_verify",
            "pearl_no_post_verify",
            NEITHER,
            "pearl_shared",
            "pearl_shared_one_end",
            "assisted_constant",
            "assisted_heuristic",
        ],
        [1, 4, 7],
    ),
    ("autoregressive", None),
    ("generate", None),
]


def made_by(name: str, gamma: int | None) -> Decoder:
    if name == NEITHER:
        return pearl.Pearl(gamma or 4, pre_verify=False, post_verify=False)
    return make_decoder(name, gamma)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> SmallPair:
    """One whose draft model is right most of the time, so that whole blocks are."""
    return save_pair(tmp_path_factory.mktemp("pair"), noise=0.003)


@pytest.fixture(scope="module")
def decode(pair: SmallPair) -> Iterator[Callable[[str, int | None], Generation]]:
    """Decodes one text by a decoder: PEARL in its two processes, with shared ends in three, its
    other variants in this one."""
    options = WorkerOptions(spin_seconds=0.0005, answer_timeout=60)
    alone = Models(pair.load_target(), pair.load_draft, options)
    made: dict[str, Session] = {}

    def run(name: str, gamma: int | None) -> Generation:
        if name not in made:
            ends = tuple(make_ends(pair)) if name == "pearl_shared" else ()
            models = replace(alone, ends=ends)
            with pytest.MonkeyPatch.context() as patch:
                if name != "pearl":
                    patch.setattr(pearl, "Drafter", InlineDrafter)
                    patch.setattr(pearl_retrieval, "Retriever", InlineRetriever)
                made[name] = made_by(name, gamma).start(models, Greedy())
        if gamma:
            made[name].gamma = gamma
        return made[name].decode(PROMPT, LIMIT, [])

    yield run
    for decoder in made.values():
        decoder.stop()


@pytest.fixture(scope="module")
def trace(decode: Callable[[str, int | None], Generation]) -> Trace:
    """What PEARL's rounds say of every token of the text."""
    return Trace((record(decode("pearl", 3).rounds),))


def structure(rounds: Any) -> list[tuple[Any, ...]]:
    names = ("mode", "drafted", "judged", "accepted", "verified_length", "target_tokens")
    return [tuple(getattr(one, name) for name in names) for one in rounds]


def test_the_recorded_text_has_right_and_wrong_drafts(trace: Trace) -> None:
    (marks,) = trace.prompts
    assert len(marks) == LIMIT and set(marks) == {"0", "1"}
    assert marks.count("0") > 5 and "1" * 15 in marks


@pytest.mark.parametrize(("name", "gamma"), UNTIMED)
def test_rounds_are_those_of_the_decoder(
    decode: Callable[[str, int | None], Generation], trace: Trace, name: str, gamma: int | None
) -> None:
    real = decode(name, gamma)
    times = ForwardTimes.constant(4.0)
    schedule = made_by(name, gamma).simulated_as()
    assert schedule is not None
    simulation = Simulation(schedule, times, trace, max_new_tokens=LIMIT, prompts=[len(PROMPT)])
    assert structure(simulation.rounds()) == structure(real.rounds)
    assert simulation.run().accepted_runs == real.accepted_runs


@pytest.mark.parametrize("gamma", [2, 6])
@pytest.mark.parametrize("name", ["suffix", "prompt_lookup"])
def test_rounds_that_look_up_are_those_that_were_recorded(
    decode: Callable[[str, int | None], Generation], name: str, gamma: int
) -> None:
    real = decode(name, gamma)
    found = Lookups((tuple((one.drafted, one.accepted) for one in real.rounds),))
    assert len({drafted for drafted, _ in found.prompts[0]}) > 1
    simulation = Simulation(
        make_decoder(name, gamma).simulated_as(),  # type: ignore[arg-type]
        ForwardTimes.constant(4.0),
        found,
        max_new_tokens=LIMIT,
        prompts=[len(PROMPT)],
    )
    assert structure(simulation.rounds()) == structure(real.rounds)
    assert simulation.run().draft_seconds == 0


@pytest.mark.parametrize("gamma", [1, 3, 7])
def test_rounds_whose_models_read_guesses_are_those_that_were_recorded(
    decode: Callable[[str, int | None], Generation], gamma: int
) -> None:
    real = decode("pearl_retrieval", gamma)
    found = Retrievals((tuple(retrieved(real.rounds, len(PROMPT))),))
    (rounds,) = found.prompts
    # The target read guesses, drafts were longer than their forwards are many, and both were wrong.
    assert any(one.target_guessed for one in rounds) and any(one.retrieved for one in real.rounds)
    assert any(sum(one.guessed) + len(one.given) > sum(one.given) for one in rounds)
    assert any(one.rejected for one in rounds)
    simulation = Simulation(
        make_decoder("pearl_retrieval", gamma).simulated_as(),  # type: ignore[arg-type]
        ForwardTimes.constant(4.0),
        found,
        max_new_tokens=LIMIT,
        prompts=[len(PROMPT)],
    )
    assert structure(simulation.rounds()) == structure(real.rounds)
    result = simulation.run()
    assert result.accepted_runs == real.accepted_runs
    assert result.draft_forwards == real.draft_forwards


def test_speculative_rounds_leave_only_its_own_tokens_unknown(
    decode: Callable[[str, int | None], Generation], trace: Trace
) -> None:
    """What is known of another decoder's trace is the same, and several together know more."""
    recorded = [record(decode("speculative", gamma).rounds) for gamma in (1, 4)]
    for marks in recorded:
        assert "-" in marks
        assert all(a in (b, "-") for a, b in zip(marks, trace.prompts[0], strict=True))
    assert merge(recorded).count("-") < recorded[1].count("-")


@dataclass
class Virtual:
    """A clock that only forwards move."""

    now: float = 0.0
    target_seconds: float = 0.0
    draft_seconds: float = 0.0


class VirtualForerunner(Inline, Forerunner):  # type: ignore[misc]
    """Runs the draft process's service here, in the order of a virtual clock."""

    make_service = forerunner_service.ForerunnerService
    clock: Virtual

    def begin(self, *arguments: Any) -> None:
        self._inbox: list[tuple[float, Any]] = []
        self._free = self.clock.now
        super().begin(*arguments)

    def send(self, message: Any) -> None:
        self._inbox.append((self.clock.now, message))
        if message == (forerunner_service.PAUSE,):
            self._run(float("inf"))

    def read(self, wait: float = 0.0) -> list[Drafted]:
        self._run(self.clock.now)
        while wait and not self._answers:
            self.clock.now = max(self.clock.now, self._free + self.clock.draft_seconds)
            self._run(self.clock.now)
        return super().read()

    def receive_now(self) -> Any | None:
        return self._answers.pop(0) if self._answers else None

    def _run(self, until: float) -> None:
        while True:
            if self._inbox and (self._inbox[0][0] <= self._free or not self._service.may_draft):
                at, message = self._inbox.pop(0)
                self._free = max(self._free, at)
                super().send(message)
            elif self._service.may_draft and self._free + self.clock.draft_seconds <= until:
                self._free += self.clock.draft_seconds
                name, lineage, position, token, *_ = self._service.draft(0.0)
                self._answers.append((name, lineage, position, token, 1.0, 0.0, self._free))
            else:
                return


class TimedTarget(CachedModel):
    clock: Virtual

    def extend(self, tokens: Any, rows: int) -> torch.Tensor:
        self.clock.now += self.clock.target_seconds
        return super().extend(tokens, rows)


@pytest.mark.parametrize(("ahead", "waits"), [(1, False), (3, False), (24, False), (24, True)])
@pytest.mark.parametrize("speed_ratio", [0.6, 1.7, 3.7, 9.3])
def test_rounds_without_a_barrier_are_those_of_the_decoder(
    monkeypatch: pytest.MonkeyPatch,
    pair: SmallPair,
    trace: Trace,
    speed_ratio: float,
    ahead: int,
    waits: bool,
) -> None:
    """Both sides of the real decoder by a clock of our own: where all depends on time."""
    clock = Virtual(target_seconds=speed_ratio, draft_seconds=1.0)
    monkeypatch.setattr(VirtualForerunner, "clock", clock, raising=False)
    monkeypatch.setattr(TimedTarget, "clock", clock, raising=False)
    monkeypatch.setattr(pearl_async, "Forerunner", VirtualForerunner)
    decoder = pearl_async.PearlAsync(ahead, waits)
    target = TimedTarget(pair.load_target().model)
    session = decoder.start(Models(target, pair.load_draft, WorkerOptions()), Greedy())
    real = session.decode(PROMPT, LIMIT, []).rounds
    times = ForwardTimes.constant(speed_ratio)
    schedule = decoder.simulated_as()
    assert schedule == Ahead(ahead, waits)
    simulation = Simulation(schedule, times, trace, max_new_tokens=LIMIT, prompts=[len(PROMPT)])
    simulated = list(simulation.rounds())
    if waits:
        # But for the last token of the limit, for which nothing is drafted.
        assert all(one.mode == "verify" and one.judged for one in real[:-1])
    # The last round's drafted tokens are those that came too late, which change nothing.
    assert structure(simulated)[:-1] == structure(real)[:-1]
    assert sum(one.seconds for one in simulated) == pytest.approx(
        max(clock.now, session.forerunner._free)
    )


def test_forwards_are_read_from_points() -> None:
    """Linear between the points; beyond them windows go on growing, contexts do not."""
    surface = Surface.of({(1, 0): 1.0, (5, 0): 2.0, (1, 100): 2.0, (5, 100): 3.0})
    assert surface(3, 50) == pytest.approx(2.0)
    assert surface(9, 0) == pytest.approx(3.0)
    assert surface(1, 500) == pytest.approx(2.0)


def test_only_what_overlaps_is_slowed_down() -> None:
    """Half speed beside the other: 1 s of work takes 2 s, of 4 s 3 s are left, and run alone."""
    assert Slowdown(2.0, 2.0).beside(4.0, 1.0) == pytest.approx((5.0, 2.0))
    assert Slowdown(2.0, 2.0).beside(1.0, 4.0) == pytest.approx((2.0, 5.0))


def test_costs_are_added_where_they_arise() -> None:
    times, rate = ForwardTimes.constant(4.0), Rate(1.0)
    alone, both = (
        Simulation(Parallel(4), times, rate, costs, max_new_tokens=40).run()
        for costs in (Costs(), Costs(round=0.5, crossing=1.0))
    )
    assert both.seconds == pytest.approx(alone.seconds + 1.5 * alone.rounds)


def test_turns_cost_what_was_timed() -> None:
    """By the number of tokens drafted: 3 after 2 tokens, 5 after 4, so 4 after 3. The text's last
    token is the target's own, decoded without turns."""
    times = replace(ForwardTimes.constant(4.0), switching=Switching((2, 4), (3.0, 5.0)))
    speculative = Simulation(Sequential(3), times, Rate(1.0), max_new_tokens=9)
    assert [one.seconds for one in speculative.rounds()] == pytest.approx([11.0, 11.0, 4.0])
    assert Switching()(3) == 0.0 and times.switching(1) == 3.0 and times.switching(9) == 5.0


def test_what_is_under_way_is_not_there_yet() -> None:
    """A token each second, which half a crossing delays: after its forward of 2.5 s the target
    finds both that were made by then, or one."""
    times = ForwardTimes.constant(2.5)
    drafted = []
    for crossing in (0.0, 1.0):
        costs = Costs(crossing=crossing)
        rounds = list(Simulation(Ahead(96), times, Rate(1.0), costs, 20).rounds())
        drafted.append([one.drafted for one in rounds[:2]])
    assert drafted == [[0, 2], [0, 1]]


def test_copies_at_both_ends_draft_where_the_target_is_not() -> None:
    """Drafted at 0 and 2 s by the last end's copy, from 5 s on, after a second for handing over, by
    the first end's: done at 9 s, while the target takes 6."""
    times = ForwardTimes(Surface.constant(6.0), Surface.constant(2.0))
    costs = Costs(handover=1.0)
    first = next(Simulation(BOTH_ENDS, times, Rate(1.0), costs, max_new_tokens=40).rounds())
    assert (first.draft_seconds, first.target_seconds, first.seconds) == (8.0, 6.0, 9.0)
    assert (first.wait_draft_seconds, first.wait_target_seconds) == (1.0, 3.0)
    # A single token is there before the target is half done: nothing is handed over.
    first = next(
        Simulation(Parallel(1, ends=2), times, Rate(1.0), costs, max_new_tokens=40).rounds()
    )
    assert (first.draft_seconds, first.seconds) == (2.0, 6.0)


def test_either_copy_reads_what_the_other_drafted() -> None:
    """A draft forward takes 1 s and 0.1 s for every token it reads beyond one."""
    draft = Surface.of({(1, 0): 1.0, (101, 0): 11.0})
    times = ForwardTimes(Surface.constant(6.0), draft)
    simulation = Simulation(BOTH_ENDS, times, Rate(1.0), max_new_tokens=40, prompts=[10])
    first, second = (one.draft_seconds for one, _ in zip(simulation.rounds(), "ab", strict=False))
    # Three by the last end's copy, the first of them over the prompt; one by the other, which reads
    # the prompt and these three.
    assert first == pytest.approx(1.9 + 2 * 1.0 + 2.2)
    # The last end's copy has its own third and the other's one to read; then the other these three
    # and its own.
    assert second == pytest.approx(1.1 + 2 * 1.0 + 1.3)


def test_a_seed_gives_one_text_to_every_decoder() -> None:
    times = ForwardTimes.constant(4.0)
    first, again = (Simulation(Parallel(4), times, Rate(0.7)).run(5000, seed=3) for _ in range(2))
    assert first == again
    assert first != Simulation(Parallel(4), times, Rate(0.7)).run(5000, seed=4)


def test_without_a_seed_it_is_zero_and_texts_are_those_of_the_first() -> None:
    simulation = Simulation(Sequential(3), ForwardTimes.constant(4.0), Rate(0.5))
    assert (simulation.max_new_tokens, simulation.prompts) == (256, (128,))
    others = [list(simulation.rounds(index, seed)) for index, seed in ((1, 0), (0, 1))]
    assert list(simulation.rounds()) == list(simulation.rounds(0, 0)) not in others
    assert simulation.run() == simulation.run(seed=0) != simulation.run(seed=1)
    # 20,000 tokens are 78.1 texts of 256.
    said = {"tokens": 79 * 256, "seed": 0, "costs": Costs(), "max_new_tokens": 256}
    arguments = Sequential(3), ForwardTimes.constant(4.0), Rate(0.5)
    speedup = predict_speedup(*arguments)
    assert speedup == predict_speedup(*arguments, **said, prompts=(128,))  # type: ignore[arg-type]
    fewer = predict_speedup(*arguments, **said | {"tokens": 78 * 256})  # type: ignore[arg-type]
    assert speedup != fewer


@pytest.mark.parametrize(("tokens", "texts"), [(None, 3), (1, 1), (20, 1), (21, 2), (100, 5)])
def test_as_many_texts_are_simulated_as_there_are_tokens_for(
    tokens: int | None, texts: int
) -> None:
    simulation = Simulation(
        Alone(), ForwardTimes.constant(4.0), Rate(0.5), max_new_tokens=20, prompts=[5, 6, 7]
    )
    result = simulation.run(tokens)
    assert (len(result.text_seconds), result.tokens) == (texts, 20 * texts)


def test_prompts_are_taken_in_turns() -> None:
    """A target forward takes a second for each token it reads."""
    surface = Surface.of({(1, 0): 1.0, (2, 0): 2.0})
    times = ForwardTimes(surface, Surface.constant(1.0))
    simulation = Simulation(Alone(), times, Rate(0.5), max_new_tokens=1, prompts=[5, 6, 7])
    assert simulation.run(5).text_seconds == [5.0, 6.0, 7.0, 5.0, 6.0]


def test_decoders_that_are_not_simulated_say_so() -> None:
    not_simulated = {name for name in ALL_NAMES if make_decoder(name).simulated_as() is None}
    newer = {"assisted_early_exit", "assisted_mtp", "assisted_universal"}
    assert not_simulated == {"lookahead", "assisted_confidence"} | newer


@pytest.mark.parametrize(
    ("schedule", "acceptance", "message"),
    [
        (
            Sequential(5, free=True),
            Rate(0.5),
            "needs the acceptance of drafts by: look-up in the text",
        ),
        (Sequential(5), Rate(0.5, of=LOOK_UP), "by: draft model; got that of look-up in the text"),
        (Retrieving(5, 10), Rate(0.5), "by: draft model that reads what was found by look-up"),
        (Ahead(96), BlockRates((0.5,)), "no blocks"),
        (None, Rate(0.5), "expected a schedule, .*got None"),
        ("pearl", Rate(0.5), "expected a schedule, .*got 'pearl'"),
    ],
)
def test_what_cannot_be_simulated_is_refused(schedule: Any, acceptance: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Simulation(schedule, ForwardTimes.constant(4.0), acceptance)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Sequential(0), "gamma, the draft length, must be at least 1, got 0"),
        (lambda: Parallel(-1), "gamma, the draft length, must be at least 1, got -1"),
        (lambda: Parallel(4, ends=3), "0, 1 or 2, got 3"),
        (lambda: Parallel(4, ends=-1), "0, 1 or 2, got -1"),
        (lambda: Branching(0, 2), "gamma, the draft length, must be at least 1, got 0"),
        (lambda: Retrieving(0, 10), "gamma, the draft length, must be at least 1, got 0"),
        (lambda: Retrieving(3, 0), "guesses, the most tokens of a guess, must be at least 1, got"),
        (lambda: read_schedule({"_target_": "decoders.schedule.Turn"}), "no schedule .*Turn "),
        (lambda: read_schedule({"_target_": "decoders.schedule.Sequential"}), "gamma"),
        (lambda: read_schedule({"_target_": "builtins.dict"}), "with the methods of a schedule"),
        (lambda: read_schedule({"gamma": 3}), "no schedule None"),
    ],
)
def test_what_is_no_schedule_is_refused(made: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made()


def test_a_schedule_is_described_and_read_back() -> None:
    """With what it is unlike the plain one in, and the lengths that it can't be without."""
    described = {
        Alone(): {},
        Alone(drafts=True): {"drafts": True},
        Sequential("auto", library=True): {"gamma": "auto", "library": True},
        Parallel(3, post_verify=False, ends=1): {"gamma": 3, "post_verify": False, "ends": 1},
        Ahead(96): {"ahead": 96},
        Retrieving(3, 8): {"gamma": 3, "guesses": 8},
        Retrieving(3, 8, target_reads=False): {"gamma": 3, "guesses": 8, "target_reads": False},
        Branching(5, 2, "geometric", at_miss=False): {
            "gamma": 5, "fan_out": 2, "shape": "geometric", "at_miss": False,
        },
    }  # fmt: skip
    for schedule, said in described.items():
        kind = f"decoders.schedule.{type(schedule).__name__}"
        assert describe(schedule) == {"_target_": kind} | said
        assert read_schedule(describe(schedule)) == schedule


@dataclass(frozen=True)
class Odd(Alone):
    """A schedule with a setting that no file can hold."""

    sizes: tuple[int, ...] = (1, 2)


class Bare:
    """A schedule without settings."""

    def ends_run(self, one: Any) -> bool:
        return True


def test_schedules_of_somebodys_own_are_described() -> None:
    assert describe(Odd(sizes=(3,))) == {"_target_": f"{__name__}.Odd", "sizes": "(3,)"}
    assert describe(Odd(drafts=True)) == {"_target_": f"{__name__}.Odd", "drafts": True}
    bare: Any = Bare()
    assert describe(bare) == {"_target_": f"{__name__}.Bare"}
    assert isinstance(read_schedule(describe(bare)), Bare)
    assert drafts_by(bare) is None and drafted_alone(bare)


#: Schedules: who drafts; whether that is a draft model alone; whether it is us who look up; whether
#: a run of accepted tokens ends in a round in which nothing was rejected.
SAID: list[tuple[Any, str | None, bool, bool, bool]] = [
    (Alone(), None, True, False, True),
    (Alone(drafts=True), None, True, False, True),
    (Sequential(3), DRAFT_MODEL, True, False, True),
    (Sequential(3, library=True), DRAFT_MODEL, True, False, True),
    (Sequential(3, free=True), LOOK_UP, False, True, True),
    (Sequential(3, free=True, library=True), LOOK_UP, False, False, True),
    (Parallel(3), DRAFT_MODEL, True, False, False),
    (Retrieving(3, 2), BOTH, False, True, False),
    (Ahead(2), DRAFT_MODEL, True, False, False),
    (Adaptive(2), DRAFT_MODEL, True, False, False),
    (Branching(3, 2), DRAFT_MODEL, True, False, True),
    (Replicas(2, 2), DRAFT_MODEL, True, False, False),
]


@pytest.mark.parametrize("said", SAID, ids=lambda said: repr(said[0]))
def test_what_schedules_say(said: tuple[Any, str | None, bool, bool, bool]) -> None:
    schedule, drafts, alone, looks_up, ends_run = said
    assert (drafts_by(schedule), drafted_alone(schedule)) == (drafts, alone)
    assert getattr(schedule, "looks_up", False) == looks_up
    assert schedule.ends_run(Round("post-verify")) == ends_run


def test_of_pearls_rounds_those_end_a_run_to_which_the_target_adds_a_token() -> None:
    modes = ("draft", "pre-verify", "verify", "post-verify")
    assert [Parallel(3).ends_run(Round(mode)) for mode in modes] == [False, False, True, False]


def test_where_there_is_no_schedule_nothing_is_drafted() -> None:
    assert drafts_by(None) is None and drafted_alone(None)


def test_a_draft_length_to_be_chosen_is_the_speed_ratio() -> None:
    """The paper's Theorem 1; at least one token."""
    for speed_ratio, gamma in ((3.6, 4), (0.3, 1)):
        times = ForwardTimes.constant(speed_ratio)
        made = [Simulation(Parallel(one), times, Rate(0.7)) for one in ("auto", gamma)]
        assert made[0] == made[1]
        assert made[0].schedule == Parallel(gamma)
