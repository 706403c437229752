"""``pearl-eval-bench``: the arithmetic on made-up measurements, the command on a small pair."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from decoders.generation import Generation
from decoders.round import Round
from pearl_eval.bench.cli import draw
from pearl_eval.bench.goals import Goal, best_pair_goals, contest_goals
from pearl_eval.bench.limits import Forwards, Rounds
from pearl_eval.bench.results import Measurement, Results
from pearl_eval.bench.table import bests, rows
from pearl_eval.bench.watch import Sight, account
from pearl_eval.errors import UserError
from pearl_eval.results.intervals import total_ratio_interval
from tasks.task import Problem

Run = Callable[..., tuple[int, str, str]]
#: One draft forward takes 1 s, the target 4 s for one token and 6 s for five.
FORWARDS = Forwards(context=100, draft=1.0, target={1: 4.0, 5: 6.0})


def measured(
    contender: str, prompt: int, seconds: float, pearl: Rounds | None = None, **more: Any
) -> Measurement:
    fields = {"repeat": 0, "tokens": 10, "judged": 8, "accepted": 6, "target_forwards": 5}
    fields |= {"verdict": "identical", "why": "", "draft_alone": 0.05}
    fields |= more
    return Measurement(contender=contender, prompt=prompt, seconds=seconds, pearl=pearl, **fields)


def contest(**speeds: float) -> Results:
    """Six prompts; each contender always so many times as fast as the reference."""
    names = {name.replace("__", " γ="): factor for name, factor in speeds.items()}
    return Results(
        [measured(n, p, (p + 1) / f) for p in range(6) for n, f in names.items()], [FORWARDS]
    )


def test_ratios_are_paired() -> None:
    """Prompts of very different length, always exactly twice as fast: no spread at all."""
    ratio = contest(autoregressive=1, fast=2).ratio("fast", "autoregressive")
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((2.0, 2.0, 2.0))
    assert ratio.spread == pytest.approx((2.0,) * 5)
    assert str(ratio) == "2.00× (2.00–2.00)"


def test_a_ratio_is_of_totals_and_spreads_by_prompt() -> None:
    """24 s over 12 s. By prompt 1, 2 and 4 times as fast."""
    seconds = {"autoregressive": [8.0, 8.0, 8.0], "fast": [8.0, 4.0, 2.0]}
    seconds["fast"][0] -= 2.0  # so that totals differ from any mean of ratios
    results = Results(
        [measured(name, p, s) for name, own in seconds.items() for p, s in enumerate(own)]
    )
    ratio = results.ratio("fast", "autoregressive")
    assert ratio.value == pytest.approx(24 / 12)
    assert ratio.spread == pytest.approx((4 / 3, 5 / 3, 2, 3, 4))
    # Three prompts, by the interval of a run.
    ten = np.full(3, 10.0)
    interval = total_ratio_interval(ten, np.array([6.0, 4.0, 2.0]), ten, np.full(3, 8.0))
    assert (ratio.low, ratio.high) == pytest.approx(interval)


def test_repeats_of_a_prompt_are_no_further_evidence() -> None:
    def results(repeats: int) -> Results:
        return Results(
            [
                measured(name, p, (p + factor) / factor, repeat=repeat)
                for repeat in range(repeats)
                for p in range(4)
                for name, factor in (("autoregressive", 1), ("fast", 3))
            ]
        )

    once, often = (results(n).ratio("fast", "autoregressive") for n in (1, 5))
    assert (often.value, often.low, often.high) == pytest.approx((once.value, once.low, once.high))
    two = Results([m for m in results(5).measurements if m.prompt < 2])
    ratio = two.ratio("fast", "autoregressive")
    assert (ratio.low, ratio.high) == (None, None) and str(ratio) == f"{ratio.value:.2f}×"


def test_the_best_draft_length_is_the_fastest() -> None:
    results = contest(speculative__2=1, speculative__4=3, speculative__6=2)
    assert results.best("speculative".__eq__) == "speculative γ=4"
    assert results.best("pearl".__eq__) is None


def unlike() -> Results:
    """γ = 4 takes 1 s on the prompts 0 and 2, and 10 s on 1 and 3; γ = 2 always takes 3 s."""
    seconds = {
        "autoregressive": [6.0] * 4,
        "speculative γ=2": [3.0] * 4,
        "speculative γ=4": [1.0, 10.0, 1.0, 10.0],
    }
    return Results(
        [measured(name, p, s) for name, own in seconds.items() for p, s in enumerate(own)]
    )


def test_what_is_best_is_chosen_on_one_half_and_compared_on_the_other() -> None:
    results = unlike()
    assert results.best("speculative".__eq__) == "speculative γ=4"
    (best,) = bests(results)
    assert (best.decoder, best.contender) == ("speculative", "speculative γ=4")
    assert best.ratios["autoregressive"].value == pytest.approx(0.6)
    # On all of them it would be 24 / 22, and γ = 2 the fastest with 2.
    assert results.ratio("speculative γ=4", "autoregressive").value == pytest.approx(24 / 22)


def test_goals_hold_for_prompts_that_draft_lengths_were_not_chosen_on() -> None:
    both = [*unlike().measurements, *(measured("generate", p, 6.0) for p in range(4))]
    both += [measured("assisted_constant γ=4", p, 3.0) for p in range(4)]
    reached = goal(contest_goals(Results(both)), "speculative ÷ assisted")
    assert reached.value == pytest.approx(0.3) and not reached.met


def test_the_best_pair_is_chosen_on_one_half_as_well() -> None:
    """Where the first pair is best, on the prompts 0 and 2, it is slow on the others."""
    pair = [
        measured("pearl γ=4", p, s) for p, s in enumerate([0.5, 12.0, 0.5, 12.0])
    ] + unlike().measurements
    steady = contest(autoregressive=1, speculative__4=1.5, pearl__4=3)
    first, _ = best_pair_goals([("fickle", Results(pair)), ("steady", steady)])
    assert first.value == pytest.approx(0.5) and "fickle" in first.note


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


def test_each_contender_is_held_against_the_best_of_the_others() -> None:
    results = contest(
        autoregressive=1, speculative__2=2, speculative__4=3, generate=0.5, assisted_constant__4=2
    )
    row = next(row for row in rows(results) if row.contender == "speculative γ=4")
    assert {name: ratio.value for name, ratio in row.ratios.items()} == pytest.approx(
        {"autoregressive": 3, "generate": 6}
    )
    best = next(one for one in bests(results) if one.decoder == "speculative")
    assert best.contender == "speculative γ=4"
    assert {name: ratio.value for name, ratio in best.ratios.items()} == pytest.approx(
        {"autoregressive": 3, "best speculative": 1, "generate": 6, "best assisted": 1.5}
    )
    assert row.acceptance_rate == 0.75 and row.tokens_per_forward == 2
    assert row.verdict == "6/6" and row.round_limit_share is None


def test_limit_1_is_one_draft_forward_a_token() -> None:
    """10 tokens in 1 s, where ten draft forwards take half of that."""
    results = Results([measured("pearl γ=4", 0, seconds=1.0, draft_alone=0.05)])
    assert results.share_of_draft_limit("pearl γ=4") == pytest.approx(0.5)


def pearl_round(mode: str, read: int, start: float, **more: float) -> Round:
    """Five tokens are drafted, ``read`` read by the target, which begins 0.1 s after the round."""
    counts = {"drafted": 5, "target_tokens": read, "bytes_sent": 100}
    return Round(mode, **counts, start=start, target_start=start + 0.1, **more)


def test_limit_2_is_the_longer_side_of_each_round() -> None:
    rounds = [
        # The prompt's round: no part of the account.
        pearl_round("pre-verify", 101, 0.0, draft_seconds=50, target_seconds=90),
        # To draft 5 tokens takes 5 s alone, the target to read as many 6 s.
        pearl_round(
            "post-verify", 5, 100.0, draft_seconds=5.5, target_seconds=7, wait_target_seconds=0.5
        ),
        # To read one token takes the target 4 s.
        pearl_round(
            "pre-verify", 1, 108.0, draft_seconds=5.5, target_seconds=4, wait_target_seconds=1.8
        ),
    ]
    account = Rounds.of(Generation([1] * 8, "length", 114.0, rounds, []), FORWARDS)
    assert (account.count, account.bytes_sent) == (2, 200)
    assert account.wall == pytest.approx(8 + 6)
    assert account.alone == pytest.approx(6 + 5)
    assert account.inside == pytest.approx(7 + 5.5)
    assert account.crossings == pytest.approx([0.6, 0.4])
    results = Results([measured("pearl γ=5", 0, 114.0, account)])
    assert results.share_of_round_limit("pearl γ=5") == pytest.approx(11 / 14)
    assert results.share_of_round_limit("pearl γ=5", inside=True) == pytest.approx(12.5 / 14)


def test_forwards_between_the_windows_timed_are_interpolated() -> None:
    assert FORWARDS.target_seconds(3) == pytest.approx(5.0)
    assert FORWARDS.speed_ratio == 4.0


def goal(goals: list[Goal], name: str) -> Goal:
    return next(one for one in goals if name in one.name)


def test_goals_say_what_was_measured_and_whether_that_is_enough() -> None:
    results = contest(
        autoregressive=1, generate=0.9, speculative__4=1.5, pearl__4=2.4, assisted_constant__4=1.5
    )
    goals = contest_goals(results)
    assert goal(goals, "generate").met and not goal(goals, "aimed at").met
    assert not goal(goals, "speculative ÷ assisted").met
    pearl = goal(goals, "PEARL ÷ assisted")
    assert pearl.met and pearl.value == pytest.approx(1.6)
    assert (pearl.wanted, pearl.measured) == ("≥ 1.500×", "1.600×")
    nothing = goal(contest_goals(contest(autoregressive=1)), "PEARL ÷ assisted")
    assert nothing.met is None and nothing.measured == "not in this run"


def spent(bytes_sent: int, crossing: float, alone: float, inside: float) -> Rounds:
    """Ten rounds of 1 s."""
    return Rounds(10, 10.0, 10 * alone, 10 * inside, [crossing] * 10, bytes_sent)


@pytest.mark.parametrize(
    ("rounds", "met"),
    [
        (spent(2560, 60e-6, 0.9, 0.97), (True, True, True, True)),
        (spent(2570, 60e-6, 0.9, 0.97), (True, True, True, False)),
        (spent(2560, 61e-6, 0.9, 0.97), (True, True, False, True)),
        (spent(2560, 60e-6, 0.9, 0.96), (True, False, True, True)),
        (spent(2560, 60e-6, 0.89, 0.97), (False, True, True, True)),
    ],
)
def test_goals_of_pearls_rounds_have_bounds(rounds: Rounds, met: tuple[bool, ...]) -> None:
    """Token ids cross, in 256 bytes a round, and not what has the size of a vocabulary."""
    results = Results([measured("pearl γ=4", 0, 10.0, rounds)])
    names = ("forwards alone", "forwards inside", "crossing", "bytes a round")
    assert tuple(goal(contest_goals(results), name).met for name in names) == met
    bytes_goal = goal(contest_goals(results), "bytes a round")
    assert (bytes_goal.wanted, bytes_goal.value) == ("≤ 256 bytes", rounds.bytes_sent / 10)


@pytest.mark.parametrize(("factor", "met"), [(1.0, True), (1.01, False), (1.05, False)])
def test_the_reference_must_be_as_fast_as_itself(factor: float, met: bool) -> None:
    """One per cent off is near enough, but without any spread its interval does not cover 1."""
    results = contest(**{"autoregressive": 1.0, "autoregressive again": factor})
    assert goal(contest_goals(results), "A/A").met is met


def test_the_best_pair_of_a_grid_is_named() -> None:
    slow = contest(autoregressive=1, speculative__4=1.5, pearl__4=2)
    fast = contest(autoregressive=1, speculative__4=4, pearl__4=4.5, pearl_async=5)
    goals = best_pair_goals([("slow pair", slow), ("fast pair", fast)])
    assert goals[0].met and goals[0].note == "pearl_async ÷ autoregressive, fast pair"
    assert goals[1].value == pytest.approx(2 / 1.5) and "slow pair" in goals[1].note


def test_what_no_decoding_was_timed_in_is_outside() -> None:
    """The reference decodes the first prompt first, then they take turns: 1 s outside in 20."""
    times = {"seconds": 3.0, "reference_seconds": 6.0, "new_tokens": 4, "reference_output_ids": [0]}
    sights = [
        Sight(start, 1.0, main, 100) for start, main in ((16.0, 1000), (19.5, 1000), (35.0, 1050))
    ]
    whole = account(2.0, sights, [times] * 3)
    assert whole.start == pytest.approx(10.0 + 1.0 - 2.0)
    assert whole.outside == pytest.approx(1 / 19)
    assert whole.memory == [(5, 1100), (10, 1100), (15, 1150)]
    assert whole.bytes_per_token == pytest.approx(10.0)


SMALL = ["task.limit=2", "task.max_new_tokens=12", "repeats=2", "hydra.run.dir=run"]


def written(folder: Path, *pictures: str) -> dict[str, Any]:
    """What ``bench.json`` holds; all ``pictures`` must be there."""
    for name in pictures:
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (folder / f"{name}.svg").read_text()
    return json.loads((folder / "bench.json").read_text())


def test_contenders_are_compared_side_by_side(run_bench: Run, tmp_path: Path) -> None:
    decoders = "decoders=[autoregressive,speculative,pearl,generate,assisted_constant]"
    code, out, err = run_bench(decoders, "gammas=[2,3]", "whole_run=false", *SMALL)
    assert code == 0, err
    labels = ["generate", "autoregressive again", "speculative γ=2", "assisted_constant γ=3"]
    assert all(label in out for label in labels)
    content = written(tmp_path / "run", "contest")
    table = content["contest"]["rows"]
    assert [row["verdict"] for row in table] == ["4/4"] * (3 + 3 * 2)
    assert len(content["contest"]["measurements"]) == 4 * len(table)
    shares = {row["contender"]: row["round_limit_share"] for row in table}
    assert shares["pearl γ=2"] > 0 and shares["speculative γ=2"] is None
    assert sorted(content["problems"]) == ["HumanEval/0", "HumanEval/1"]
    best = {one["decoder"]: one["contender"] for one in content["contest"]["best"]}
    assert best["speculative"] in ("speculative γ=2", "speculative γ=3")
    assert content["version"] == 3 and len(content["contest"]["forwards"]) == 4
    # More than the target's own part of a turn: both models', timed.
    for one in content["contest"]["forwards"]:
        assert sorted(one["turns"]) == ["2", "3"]
        assert one["turns"]["3"] > one["target"]["3"] > 0
    assert {"A/A", "bytes"} <= {one["name"].split()[0].rstrip(":") for one in content["goals"]}
    (sent,) = [one for one in content["goals"] if one["name"] == "bytes a round"]
    # A request and its answer, of two or three tokens: some 90 bytes.
    assert 60 < sent["value"] < 120 and sent["met"]


def test_an_output_that_is_not_the_targets_fails_the_run(
    run_bench: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After everything has been measured and written."""
    from decoders.speculative import Speculative

    decode = Speculative.decode

    def lie(self: Speculative, prompt: list[int], *rest: Any) -> Generation:
        generation = decode(self, prompt, *rest)
        generation.output_ids[3] += 1
        return generation

    monkeypatch.setattr(Speculative, "decode", lie)
    code, out, err = run_bench(
        "decoders=[autoregressive,speculative]", "gammas=[2]", "whole_run=false", *SMALL
    )
    assert code == 1 and "4 outputs are not the target's own" in err
    assert "speculative γ=2, prompt 0, position 3" in err
    assert "4 violation" in out
    assert "2 of the task's 2 problems, drawn by seed 0: HumanEval/" in out
    written(tmp_path / "run", "contest")


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
        *["contest=false", "whole_run=false", "forward_repeats=2", *SMALL],
    ]


