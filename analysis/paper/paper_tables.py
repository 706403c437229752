"""The paper's tables, from a frame of runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from analysis.frames.frame import categories, sections
from analysis.frames.table import Cell, Table
from analysis.paper.cells import (
    MEAN,
    SPEEDUP,
    cell_of,
    decoder,
    draft_length,
    forwards,
    mean_notes,
    mean_speedup,
    place,
    speedup,
)
from analysis.paper.loops import loops
from analysis.paper.notes import table_of
from analysis.paper.selection import (
    of_tasks,
    rows_of,
    run_alike,
    scheduled,
    several_lengths,
    some,
    where_all,
)

#: PEARL and vanilla speculative decoding, as a frame has their schedules.
_PEARL, _VANILLA = "Parallel", "Sequential"
_ABLATIONS = (_PEARL, "Parallel pre_verify=False", "Parallel post_verify=False")
_SHARED = (_PEARL, "Parallel ends=2", "Parallel ends=1")
#: Of figures that are no speeds.
_PROMPTS = "n: prompts (each sample, and each turn of a dialogue, is one), with the warm-up"
#: Two figures that are both called the mean number of accepted tokens.
_ACCEPTED = ("mean_accepted_tokens", "acceptance_length")
#: GSM8K's column beside MGSM's English.
GSM8K = "en (GSM8K)"
#: Tasks of which the paper's scripts take the mean of the entries' tokens/s.
_MEANS = ("mgsm", "mt_bench", "dialogue")


def humaneval(frame: pd.DataFrame) -> Table:
    """Speedups on HumanEval, by pair and decoder."""
    runs = of_tasks(frame, "HumanEval", "humaneval")
    cells = [
        speedup(section, (decoder(run),), place(run, runs), run)
        for section, part in sections(runs)
        for run in rows_of(part)
    ]
    return table_of(
        "humaneval", "HumanEval: speedup by pair and decoder", ("decoder",), cells, runs
    )


def languages(frame: pd.DataFrame) -> Table:
    """Speedups on GSM8K and MGSM, by language: the English column is GSM8K."""
    runs = of_tasks(frame, "GSM8K or MGSM", "gsm8k", "mgsm")
    english = GSM8K if "en" in set(categories(runs).get("category", ())) else "en"
    cells = _by_category(runs, lambda run: english if run["task"].startswith("gsm8k") else None)
    title = "GSM8K (en) and MGSM: speedup by language"
    return table_of(
        "languages", title, ("pair", "decoder"), cells, runs, ("pair",), mean_notes(cells)
    )


def mt_bench(frame: pd.DataFrame) -> Table:
    """Speedups on MT-bench, by category."""
    runs = of_tasks(frame, "MT-bench", "mt_bench", "dialogue")
    cells = _by_category(runs, lambda run: None)
    title = "MT-bench: speedup by category"
    return table_of(
        "mt_bench", title, ("pair", "decoder"), cells, runs, ("pair",), mean_notes(cells)
    )


def spec_bench(frame: pd.DataFrame) -> Table:
    """What Spec-Bench's script prints by subtask, and the same as it is defined here."""
    runs = of_tasks(frame, "Spec-Bench", "spec_bench")
    figures = ("speedup", "speedup_of_mean_speeds", *_ACCEPTED)
    note = (
        "Spec-Bench's \"Speedup ratio\" is the speedup of mean speeds (the mean of problems'"
        ' tokens/s over that of the reference\'s), its "#Mean accepted tokens" the acceptance'
        " length (docs/tasks.md)."
    )
    title = "Spec-Bench: figures by subtask"
    return _figures_by_category("spec_bench", title, runs, figures, [note])


def speed_bench(frame: pd.DataFrame) -> Table:
    """SPEED-Bench by category, and by length and entropy."""
    runs = of_tasks(frame, "SPEED-Bench", "speed_bench")
    title = "SPEED-Bench: figures by category"
    return _figures_by_category("speed_bench", title, runs, ("speedup", *_ACCEPTED))


def prompts(frame: pd.DataFrame) -> Table:
    """A user's own prompts, by category where they have some."""
    runs = of_tasks(frame, "task=prompts", "prompts")
    title = "Own prompts: figures by category"
    return _figures_by_category("prompts", title, runs, ("speedup", *_ACCEPTED))


def ablations(frame: pd.DataFrame) -> Table:
    """PEARL without pre-verify, and without post-verify."""
    runs = scheduled(frame, _ABLATIONS, "PEARL and an ablation (without pre-verify, …)")
    cells = [
        speedup(section, (decoder(run),), place(run, runs), run)
        for section, part in sections(runs)
        for run in rows_of(part)
    ]
    return table_of("ablations", "Ablations: speedup", ("decoder",), cells, runs)


def gamma_sweep(frame: pd.DataFrame) -> Table:
    """Speedups over the draft length, where a decoder ran with more than one."""
    runs = frame[frame["gamma"].notna()]
    runs = where_all(runs, several_lengths, "one decoder with several draft lengths", "decoder")
    cells = [
        speedup(section, (str(run["decoder"]), draft_length(run)), place(run, runs), run)
        for section, part in sections(runs)
        for run in rows_of(part.sort_values(["decoder", "gamma"], kind="stable"))
    ]
    title = "Speedup by draft length γ"
    return table_of("gamma_sweep", title, ("decoder", "γ"), cells, runs, ("decoder",))


