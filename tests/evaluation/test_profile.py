"""What a profile says of windows, of reading weights and of memory."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Command

from decoders.model.weights import WeightBytes
from pearl_eval.errors import UserError
from pearl_eval.profile import profile as profiling
from pearl_eval.profile import reading
from pearl_eval.profile.config import ProfileConfig
from pearl_eval.profile.plot import draw_profile
from pearl_eval.profile.printing import _check, print_profile
from pearl_eval.profile.profile import Memory, Profile, Timing
from pearl_eval.profile.reading import time_reading

# Milliseconds of forwards alone, by context and window; both at once twice as much.
FORWARDS = {16: {1: 10.0, 2: 11.0, 4: 12.0, 8: 15.0}, 99: {1: 16.0, 2: 20.0, 4: 24.0, 8: 40.0}}


def profile(read_seconds: float | None) -> Profile:
    timings = [
        Timing(model, window, context, together, (1 + together) * ms / 1e3, (0.0, 0.0))
        for context, times in FORWARDS.items()
        for together in (False, True)
        for model, forwards in (("target", times), ("draft", {1: 2.0}))
        for window, ms in forwards.items()
    ]
    return Profile(timings, Memory(100 * 2**20, 121 * 2**20, read_seconds))


def printed(profile: Profile, capsys: pytest.CaptureFixture[str]) -> str:
    print_profile(profile, 2**30)
    return capsys.readouterr().out


def test_windows_beside_one_token(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(profile(0.008), capsys)
    assert "one token: 2 tokens 1.10×, 4 tokens 1.20×, 8 tokens 1.50×\n" in out
    assert "one token: 2 tokens 1.25×, 4 tokens 1.50×, 8 tokens 2.50×\n" in out
    # A read takes 8 of 10 ms after 16 tokens, of 16 after 99.
    assert "plain read of the target's weights takes 0.80 of" in out
    assert "plain read of the target's weights takes 0.50 of" in out
    assert "target's weights: 100 MiB, in memory 1.21× that\n" in out


def test_what_is_not_known_is_not_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A mixture's routers say what a forward reads, and windows may end before 8."""
    short = profile(None)
    few = Profile([one for one in short.timings if one.window < 8], short.memory)
    out = printed(few, capsys)
    assert "plain read" not in out
    assert "4 tokens 1.20×\n" in out and "8 tokens" not in out


def measured() -> Profile:
    """Milliseconds by window, alone and both at once, after 16 tokens."""
    times = {
        ("target", False): {1: 8.0, 2: 9.0, 3: 12.0, 4: 30.0},
        ("draft", False): {1: 2.0},
        ("target", True): {1: 10.0, 2: 11.0, 3: 12.5, 4: 14.0},
        ("draft", True): {1: 4.0},
    }
    timings = [
        Timing(model, window, 16, together, ms / 1e3, (0.0, 0.0))
        for (model, together), own in times.items()
        for window, ms in own.items()
    ]
    return Profile(timings, Memory(2**20, 2**20, None))


@pytest.mark.parametrize(
    ("asked", "room", "told"),
    [
        (
            {"longest": 1},
            999,
            "longest and repeats must be at least 2, .* got longest=1 repeats=15",
        ),
        ({"repeats": 1}, 999, "got longest=12 repeats=1 contexts=\\[128, 512\\]"),
        ({"contexts": []}, 999, "contexts at least one number of tokens"),
        ({"contexts": [5, 0]}, 999, "contexts at least one number of tokens"),
        # Twelve tokens after 512, and one more.
        ({}, 524, "contexts: 525 tokens do not fit the models' context of 524"),
        ({"contexts": [30, 20], "longest": 4}, 34, "contexts: 35 tokens do not fit"),
        ({}, 525, None),
        ({"longest": 2, "repeats": 2, "contexts": [1]}, 999, None),
    ],
)
def test_what_can_not_be_profiled_is_refused(
    asked: dict[str, Any], room: int, told: str | None
) -> None:
    pair: Any = SimpleNamespace(contexts={"target": 999, "draft": room})
    refused = pytest.raises(UserError, match=told) if told else contextlib.nullcontext()
    with refused:
        _check(ProfileConfig(**asked), pair)


def test_what_follows_from_a_profile(capsys: pytest.CaptureFixture[str]) -> None:
    """Both at once, three drafted tokens take 12 ms, as long as the target over three but for 0.5.
    Alone, at α = 0.9 two tokens and the next in 2 + 9 ms are more than 2.71 in 4 + 12; at 0.95 the
    latter are more."""
    lines = printed(measured(), capsys).splitlines()
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if "│" in line]
    assert rows == [
        ["draft, 1 token", "2.00", "4.00", "2.00×"],
        ["target, 1 token", "8.00", "10.00", "1.25×"],
        ["target, 2 tokens", "9.00", "11.00", "1.22×"],
        ["target, 3 tokens", "12.00", "12.50", "1.04×"],
        ["target, 4 tokens", "30.00", "14.00", "0.47×"],
    ]
    (heads,) = (line for line in lines if "┃" in line)
    titles = [cell.strip() for cell in heads.strip("┃").split("┃")]
    assert titles == ["forward", "alone", "both at once", "slowdown"]
    assert lines[0].strip() == "16 tokens of context, milliseconds"
    assert "speed ratio c: 4.00 alone, 2.50 both at once" in lines
    assert "PEARL, γ that balances draft and target: 3" in lines
    gammas = "1 at α = 0.6, 1 at α = 0.7, 1 at α = 0.8, 1 at α = 0.9, 2 at α = 0.95"
    assert f"vanilla speculative decoding, best expected γ: {gammas}" in lines
    assert lines[-1] == "peak memory: 1024 MiB, both processes"