def test_a_grid_measures_each_of_its_pairs(
    run_command: Run, small_pair: Any, tmp_path: Path
) -> None:
    from pearl_eval.bench import cli

    code, out, err = run_command(cli.main, *small_grid(small_pair))
    assert code == 0, err
    content = written(tmp_path / "run", "grid")
    assert [cell["perturbation"] for cell in content["grid"]] == [0.1, 0.9]
    first, second = content["grid"]
    assert first["acceptance_rate"] > second["acceptance_rate"]
    assert set(first["speedups"]) == {"speculative", "pearl"}
    assert first["speed_ratio"] > 0 and out.count("16/16") == 2
    assert "best controlled pair" in out and content["contest"] is None


def test_a_grid_that_is_interrupted_leaves_the_pairs_that_were_measured(
    run_command: Run, small_pair: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pearl_eval.bench import cli, grid

    held = []

    def hold(*arguments: Any, **options: Any) -> Results:
        if held:
            raise UserError("interrupted")
        held.append(grid_hold(*arguments, **options))
        return held[0]

    grid_hold = grid.hold
    monkeypatch.setattr(grid, "hold", hold)
    code, _, err = run_command(cli.main, *small_grid(small_pair))
    assert code == 2 and "interrupted" in err
    [cell] = json.loads((tmp_path / "run" / "bench.json").read_text())["grid"]
    assert cell["perturbation"] == 0.1 and cell["measurements"]


def test_growth_times_long_texts_and_watches_a_run(
    run_command: Run, small_pair: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also past the context that the draft model was made for."""
    from pearl_eval.bench import cli

    monkeypatch.setenv("WANDB_MODE", "disabled")
    code, out, err = run_command(
        cli.main,
        *small_pair.overrides,
        "growth=controlled",
        f"growth.pair.draft.path={small_pair.folder / 'draft'}",
        *["growth.pair.depth=1", "growth.pair.context=2200", "growth.contexts=[16,2100]"],
        "growth.decoders=[autoregressive,pearl]",
        *["growth.repeats=1", "growth.prompts=3", "contest=false", "whole_run=true", *SMALL],
    )
    assert code == 0, err
    content = written(tmp_path / "run", "growth")
    points = content["growth"]["points"]
    assert [point["context"] for point in points] == [16, 2100] * 2
    assert all(point["verdicts"] == ["identical"] and point["median"] > 0 for point in points)
    memory = content["growth"]["memory"]
    assert [tokens for tokens, _ in memory] == [24, 48, 72] and min(memory)[1] > 0
    assert content["whole_run"]["start"] > 0 and 0 < content["whole_run"]["outside"] < 1
    assert "from command to first token" in out


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("decoders=[pearl]", "autoregressive must be among them"),
        ("decoders=[autoregressive,nope]", "there is no decoder nope"),
        ("gammas=[0]", "draft lengths of at least 1 token"),
        ("repeats=0", "repeats must be at least 1"),
        ("prompts=1", "prompts: 1 are too few, at least 2"),
        ("grid.prompts=1", "grid.prompts: 1 are too few"),
        ("task.max_new_tokens=2048", "do not fit"),
        ("runtime.answer_timeout=0", "runtime.answer_timeout must be more than 0"),
        ("forward_repeats=0", "forward_repeats must be at least 1"),
        ("grid.depths=[]", "at least one of each"),
        ("grid.depths=[0]", "pair.depth must be at least 1"),
        ("grid.decoders=[pearl]", "grid.decoders: autoregressive must be among them"),
        ("growth.contexts=[9999]", "do not fit the models' context of 4224"),
        ("growth.new_tokens=4", "growth.new_tokens at least 32"),
        ("growth.prompts=1", "growth.prompts must be at least 2"),
    ],
)
def test_bad_input_is_one_clear_line(
    run_bench: Run, monkeypatch: pytest.MonkeyPatch, argument: str, message: str
) -> None:
    """Before any weights are loaded."""

    def load(*_: object) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr("pearl_eval.pairs.setup.Setup.target", load)
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
