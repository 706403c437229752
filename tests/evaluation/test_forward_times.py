"""Forward times of a simulation: had back from what the commands write, and from shapes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pearl_eval.profile.profile import Timing
from pearl_eval.simulation import ForwardTimes, Hardware, Slowdown, Surface
from pearl_eval.simulation.forwards import measured_slowdown
from pearl_eval.sizes.model_shapes import model_shape

DRAFT = Surface.of({(1, 0): 1.0, (1, 100): 1.5})
TARGET = Surface.of({(1, 0): 4.0, (9, 0): 6.0, (1, 100): 4.5, (9, 100): 6.5})
SLOWDOWN = Slowdown(1.25, 1.5)
WINDOWS = (2, 4, 8)


def beside(window: int, context: int) -> tuple[float, float]:
    """Seconds of the target, and of each of as many draft forwards begun with it."""
    target, draft = SLOWDOWN.beside(TARGET(window, context), window * DRAFT(1, context))
    return target, draft / window


@pytest.mark.parametrize(
    ("windows", "contexts", "seconds", "told"),
    [
        ((), (0,), ((),), r"each of 0 windows after each of 1 contexts, got rows of \[0\]"),
        ((1,), (), (), r"each of 1 windows after each of 0 contexts, got rows of \[\]"),
        ((1, 2), (0,), ((1.0,),), r"each of 2 windows after each of 1 contexts, got rows of \[1\]"),
        ((1,), (0, 8), ((1.0,),), r"expected 2 rows of .*, got 1 rows, windows \[1\]"),
        ((2, 1), (0,), ((1.0, 2.0),), r"in ascending order, each once, got .* windows \[2, 1\]"),
        ((2, 2), (0,), ((1.0, 2.0),), r"in ascending order, each once, got .* windows \[2, 2\]"),
        ((1,), (8, 0), ((1.0,), (2.0,)), r"in ascending order, .*, got .* contexts \[8, 0\]"),
        ((1,), (8, 8), ((1.0,), (2.0,)), r"in ascending order, .*, got .* contexts \[8, 8\]"),
        ((1,), (0,), ((-0.1,),), r"must be at least 0 s, got -0\.1"),
    ],
)
def test_times_that_are_not_one_for_each_window_after_each_context_are_refused(
    windows: tuple[int, ...],
    contexts: tuple[int, ...],
    seconds: tuple[tuple[float, ...], ...],
    told: str,
) -> None:
    with pytest.raises(ValueError, match=told):
        Surface(windows, contexts, seconds)


def test_a_benchmark_gives_back_what_was_timed() -> None:
    forwards = [
        {
            "context": 50,
            "draft": DRAFT(1, 50),
            "target": {str(w): TARGET(w, 50) for w in (*WINDOWS, 200)},
            "beside": {str(w): beside(w, 50) for w in (*WINDOWS, 200)},
            "prompt": (7.0, 3.0),
            "prompt_length": 40,
            "sequential": {"3": 3 * DRAFT(1, 50) + TARGET(4, 50) + 0.5},
        }
    ]
    times = ForwardTimes.from_bench(forwards)
    for window in WINDOWS:
        assert times.target(window, 50) == pytest.approx(TARGET(window, 50))
    assert times.draft(1, 50) == pytest.approx(DRAFT(1, 50))
    # Windows of the prompt's length and beyond are as the prompt's own forward.
    assert (times.target(40, 0), times.draft(40, 0)) == (7.0, 3.0)
    assert times.target.windows == (*WINDOWS, 40)
    assert (times.slowdown.target, times.slowdown.draft) == pytest.approx((1.25, 1.5))
    assert times.switching(3) == pytest.approx(0.5)


def test_what_prepares_several_continuations_is_timed_by_itself() -> None:
    """Widths of both prompts, of which the median counts; one token is a forward as any other."""

    def prompt(seconds: float, wide: float) -> dict[str, Any]:
        own = {"context": 50, "draft": seconds, "target": {"1": 4.0}, "beside": {"1": (4.0, 1.0)}}
        own |= {"prompt": (9.0, 3.0), "prompt_length": 40, "sequential": {}}
        return own | {"wide": {"4": wide, "16": 3 * wide}}

    times = ForwardTimes.from_bench([prompt(1.0, 2.0), prompt(1.0, 4.0), prompt(2.5, 3.0)])
    assert times.branches == Surface((1, 4, 16), (0,), ((1.0, 3.0, 9.0),))
    assert times.draft == Surface((1, 40), (0,), ((1.0, 3.0),))
    # Benchmarks of before have none, nor those in which nobody drafts so.
    for old in ({"wide": {}}, {}):
        own = {name: value for name, value in prompt(1.0, 2.0).items() if name != "wide"}
        assert ForwardTimes.from_bench([own | old]).branches is None


def test_what_a_draft_model_reads_of_a_guess_is_timed_by_itself() -> None:
    """By medians over prompts. To choose after each of 3 more tokens takes 1.5 s, or 0.5 s each,
    after each of 7 it takes 4.9, or 0.7 s each: 0.6 s. What is longer than the prompt is not asked
    for, and a target's window need not have been timed beside the other model."""

    def prompt(read: Any) -> dict[str, Any]:
        own = {"context": 50, "draft": 1.0, "target": {"1": 4.0, "9": 5.0}}
        own |= {"beside": {"1": (4.0, 1.0)}, "prompt": (9.0, 3.0), "prompt_length": 40}
        return own | {"sequential": {}} | read

    sides = [{"read": {"4": (one, one + 1.5), "8": (2.0, 6.9), "50": (8.0, 8.0)}} for one in (1, 3)]
    times = ForwardTimes.from_bench([prompt(one) for one in sides])
    assert times.draft == Surface((1, 4, 8, 40), (0,), ((1.0, 2.0, 2.0, 3.0),))
    assert times.choosing == pytest.approx(0.6)
    assert times.target.windows == (1, 9, 40) and times.slowdown == Slowdown()
    assert times.branches is None
    for old in ({"read": {}}, {}):
        without = ForwardTimes.from_bench([prompt(old)])
        assert (without.draft.windows, without.choosing) == ((1, 40), 0.0)
    # One that is timed to take less costs nothing, not less.
    assert ForwardTimes.from_bench([prompt({"read": {"4": (2.0, 1.9)}})]).choosing == 0.0


