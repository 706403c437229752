"""The benchmark: its arithmetic on made-up records, the command on a small pair."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from make_record import make_record
from omegaconf import OmegaConf

from analysis.frames.source import load_any
from analysis.significance import significance
from decoders.generation import Generation
from decoders.schedule import Extents
from pearl_eval.bench import benchmark, concurrency, grid, growth, limits, table
from pearl_eval.bench import contest as contest_module
from pearl_eval.bench.benchmark import decoded, draw
from pearl_eval.bench.concurrency import print_points
from pearl_eval.bench.config import BenchConfig, ConcurrencyConfig, GridConfig, GrowthConfig
from pearl_eval.bench.contest import _decode, held, started
from pearl_eval.bench.grid import print_cells
from pearl_eval.bench.growth import WindowTimes, points
from pearl_eval.bench.limits import TimedForwards, Timer, round_limit_share
from pearl_eval.bench.results import Entry, Results
from pearl_eval.bench.table import (
    bests,
    content,
    print_contest,
    print_problems,
    read_text,
    replay_text,
    rows,
    wide_text,
)
from pearl_eval.config.schema import Names, Protocol
from pearl_eval.errors import EquivalenceViolation, UserError
from pearl_eval.results.additions import with_retrieved
from pearl_eval.results.intervals import total_ratio_interval
from pearl_eval.results.records import Record, read_lines
from pearl_eval.results.replay import Replay
from pearl_eval.results.speed import Ratio
from pearl_eval.shell.sweep import table_rows
from tasks.task import Problem

Run = Callable[..., tuple[int, str, str]]
#: One draft forward takes 1 s, the target 4 s for one token and 6 s for five.
KEY = ("Task/0", 0, 0)
FORWARDS = TimedForwards(KEY, context=100, draft=1.0, target={1: 4.0, 5: 6.0})


def timed(*seconds: float, reference: float = 8.0, **more: Any) -> list[Record]:
    """A record for each prompt: ten tokens in so many seconds."""
    fields = {"reference_seconds": reference} | more
    return [make_record(i, seconds=one, **fields) for i, one in enumerate(seconds)]


def rounds(*, drafted: int = 4) -> pd.DataFrame:
    return with_retrieved(
        pd.DataFrame(
            {"task_id": "Task/0", "sample": 0, "turn": 0, "round": [0, 1], "drafted": drafted}
            | {"draft_seconds": 4.0, "target_seconds": 6.0, "target_tokens": [105, 5]}
            | {"wall": 12.0, "overhead": 2.0}
        )
    )


def entry(label: str, records: list[Record]) -> Entry:
    decoder, _, gamma = label.partition(" γ")
    summary: dict[str, Any] = {
        "decoder_about": {},
        "tokens_per_second": 5.0,
        "acceptance_rate": 0.75,
        "draft_forwards": 8,
    }
    summary |= {"decoder_settings": {"gamma": int(gamma)} if gamma else {}}
    summary |= {"prompts": 2, "ties": 0, "violations": 0, "exact_match_rate": 1.0}
    summary |= {"lossy": 0, "sampled_tokens": None}
    return Entry(decoder, records, rounds(drafted=4 if gamma else 0), summary)


def contest(**seconds: list[float]) -> Results:
    named = {name.replace("__", " γ"): timed(*own) for name, own in seconds.items()}
    forwards = [replace(FORWARDS, key=(f"Task/{i}", 0, 0)) for i in range(4)]
    return Results({name: entry(name, own) for name, own in named.items()}, forwards)


def test_who_decides_for_itself_is_held_against_rules_that_know_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the simulation has 90 tokens/s they would have 100 and 180, and without waiting 75."""
    monkeypatch.setattr(Replay, "of", lambda own: Replay(95.0, 90.0, 75.0, 100.0, 180.0))
    results = contest(a=[10.0, 10.0], b=[8.0, 8.0], c=[8.0, 8.0])
    for name, engine in (("b", "transformers"), ("c", "vLLM")):
        one = results.entries[name]
        summary = {**one.summary, "decoder_about": {"engine": engine}}
        decided = replace(one, rounds=one.rounds.assign(chances=0), summary=summary)
        results = replace(results, entries={**results.entries, name: decided})
    assert [results.replay(name) for name in "abc"] == [
        None,
        Replay(95.0, 90.0, 75.0, 100.0, 180.0),
        None,
    ]
    said = replay_text("b", asdict(Replay(95.0, 90.0, 75.0, 100.0, 180.0)))
    assert "1.20× what never waiting" in said
    assert "90.0 tokens/s (measured 95.0)" in said
    assert "90% of its rule where it is known how often" in said and "and 50% where" in said


def test_what_drafting_side_by_side_costs_is_told_where_it_was_timed() -> None:
    """Over eight tokens 2, 3 and 6 times as long as over one: 3 in the median."""
    forwards = [
        {"draft": draft, "wide": {"16": 6 * draft, "8": draft * times}}
        for draft, times in ((1.0, 2), (2.0, 3), (0.5, 6))
    ]
    assert wide_text(forwards).endswith("beside one of one token: 8 tokens 3.00×, 16 tokens 6.00×.")
    assert wide_text([{"draft": 1.0, "wide": {}}]) == wide_text([{"draft": 1.0}]) == ""


def test_what_reading_a_guess_costs_is_told_where_it_was_timed() -> None:
    """Two tokens 2, 3 and 6 times as long as one, 3 in the median; 4 where both are chosen."""
    forwards = [
        {"draft": draft, "read": {"11": (5 * draft, 9 * draft), "2": (draft * times, 4 * draft)}}
        for draft, times in ((1.0, 2), (2.0, 3), (0.5, 6))
    ]
    assert read_text(forwards).endswith(": 2 tokens 3.00× to 4.00×, 11 tokens 5.00× to 9.00×.")
    assert read_text([{"draft": 1.0, "read": {}}]) == read_text([{"draft": 1.0}]) == ""


