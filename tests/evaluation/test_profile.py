"""What a profile says of windows, of reading weights and of memory."""

from __future__ import annotations

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
from pearl_eval.profile import reading
from pearl_eval.profile.printing import print_profile
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
