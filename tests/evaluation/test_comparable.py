"""What decides that two runs are comparable."""

from __future__ import annotations

from typing import Any

import pytest

from pearl_eval.results.comparable import CONDITIONS, conditions, differences

IDENTITY = {
    "protocol": "paper",
    "task.max_new_tokens": 64,
    "data": "d1",
    "weights of the target": "w1",
    "weights of the draft": "w2",
    "code": "c1",
}
SUMMARY: dict[str, Any] = {"decoder": "pearl", "draft_forwards": 9, "reference": "inline"}
NOTHING = {"dtype": None, "target_parallel": None, "versions": {}}
SUMMARY |= {"environment": NOTHING | {"dtype": "float32", "versions": {"torch": "2"}}}
SUMMARY |= {"decoder_about": {"draft_ends": 0}}


def test_runs_are_comparable_that_share_all_conditions() -> None:
    ours = conditions(SUMMARY, IDENTITY)
    assert set(ours) == set(CONDITIONS)
    assert differences(ours, conditions(SUMMARY | {"decoder": "other"}, IDENTITY)) == {}


@pytest.mark.parametrize(
    ("summary", "identity", "found"),
    [
        ({}, {"protocol": "standard"}, {"protocol": ("paper", "standard")}),
        ({}, {"data": "d2"}, {"data": ("d1", "d2")}),
        ({}, {"code": None}, {"code": ("c1", None)}),
        ({"reference": "cached"}, {}, {"reference": ("inline", "cached")}),
        ({"environment": NOTHING}, {}, {"dtype": ("float32", None), "torch": ("2", None)}),
        # Of a run without a draft model, what weights one would have is moot; others' is not.
        ({}, {"weights of the draft": None}, {}),
        ({}, {"weights of the draft": "w3"}, {"draft_weights": ("w2", "w3")}),
        # What a decoder looks up in goes with any that does not look up.
        ({"decoder_settings": {"cache": "warm"}}, {}, {}),
        ({"decoder_settings": {"gamma": 3}}, {}, {}),
        # What is not said is the paper's rule.
        ({"devices": {"rule": "own"}}, {}, {}),
        ({"devices": None}, {}, {}),
        ({"devices": {"rule": "all"}}, {}, {"reference_hardware": ("own", "all")}),
        # Runs of before there was a choice judged token by token.
        (
            {},
            {"sampling._target_": "a.Greedy", "sampling.verification": "token"},
            {"sampling": (None, "Greedy")},
        ),
        (
            {},
            {"sampling._target_": "a.B", "sampling.verification": "block"},
            {"sampling": (None, "B, verification=block")},
        ),
        # An engine's arguments count where it is the engine.
        ({}, {"engine.max_num_seqs": 2, "engine.max_model_len": None}, {}),
        (
            {"decoder_about": {"draft_ends": 0, "engine": "vLLM"}},
            {"engine.max_num_seqs": 2, "engine.max_model_len": None, "engine.a": 1},
            {"engine": ("transformers", "vLLM, a=1, max_num_seqs=2")},
        ),
    ],
)
def test_a_condition_that_differs_is_told(
    summary: dict[str, Any], identity: dict[str, Any], found: dict[str, Any]
) -> None:
    ours, theirs = (
        conditions(SUMMARY, IDENTITY),
        conditions(SUMMARY | summary, IDENTITY | identity),
    )
    assert differences(ours, theirs) == found
    assert differences(ours, theirs, may=found) == {}