@pytest.mark.parametrize(
    ("running_on", "windows"), [(False, [1, 2, 4, 5]), (True, [1, 2, 4, 5, 8])]
)
def test_which_forwards_are_timed(
    monkeypatch: pytest.MonkeyPatch, running_on: bool, windows: list[int]
) -> None:
    """Each where the pair is asked for it; the median counts of each."""
    target, drafter = object(), object()
    draft = SimpleNamespace(architecture=SimpleNamespace(no_trees=""))
    asked: dict[str, list[Any]] = {}

    def timed(name: str, *found: list[float]) -> None:
        def time(*arguments: Any, **named: Any) -> Any:
            asked.setdefault(name, []).append((*arguments, *named.items()))
            return found if len(found) > 1 else found[0]

        monkeypatch.setattr(limits, name, time)

    timed("time_forwards", [7.0, 8.0, 90.0])
    timed("time_drafts", [1.0, 2.0, 30.0])
    timed("time_together", [9.0, 10.0, 99.0], [3.0, 4.0, 55.0])
    timed("time_sequential", [11.0, 12.0, 70.0])
    timed("time_wide", [5.0, 6.0, 80.0])
    timed("time_read", [13.0, 14.0, 95.0], [15.0, 16.0, 96.0])
    extents = Extents(frozenset({2, 30, 5}), frozenset({7, 1}), frozenset({1, 10, 5}))
    timer = Timer(target, draft, drafter, [4, 2, 4], 9, running_on, extents)  # type: ignore[arg-type]
    found = timer.forwards(KEY, 100, 30)
    assert found == TimedForwards(
        KEY,
        100,
        2.0,
        dict.fromkeys([*windows, 30], 8.0),
        dict.fromkeys(windows, (10.0, 4.0)),
        (8.0, 2.0),
        30,
        {2: 12.0, 4: 12.0},
        {5: 6.0, 10: 6.0},
        {7: (14.0, 16.0)},
    )
    cold = ("warm", False)
    assert asked == {
        "time_forwards": [(target, 30, 0, 3, cold), *((target, w, 100, 9) for w in (*windows, 30))],
        "time_drafts": [(drafter, 0, 3, ("window", 30), cold), (drafter, 100, 9, 8)],
        "time_together": [(target, drafter, w, 100, 9) for w in windows],
        "time_sequential": [(target, draft, n, 100, 9) for n in (2, 4)],
        "time_wide": [(drafter, w, 100, 9, 4) for w in (5, 10)],
        "time_read": [(drafter, 7, 100, 9, 4)],
    }


def test_ratios_are_paired() -> None:
    """Prompts of very different length, always exactly twice as fast: no spread at all."""
    ratio = Ratio.of(timed(1, 2, 3), timed(2, 4, 6))
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((2.0, 2.0, 2.0))
    assert ratio.spread == pytest.approx((2.0,) * 5)
    assert str(ratio) == "2.00× (2.00–2.00)"


def test_a_ratio_is_of_totals_and_spreads_by_prompt() -> None:
    """24 s over 12 s. By prompt 4/3, 2 and 4 times as fast. So is it over its own reference."""
    ours, theirs = timed(6.0, 4.0, 2.0), timed(8.0, 8.0, 8.0)
    ten = np.full(3, 10.0)
    interval = total_ratio_interval(ten, np.array([6.0, 4.0, 2.0]), ten, np.full(3, 8.0))
    for ratio in (Ratio.of(ours, theirs), Ratio.of(ours)):
        assert ratio.value == pytest.approx(24 / 12)
        assert ratio.spread == pytest.approx((4 / 3, 5 / 3, 2, 3, 4))
        assert (ratio.low, ratio.high) == pytest.approx(interval)


def test_repeats_of_a_prompt_are_no_further_evidence() -> None:
    def ratio(repeats: int, prompts: int = 4) -> Ratio:
        ours, theirs = (
            [
                make_record(p, sample=repeat, seconds=(p + factor) / factor)
                for repeat in range(repeats)
                for p in range(prompts)
            ]
            for factor in (3, 1)
        )
        return Ratio.of(ours, theirs)

    once, often = ratio(1), ratio(5)
    assert (often.value, often.low, often.high) == pytest.approx((once.value, once.low, once.high))
    two = ratio(5, prompts=2)
    assert (two.low, two.high) == (None, None) and str(two) == f"{two.value:.2f}×"


def unlike() -> Results:
    """γ = 4 takes 1 s on the prompts 0 and 2, and 10 s on 1 and 3; γ = 2 always takes 3 s."""
    return contest(
        autoregressive=[6.0] * 4, speculative__2=[3.0] * 4, speculative__4=[1.0, 10.0, 1.0, 10.0]
    )


def test_what_is_best_is_chosen_on_one_half_and_compared_on_the_other() -> None:
    results = unlike()
    assert results.best(["speculative"]) == "speculative γ4"
    assert results.best(["pearl"]) is None
    rivals = {"best speculative": ["speculative"], "best of all": ["autoregressive", "speculative"]}
    plain, best = bests(results, rivals | {"nobody": ["pearl"]})
    assert (best.decoder, best.contender, best.gamma) == ("speculative", "speculative γ4", 4)
    assert (plain.contender, plain.gamma, plain.drafts) == ("autoregressive", None, False)
    assert best.drafts
    # Of the prompts 1 and 3, over the reference's 8 s each.
    assert {name: one.value for name, one in best.ratios.items()} == pytest.approx(
        {"reference": 0.8, "best speculative": 1.0, "best of all": 1.0}
    )
    assert plain.ratios["best speculative"].value == pytest.approx(10 / 6)
    # On all of them it would be 32 / 22, and γ = 2 the fastest.
    assert results.ratio("speculative γ4").value == pytest.approx(32 / 22)


def test_a_draft_length_is_told_where_there_were_several() -> None:
    (best, _) = bests(contest(speculative__2=[4.0] * 4, pearl__3=[4.0] * 4), {})
    assert (best.contender, best.gamma, best.drafts) == ("speculative γ2", None, True)


def test_a_row_compares_with_rivals_that_need_no_choice() -> None:
    results = contest(speculative__2=[4.0] * 4, speculative__4=[2.0] * 4, generate=[16.0] * 4)
    rivals = {"generate": ["generate"], "best speculative": ["speculative"]}
    row = rows(results, rivals)[1]
    assert {name: one.value for name, one in row.ratios.items()} == pytest.approx(
        {"reference": 4, "generate": 8}
    )
    assert (row.contender, row.decoder) == ("speculative γ4", "speculative")
    assert (row.acceptance_rate, row.equivalence) == (0.75, "identical 2/2")
    # Ten draft forwards of 1 s in 2 s; rounds of 4 + 6 s in turn took 12 s.
    assert row.draft_limit_share == pytest.approx(10 / 2)
    assert row.round_limit_share == pytest.approx(10 / 12)
    assert (row.tokens_per_second, row.engine, row.replay) == (5.0, "transformers", None)


def test_limits_timed_here_hold_for_no_other_engine() -> None:
    results = contest(a__2=[4.0] * 4)
    entry = results.entries["a γ2"]
    summary = {**entry.summary, "decoder_about": {"engine": "vLLM"}}
    (row,) = rows(replace(results, entries={"a γ2": replace(entry, summary=summary)}), {})
    assert (row.draft_limit_share, row.round_limit_share, row.engine) == (None, None, "vLLM")


def test_a_contest_is_written_with_what_its_forwards_and_drafts_say() -> None:
    """5 of 8 are accepted of each record of a decoder with a draft model; of another 8 of 8."""
    results = contest(a__2=[4.0] * 4, b=[4.0] * 4)
    plain = results.entries["b"]
    records = [replace(one, accepted=8) for one in plain.records]
    plain = replace(plain, records=records, summary={**plain.summary, "draft_forwards": 0})
    found = content(replace(results, entries={**results.entries, "b": plain}), {}, Path("x"))
    assert found["acceptance_rate"] == 5 / 8
    assert (found["speed_ratio"], found["draft_limit"], found["folder"]) == (4.0, 1.0, "x")
    assert [row["contender"] for row in found["rows"]] == ["a γ2", "b"]
    assert [one["drafts"] for one in found["best"]] == [True, False]
    assert [one["key"] for one in found["forwards"]] == [(f"Task/{i}", 0, 0) for i in range(4)]