def test_a_benchmark_is_its_median_prompt() -> None:
    def prompt(seconds: float, length: int) -> dict[str, object]:
        own = {"context": 50, "draft": seconds, "target": {"1": 4 * seconds}}
        together = {"beside": {"1": (4 * seconds, seconds)}, "sequential": {}}
        return own | together | {"prompt": (9 * seconds, seconds), "prompt_length": length}

    times = ForwardTimes.from_bench([prompt(2.0, 40), prompt(5.0, 70), prompt(1.0, 30)])
    assert times.speed_ratio == pytest.approx(4.0)
    assert (times.draft(1, 0), times.target(40, 0)) == (2.0, 18.0)
    assert times.slowdown == Slowdown()


@pytest.mark.parametrize("forwards", [[], [{"context": 50, "draft": 1.0, "target": {"1": 4.0}}]])
def test_a_benchmark_of_an_older_version_is_refused(forwards: list[dict[str, object]]) -> None:
    with pytest.raises(ValueError, match="older version"):
        ForwardTimes.from_bench(forwards)


def test_a_profile_gives_back_what_was_timed() -> None:
    """Of a draft model that is done first, whatever the window: all it did was slowed down."""
    timings = []
    for context in (0, 100):
        for window in WINDOWS:
            draft = DRAFT(1, context) / 3
            both = SLOWDOWN.beside(TARGET(window, context), window * draft)[0]
            for together, seconds in ((False, TARGET(window, context)), (True, both)):
                timings.append(Timing("target", window, context, together, seconds, (0.0, 0.0)))
        for together, factor in ((False, 1.0), (True, SLOWDOWN.draft)):
            timings.append(Timing("draft", 1, context, together, factor * draft, (0.0, 0.0)))
    times = ForwardTimes.from_profile({"timings": [vars(one) for one in timings]})
    for context in (0, 50, 100):
        assert times.target(4, context) == pytest.approx(TARGET(4, context))
        assert times.draft(1, context) == pytest.approx(DRAFT(1, context) / 3)
    assert times.slowdown.draft == pytest.approx(SLOWDOWN.draft)
    assert times.slowdown.target == pytest.approx(SLOWDOWN.target)


