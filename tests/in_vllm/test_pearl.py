"""PEARL inside vLLM gives what vLLM gives alone, whatever happens."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("vllm")

from vllm_tiny import (
    ARGUMENTS,
    MOST,
    TEXTS,
    fit,
    generate,
    handed,
    log_of,
    pearl_arguments,
    prompts,
    set_pearl,
)

from decoders.sampling.temperature import Temperature


@pytest.fixture(scope="module")
def engine(start: Callable[..., Any]) -> Iterator[Any]:
    with start(**pearl_arguments()) as engine:
        yield engine


Pearl = Callable[..., Any]


@pytest.fixture
def pearl(engine: Any) -> Iterator[Pearl]:
    """The engine, once its proposer has other settings and an empty log."""

    def pearl(**changes: Any) -> Any:
        set_pearl(engine, **changes)
        return engine

    yield pearl


def outputs(inner: Any, step: int, meanwhile: Callable[[], None]) -> dict[str, list[int]]:
    """What becomes of the engine's requests, by name; something is done after one of its steps."""
    found: dict[str, list[int]] = {}
    steps = 0
    while inner.has_unfinished_requests():
        for answer in inner.step():
            found[answer.request_id.split("-")[0]] = list(answer.outputs[0].token_ids)
        steps += 1
        if steps == step:
            meanwhile()
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {"wait": 0},
        {"wait": "auto"},
        {"wait": 4},
        {"wait": MOST},
        {"ahead": 1},
        {"gamma": 1},
        {"gamma": 4},
        {"gamma": MOST + 1},
    ],
)
def test_several_requests_at_once_get_what_they_get_alone(
    pearl: Pearl, expected: list[list[int]], changes: dict[str, Any]
) -> None:
    engine = pearl(**changes)
    assert generate(engine, prompts()) == expected
    log = log_of(engine)
    assert log[-1]["failed"] is None
    assert max(len(entry["rows"]) for entry in log) == TEXTS
    assert max(map(len, handed(log))) <= min(changes.get("gamma", MOST + 1) - 1, MOST)
    if changes.get("gamma", 1) > 1 or changes.get("wait", 0) == MOST:
        assert any(handed(log))


def test_one_request_takes_as_many_steps_as_what_is_accepted_leaves(
    pearl: Pearl, expected: list[list[int]]
) -> None:
    engine = pearl(gamma=9)
    assert generate(engine, prompts()[:1]) == expected[:1]
    log = log_of(engine)
    # Each step gains a token of the target's own, and what is accepted of its 8 drafted ones.
    assert 128 / 9 <= len(log) < 64


def test_an_end_inside_of_what_is_accepted_is_the_end(
    pearl: Pearl, expected: list[list[int]]
) -> None:
    engine = pearl(wait=MOST)
    for length in (1, 2, 7, 30):
        limited = generate(engine, prompts()[:2], max_tokens=length)
        assert limited == [whole[:length] for whole in expected[:2]]
    for whole, prompt in zip(expected[:4], prompts(), strict=False):
        stop = whole[40]
        [stopped] = generate(engine, [prompt], stop_token_ids=[stop])
        assert stopped == whole[: whole.index(stop) + 1]


def test_a_text_may_become_as_long_as_the_engine_allows(
    pearl: Pearl, expected: list[list[int]]
) -> None:
    engine = pearl(wait=MOST)
    room = ARGUMENTS["max_model_len"]
    prompt = [*prompts()[0], *expected[0]]
    [whole] = generate(engine, [prompt], max_tokens=room - len(prompt))
    assert len(prompt) + len(whole) == room
    [plain] = generate(pearl(ahead=1), [prompt], max_tokens=room - len(prompt))
    assert whole == plain