def test_problems_are_drawn_over_the_whole_task_by_the_seed() -> None:
    task = [Problem(f"Task/{i}", "") for i in range(100)]
    drawn = [one.task_id for one in draw(task, 12, seed=0)]
    assert len(set(drawn)) == 12
    assert drawn == [one.task_id for one in draw(task, 12, seed=0)]
    assert drawn != [one.task_id for one in draw(task, 12, seed=1)]
    numbers = [int(name.removeprefix("Task/")) for name in drawn]
    assert max(numbers) > 75 and min(numbers) < 25
    assert sorted(one.task_id for one in draw(task[:3], 12, seed=0)) == [
        "Task/0",
        "Task/1",
        "Task/2",
    ]


def test_problems_are_named_as_far_as_they_are_decoded() -> None:
    """Of twelve: all by a contest, and for texts of any length; of others as many as they ask."""
    drawn = [Problem(f"Task/{i}", "") for i in range(12)]
    grid, several = GridConfig(prompts=4), ConcurrencyConfig(prompts=7)
    for config, count in [
        (BenchConfig(contest=True, grid=grid), 12),
        (BenchConfig(contest=False, grid=grid), 4),
        (BenchConfig(contest=False, concurrency=several), 7),
        (BenchConfig(contest=False, grid=grid, concurrency=several), 7),
        (BenchConfig(contest=False, grid=grid, growth=GrowthConfig()), 12),
    ]:
        assert list(decoded(config, drawn)) == drawn[:count]


def test_limit_1_is_one_draft_forward_a_token() -> None:
    """10 tokens in 20 s, where ten draft forwards take half of that; the other prompt's own take
    2 s each: 10 in 20 s as well."""
    other = TimedForwards(("Task/1", 0, 0), 100, draft=2.0, target={1: 4.0})
    results = Results({"a": entry("a", timed(20.0, 30.0))}, [FORWARDS, other])
    assert results.share_of_draft_limit("a") == pytest.approx((10 + 20) / 50)
    assert results.draft_limit() == pytest.approx((1 + 0.5) / 2)
    assert results.speed_ratio() == pytest.approx((4 + 2) / 2)


def made_rounds(*made: tuple[int, int, float, float, float, float]) -> pd.DataFrame:
    """Rounds after the prompt's: drafted, read, draft and target seconds, wall, and idle time."""
    columns = ["drafted", "target_tokens", "draft_seconds", "target_seconds", "wall", "overhead"]
    frame = pd.DataFrame([(5, 105, 50.0, 90.0, 100.0, 0.0), *made], columns=columns)
    frame = frame.assign(task_id="Task/0", sample=0, turn=0, round=range(len(frame)))
    return with_retrieved(frame)


@pytest.mark.parametrize(
    ("made", "share"),
    [
        # At once: 5 drafts take 5 s alone, the target's 5 tokens 6 s; then one token 4 s.
        ([(5, 5, 5.5, 7.0, 8.0, 1.0), (5, 1, 5.5, 4.0, 6.0, 0.5)], (6 + 5) / 14),
        # In turn: both together.
        ([(2, 3, 2.5, 5.5, 9.0, 1.0)], (2 + 5) / 9),
        # The target alone, and the draft model alone.
        ([(0, 1, 0.0, 4.5, 5.0, 0.5), (3, 0, 3.5, 0.0, 4.0, 0.5)], (4 + 3) / 9),
        # Guesses that no model drafts take none of its forwards.
        ([(4, 5, 0.0, 6.5, 8.0, 1.5)], 6 / 8),
        # More tokens than were timed; drafts that were made before the round; the prompt's alone.
        ([(5, 6, 5.5, 7.0, 8.0, 1.0)], None),
        ([(5, 5, 9.0, 7.0, 8.0, 1.0)], None),
        ([(5, 5, 5.5, 7.0, 8.0, 1.0), (5, 5, 9.0, 7.0, 8.0, 1.0)], None),
        ([], None),
    ],
)
def test_limit_2_is_what_the_forwards_of_each_round_take(
    made: list[Any], share: float | None
) -> None:
    found = round_limit_share(made_rounds(*made), {KEY: FORWARDS})
    assert found == (None if share is None else pytest.approx(share))
    turned = replace(FORWARDS, target={5: 6.0, 1: 4.0})
    assert round_limit_share(made_rounds(*made), {KEY: turned}) == found


def test_limit_2_of_draft_forwards_that_read_guesses() -> None:
    """At once: the target 6 s; of the draft model a forward over one token (1 s), one over three
    (2.5 s, between 2 and 3 s) and one over five (4 s), and seven tokens chosen in no time. Then the
    target alone, 4 s."""
    rounds = made_rounds((7, 5, 9.0, 7.0, 10.0, 1.0), (0, 1, 0.0, 4.5, 5.0, 0.5))
    # As they are read from a file: of no type where nothing is in it.
    none = np.array([], dtype=object)
    rounds = rounds.assign(guessed=[none, [0, 2, 4], none], given=[none, [1, 1, 5], none])
    timed = replace(FORWARDS, read={2: (2.0, 9.0), 4: (3.0, 9.0), 5: (4.0, 9.0)})
    assert round_limit_share(rounds, {KEY: timed}) == pytest.approx((1 + 2.5 + 4 + 4) / 15)
    # Where it was not timed, no less than a forward of one token each.
    assert round_limit_share(rounds, {KEY: FORWARDS}) == pytest.approx((6 + 4) / 15)


def test_growth_is_the_time_of_a_token_after_the_first_round() -> None:
    """Two repeats of ten tokens, of which the first round gives 2: 8 tokens in 16 and in 8 s."""
    records = [
        make_record(0, sample=i, prompt_tokens=100, judged=8, accepted=6, exact_match=i == 0)
        for i in range(2)
    ]
    frame = pd.DataFrame({"task_id": "Task/0", "sample": [0, 0, 1, 1], "turn": 0})
    frame = frame.assign(round=[0, 1] * 2, wall=[50.0, 16.0, 50.0, 8.0], verified_length=2)
    (point,) = points(Results({"a γ2": Entry("a", records, frame, {})}, []))
    assert point == {"contender": "a γ2", "decoder": "a", "context": 100} | {
        "median": 1.5, "least": 1.0, "most": 2.0,
        "acceptance_rate": 0.75, "identical": 1, "outputs": 2,
    }  # fmt: skip


def test_growth_is_of_each_context_by_itself() -> None:
    """Ten tokens after 100 and after 200, of which the first round gives 2 and 5."""
    records = [make_record(i, prompt_tokens=n) for i, n in enumerate((100, 200))]
    frame = pd.DataFrame({"task_id": ["Task/0"] * 3 + ["Task/1"] * 2, "sample": 0, "turn": 0})
    frame = frame.assign(round=[0, 1, 2, 0, 1], wall=[9.0, 1.0, 3.0, 9.0, 20.0])
    frame = frame.assign(verified_length=[2, 4, 10, 5, 10])
    found = points(Results({"a": Entry("a", records, frame, {})}, []))
    assert [(one["context"], one["median"], one["outputs"]) for one in found] == [
        (100, 0.5, 1), (200, 4.0, 1),
    ]  # fmt: skip