def mean_accepted_tokens(frame: pd.DataFrame) -> Table:
    """Mean lengths of runs of accepted tokens."""
    runs = frame[frame["mean_accepted_tokens"].notna()]
    some(runs, "a decoder that accepts drafted tokens")
    figure = "mean_accepted_tokens"
    cells = [
        cell_of(section, (decoder(run),), place(run, runs), run, figure, "prompts", best=1)
        for section, part in sections(runs)
        for run in rows_of(part)
    ]
    note = (
        "Mean length of runs of accepted tokens up to a rejection (of vanilla speculative decoding"
        f" up to its block's end); {_PROMPTS}."
    )
    title = "Mean accepted tokens"
    return table_of("mean_accepted_tokens", title, ("decoder",), cells, runs, notes=[note])


def acceptance(frame: pd.DataFrame) -> Table:
    """Three figures that are all called the mean number of accepted tokens."""
    runs = frame[frame["acceptance_length"].notna()]
    some(runs, "a decoder whose target judges drafted tokens")
    names = ("mean_accepted_tokens", "acceptance_length", "tokens_per_target_forward")
    note = (
        "Mean accepted tokens: the paper's, the mean length of a run of accepted tokens. Acceptance"
        " length: 1 + accepted tokens by target forward that judged any, as engines print it."
        f" Tokens per target forward: of all forwards. docs/measures.md has an example; {_PROMPTS}."
    )
    return _side_by_side("acceptance", "Acceptance", runs, dict.fromkeys(names, 1), [note])


def latency(frame: pd.DataFrame) -> Table:
    """Times to tokens, as serving benchmarks have them."""
    runs = frame[frame["ttft_seconds_p50"].notna()]
    some(runs, "one that says when its tokens came")
    names = (f"{name}_seconds_{p}" for name in ("ttft", "tpot", "itl") for p in ("p50", "p99"))
    note = (
        "Milliseconds. TTFT: to the first token; TPOT: by token after the first, over prompts; ITL:"
        " gaps between outputs, over all gaps. Tokens of one round come at once, and are one output"
        " (docs/measures.md); n: prompts, with the warm-up, which times leave out."
    )
    figures = dict.fromkeys(names, -1)
    return _side_by_side("latency", "Latency", runs, figures, [note], unit=1e3)


def equal_hardware(frame: pd.DataFrame) -> Table:
    """Speedups over the target alone by the paper's rule, and on all that the decoder has."""
    runs = frame[frame["equal_hardware_speedup"].notna()]
    some(runs, "one with reference.hardware=all")
    cells: list[Cell] = []
    for section, part in sections(runs):
        for run in rows_of(part):
            row, own = (place(run, runs), decoder(run)), "equal_hardware_speedup"
            interval = {"low": run[f"{own}_low"], "high": run[f"{own}_high"]}
            cells.append(speedup(section, row, "÷ AR on the target's", run))
            cells.append(
                cell_of(section, row, "÷ AR on equal", run, own, unit="×", best=1, **interval)
            )
            for column, whose in (("decoder", ""), ("AR", "reference_"), ("AR on equal", own[:15])):
                figure = f"{whose}tokens_per_second_per_device"
                name = f"tokens/s per device, {column}"
                cells.append(cell_of(section, row, name, run, figure, form=".1f", best=0))
    title = "Speedup on equal hardware"
    note = "Equal: autoregressive decoding (AR) on every core or GPU that the decoder computes on."
    index = ("pair", "decoder")
    return table_of("equal_hardware", title, index, cells, runs, ("pair",), [SPEEDUP, note])


def _side_by_side(
    name: str,
    title: str,
    runs: pd.DataFrame,
    figures: Mapping[str, int],
    notes: Sequence[str],
    unit: float = 1.0,
) -> Table:
    """Figures in columns, each with whether more (1) or less (-1) of it is better."""
    cells = []
    for section, part in sections(runs):
        for run in rows_of(part):
            for figure, best in figures.items():
                column = figure.replace("_seconds_", " ").replace("_", " ")
                row = (place(run, runs), decoder(run))
                cell = cell_of(section, row, column, run, None, "prompts", best=best)
                cells.append(replace(cell, value=run[figure] * unit))
    return table_of(name, title, ("pair", "decoder"), cells, runs, ("pair",), notes)