def test_what_runs_no_slower_beside_the_other_is_not_sped_up() -> None:
    one = {"context": 0, "draft": 1.0, "target": {"1": 4.0}, "prompt": (9.0, 3.0)}
    times = ForwardTimes.from_bench(
        [one | {"sequential": {}, "beside": {"1": (3.5, 0.9)}, "prompt_length": 8}]
    )
    assert times.slowdown == Slowdown(1.0, 1.0)


def test_shapes_give_the_longest_of_reading_computing_and_launching() -> None:
    target, draft = model_shape("Qwen/Qwen3-8B"), model_shape("Qwen/Qwen3-0.6B")
    bandwidth, flops = 1e12, 1e14
    reading = target.multiplied * 2 / bandwidth
    times = ForwardTimes.from_shapes(target, draft, Hardware(bandwidth, flops, 1e-4))
    assert times.target(1, 0) == pytest.approx(reading, rel=1e-3)
    assert times.target(1, 30_000) - times.target(1, 0) == pytest.approx(
        30_000 * target.cached * 2 / bandwidth
    )
    assert times.target(1024, 0) == pytest.approx(2 * 1024 * target.multiplied / flops)
    # Few values: what bounds it is the host.
    assert times.draft(1, 0) == pytest.approx(draft.num_hidden_layers * 1e-4)
    assert times.slowdown == Slowdown()
    halved = ForwardTimes.from_shapes(target, draft, Hardware(bandwidth, flops, 0.0), gpus=2)
    assert halved.target(1, 0) == pytest.approx(reading / 2, rel=1e-3)
    alone = ForwardTimes.from_shapes(target, draft, Hardware(bandwidth, flops, 0.0))
    assert halved.draft(1, 0) == alone.draft(1, 0)


def test_the_speed_ratio_is_of_single_tokens_after_the_shortest_text() -> None:
    target = Surface.of({(1, 0): 12.0, (2, 0): 15.0, (1, 9): 20.0, (2, 9): 21.0})
    draft = Surface.of({(1, 0): 3.0, (2, 0): 4.0, (1, 9): 7.0, (2, 9): 8.0})
    assert ForwardTimes(target, draft).speed_ratio == 4.0
    assert ForwardTimes.constant(6.0).draft(1, 0) == 1.0
    constant = ForwardTimes.constant(6.0, 0.5)
    assert (constant.draft(9, 9), constant.target(9, 9)) == (0.5, 3.0)


def test_beyond_the_largest_window_time_grows_as_from_the_smallest() -> None:
    """From 1 to 4 s over three tokens, whatever is between; and never falls."""
    bent = Surface((1, 2, 4), (0,), ((1.0, 5.0, 4.0),))
    assert [bent(window, 0) for window in (1, 2, 3, 4, 5, 7)] == [1.0, 5.0, 4.5, 4.0, 5.0, 7.0]
    falling = Surface((1, 4), (0,), ((4.0, 1.0),))
    assert [falling(window, 0) for window in (4, 9)] == [1.0, 1.0]
    assert Surface.constant(2.0)(9, 9) == 2.0


@pytest.mark.parametrize(
    ("window", "target", "draft", "told"),
    [
        # Two draft forwards of 1.5 s while the target takes 5: in 3 s it does what takes 2 alone.
        (2, 5.0, 1.5, Slowdown(1.5, 1.5)),
        # Drafting takes 8 s; in the 6 s of the target's it does what takes 2 alone.
        (4, 6.0, 2.0, Slowdown(1.5, 3.0)),
        # Of the target's 4 s 3.25 are done alone afterwards, so next to nothing is told of it.
        (1, 4.0, 0.75, Slowdown(1.0, 1.0)),
        (1, 4.25, 0.75, Slowdown(1.0, 1.0)),
        (1, 8.0, 8.8, Slowdown(2.0, 1.0)),
        # Just a quarter: 1 of 4; and a little more, 1.25 in 2 s.
        (1, 5.0, 2.0, Slowdown(1.0, 2.0)),
        (1, 4.75, 2.0, Slowdown(1.6, 2.0)),
    ],
)
def test_slowdown_is_of_what_was_done_meanwhile(
    window: int, target: float, draft: float, told: Slowdown
) -> None:
    """Alone the target takes 4 s, a draft forward 1."""
    alone = Surface.constant(4.0), Surface.constant(1.0)
    assert measured_slowdown(*alone, [(window, target, draft, 0)]) == told