def test_each_condition_is_told() -> None:
    devices = {
        "target_device": "cuda:1 (NVIDIA A100) + cuda:2 (NVIDIA A100)",
        "draft_device": "cuda:0 (NVIDIA H100)",
        "target_process": {"cores": [0, 1], "threads": 2},
        "draft_process": {"cores": [], "threads": 1},
    }
    versions = {"torch": "2", "transformers": "5", "python": "3.11"}
    environment = NOTHING | {"dtype": "bfloat16", "versions": versions, "driver": "550"}
    environment |= devices | {"forward": "cuda_graphs"}
    summary = {"environment": environment, "devices": {"rule": "all"}}
    summary |= {"decoder_settings": {"gamma": 3, "cache": "warm"}}
    identity = {
        "task.limit": 12,
        "task.spread": True,
        "runtime.fixed_window": True,
        "sampling._target_": "some.Temperature",
        "sampling.temperature": 0.5,
        "sampling.top_p": None,
    }
    assert conditions(SUMMARY | summary, IDENTITY | identity) == {
        "protocol": "paper",
        "max_new_tokens": 64,
        "limit": "12, spread",
        "data": "d1",
        "weights": "w1",
        "draft_weights": "w2",
        "dtype": "bfloat16",
        "sampling": "Temperature, temperature=0.5",
        "hardware": "NVIDIA A100 / NVIDIA H100",
        "target_devices": 2,
        "parallel": None,
        "processes": "target 2 threads, 2 cores; draft 1 thread, any cores",
        "draft_place": "its own",
        "reference": "inline",
        "reference_hardware": "all",
        "engine": "transformers",
        "cache": "warm",
        "forward": "cuda_graphs",
        "fixed_window": True,
        "code": "c1",
        "torch": "2",
        "transformers": "5",
        "python": "3.11",
        "driver": "550",
    }


@pytest.mark.parametrize(
    ("limit", "told"),
    [({}, None), ({"task.limit": 12}, "12"), ({"task.limit": 12, "task.spread": False}, "12")],
)
def test_a_limit_is_told_where_there_is_one(limit: dict[str, Any], told: str | None) -> None:
    assert conditions(SUMMARY, IDENTITY | limit)["limit"] == told


def test_what_both_models_compute_on() -> None:
    def told(target: str, draft: str | None, target_cores: list[int], **more: Any) -> list[Any]:
        environment = NOTHING | {"target_device": target, "draft_device": draft}
        environment |= {"target_process": {"cores": target_cores, "threads": 1}}
        environment |= {"draft_process": {"cores": [1], "threads": 1}}
        found = conditions(SUMMARY | {"environment": environment} | more, IDENTITY)
        return [found[name] for name in ("hardware", "draft_place", "processes")]

    both = "target 1 thread, {}; draft 1 thread, 1 core"
    gpus = "cuda:0 (A) + cuda:1 (B)"
    assert told("cpu", "cpu", [0]) == ["cpu", None, both.format("1 core")]
    assert told(gpus, "cuda:1 (B)", [0, 1]) == [
        "A + B / B", "the target's", f"{both.format('2 cores')}; some shared",
    ]  # fmt: skip
    # Copies of the draft model are where the target is, and without one there is no place.
    about = {"decoder_about": {"draft_ends": 2}}
    assert told("cuda:0 (A)", "cuda:1 (A)", [0], **about)[:2] == ["A", None]
    assert told("cuda:0 (A)", "cuda:1 (A)", [0], draft_forwards=0)[:2] == ["A", None]
    assert told("cuda:0 (A)", None, [0])[:2] == ["A", None]


def test_how_the_target_was_spread_is_told_of_earlier_runs_as_well() -> None:
    def parallel(said: Any) -> Any:
        environment = NOTHING | {"target_parallel": said}
        return conditions(SUMMARY | {"environment": environment}, IDENTITY)["parallel"]

    assert parallel(None) is None
    by_layers = {"by": "layers", "ranks": 1}
    assert parallel(by_layers) == parallel(by_layers | {"cores": [[0]]}) == "layers, 1 ranks"
    by_ranks = {"by": "tensor", "ranks": 2, "cores": [[0], [1]]}
    assert parallel(by_ranks) == "tensor, 2 ranks"


def test_a_cold_cache_is_not_compared_with_another() -> None:
    def run(cache: str) -> dict[str, Any]:
        return conditions(SUMMARY | {"decoder_settings": {"cache": cache}}, IDENTITY)

    assert differences(run("cold"), run("cold")) == {}
    assert differences(run("cold"), run("warm")) == {"cache": ("cold", "warm")}