def planned_growth(monkeypatch: pytest.MonkeyPatch, **asked: Any) -> tuple[Any, ...]:
    """What contenders are given, of a pair that has room for 39 tokens."""

    def make(pair: str, runtime: Any, uses_draft: bool) -> Any:
        assert (pair, uses_draft) == ("its pair", True)
        texts = {"T/0": [1, 2], "T/1": [3]}
        contexts = {"target": 50, "draft": 39}
        own = SimpleNamespace(contexts=contexts, prompt=lambda problem: texts[problem.task_id])
        return SimpleNamespace(pair=own)

    monkeypatch.setattr(growth.Setup, "make", make)
    monkeypatch.setattr(growth, "contenders", lambda *given: given)
    cfg = OmegaConf.create({"pair": "another", "task": {"max_new_tokens": 1}, "seed": 5})
    config = GrowthConfig(pair="its pair", **{"new_tokens": 32, "repeats": 2} | asked)
    problems = [Problem("T/0"), Problem("T/1")]
    names = Names("", "a pair", "a task")
    runtime: Any = None
    return growth.plan(config, cfg, names, runtime, problems, Path("x"))  # type: ignore[return-value]


def test_growth_is_measured_on_prompts_one_after_the_other_cut_to_each_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, cfg, names, folder, first = planned_growth(monkeypatch, contexts=[4, 7])
    assert (cfg.pair, cfg.task.max_new_tokens, folder) == ("its pair", 32, Path("x"))
    assert cfg.protocol is Protocol.paper
    assert names == Names("", "a pair", "growth") and config.contexts == [4, 7]
    monkeypatch.setattr(growth.Plan, "beside", lambda self, parts: self)
    parts: Any = SimpleNamespace(config="config", decoder="decoder", sampler="sampler")
    plan = first(parts)
    assert [(one.key, one.ids, one.seed) for one in plan.prompts] == [
        (("after 4 tokens", 0, 0), [1, 2, 3, 1], 5),
        (("after 4 tokens", 1, 0), [1, 2, 3, 1], 5),
        (("after 7 tokens", 0, 0), [1, 2, 3, 1, 2, 3, 1], 5),
        (("after 7 tokens", 1, 0), [1, 2, 3, 1, 2, 3, 1], 5),
    ]
    assert plan.task.max_new_tokens == 32 and list(plan.task.load()) == []


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"contexts": []}, "growth.contexts are numbers of tokens"),
        ({"contexts": [4, 0]}, "growth.contexts are numbers of tokens"),
        (
            {"contexts": [4], "new_tokens": 31},
            "growth.new_tokens at least 32, got .* new_tokens=31",
        ),
        ({"contexts": [4], "gammas": [3, 31]}, "growth.new_tokens at least 33, got"),
        ({"contexts": [8, 4]}, "growth.contexts: 40 tokens do not fit the models' context of 39"),
    ],
)
def test_growth_that_can_not_be_measured_is_refused(
    asked: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=told):
        planned_growth(monkeypatch, **asked)


def test_each_pair_of_a_grid_is_planned_by_its_dials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each depth all perturbations, on the first problems that were drawn."""
    asked: list[Any] = []
    planned: list[Any] = []

    def make(pair: Any, runtime: Any, uses_draft: bool) -> str:
        assert uses_draft
        return f"setup {pair.depth} {pair.perturbation}"

    def contenders(*given: Any) -> str:
        asked.append(given)
        return f"entrants {len(asked)}"

    monkeypatch.setattr(grid.Setup, "make", make)
    monkeypatch.setattr(grid, "contenders", contenders)
    monkeypatch.setattr(grid.Plan, "of", lambda *given: planned.append(given))
    cfg = OmegaConf.create({"pair": "another", "task": {"max_new_tokens": 1}})
    own = OmegaConf.create({"depth": 0, "perturbation": 0.0})
    config = GridConfig(
        pair=own, depths=[2, 5], perturbations=[0.25, 0.5], prompts=2, repeats=3, max_new_tokens=8
    )
    runtime: Any = None
    problems: Any = ["first", "second", "third"]
    names = Names("", "a pair", "a task")
    cells = grid.plan(config, cfg, names, runtime, problems, Path("x"))
    dials = [(2, 0.25), (2, 0.5), (5, 0.25), (5, 0.5)]
    assert [cell.dials for cell in cells] == [{"depth": d, "perturbation": p} for d, p in dials]
    assert [cell.entrants for cell in cells] == [f"entrants {i}" for i in (1, 2, 3, 4)]
    for cell, given, (depth, perturbation) in zip(cells, asked, dials, strict=True):
        said = f"depth={depth},perturbation={perturbation:g}"
        _, made, called, folder, first, overrides = given
        assert (made.pair.depth, made.pair.perturbation) == (depth, perturbation)
        assert made.task.max_new_tokens == 8 and called == Names("", f"a pair {said}", "a task")
        assert cell.folder == Path("grid", said) and folder == Path("x", "grid", said)
        assert overrides == [f"pair.depth={depth}", f"pair.perturbation={perturbation:g}"]
        first("parts")
        setup = f"setup {depth} {perturbation}"
        assert planned.pop() == ("parts", setup, ["first", "second"], 3)
    assert cfg.pair == "another" and cfg.task.max_new_tokens == 1


def test_contenders_share_what_differs_in_its_draft_length_alone() -> None:
    """One that does not say which it uses can't be given another, and is started for each."""
    log: list[str] = []

    def session(name: str, gamma: int | None) -> Any:
        log.append(f"start {name}")
        return SimpleNamespace(
            name=name,
            gamma=gamma,
            with_gamma=lambda other: f"{name} with {other}",
            stop=lambda: log.append(f"stop {name}"),
        )

    def entrant(name: str, gamma: int | None, says: int | None) -> Any:
        def start(models: str, sampler: str) -> Any:
            assert (models, sampler) == ("models", "sampler")
            return session(f"{name} {gamma}", says)

        plan = SimpleNamespace(decoder=SimpleNamespace(start=start), sampler="sampler")
        return SimpleNamespace(names=Names(name, "", ""), gamma=gamma, plan=plan)

    entrants = [
        entrant("a", 2, 2), entrant("b", 2, None), entrant("a", 3, 3), entrant("b", 3, None),
        entrant("c", None, 5),
    ]  # fmt: skip
    models: Any = "models"
    with started(entrants, models) as found:
        names = [one if isinstance(one, str) else one.name for one in found]
        assert names == ["a 2", "b 2", "a 2 with 3", "b 3", "c None"]
        assert log == ["start a 2", "start b 2", "start b 3", "start c None"]
    assert sorted(log[4:]) == ["stop a 2", "stop b 2", "stop b 3", "stop c None"]