def test_slowdown_is_the_median_over_windows() -> None:
    alone = Surface.constant(4.0), Surface.constant(1.0)
    # Beside draft forwards that take 1.5, 2 and 4 times as long.
    beside = [(4, 99.0, factor, 0) for factor in (1.5, 4.0, 2.0)]
    assert measured_slowdown(*alone, beside) == Slowdown(1.0, 2.0)
    beside = [(8, 4.0 * factor, 99.0, 0) for factor in (1.5, 4.0, 2.0)]
    assert measured_slowdown(*alone, beside) == Slowdown(2.0, 1.0)


def test_shapes_are_timed_in_each_small_window_and_some_large_ones() -> None:
    target, draft = model_shape("Qwen/Qwen3-8B"), model_shape("Qwen/Qwen3-0.6B")
    times = ForwardTimes.from_shapes(target, draft, Hardware(1e12, 1e14))
    windows = (*range(1, 65), *range(80, 513, 16), 1024, 2048)
    assert times.target.windows == times.draft.windows == windows
    assert times.target.contexts == (0, target.max_position_embeddings)
    assert times.draft.contexts == (0, draft.max_position_embeddings)


def test_gpus_share_the_target_and_not_the_draft_model() -> None:
    target, draft = model_shape("Qwen/Qwen3-8B"), model_shape("Qwen/Qwen3-0.6B")
    hardware = Hardware(1e12, 1e14)
    for gpus in (1, 2):
        times = ForwardTimes.from_shapes(target, draft, hardware, gpus)
        assert times.target(4, 0) == hardware.forward_seconds(target, 4, 0, gpus)
        assert times.draft(4, 0) == hardware.forward_seconds(draft, 4, 0, 1)


def test_a_point_that_was_not_timed_is_named() -> None:
    with pytest.raises(ValueError, match=r"none for window, context \(2, 8\)"):
        Surface.of({(1, 0): 1.0, (2, 0): 1.5, (1, 8): 2.0})


def test_what_little_is_left_beside_the_other_runs_alone() -> None:
    """At half speed 1.9 s take 3.8, in which 1.9 of the other's 2 are done."""
    slowdown = Slowdown(2.0, 2.0)
    assert slowdown.beside(2.0, 1.9) == pytest.approx((3.9, 3.8))
    assert slowdown.beside(1.9, 2.0) == pytest.approx((3.8, 3.9))
    assert slowdown.beside(2.0, 2.0) == (4.0, 4.0)


def test_a_forward_of_shapes_by_hand() -> None:
    """100 values that are multiplied and 3 in the cache for each of 4 + 6 tokens are 130; of 3
    bytes each 390, which take 39 s, or 19.5 on two GPUs. 2 · 4 · 100 operations take 40 s. Three
    layers are launched in 30 s, on however many GPUs."""
    shape = SimpleNamespace(multiplied=100, cached=3, num_hidden_layers=3)
    reading = Hardware(10.0, 1e9, 1.0, bytes_per_value=3)
    computing = Hardware(1e9, 20.0, 1.0, bytes_per_value=3)
    launching = Hardware(1e9, 1e9, 10.0)
    for hardware, seconds in ((reading, 39.0), (computing, 40.0)):
        assert hardware.forward_seconds(shape, 4, 6) == pytest.approx(seconds)  # type: ignore[arg-type]
        assert hardware.forward_seconds(shape, 4, 6, 2) == pytest.approx(seconds / 2)  # type: ignore[arg-type]
    assert launching.forward_seconds(shape, 4, 6, 2) == 30.0  # type: ignore[arg-type]
    # Unless told, values have 2 bytes, and launching takes no time.
    assert Hardware(10.0, 1e9).forward_seconds(shape, 4, 6) == 26.0  # type: ignore[arg-type]
    assert Hardware(1e9, 1e9).layer_seconds == 0.0