def test_the_picture_of_a_profile() -> None:
    """Milliseconds by window; the line of the draft model is γ of its forwards."""
    figure = draw_profile(measured(), "some pair")
    (axes,) = figure.axes
    drawn = {line.get_label(): line for line in axes.lines[:4]}
    assert {name: line.get_ydata() for name, line in drawn.items()} == {
        "target, alone": pytest.approx([8, 9, 12, 30]),
        "γ · draft, alone": pytest.approx([2, 4, 6, 8]),
        "target, both at once": pytest.approx([10, 11, 12.5, 14]),
        "γ · draft, both at once": pytest.approx([4, 8, 12, 16]),
    }
    assert all(list(line.get_xdata()) == [1, 2, 3, 4] for line in drawn.values())
    assert [line.get_linestyle() for line in drawn.values()] == [":", ":", "-", "-"]
    assert axes.lines[4].get_xdata()[0] == 3
    assert [text.get_text() for text in axes.texts] == [" γ = 3"]
    assert axes.get_title() == "16 tokens of context"
    assert figure.get_suptitle() == "some pair: c = 4.0"


def test_a_timing_is_of_the_median_and_the_quartiles() -> None:
    found = Timing.of("draft", 1, 16, True, [9.0, 1.0, 2.0])
    assert found == Timing("draft", 1, 16, True, 2.0, (1.0, 9.0))


def test_each_kind_of_forward_is_timed_at_each_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the draft model over one token are pooled over the target's windows."""
    target: Any = SimpleNamespace(weight_bytes=SimpleNamespace(all=100), model="model")
    drafter: Any = "drafter"

    def alone(model: Any, window: int, context: int, repeats: int) -> list[float]:
        assert (model, repeats) == (target, 3)
        return [context + window - 0.5, context + window, context + window + 9.0]

    def together(*asked: Any) -> tuple[list[float], list[float]]:
        model, drafting, window, context, repeats = asked
        assert (model, drafting, repeats) == (target, drafter, 3)
        return [1000.0 + context + window] * 3, [500.0 + context + window] * 3

    monkeypatch.setattr(profiling, "steps", lambda grid, label: grid)
    monkeypatch.setattr(profiling, "time_forwards", alone)
    monkeypatch.setattr(profiling, "time_together", together)
    monkeypatch.setattr(profiling, "time_drafts", lambda drafter, context, repeats: [context / 4])
    monkeypatch.setattr(profiling, "time_reading", lambda model, repeats: [4.0, 6.0, 11.0])
    monkeypatch.setattr(profiling, "held_bytes", lambda model: 121)
    config = ProfileConfig(longest=2, contexts=[20, 12], repeats=3)
    found = profiling.measure(target, drafter, config)
    assert (found.contexts(), found.windows()) == ([12, 20], [1, 2])
    for context in (12, 20):
        for window in (1, 2):
            assert found.median("target", window, context, False) == context + window
            assert found.median("target", window, context, True) == 1000 + context + window
        assert found.median("draft", 1, context, False) == context / 4
        # Three of 501 and three of 502 beyond the context.
        assert found.median("draft", 1, context, True) == 501.5 + context
    assert found.memory == Memory(100, 121, 6.0)
    monkeypatch.setattr(profiling, "time_reading", lambda model, repeats: [])
    assert profiling.measure(target, drafter, config).memory.read_seconds is None


class Model:
    """One whose forwards read so many bytes."""

    device = torch.device("cpu")

    def __init__(self, read: int | None) -> None:
        self.weight_bytes = WeightBytes(10**6, read)

    def synchronize(self) -> None:
        pass


@pytest.mark.parametrize(("read", "seconds"), [(800, 1.0), (4000, 4.0)])
def test_a_read_is_timed_in_proportion(
    read: int, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock on which each buffer, of at most 1,000 bytes and 8, takes a second."""

    def ticks() -> Iterator[float]:
        yield from map(float, range(100))

    clock = ticks()
    monkeypatch.setattr(reading, "clock", lambda: next(clock))
    monkeypatch.setattr(reading, "_MOST", 1000)
    model: Any = Model(read)
    times = time_reading(model, 3)
    assert len(times) == 3
    assert all(math.isclose(one, seconds, rel_tol=0.01) for one in times)
    nothing: Any = Model(None)
    assert time_reading(nothing, 3) == []


def test_a_profile_says_what_the_target_holds(run_profile: Command, tmp_path: Path) -> None:
    code, out, _ = run_profile("longest=2", "contexts=[16]", "repeats=2", "hydra.run.dir=run")
    assert code == 0 and "plain read" in out and "in memory 1.00× that" in out
    memory = SimpleNamespace(
        **json.loads((tmp_path / "run" / "profile.json").read_text())["memory"]
    )
    assert memory.held_bytes == memory.weight_bytes > 0
    assert memory.read_seconds > 0