def test_a_benchmark_has_as_many_gpus_as_the_engine_that_needs_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setups = [
        SimpleNamespace(
            engine_gpus=count, with_engine=lambda most, count=count: f"{count} for {most}"
        )
        for count in (1, 4, 2)
    ]
    entrants: Any = [SimpleNamespace(plan=SimpleNamespace(setup=one)) for one in setups]
    monkeypatch.setattr(contest_module, "reserve", contextlib.nullcontext)
    with held(entrants) as setup:
        assert setup == "1 for 4"


def test_windows_are_timed_in_turns_with_a_single_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times each, of which the median counts."""
    asked: list[tuple[int, int, int]] = []

    def time(target: str, size: int, context: int, repeats: int) -> list[float]:
        assert target == "target"
        asked.append((size, context, repeats))
        return [float(size * context * len(asked)), 0.0, 1e6]

    setup: Any = SimpleNamespace(
        load_target=lambda: "target", processes=SimpleNamespace(target="process")
    )
    plan = SimpleNamespace(setup=setup)
    monkeypatch.setattr(growth, "reserved", lambda plan: contextlib.nullcontext(plan))
    monkeypatch.setattr(growth, "placed", lambda process: contextlib.nullcontext())
    monkeypatch.setattr(growth, "time_forwards", time)
    entrants: Any = [SimpleNamespace(plan=plan)]
    assert growth.time_windows(entrants, [10, 20], 5) == [
        # 10 times 1, 3 and 5; 80 times 2, 4 and 6.
        WindowTimes(10, 8, 30.0, 320.0),
        WindowTimes(20, 8, 20.0 * 9, 160.0 * 10),
    ]
    assert asked == [(1, 10, 5), (8, 10, 5)] * 3 + [(1, 20, 5), (8, 20, 5)] * 3


def cells_of(out: str) -> list[list[str]]:
    """The rows of printed tables, without their headings."""
    return [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in out.splitlines()
        if line.startswith("│")
    ]


def ratio(value: float, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    spread = (value / 4, value / 2, value, 2 * value, 4 * value)
    return {"value": value, "low": low, "high": high, "spread": spread}


def printed_row(contender: str, engine: str, share: float | None) -> dict[str, Any]:
    ratios = {"reference": ratio(2.0, 1.5, 3.0), "best": ratio(1.25)}
    return {
        "contender": contender, "engine": engine, "tokens_per_second": 12.34, "ratios": ratios,
        "draft_limit_share": share, "round_limit_share": 0.25, "acceptance_rate": 0.5,
        "equivalence": "identical 2/2", "replay": None,
    }  # fmt: skip


def test_the_tables_of_a_contest(capsys: pytest.CaptureFixture[str]) -> None:
    made = {
        "rows": [printed_row("a γ2", "transformers", 0.75), printed_row("b", "vLLM", None)],
        "best": [{"contender": "a γ2", "ratios": {"reference": ratio(3.0), "best": ratio(0.5)}}],
        "speed_ratio": 4.125,
        "draft_limit": 200.4,
        "forwards": [{"draft": 1.0}],
    }
    print_contest("pair, task", made)
    out = capsys.readouterr().out
    figures = ["12.3", "2.00× (1.50–3.00)", "1.25×", "0.50 1.00 2.00 4.00 8.00"]
    assert cells_of(out) == [
        ["a γ2", "transformers", *figures, "75%", "25%", "0.500", "identical 2/2"],
        ["b", "vLLM", *figures, "–", "25%", "0.500", "identical 2/2"],
        ["a γ2", "3.00×", "0.50×"],
    ]
    assert "c = 4.12." in out and "so 200 tokens/s" in out
    assert "Across engines compare tokens/s" in out
    for row in made["rows"]:
        row |= {"engine": "transformers"}
    print_contest("pair, task", made)
    out = capsys.readouterr().out
    assert cells_of(out)[0] == ["a γ2", *figures, "75%", "25%", "0.500", "identical 2/2"]
    assert "Across engines" not in out and "simulated" not in out
    made["rows"][1]["replay"] = asdict(Replay(95.0, 90.0, 75.0, 100.0, 180.0))
    print_contest("pair, task", made)
    assert "\nb on the same texts and forward times, simulated" in capsys.readouterr().out


def test_a_pair_of_the_grid_is_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    """Its dials, what they gave, and over the reference also the draft length."""
    plain = {"decoder": "ar", "drafts": False, "gamma": None, "ratios": {"reference": ratio(1.0)}}
    ratios = {"reference": ratio(2.0, 1.5, 3.0), "best": ratio(1.25)}
    one = {"decoder": "a", "drafts": True, "gamma": 3, "ratios": ratios}
    other = one | {"decoder": "b", "gamma": None, "ratios": {**ratios, "best": ratio(0.5)}}
    cell = {
        "depth": 2, "perturbation": 0.25, "speed_ratio": 4.16, "acceptance_rate": 0.7777,
        "best": [plain, one, other],
    }  # fmt: skip
    print_cells([cell, cell | {"depth": 5, "acceptance_rate": None}])
    figures = ["2.00× (1.50–3.00) γ3", "2.00× (1.50–3.00)", "1.25×", "0.50×"]
    assert cells_of(capsys.readouterr().out) == [
        ["2", "0.25", "4.2", "0.778", *figures],
        ["5", "0.25", "4.2", "–", *figures],
    ]


def test_the_tables_of_growth(capsys: pytest.CaptureFixture[str]) -> None:
    def point(label: str, context: int, median: float, rate: float | None) -> dict[str, Any]:
        own = {"contender": label, "context": context, "median": median, "acceptance_rate": rate}
        return own | {"identical": 2, "outputs": 3}

    growth.print_points(
        [
            point("a", 200, 0.0125, 0.5), point("a", 100, 0.00775, 0.75),
            point("b", 100, 0.001, None), point("b", 200, 0.002, None),
        ]
    )  # fmt: skip
    assert cells_of(capsys.readouterr().out) == [
        ["a", "7.75 (0.75)", "12.50 (0.50)", "4/6"],
        ["b", "1.00", "2.00", "4/6"],
    ]
    growth.print_windows([WindowTimes(100, 8, 0.002, 0.003), WindowTimes(200, 8, 0.004, 0.01)])
    assert cells_of(capsys.readouterr().out) == [
        ["1 token", "2.00", "4.00"],
        ["8 tokens", "3.00", "10.00"],
        ["ratio", "1.50", "2.50"],
    ]


def test_the_table_of_several_requests(capsys: pytest.CaptureFixture[str]) -> None:
    def point(label: str, requests: int, rate: float, ties: int) -> dict[str, Any]:
        own = {"contender": label, "requests": requests, "tokens_per_second": rate}
        own |= {"least": rate - 1, "most": rate + 2, "latency": rate / 8}
        return own | {"identical": 5, "ties": ties, "outputs": 6}

    print_points([point("a", 4, 20, 1), point("a", 1, 10, 0)])
    assert cells_of(capsys.readouterr().out) == [
        ["a", "10 (9–12); 1.25", "20 (19–22); 2.50", "10/12, 1 ties"]
    ]
    print_points([point("b", 1, 4, 0)])
    assert cells_of(capsys.readouterr().out) == [["b", "4 (3–6); 0.50", "5/6"]]


def test_each_column_of_a_benchmark_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order in which the tests above have its figures."""
    printed: list[tuple[str, list[str]]] = []

    def note(title: str, headings: list[str], cells: Any) -> None:
        printed.append((title.split(":")[0], [one.replace("\n", " ") for one in headings]))

    for module in (table, grid, growth, concurrency):
        monkeypatch.setattr(module, "print_table", note)
    ratios = {"reference": ratio(3.0), "best": ratio(0.5)}
    made = {
        "rows": [printed_row("a γ2", "transformers", 0.75), printed_row("b", "vLLM", None)],
        "best": [{"contender": "a γ2", "ratios": ratios}],
        "speed_ratio": 4.0, "draft_limit": 200.0, "forwards": [{"draft": 1.0}],
    }  # fmt: skip
    print_contest("pair, task", made)
    for row in made["rows"]:
        row |= {"engine": "transformers"}
    print_contest("pair, task", made)
    figures = ["tokens /s", "÷ reference", "÷ best", "÷ reference by prompt", "limit 1", "limit 2"]
    figures += ["α", "equivalence"]
    best = ("At the best γ", ["contender", "÷ reference", "÷ best"])
    assert printed == [
        ("pair, task", ["contender", "engine", *figures]), best,
        ("pair, task", ["contender", *figures]), best,
    ]  # fmt: skip
    printed.clear()
    own = [{"decoder": name, "drafts": True, "gamma": 3, "ratios": ratios} for name in "ab"]
    cell = {"depth": 2, "perturbation": 0.25, "speed_ratio": 4.0, "acceptance_rate": 0.5}
    print_cells([cell | {"best": own}])
    dials = ["depth", "perturbation", "c", "α"]
    cells = ("Pairs", [*dials, "a", "b", "a ÷ best", "b ÷ best"])
    assert printed == [cells]
    # Where none drafts, all are shown.
    print_cells([cell | {"best": [one | {"drafts": False} for one in own]}])
    assert printed == [cells] * 2
    printed.clear()
    growth.print_points([{"contender": "a", "context": n} for n in (200, 100)])
    growth.print_windows([WindowTimes(100, 8, 0.002, 0.003), WindowTimes(200, 8, 0.004, 0.01)])
    print_points([{"contender": "a", "requests": n} for n in (4, 1)])
    assert printed == [
        ("Growth", ["contender", "100", "200", "identical"]),
        ("Growth", ["forward over", "100", "200"]),
        ("Requests at once", ["contender", "1", "4", "identical"]),
    ]