def model_runs(frame: pd.DataFrame) -> Table:
    """How often each model ran for a token, and that over vanilla speculative decoding's."""
    runs = frame[(frame["draft_forwards"] > 0) & (frame["target_forwards"] > 0)]
    some(runs, "a decoder with two models")
    cells: list[Cell] = []
    for section, part in sections(runs):
        for run in rows_of(part):
            row = (place(run, runs), decoder(run))
            vanilla = run_alike(part, run, _VANILLA)
            for model in ("target", "draft"):
                name = f"{model} forwards"
                each = forwards(run, model)
                whole = Cell(section, row, name, run[f"{model}_forwards"], form=".0f")
                source = (str(run["run"]),)
                cells.append(replace(whole, runs=source))
                per_token = cell_of(
                    section, row, f"{name} / token", run, None, "prompts", form=".3f", best=-1
                )
                cells.append(replace(per_token, value=each))
                if vanilla is not None:
                    ratio = each / forwards(vanilla, model)
                    both = tuple(dict.fromkeys((*source, str(vanilla["run"]))))
                    name = f"{model}, ratio to {vanilla['decoder']}"
                    cells.append(Cell(section, row, name, ratio, runs=both))
    note = (
        "Forwards for each generated token, and their ratio to vanilla speculative decoding's;"
        f" {_PROMPTS}."
    )
    index = ("pair", "decoder")
    title = "Number of model runs"
    return table_of("model_runs", title, index, cells, runs, ("pair",), notes=[note])


def resource_competition(frame: pd.DataFrame) -> Table:
    """PEARL with devices of its own for the draft model, and on the target's."""
    runs = scheduled(frame, _SHARED, "PEARL both with devices of its own and on shared ones")
    cells: list[Cell] = []
    for section, part in sections(runs):
        for run in rows_of(part):
            row = (place(run, runs), decoder(run))
            figure = MEAN if run["task"].startswith(_MEANS) else "tokens_per_second"
            cells.append(cell_of(section, row, "tokens/s", run, figure, form=".2f"))
            cells.append(speedup(section, row, "speedup", run))
            apart = run_alike(part, run, _PEARL)
            if apart is not None:
                both = tuple(dict.fromkeys((run["run"], apart["run"])))
                ratio = run["speedup"] / apart["speedup"]
                name = f"speedup ÷ {apart['decoder']}'s"
                cells.append(Cell(section, row, name, ratio, runs=both, form=".3f"))
    title = "Resource competition: PEARL with devices of its own, and on shared ones"
    notes = [SPEEDUP]
    if runs["task"].str.startswith(_MEANS).any():
        notes.append("tokens/s on MGSM and MT-bench: means of the prompts' own, as the paper's.")
    index = ("pair", "decoder")
    return table_of("resource_competition", title, index, cells, runs, ("pair",), notes)


TABLES: dict[str, Callable[[pd.DataFrame], Table]] = {
    make.__name__: make
    for make in (
        humaneval,
        languages,
        mt_bench,
        spec_bench,
        speed_bench,
        prompts,
        ablations,
        gamma_sweep,
        mean_accepted_tokens,
        acceptance,
        latency,
        equal_hardware,
        model_runs,
        resource_competition,
        loops,
    )
}


def _by_category(runs: pd.DataFrame, named: Callable[[Any], str | None]) -> list[Cell]:
    """Cells by category, then over all of a task; a task of one column is just that."""
    cells: list[Cell] = []
    variants = runs["task"].map(_variant)
    several = variants.nunique() > 1

    def row(run: Any) -> tuple[str, str]:
        variant = _variant(run["task"]) if several else ""
        return ", ".join(filter(None, (str(run["pair"]), variant))), decoder(run)

    for section, part in sections(runs):
        own = categories(part)
        kept: list[str] = list(own["run"]) if len(own) else []
        for run in rows_of(part):
            whole = named(run)
            if whole is not None:
                cells.append(speedup(section, row(run), whole, run))
        for one in rows_of(own):
            cells.append(speedup(section, row(one), str(one["category"]), one))
        for run in rows_of(part[part["run"].isin(kept)]):
            cells.append(speedup(section, row(run), "all", run))
            if run["task"].startswith(_MEANS) and pd.notna(run[MEAN]):
                cells.append(mean_speedup(section, row(run), run))
    return cells


def _figures_by_category(
    name: str,
    title: str,
    runs: pd.DataFrame,
    figures: Sequence[str],
    notes: Sequence[str] = (),
) -> Table:
    """Figures in rows, more of each being better; in columns categories, then all of a task."""
    cells = []
    for section, part in sections(runs):
        parts = [(str(one["category"]), one) for one in rows_of(categories(part))]
        parts += [("all", run) for run in rows_of(part)]
        # The figures of a run one below the other, whatever they are of.
        for figure in figures:
            for column, one in parts:
                row = (place(one, runs), decoder(one), figure.replace("_", " "))
                if figure == "speedup":
                    cells.append(speedup(section, row, column, one))
                elif figure in _ACCEPTED:
                    cells.append(cell_of(section, row, column, one, figure, "prompts", best=1))
                else:
                    cells.append(cell_of(section, row, column, one, figure, unit="×", best=1))
    index = ("pair", "decoder", "figure")
    notes = [SPEEDUP, *notes, f"Of accepted tokens and acceptance lengths {_PROMPTS}."]
    return table_of(name, title, index, cells, runs, ("pair", "figure"), notes)


def _variant(task: str) -> str:
    """``mini`` of ``gsm8k_mini``: two tasks of one variant stand in one row."""
    return task.removeprefix("mt_bench").removeprefix("dialogue").partition("_")[2]
