"""The paper's figures from a frame of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis.frames.frame import sections
from analysis.frames.source import load_any
from analysis.frames.table import NoRuns
from analysis.theory.beside_theory import SCHEDULES, Expectation, pace, two_models
from analysis.theory.heatmap import THEORY
from pearl_eval.errors import UserError
from pearl_eval.figures.acceptance import draw_acceptance, judging_runs
from pearl_eval.figures.accepted_runs import draw_accepted_runs
from pearl_eval.figures.agreement import draw_agreement
from pearl_eval.figures.calibration import draw_calibration, foreseeing_runs
from pearl_eval.figures.draft_lengths import draw_gamma_sweep
from pearl_eval.figures.heatmap import draw_heatmap
from pearl_eval.figures.loops import draw_loops
from pearl_eval.figures.saving import save_figure
from pearl_eval.figures.speedups import draw_speedups, draw_waiting
from pearl_eval.figures.timeline import timeline as draw_runs
from pearl_eval.results.agreement import agreement as agreed
from pearl_eval.results.loops import SPAN, by_repetition, by_text
from pearl_eval.results.records import read_summary
from pearl_eval.results.runs import Run, labelled
from pearl_eval.results.stretch import choose_runs
from pearl_eval.results.traces import Traces


def speedups(frame: pd.DataFrame) -> Figure:
    """Speedups with their intervals."""
    return draw_speedups(frame, "Speedup by decoder", _conditions(frame))


def waiting(frame: pd.DataFrame) -> Figure:
    """How long models waited for each other. Raises :class:`NoRuns` where that is of no run."""
    both = two_models(frame)
    both = both[both["wait_fraction_target"].notna()]
    if both.empty:
        raise NoRuns("in none of these runs was anything timed")
    return draw_waiting(
        both.assign(label=_told(both)), _titled("Waiting for the other model", both)
    )


def acceptance(frame: pd.DataFrame) -> Figure:
    """Acceptance by place in a block and in the text, of the pair and task with the most decoders.

    Raises :class:`NoRuns` where no drafted token was judged.
    """
    found: list[Run] = []
    title = ""
    for (pair, task), group in frame.groupby(["pair", "task"], sort=False):
        runs = judging_runs(_runs(group))
        if len(_decoders(runs)) > len(_decoders(found)):
            found, title = runs, f"Acceptance: {task}, {pair} pair"
    if not found:
        raise NoRuns("in none of these runs was a drafted token judged")
    return draw_acceptance(found, title)


def _decoders(runs: Sequence[Run]) -> set[str]:
    return {run.summary["decoder"] for run in runs}


def accepted_runs(frame: pd.DataFrame) -> Figure:
    """Lengths of runs of accepted tokens, PEARL's over vanilla speculative decoding's.

    Of each the fastest run of the first pair and task that has both; else :class:`NoRuns`.
    """
    for (pair, task), group in frame.groupby(["pair", "task"], sort=False):
        own = group[group["schedule"].isin(SCHEDULES) & group["speedup"].notna()]
        found = own.sort_values("speedup").drop_duplicates("schedule", keep="last")
        chosen = found.set_index("schedule")
        if set(chosen.index) != set(SCHEDULES):
            continue
        runs = [read_summary(Path(chosen.loc[schedule, "run"])) for schedule in SCHEDULES]
        lengths = {
            run["decoder"]: {int(k): n for k, n in run["traces"]["accepted_run_lengths"].items()}
            for run in runs
        }
        ends = {chosen.loc["Sequential", "decoder"]: int(chosen.loc["Sequential", "gamma"])}
        return draw_accepted_runs(lengths, ends, f"Runs of accepted tokens: {task}, {pair} pair")
    raise NoRuns(
        "these runs have not both PEARL and vanilla speculative decoding on one task and pair"
    )


def agreement(frame: pd.DataFrame) -> Figure:
    """How long the two models agree, beside a geometric distribution of the same α.

    Of each pair and task the fastest run of PEARL, whose runs of accepted tokens end at rejections
    alone. Raises :class:`NoRuns` where there is none.
    """
    own = frame[(frame["schedule"] == "Parallel") & (frame["acceptance_rate"].notna())]
    if own.empty:
        raise NoRuns("in none of these runs of PEARL was a drafted token judged")
    own = own.sort_values("speedup", na_position="first")
    kept = own[~own.duplicated(["pair", "task"], keep="last")].sort_index()
    found = {
        str(name): agreed(Traces.read(Path(run)).records)
        for name, run in zip(kept["task"] + ", " + kept["pair"], kept["run"], strict=True)
    }
    return draw_agreement(found, "How long the draft model and the target agree")


def loops(frame: pd.DataFrame) -> Figure:
    """The speedup of each text over how much of it repeats what it had before.

    Raises :class:`NoRuns` where no drafted token was judged in a run of real texts.
    """
    runs = frame[frame["acceptance_rate"].notna() & ~frame["synthetic"].astype(bool)]
    if runs.empty:
        raise NoRuns("in none of these runs was a drafted token of a real text judged")
    places = runs["task"] + (", " + runs["pair"] if runs["pair"].nunique() > 1 else "")
    whole = pd.concat(
        by_repetition(Traces.read(Path(run))).assign(label=label, place=place)
        for run, label, place in zip(runs["run"], runs["label"], places, strict=True)
    )
    timed = whole[~whole["warmup"].astype(bool) & whole["speedup"].notna()]
    drawn = by_text(timed, ["label", "place"]).reset_index()
    title = f"Speedup of each text by how much of it repeats {SPAN} tokens that it had before"
    return draw_loops(drawn, _titled(title, runs))


def calibration(frame: pd.DataFrame) -> Figure:
    """How often tokens were accepted, by the chance that a decoder foresaw.

    Raises :class:`NoRuns` where none foresaw any.
    """
    foreseeing = foreseeing_runs(_runs(frame.assign(label=_told(frame))))
    if not foreseeing:
        raise NoRuns("no decoder of these runs foresees what becomes of drafted tokens")
    return draw_calibration(foreseeing, _titled("Chances that were foreseen", frame))


def gamma_sweep(frame: pd.DataFrame) -> Figure:
    """Speedup over the draft length, beside the theory's, from c and α as these runs had them.

    Of the first pair and task on which a decoder ran with several draft lengths; else
    :class:`NoRuns`. Of which there is no theory stands alone.
    """
    timed = frame[frame["speedup"].notna()]
    for (pair, task), group in timed.groupby(["pair", "task"], sort=False):
        swept = {
            str(name): own
            for name, own in group.groupby("decoder", sort=False)
            if own["gamma"].nunique() > 1
        }
        if swept:
            expected = {}
            for name, own in swept.items():
                if set(own["schedule"]) <= set(SCHEDULES):
                    at = Expectation.of(own)
                    expected[name] = (at.speedup, at.best, at.said)
            return draw_gamma_sweep(swept, expected, f"Draft length: {task}, {pair} pair")
    raise NoRuns("no decoder of these runs has several draft lengths on one task and pair")


def timeline(frame: pd.DataFrame) -> Figure:
    """What each model did when, in a stretch of one prompt, in the fastest run of each decoder.

    Raises :class:`NoRuns` where these runs have no prompt in common.
    """
    try:
        return draw_runs(choose_runs(_runs(frame)))
    except UserError as error:
        raise NoRuns(str(error)) from error


def heatmap(frame: pd.DataFrame) -> Figure:
    """What theory predicts over c and α, and these runs' best of each pair and task as points.

    Theory knows one target forward, of whatever window: the points' c is that of one token. Raises
    :class:`NoRuns` where no run has two models.
    """
    points: dict[str, list[tuple[float, float, float]]] = {name: [] for name in THEORY}
    timed = two_models(frame[frame["speedup"].notna()])
    for _, group in timed.groupby(["pair", "task"], sort=False):
        in_rounds, window_cost = pace(group)
        ratio = in_rounds / window_cost
        for name in THEORY:
            own = group[group["schedule"] == name]
            if len(own):
                best = own.sort_values("speedup").iloc[-1]
                points[name].append((ratio, float(best["acceptance_rate"]), float(best["speedup"])))
    note = "predicted by closed forms, no overhead; points: measured, in the same colours"
    return draw_heatmap(THEORY, points, note)


FIGURES: dict[str, Callable[[pd.DataFrame], Figure]] = {
    draw.__name__: draw
    for draw in (
        speedups,
        waiting,
        acceptance,
        accepted_runs,
        agreement,
        loops,
        calibration,
        gamma_sweep,
        heatmap,
    )
}


def _runs(frame: pd.DataFrame) -> list[Run]:
    """The runs of a frame, by its labels: they tell those of one pair and task apart."""
    own = zip(labelled(map(Path, frame["run"])), frame["label"], strict=True)
    return [replace(run, label=label) for run, label in own]


def _told(frame: pd.DataFrame) -> pd.Series[str]:
    """The label of each run, with its task and its pair where there are several."""
    names = frame["label"]
    for what in ("task", "pair"):
        if frame[what].nunique() > 1:
            names = names + ", " + frame[what]
    return names


def _titled(title: str, frame: pd.DataFrame) -> str:
    """With the pair and the task of all runs, where there is but one."""
    only = [
        f"{frame[what].iloc[0]}{word}"
        for what, word in (("task", ""), ("pair", " pair"))
        if frame[what].nunique() == 1
    ]
    return f"{title}: {', '.join(only)}" if only else title


def _conditions(frame: pd.DataFrame) -> str:
    hardware = " and ".join(dict.fromkeys(frame["hardware"].fillna("unknown devices")))
    dtypes = " and ".join(dict.fromkeys(frame["dtype"]))
    return f"{hardware}, {dtypes}"


def write_figures(source: Sequence[str], output: Path = Path("figures")) -> None:
    """Write what figures these runs give, as PNGs in a folder, and print their paths.

    Runs under different conditions are drawn apart, with numbers after the names.
    """
    parts = sections(load_any(source))
    output.mkdir(parents=True, exist_ok=True)
    for number, (name, part) in enumerate(parts, start=1):
        print(f"{name}:" if name else "", end="\n" if name else "")
        for figure, draw in FIGURES.items():
            try:
                drawn = draw(part)
            except NoRuns as error:
                print(f"no {figure}: {error}")
                continue
            suffix = f"-{number}" if len(parts) > 1 else ""
            print(save_figure(drawn, output / f"{figure}{suffix}.png"))