def test_up_to_forty_problems_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"T/{i}" for i in range(41)]
    print_problems(names[:40], 99, 7)
    assert capsys.readouterr().out.endswith(f"{', '.join(names[:40])}\n")
    print_problems(names, 99, 7)
    out = capsys.readouterr().out
    assert out.startswith("41 of the task's 99 problems, drawn by seed 7: T/0, ")
    assert out.endswith("T/39, …\n")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [(["a: so"], "a: so"), (["a: so", "b", "c"], "a: so (and 2 more contenders)")],
)
def test_who_gave_wrong_outputs_is_told_at_the_end(
    wrong: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made: Any = object.__new__(benchmark.Benchmark)
    made._config, made._directory, made._title = BenchConfig(), tmp_path, "pair, task"
    made._contest, made._whole = ["a contender"], 7
    made.content = {"problems": ["T/0"], "contest": None}
    monkeypatch.setattr(benchmark, "hold", lambda *given: SimpleNamespace(wrong=wrong))
    monkeypatch.setattr(benchmark, "content", lambda *given: {"rows": 3})
    monkeypatch.setattr(benchmark, "print_contest", lambda *given: None)
    monkeypatch.setattr(benchmark, "draw_all", lambda *given: ["contest.png", "contest.svg"])
    with pytest.raises(EquivalenceViolation) as refused:
        made.run()
    assert str(refused.value) == told
    said = f"written to {tmp_path}: bench.json, contest.png, contest.svg"
    assert capsys.readouterr().out.splitlines()[-1] == said
    assert json.loads((tmp_path / "bench.json").read_text())["contest"] == {"rows": 3}


class Turns:
    """A contender that notes what it is to do, and gives what tells who did it."""

    def __init__(self, name: str, reference: str, log: list[str]) -> None:
        self.plan = SimpleNamespace(reference=reference)
        self.comparison = self
        self.outcomes: list[Any] = []
        self._name, self._reference, self._log = name, reference, log

    def measure_reference(self, prompt: Any) -> Any:
        self._log.append(f"{self._reference} {prompt.name}")
        return SimpleNamespace(output_ids=[self._reference, prompt.name])

    def decode(self, prompt: Any) -> Any:
        self._log.append(f"{self._name} {prompt.name}")
        return SimpleNamespace(rounds=f"{self._name}'s of {prompt.name}"), None

    def begin(self, rounds: str) -> None:
        self._log.append(f"begin by {rounds}")

    def judged(self, prompt: Any, made: Any, reference: Any) -> Any:
        return prompt.name, made[0].rounds, *reference.output_ids

    def add(self, outcome: Any) -> None:
        self.outcomes.append(outcome)


def test_each_contender_and_each_reference_decodes_each_prompt_once() -> None:
    """After a prompt apart, to warm up. Repeats come after all prompts; the second turn of the
    dialogue follows the answer of the first contender's reference."""

    def prompt(name: str, sample: int, size: int = 4) -> Any:
        return SimpleNamespace(name=name, sample=sample, ids=[1] * size, key=(name, sample, 0))

    log: list[str] = []
    answers: list[Any] = []
    contenders = [Turns("a", "own", log), Turns("b", "theirs", log), Turns("c", "own", log)]
    after: Any = {"y0": prompt("y0+", 0, 9)}

    def next_turn(last: Any, answer: Any) -> Any:
        answers.append(answer)
        return after.get(last.name)

    plan: Any = SimpleNamespace(
        prompts=[prompt("x0", 0), prompt("x1", 1), prompt("y0", 0), prompt("y1", 1)],
        task=SimpleNamespace(max_new_tokens=7),
        pair=SimpleNamespace(answer=lambda ids: f"answer {' '.join(ids)}"),
        reference="own",
        next_turn=next_turn,
    )
    asked: list[Any] = []
    timer: Any = SimpleNamespace(forwards=lambda *given: asked.append(given) or len(asked))
    given: Any = contenders
    assert _decode(plan, given, timer, random.Random(0), "") == [1, 2, 3, 4, 5]
    names = ["x0", "y0", "y0+", "x1", "y1"]
    warming = [
        line
        for one, reference in (("a", "own"), ("b", "theirs"), ("c", "own"))
        for line in (f"{reference} x0", f"{one} x0", f"begin by {one}'s of x0")
    ]
    assert log[:9] == warming
    turns = [log[9 + 5 * place : 14 + 5 * place] for place in range(5)]
    who = ["a", "b", "c", "own", "theirs"]
    assert [sorted(one) for one in turns] == [[f"{one} {name}" for one in who] for name in names]
    # In an order of its own for each.
    assert len({tuple(line.split()[0] for line in one) for one in turns}) > 1
    for one, reference in zip(contenders, ("own", "theirs", "own"), strict=True):
        assert one.outcomes == [
            (name, f"{one._name}'s of {name}", reference, name) for name in names
        ]
    assert answers == [f"answer own {name}" for name in names]
    # In the middle of what is generated.
    assert [(key[0], middle - size, size) for key, middle, size in asked] == [
        (name, 3, 9 if name == "y0+" else 4) for name in names
    ]
    assert _decode(plan, given, None, random.Random(0), "") == []


SMALL = ["task.limit=2", "task.max_new_tokens=12", "repeats=2", "hydra.run.dir=run"]
QUICK = ["forward_repeats=1", *SMALL]


def written(folder: Path, *pictures: str) -> dict[str, Any]:
    """What ``bench.json`` holds; all ``pictures`` must be there."""
    for name in pictures:
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (folder / f"{name}.svg").read_text()
    return json.loads((folder / "bench.json").read_text())


def test_contenders_are_compared_side_by_side(run_bench: Run, tmp_path: Path) -> None:
    decoders = (
        "decoders=[autoregressive,speculative,pearl,pearl_async,ssd,generate,assisted_constant]"
    )
    code, out, err = run_bench(decoders, "gammas=[2,3]", *QUICK)
    assert code == 0, err
    labels = ["generate", "autoregressive", "speculative γ2", "assisted_constant γ3"]
    assert all(label in out for label in labels)
    content = written(tmp_path / "run", "contest")
    table = content["contest"]["rows"]
    assert [row["equivalence"] for row in table] == ["identical 4/4"] * (3 + 4 * 2)
    shares = {row["contender"]: row["round_limit_share"] for row in table}
    assert shares["pearl γ2"] > 0 and shares["speculative γ2"] > 0
    assert set(table[0]["ratios"]) == {"reference", "generate"}
    assert sorted(content["problems"]) == ["HumanEval/0", "HumanEval/1"]
    best = {one["decoder"]: one["contender"] for one in content["contest"]["best"]}
    assert best["speculative"] in ("speculative γ2", "speculative γ3")
    assert content["version"] == 4 and len(content["contest"]["forwards"]) == 4
    for one in content["contest"]["forwards"]:
        # In the middle of what is generated.
        assert one["context"] == one["prompt_length"] + 6
        # 8 since pearl_async judges whatever there is.
        assert sorted(one["target"]) == sorted(one["beside"]) == ["1", "2", "3", "4", "8"]
        assert sorted(one["sequential"]) == ["2", "3"]
        # Drafts of two and three tokens, each with the token before it, and two continuations of
        # each length of either.
        assert sorted(one["wide"]) == ["3", "4", "6", "8"]
        kinds = ("sequential", "target", "wide")
        assert min(seconds for kind in kinds for seconds in one[kind].values()) > 0
    assert "beside one of one token: 3 tokens " in out and ", 8 tokens " in out
    # Every contender is a run, for whatever reads runs.
    rows = table_rows(tmp_path / "run")
    assert [row.label for row in rows] == [row["contender"] for row in table]
    assert all(row.summary and row.summary["prompts"] == 4 for row in rows)
    frame = load_any([tmp_path / "run"])
    found = significance.decoders(frame)
    assert len(found) == 11 * 10 / 2 and set(found["n"]) == {2}
    assert set(frame["sweep"]) == {str(tmp_path / "run")}


def test_a_contender_leaves_what_a_run_of_its_settings_leaves(
    run_bench: Run, run_cli: Run, tmp_path: Path
) -> None:
    same = ["task.limit=2", "task.max_new_tokens=12", "protocol=paper"]
    code, _, err = run_bench(
        "decoders=[speculative,pearl]", "gammas=[3]", "forward_repeats=1", "repeats=1", *same,
        "hydra.run.dir=bench",
    )  # fmt: skip
    assert code == 0, err
    for number, name in enumerate(["speculative", "pearl"]):
        run = ["decoder.gamma=3", f"hydra.run.dir={name}", f"decoder={name}"]
        code, _, err = run_cli(*run, *same)
        assert code == 0, err
        alone, beside = tmp_path / name, tmp_path / f"bench/contest/{number:02}-{name}-3"
        left = {one.name for one in alone.iterdir()} - {"pearl-eval.log"}
        assert left - {one.name for one in beside.iterdir()} == set()
        ours, theirs = (
            {one["task_id"]: one for one in read_lines(folder / "records.jsonl")}
            for folder in (beside, alone)
        )
        alike = ["output_ids", "text", "verdict", "correct", "judged", "accepted", "finish_reason"]
        alike += ["target_forwards", "draft_forwards", "accepted_runs", "reference_output_ids"]
        assert ours.keys() == theirs.keys()
        for task_id, one in ours.items():
            assert {key: one[key] for key in alike} == {key: theirs[task_id][key] for key in alike}
            assert not one["warmup"]  # that was apart
        columns = ["task_id", "round", "mode", "drafted", "judged", "accepted", "verified_length"]
        counts = [
            pd.read_parquet(folder / "rounds.parquet")[columns].sort_values(columns[:2])
            for folder in (beside, alone)
        ]
        assert counts[0].values.tolist() == counts[1].values.tolist()
        settings = [
            json.loads((folder / "summary.json").read_text())["decoder_settings"]
            for folder in (beside, alone)
        ]
        assert settings[0] == settings[1] and settings[0]["gamma"] == 3


def test_a_users_own_decoder_takes_part(
    run_bench: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own" / "decoder").mkdir(parents=True)
    (tmp_path / "own" / "decoder" / "mine.yaml").write_text(
        "defaults:\n  - speculative\n  - _self_\ngamma: ${pair.gamma.pearl}\n"
    )
    arguments = ["decoders=[mine,pearl_async]", "gammas=[2]", "repeats=1", *QUICK[:3]]
    code, out, err = run_bench(f"--config-dir={tmp_path / 'own'}", *arguments, "hydra.run.dir=run")
    assert code == 0, err
    assert "mine" in out
    folder = tmp_path / "run" / "contest" / "00-mine-2"
    assert json.loads((folder / "summary.json").read_text())["decoder"] == "mine"
    code, _, err = run_bench(*arguments, "hydra.run.dir=other")
    assert code == 2 and "there is no decoder mine" in err


def test_an_output_that_is_not_the_targets_fails_the_benchmark(
    run_bench: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After everything has been measured and written."""
    from decoders.speculative import SpeculativeSession

    decode = SpeculativeSession.decode

    def lie(self: SpeculativeSession, prompt: list[int], *rest: Any) -> Generation:
        generation = decode(self, prompt, *rest)
        generation.output_ids[3] += 1
        return generation

    monkeypatch.setattr(SpeculativeSession, "decode", lie)
    code, out, err = run_bench("decoders=[autoregressive,speculative]", "gammas=[2]", *QUICK)
    assert code == 1 and "speculative: 4 of 4 outputs are not the target's own" in err
    assert "the first: HumanEval/" in err and "position 3" in err
    assert "VIOLATION 4/4" in out
    assert "2 of the task's 2 problems, drawn by seed 0: HumanEval/" in out
    written(tmp_path / "run", "contest")


def test_a_directory_that_holds_a_benchmark_is_left_alone(run_bench: Run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "bench.json").write_text("{}")
    code, _, err = run_bench(*QUICK)
    assert code == 2 and "holds a benchmark already" in err
    assert (tmp_path / "run" / "bench.json").read_text() == "{}"


def small_grid(small_pair: Any) -> list[str]:
    """Overrides for a grid of two pairs."""
    return [
        *small_pair.overrides,
        "grid=controlled",
        f"grid.pair.draft.path={small_pair.folder / 'draft'}",
        "grid.decoders=[autoregressive,speculative,pearl]",
        "grid.depths=[2]",
        "grid.perturbations=[0.1,0.9]",
        "grid.gammas=[3]",
        *["grid.prompts=2", "grid.max_new_tokens=8", "grid.repeats=2"],
        *["contest=false", "forward_repeats=1", "task.limit=3", *SMALL[1:]],
    ]


def test_a_grid_measures_each_of_its_pairs(
    run_command: Run, small_pair: Any, tmp_path: Path
) -> None:
    code, out, err = run_command("bench", *small_grid(small_pair))
    assert code == 0, err
    content = written(tmp_path / "run", "grid")
    assert [cell["perturbation"] for cell in content["grid"]] == [0.1, 0.9]
    first, second = content["grid"]
    assert first["acceptance_rate"] > second["acceptance_rate"]
    assert first["speed_ratio"] > 0 and content["contest"] is None
    assert [one["decoder"] for one in first["best"]] == ["autoregressive", "speculative", "pearl"]
    assert all(one["wide"] == {} for one in first["forwards"])
    assert "pearl ÷" in out and "best speculative" in out
    # Those that are decoded, not those that a contest would have.
    assert "2 of the task's 3 problems, drawn by seed 0: " in out and len(content["problems"]) == 2
    # Pairs of other dials are other pairs, whoever reads the runs.
    frame = load_any([tmp_path / "run"])
    pairs = [f"controlled depth=2,perturbation={one}" for one in (0.1, 0.9)]
    assert list(frame["pair"]) == [pairs[0]] * 3 + [pairs[1]] * 3
    labels = [row.label for row in table_rows(tmp_path / "run")]
    assert labels[2] == "pearl pair.perturbation=0.1"


def test_a_grid_that_is_interrupted_leaves_the_pairs_that_were_measured(
    run_command: Run, small_pair: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pearl_eval.bench import benchmark

    held = []

    def hold(*arguments: Any) -> Results:
        if held:
            raise UserError("interrupted")
        held.append(grid_hold(*arguments))
        return held[0]

    grid_hold = benchmark.hold
    monkeypatch.setattr(benchmark, "hold", hold)
    code, _, err = run_command("bench", *small_grid(small_pair))
    assert code == 2 and "interrupted" in err
    [cell] = json.loads((tmp_path / "run" / "bench.json").read_text())["grid"]
    assert cell["perturbation"] == 0.1 and cell["forwards"]
    assert len(table_rows(tmp_path / "run" / cell["folder"])) == 3


def test_growth_times_long_texts(run_command: Run, small_pair: Any, tmp_path: Path) -> None:
    """Also past the context that the draft model was made for."""
    code, out, err = run_command(
        "bench",
        *small_pair.overrides,
        "growth=controlled",
        f"growth.pair.draft.path={small_pair.folder / 'draft'}",
        *["growth.pair.depth=1", "growth.pair.context=2200", "growth.contexts=[16,2100]"],
        "growth.decoders=[autoregressive,pearl]",
        *["growth.repeats=1", "contest=false", *SMALL],
    )
    assert code == 0, err
    content = written(tmp_path / "run", "growth")
    points = content["growth"]["points"]
    assert [point["context"] for point in points] == [16, 2100] * 2
    assert all(point["identical"] == point["outputs"] == 1 for point in points)
    assert all(point["median"] > 0 for point in points)
    assert "2100" in out and "2/2" in out
    forwards = content["growth"]["forwards"]
    assert [(one["context"], one["window"]) for one in forwards] == [(16, 8), (2100, 8)]
    ratios = [one["several"] / one["one"] for one in forwards]
    (line,) = (line for line in out.splitlines() if line.startswith("│ ratio "))
    assert line.split()[3:7:2] == [f"{ratio:.2f}" for ratio in ratios]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("decoders=[]", "decoders is empty: name at least one"),
        ("decoders=[autoregressive,nope]", "there is no decoder nope"),
        ("gammas=[0]", "draft lengths of at least 1 token"),
        ("repeats=0", "repeats must be at least 1"),
        ("prompts=1", "prompts: 1 are too few, at least 2"),
        ("prompts=-1", "prompts must be at least 1, got -1"),
        ("grid.prompts=1", "grid.prompts: 1 are too few"),
        ("contest=false", "leaves nothing to measure; choose grid=controlled, growth=controlled"),
        ("task.max_new_tokens=2048", "do not fit"),
        ("runtime.answer_timeout=0", "runtime.answer_timeout must be more than 0"),
        ("forward_repeats=0", "forward_repeats must be at least 1"),
        ("grid.depths=[]", "must each have a value"),
        ("grid.depths=[0]", "pair.depth must be at least 1"),
        ("grid.decoders=[]", "grid.decoders is empty: name at least one"),
        ("growth.contexts=[9999]", "do not fit the models' context of 4224"),
        ("growth.new_tokens=4", "growth.new_tokens at least 32"),
    ],
)
def test_bad_input_is_one_clear_line(
    run_bench: Run, monkeypatch: pytest.MonkeyPatch, argument: str, message: str
) -> None:
    """Before any weights are loaded."""

    def load(*_: object) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr("pearl_eval.pairs.setup.Setup.load_target", load)
    limits = {"task.limit": "2", "task.max_new_tokens": "4", "repeats": "2"}
    name, _, value = argument.partition("=")
    part = name.split(".")[0]
    group = [f"{part}=controlled"] if part in ("grid", "growth") else []
    code, _, err = run_bench(*group, *(f"{k}={v}" for k, v in (limits | {name: value}).items()))
    assert code == 2 and message in err


def test_data_that_cannot_be_loaded_is_one_line(
    run_bench: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "bad.jsonl").write_text("{\n")
    code, _, err = run_bench("task=gsm8k", "task.data=bad.jsonl", "task.shots=0")
    assert code == 2 and "the task's problems can't be loaded" in err
    assert len(err.splitlines()) == 1