def test_requests_that_are_aborted_leave_the_others_as_they_are(
    pearl: Pearl, expected: list[list[int]]
) -> None:
    from vllm import SamplingParams
    from vllm.inputs import TokensPrompt

    engine = pearl(wait=4)
    inner = engine.llm_engine
    options = SamplingParams(temperature=0, max_tokens=128, ignore_eos=True, detokenize=False)
    ids = {}
    for number in range(TEXTS):
        prompt = TokensPrompt(prompt_token_ids=prompts()[number])
        ids[number] = inner.add_request(str(number), prompt, options) or str(number)

    def abort() -> None:
        inner.abort_request([ids[0], ids[2]])
        # The same text comes again, in another row.
        inner.add_request("9", TokensPrompt(prompt_token_ids=prompts()[2]), options)

    found = outputs(inner, 6, abort)
    assert [found[name] for name in ("1", "3", "9")] == [expected[1], expected[3], expected[2]]
    assert log_of(engine)[-1]["failed"] is None


def test_a_prompt_that_comes_again_is_drafted_from_nothing(pearl: Pearl) -> None:
    engine = pearl(gamma=5)
    first = (generate(engine, prompts()[:1]), handed(log_of(engine)))
    assert (generate(engine, prompts()[:1]), handed(log_of(engine))) == first
    assert first[1][0] == [] and len(first[1]) > 128 / 6


def test_sampled_tokens_are_distributed_as_the_targets(pearl: Pearl) -> None:
    engine, sampling = pearl(wait=4), Temperature(temperature=1.0)
    asked = [prompt for prompt in prompts() for _ in range(8)]
    # By the engine's own seed: on a CPU vLLM fails where a request's own meets a prompt in parts.
    outputs = generate(engine, asked, temperature=sampling.temperature, max_tokens=32)
    found = fit(asked, outputs, sampling)
    assert found.tokens == len(asked) * 32 and not found.refused
    # With so many tokens a bias of this size would have been seen.
    assert found.smallest_bias < 0.1
    log = log_of(engine)
    assert log[-1]["failed"] is None and any(handed(log))


def test_drafted_tokens_are_judged_at_their_requests_temperature(pearl: Pearl) -> None:
    """Which vLLM 0.32 loses on a CPU: there what is judged by is whatever lay in memory."""

    def temperatures(worker: Any) -> list[float]:
        import torch
        from vllm.v1.sample import rejection_sampler

        ends = torch.tensor([1, 3], dtype=torch.int32)
        return rejection_sampler.expand_batch_to_tokens(torch.tensor([0.25, 1.5]), ends, 3).tolist()

    assert pearl().collective_rpc(temperatures) == [[0.25, 1.5, 1.5]]


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_a_draft_process_that_is_gone_in_the_middle_harms_nothing(
    pearl: Pearl, expected: list[list[int]], fault: int
) -> None:
    # The paper's form waits for drafts, however busy the machine is.
    engine = pearl(gamma=4, answer_timeout=0.5)

    def draft_process(worker: Any) -> int:
        return int(worker.model_runner.drafter.pid)

    [pid] = engine.collective_rpc(draft_process)
    from vllm import SamplingParams
    from vllm.inputs import TokensPrompt

    options = SamplingParams(temperature=0, max_tokens=128, ignore_eos=True, detokenize=False)
    inner = engine.llm_engine
    for number in (0, 1):
        inner.add_request(str(number), TokensPrompt(prompt_token_ids=prompts()[number]), options)
    found = outputs(inner, 8, lambda: os.kill(pid, fault))
    assert [found["0"], found["1"]] == expected[:2]
    failed = [entry["failed"] for entry in log_of(engine)]
    assert failed[0] is None and f"pid {pid}" in failed[-1]
    assert not any(generate_and_log(engine)[1])

    def begin_anew(worker: Any) -> None:
        drafter = worker.model_runner.drafter
        drafter.__init__(drafter._config)
        drafter.load_model(None)

    engine.collective_rpc(begin_anew)
    assert any(generate_and_log(pearl(gamma=4))[1])


def generate_and_log(engine: Any) -> tuple[list[list[int]], list[list[int]]]:
    log_of(engine)
    return generate(engine, prompts()[:1], max_tokens=40), handed(log_of(engine))
