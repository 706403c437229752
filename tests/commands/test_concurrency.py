"""The part of a benchmark that decodes several requests at once, with decoders that can here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf
from small_pair import SmallPair

from decoders.autoregressive import Autoregressive, AutoregressiveSession
from decoders.speculative import Speculative, SpeculativeSession
from pearl_eval.bench import concurrency
from pearl_eval.bench.concurrency import _point
from pearl_eval.bench.config import ConcurrencyConfig
from pearl_eval.config.schema import Names

Command = Callable[..., tuple[int, str, str]]


class Asked:
    """Lets two decoders take several texts, one after the other, and notes how many were asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, int, int]] = []
        self.wrong = 0

        def decode_at_once(
            session: Any,
            prompts: Iterable[tuple[list[int], int]],
            max_new_tokens: int,
            stop_ids: Iterable[int],
            at_once: int,
        ) -> list[tuple[list[int], float]]:
            texts = list(prompts)
            name = type(session.decoder).__name__
            self.asked.append((name, len(texts), at_once))
            made = [session.decode(ids, max_new_tokens, stop_ids, seed) for ids, seed in texts]
            outputs = [one.output_ids for one in made]
            if self.wrong and at_once == self.wrong:
                outputs[1] = [outputs[1][0] ^ 1, *outputs[1][1:]]
            return [(one, 0.5 + index) for index, one in enumerate(outputs)]

        for decoder, session in (
            (Autoregressive, AutoregressiveSession),
            (Speculative, SpeculativeSession),
        ):
            monkeypatch.setattr(decoder, "takes_several", True)
            monkeypatch.setattr(session, "decode_at_once", decode_at_once)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


@pytest.fixture
def bench(run_command: Command, small_pair: SmallPair) -> Command:
    def run(*arguments: str) -> tuple[int, str, str]:
        own = [one.replace("pair.", "concurrency.pair.") for one in small_pair.overrides]
        own = [one.replace("pair=", "pair@concurrency.pair=") for one in own]
        return run_command(
            "bench", "contest=false", "concurrency=vllm", "hydra.run.dir=bench", "prompts=4",
            "concurrency.decoders=[autoregressive,speculative]", "concurrency.prompts=3",
            "concurrency.max_new_tokens=6", "concurrency.requests=[1,4]", "concurrency.repeats=2",
            *small_pair.overrides, *own, *arguments,
        )  # fmt: skip

    return run


def test_every_contender_meets_every_number_of_requests(
    asked: Asked, bench: Command, tmp_path: Path
) -> None:
    code, out, err = bench()
    assert code == 0, err
    assert "Requests at once" in out
    # What outputs are held to; the other's warming up; then all by turns.
    assert asked.asked[:2] == [("Autoregressive", 3, 1), ("Speculative", 2, 1)]
    turns = asked.asked[2:]
    each = [(name, 3, count) for name in ("Autoregressive", "Speculative") for count in (1, 4)]
    assert sorted(turns[:4]) == sorted(turns[4:]) == each
    points = json.loads((tmp_path / "bench" / "bench.json").read_text())["concurrency"]
    assert [(one["contender"], one["requests"]) for one in points] == [
        ("autoregressive", 1),
        ("autoregressive", 4),
        ("speculative", 1),
        ("speculative", 4),
    ]
    for one in points:
        assert one["least"] <= one["tokens_per_second"] <= one["most"]
        # Of 0.5, 1.5 and 2.5 s.
        assert (one["latency"], one["identical"], one["outputs"]) == (1.5, 6, 6)


def test_an_output_that_is_not_the_targets_ends_it(asked: Asked, bench: Command) -> None:
    asked.wrong = 4
    code, _, err = bench()
    assert code == 1
    assert "4 requests at once, HumanEval/" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["concurrency.requests=[]"], "concurrency.requests are numbers of at least 1, got []"),
        (["concurrency.requests=[2,0]"], "concurrency.requests are numbers of at least 1"),
        (["concurrency.decoders=[]"], "concurrency.decoders is empty"),
        (
            ["concurrency.decoders=[autoregressive,pearl]"],
            "concurrency.decoders: pearl decodes one text at a time",
        ),
    ],
)
def test_what_can_not_be_measured_is_refused(
    asked: Asked, bench: Command, arguments: list[str], said: str
) -> None:
    code, _, err = bench(*arguments)
    assert code == 2
    assert said in err
    assert asked.asked == []


def test_an_engine_takes_as_many_requests_as_are_ever_asked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On the first of the benchmark's problems, once each."""
    asked: list[Any] = []
    planned: list[Any] = []
    decoder = SimpleNamespace(takes_several=True)
    one = SimpleNamespace(plan=SimpleNamespace(decoder=decoder))

    def contenders(*given: Any) -> list[Any]:
        asked.append(given)
        return [one]

    monkeypatch.setattr(concurrency, "contenders", contenders)
    monkeypatch.setattr(concurrency.Plan, "of", lambda *given: planned.append(given))
    cfg = OmegaConf.create(
        {"pair": "another", "task": {"max_new_tokens": 1}, "engine": {"max_num_seqs": 1}}
    )
    config = ConcurrencyConfig(pair="its pair", requests=[2, 8, 4], prompts=2, max_new_tokens=9)
    setup: Any = "setup"
    problems: Any = ["first", "second", "third"]
    found = concurrency.plan(config, cfg, Names("", "p", "t"), setup, problems, Path("x"))
    ((given, own, names, folder, first),) = asked
    assert found == [one] and given is config
    assert (names, folder) == (Names("", "p", "t"), Path("x"))
    assert own == {
        "pair": "its pair", "task": {"max_new_tokens": 9}, "engine": {"max_num_seqs": 8},
    }  # fmt: skip
    first("parts")
    assert planned == [("parts", "setup", ["first", "second"], 1)]
    assert cfg.engine.max_num_seqs == 1


def test_a_point_has_medians_and_what_outputs_were() -> None:
    measured = [(10.0, 3.0), (40.0, 1.0), (30.0, 8.0)]
    verdicts = ["identical", "tie", "identical", "identical"]
    assert _point("x", 2, measured, verdicts) == {
        "contender": "x",
        "requests": 2,
        "tokens_per_second": 30.0,
        "least": 10.0,
        "most": 40.0,
        "latency": 3.0,
        "identical": 3,
        "ties": 1,
        "outputs": 4,
    }
