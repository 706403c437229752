"""The paper's tables: what stands where, what is bold, and which runs a cell is from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from test_frame import ENVIRONMENT, write
from written_run import OUTPUT

from analysis.frames.frame import load
from analysis.frames.table import Cell, NoRuns, Table, latex_escaped
from analysis.paper import loops
from analysis.paper.paper_tables import TABLES
from analysis.paper.selection import run_alike
from analysis.tables import print_tables
from pearl_eval.commands import program
from pearl_eval.errors import UserError


def figures(speedup: float) -> dict[str, Any]:
    return {"speedup": speedup, "speedup_ci95": [speedup - 0.1, speedup + 0.1], "prompts": 2}


#: What else every run says; tokens per second are on two cores, one and two.
MEASURES: dict[str, Any] = {
    "acceptance_length": 2.5,
    "tokens_per_target_forward": 2.25,
    **{f"ttft_seconds_{p}": s for p, s in (("p50", 0.25), ("p95", 0.5), ("p99", 0.75))},
    **{f"tpot_seconds_{p}": s for p, s in (("p50", 0.0125), ("p95", 0.02), ("p99", 0.03))},
    **{f"itl_seconds_{p}": s for p, s in (("p50", 0.04), ("p95", 0.05), ("p99", 0.06))},
    "equal_hardware_speedup": 1.5,
    "equal_hardware_speedup_ci95": [1.25, 1.75],
    "tokens_per_second_per_device": 150.0,
    "reference_tokens_per_second_per_device": 100.0,
    "equal_hardware_tokens_per_second_per_device": 75.0,
}


#: Of what Spec-Bench's script prints.
MEAN = {"speedup_of_mean_speeds": 2.25}


def subtask() -> dict[str, Any]:
    """The figures of a category that were not made from the run's."""
    own = {"mean_accepted_tokens": 3.5, "acceptance_length": 4.5, "speedup_of_mean_speeds": 1.25}
    return figures(1.5) | own | {"prompts": 7, "timed_problems": 5}


def write_all(folder: Path) -> Path:
    """A sweep with runs for every table."""
    runs: list[tuple[str, str, float, int, dict[str, Any]]] = [
        ("speculative", "humaneval", 2.0, 5, {}),
        ("pearl", "humaneval", 3.0, 3, {}),
        ("pearl", "humaneval", 3.5, 4, {}),
        ("pearl_no_pre_verify", "humaneval", 2.5, 3, {}),
        ("pearl_shared", "humaneval", 2.75, 3, {}),
        ("draft_only", "humaneval", 9.0, 3, {"exact_match_rate": 0.0, "lossy": 2}),
        ("pearl", "gsm8k", 2.2, 3, {}),
        ("pearl", "mgsm", 2.1, 3, {"by_category": {"de": figures(1.9), "es": figures(2.3)}}),
        ("pearl", "mt_bench", 2.4, 3, {"by_category": {"writing": figures(2.4)}}),
        ("pearl", "spec_bench", 2.7, 3, {"by_category": {"rag": subtask()}} | MEAN),
        ("pearl", "speed_bench", 2.8, 3, {"by_category": {"1k mixed": subtask()}}),
        ("pearl", "prompts", 2.9, 3, {}),
    ]
    for number, (decoder, task, speedup, gamma, more) in enumerate(runs):
        own = figures(speedup) | {"decoder_settings": {"gamma": gamma}} | more
        own |= {"new_tokens": 24, "target_forwards": 6 + number, "draft_forwards": 90}
        own |= MEASURES
        write(folder / str(number), decoder, task=task, identity={"data": task}, **own)
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return write_all(tmp_path / "sweep")


def bold(text: str) -> list[str]:
    return re.findall(r"\*\*([\d.]+×?)\*\*", text)


def test_humaneval_is_by_pair_and_decoder(sweep: Path) -> None:
    table = TABLES["humaneval"](load([sweep]))
    column = table.frame["tiny"].droplevel("section")
    assert column.to_dict() == {
        "speculative": 2.0,
        "pearl γ3": 3.0,
        "pearl γ4": 3.5,
        "pearl_no_pre_verify": 2.5,
        "pearl_shared": 2.75,
        "draft_only †": 9.0,
    }
    text = table.markdown()
    assert "| pearl γ4 | **3.50×** (3.40–3.60) |" in text and "tiny (n = 2)" in text
    # What is not the target's output is no winner.
    assert bold(text) == ["3.50×"]
    assert "Hardware: NVIDIA A100; the target on 2 devices; " in text
    assert "torch 2.13.0" in text and "12 tokens" in text
    alone = TABLES["humaneval"](load([sweep]).assign(target_devices=1)).markdown()
    assert "Hardware: NVIDIA A100; the target on 1 device; " in alone


def test_each_cell_names_its_runs(sweep: Path) -> None:
    frame = load([sweep])
    for name, make in TABLES.items():
        table = make(frame)
        assert table.runs.shape == table.frame.shape, name
        for cell in table.cells:
            assert cell.runs and all((Path(run) / "summary.json").exists() for run in cell.runs)
    # A ratio is from two.
    runs = TABLES["model_runs"](frame).runs["target, ratio to speculative"].droplevel("section")
    own = runs["tiny, humaneval", "pearl γ3"]
    assert own.split(", ") == [str(sweep / "1"), str(sweep / "0")]


def test_three_figures_of_acceptance_are_side_by_side(sweep: Path) -> None:
    table = TABLES["acceptance"](load([sweep])).frame
    assert table.loc[("", "tiny, humaneval", "pearl γ3")].to_dict() == {
        "mean accepted tokens": 4.25,
        "acceptance length": 2.5,
        "tokens per target forward": 2.25,
    }


def test_latency_is_in_milliseconds(sweep: Path) -> None:
    table = TABLES["latency"](load([sweep])).frame
    assert table.loc[("", "tiny, humaneval", "speculative")].to_dict() == pytest.approx(
        {"ttft p50": 250, "ttft p99": 750, "tpot p50": 12.5, "tpot p99": 30}
        | {"itl p50": 40, "itl p99": 60}
    )


def test_equal_hardware_is_beside_the_papers_rule(sweep: Path) -> None:
    made = TABLES["equal_hardware"](load([sweep]))
    assert made.frame.loc[("", "tiny, humaneval", "pearl γ4")].to_dict() == {
        "÷ AR on the target's": 3.5,
        "÷ AR on equal": 1.5,
        "tokens/s per device, decoder": 150,
        "tokens/s per device, AR": 100,
        "tokens/s per device, AR on equal": 75,
    }
    (cell,) = (c for c in made.cells if c.row[1] == "pearl γ4" and c.column == "÷ AR on equal")
    assert (cell.low, cell.high) == (1.25, 1.75)


def test_languages_have_gsm8k_as_english(sweep: Path) -> None:
    table = TABLES["languages"](load([sweep])).frame
    assert table.loc[("", "tiny", "pearl γ3")].to_dict() == {
        "en": 2.2,
        "de": 1.9,
        "es": 2.3,
        "all": 2.1,
        # As the paper's: 330 over 120 tokens/s.
        "all, mean of speeds": 2.75,
    }


def test_categories_of_mt_bench(sweep: Path) -> None:
    table = TABLES["mt_bench"](load([sweep]))
    figures = {"writing": 2.4, "all": 2.4, "all, mean of speeds": 2.75}
    assert table.frame.iloc[0].to_dict() == figures
    assert "all, mean of speeds: of the means of prompts' tokens/s" in table.markdown()


def test_figures_of_spec_bench_are_by_subtask(sweep: Path) -> None:
    """The speedup has an interval; the script's own has none, and goes by other means."""
    table = TABLES["spec_bench"](load([sweep]))
    frame = table.frame.droplevel(["section", "pair", "decoder"])
    assert list(frame.columns) == ["rag", "all"]
    assert {name: list(row) for name, row in frame.T.items()} == {
        "speedup": [1.5, 2.7],
        "speedup of mean speeds": [1.25, 2.25],
        "mean accepted tokens": [3.5, 4.25],
        "acceptance length": [4.5, 2.5],
    }
    rag = [cell for cell in table.cells if cell.column == "rag"]
    assert [(cell.low, cell.high, cell.n, cell.unit) for cell in rag] == [
        (1.4, 1.6, 5, "×"),
        (None, None, 5, "×"),
        (None, None, 7, ""),
        (None, None, 7, ""),
    ]
    assert 'Spec-Bench\'s "Speedup ratio" is the speedup of mean speeds' in table.markdown()
    # One decoder: its figures do not contend with each other.
    assert len(bold(table.markdown())) == 0


def test_the_best_of_a_figure_is_bold(tmp_path: Path) -> None:
    for number, (decoder, more) in enumerate((("pearl", 0.5), ("speculative", 0.0))):
        own = subtask() | {"speedup": 1.5 + more, "acceptance_length": 4.5 - more}
        by_category = {"by_category": {"1k mixed": own}, "identity": {"data": "speed_bench"}}
        folder = tmp_path / str(number)
        write(folder, decoder, task="speed_bench", **figures(2.0), **MEASURES, **by_category)
    text = TABLES["speed_bench"](load([tmp_path])).markdown()
    assert "**2.00×** (1.40–1.60)" in text and "**4.50**" in text
    assert "speedup of mean speeds" not in text and "SPEED-Bench: figures by category" in text


def test_prompts_without_categories_are_all_there_is(sweep: Path) -> None:
    frame = TABLES["prompts"](load([sweep])).frame.droplevel(["section", "pair", "decoder"])
    assert frame["all"].to_dict() == {
        "speedup": 2.9,
        "mean accepted tokens": 4.25,
        "acceptance length": 2.5,
    }


def test_speeds_beside_the_papers_are_means_where_theirs_are(tmp_path: Path) -> None:
    for number, task in enumerate(("humaneval", "mt_bench")):
        for place, decoder in enumerate(("pearl", "pearl_shared")):
            write(tmp_path / f"{number}{place}", decoder, task=task, identity={"data": task})
    table = TABLES["resource_competition"](load([tmp_path])).frame["tokens/s"]
    assert set(table.loc["", "tiny, humaneval"]) == {300.0}
    assert set(table.loc["", "tiny, mt_bench"]) == {330.0}


def test_runs_of_one_prompt_and_no_commit_give_tables_all_the_same(tmp_path: Path) -> None:
    """Its prompt is the warm-up, so nothing is timed; a wheel knows no commit."""
    untimed = dict.fromkeys(("speedup", "speedup_ci95", "tokens_per_second"))
    for place, decoder in enumerate(("pearl", "pearl_shared")):
        write(tmp_path / str(place), decoder, environment={"git_commit": None}, **untimed)
    text = TABLES["resource_competition"](load([tmp_path])).markdown()
    assert "| tiny | pearl |" in text
    assert "Python 3.11.7, pearl_eval." in text


def test_ablations_and_draft_lengths(sweep: Path) -> None:
    frame = load([sweep])
    ablations = TABLES["ablations"](frame).frame["tiny"].droplevel("section")
    assert ablations.to_dict() == {"pearl γ3": 3.0, "pearl γ4": 3.5, "pearl_no_pre_verify": 2.5}
    sweeping = TABLES["gamma_sweep"](frame).frame["tiny"].droplevel("section")
    assert sweeping.to_dict() == {("pearl", "3"): 3.0, ("pearl", "4"): 3.5}


def test_repeats_and_variants_have_cells_of_their_own(tmp_path: Path) -> None:
    for number, (task, speedup, gamma) in enumerate(
        [
            ("humaneval", 3.0, 3),
            ("humaneval", 3.5, 4),
            ("humaneval", 2.5, 4),
            ("humaneval_mini", 1.0, 3),
            ("gsm8k", 2.0, 3),
            ("gsm8k_mini", 1.1, 3),
            ("mgsm", 2.2, 3),
        ]
    ):
        english = {"by_category": {"en": figures(1.5)}} if task == "mgsm" else {}
        own = figures(speedup) | {"decoder_settings": {"gamma": gamma}} | english
        write(tmp_path / str(number), task=task, identity={"data": task}, **own)
    frame = load([tmp_path])
    sweeping = TABLES["gamma_sweep"](frame).frame["tiny"].droplevel("section")
    assert sweeping.to_dict() == {
        ("pearl", "3"): 3.0,
        ("pearl", "4"): 3.5,
        ("pearl", "4 (repeat 1)"): 2.5,
    }
    humaneval = TABLES["humaneval"](frame).frame
    assert humaneval["tiny, humaneval_mini"].dropna().to_list() == [1.0]
    assert humaneval["tiny, humaneval"].dropna().to_list() == [3.0, 3.5, 2.5]
    languages = TABLES["languages"](frame).frame.droplevel("section")
    assert languages.loc[("tiny, mini", "pearl γ3"), "en (GSM8K)"] == 1.1
    full = languages.loc[("tiny", "pearl γ3")]
    assert (full["en (GSM8K)"], full["en"], full["all"]) == (2.0, 1.5, 2.2)


def test_two_figures_for_one_cell_are_an_error() -> None:
    table = Table("one", "One", ("row",), [Cell("", ("a",), "x", value) for value in (1.0, 2.0)])
    with pytest.raises(ValueError, match="two figures in one cell"):
        table.markdown()


def test_ratios_are_to_the_run_that_is_most_alike(tmp_path: Path) -> None:
    for sweep, gammas in (("a", (3,)), ("b", (3, 4))):
        for decoder, forwards in (("speculative", 8), ("pearl", 6)):
            for gamma in gammas:
                own = {"target_forwards": forwards + gamma, "new_tokens": 24}
                own |= {"draft_forwards": 9, "decoder_settings": {"gamma": gamma}}
                write(tmp_path / sweep / f"{decoder}{gamma}", decoder, **own)
    table = TABLES["model_runs"](load([tmp_path / "a", tmp_path / "b"])).frame
    ratios = table["target, ratio to speculative"].droplevel("section")
    assert ratios[("tiny", "pearl γ4")] == pytest.approx(10 / 12)
    assert ratios[("tiny", "pearl γ3")] == ratios[("tiny", "pearl γ3 (repeat 1)")]
    assert not ratios.isna().any()


def test_model_runs_are_counted_by_token(sweep: Path) -> None:
    row = TABLES["model_runs"](load([sweep])).frame.loc[("", "tiny, humaneval", "pearl γ3")]
    assert row["target forwards"] == 7
    assert row["target forwards / token"] == pytest.approx(7 / 24)
    assert row["target, ratio to speculative"] == pytest.approx(7 / 6)


def test_figures_that_are_no_speeds_are_over_all_prompts(tmp_path: Path) -> None:
    write(tmp_path, prompts=2, timed_problems=1, target_forwards=7, new_tokens=24)
    frame = load([tmp_path])
    for name, number in (("humaneval", 1), ("mean_accepted_tokens", 2), ("model_runs", 2)):
        assert {cell.n for cell in TABLES[name](frame).cells} - {None} == {number}


def test_resource_competition_is_held_against_pearl(tmp_path: Path) -> None:
    write(tmp_path / "0", "pearl", **figures(3.0))
    write(tmp_path / "1", "pearl_shared", **figures(2.4))
    table = TABLES["resource_competition"](load([tmp_path])).frame
    assert list(table["speedup ÷ pearl's"]) == [1.0, pytest.approx(0.8)]


def test_what_was_not_made_alike_is_in_another_section(tmp_path: Path) -> None:
    write(tmp_path / "0", **figures(3.0))
    write(tmp_path / "1", "speculative", **figures(2.0))
    write(tmp_path / "2", environment={"dtype": "float32"}, **figures(5.0))
    table = TABLES["humaneval"](load([tmp_path]))
    assert [key[0] for key in table.frame.index] == ["dtype bfloat16"] * 2 + ["dtype float32"]
    # The other precision takes no part in who is the fastest.
    assert bold(table.markdown()) == ["3.00×"]
    assert table.latex().count(r"\emph{dtype") == 2


def test_latex_is_of_booktabs(sweep: Path) -> None:
    text = TABLES["humaneval"](load([sweep])).latex()
    for command in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{lr}"):
        assert command in text
    assert r"pearl $\gamma$4 & \textbf{3.50$\times$} (3.40--3.60) \\" in text
    assert r"pearl\_no\_pre\_verify & 2.50$\times$" in text
    assert r"95 \% interval" in text
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    assert {line.count("&") for line in body.splitlines() if line.endswith(r"\\")} == {1}


def test_latex_is_escaped_in_one_pass() -> None:
    assert latex_escaped(r"a_b\{%}") == r"a\_b\textbackslash{}\{\%\}"


def test_ties_for_the_best_are_all_bold_but_not_where_all_tie() -> None:
    def table(*values: float) -> Table:
        cells = [Cell("", (str(i),), "x", value, best=1) for i, value in enumerate(values)]
        return Table("one", "One", ("row",), cells)

    assert bold(table(1.0, 2.0, 2.0).markdown()) == ["2.00", "2.00"]
    assert bold(table(2.0, 2.0).markdown()) == []


def test_what_is_the_best_is_by_the_cells() -> None:
    """More, less, or neither; what does not contend or is missing is left out."""

    def marked(best: int | None, *values: float | None, contends: int = 3) -> list[str]:
        look = {} if best is None else {"best": best}
        cells = [
            Cell("", (str(i),), "x", value, contends=i < contends, **look)  # type: ignore[arg-type]
            for i, value in enumerate(values)
        ]
        return bold(Table("one", "One", ("row",), cells).markdown())

    assert marked(1, 1.0, 3.0, 2.0) == ["3.00"]
    assert marked(-1, 1.0, 3.0, 2.0) == ["1.00"]
    assert marked(0, 1.0, 3.0, 2.0) == marked(None, 1.0, 3.0, 2.0) == []
    assert marked(1, 1.0, 2.0, None) == ["2.00"]
    assert marked(1, 1.0, 2.0, 3.0, contends=2) == ["2.00"]
    assert marked(1, 1.0, 2.0, 3.0, contends=1) == []


def test_the_best_are_of_a_section_a_column_and_what_they_share() -> None:
    values = {("s", "a", "x"): 1.0, ("s", "b", "x"): 2.0, ("s", "a", "y"): 4.0}
    values |= {("s", "b", "y"): 3.0, ("t", "a", "x"): 6.0, ("t", "b", "x"): 5.0}
    cells = [
        Cell(section, (pair, row), column, value + (10.0 if pair == "q" else 0.0), best=1)
        for pair in ("p", "q")
        for (section, row, column), value in values.items()
    ]
    table = Table("one", "One", ("pair", "row"), cells, within=("pair",))
    assert sorted(bold(table.markdown())) == sorted(
        ["2.00", "4.00", "6.00", "12.00", "14.00", "16.00"]
    )
    # Without anything that rows must share it is of the column.
    whole = Table("one", "One", ("pair", "row"), cells)
    assert sorted(bold(whole.markdown())) == ["12.00", "14.00", "16.00"]


def test_heads_say_over_how_many_problems_figures_are() -> None:
    cells = [Cell("", (row,), "x", 1.0, n=n) for row, n in (("a", 3), ("b", 5), ("c", None))]
    cells += [Cell("", (row,), "y", 1.0, n=4) for row in "abc"]
    cells += [Cell("", (row,), "z", 1.0) for row in "abc"]
    text = Table("one", "One", ("row",), cells).markdown()
    assert "| row | x (n = 3–5) | y (n = 4) | z |" in text


def test_means_of_speeds_are_told_where_they_are_known(tmp_path: Path) -> None:
    """An earlier version did not have them."""
    english = {"by_category": {"en": figures(1.5)}}
    mean = "mean_prompt_tokens_per_second"
    for number, (task, known) in enumerate((("mgsm", {}), ("mgsm_mini", {mean: None}))):
        own = figures(2.0) | english | known
        write(tmp_path / str(number), task=task, identity={"data": task}, **own)
    column = TABLES["languages"](load([tmp_path])).frame["all, mean of speeds"]
    assert column.dropna().to_dict() == {("", "tiny", "pearl"): 2.75}
    write(tmp_path / "only", task="mgsm", identity={"data": "mgsm"}, **own)
    table = TABLES["languages"](load([tmp_path / "only"]))
    assert list(table.frame) == ["en", "all"] and "mean of speeds" not in table.markdown()


def test_drafts_are_told_apart_by_whether_the_text_repeats(tmp_path: Path) -> None:
    """Two texts of one token twelve times: places 10 and 11 repeat. One is for warming up.

    Of the ten places before them one draft was wrong, of the two none. After the first round nine
    tokens before them took 0.4 s, the two took the last round, 0.1 s.
    """
    path = write(tmp_path) / "records.jsonl"
    path.write_text(path.read_text().replace(json.dumps(OUTPUT), json.dumps([7] * 12)))
    table = TABLES["loops"](load([tmp_path]))
    cells = {cell.column: cell for cell in table.cells}
    assert cells["text that repeats"].value == pytest.approx(100 / 6)
    assert cells["text that repeats"].n == 2
    elsewhere, there = cells["α elsewhere"], cells["α where it repeats"]
    assert (elsewhere.value, elsewhere.n) == (0.9, 20)
    assert (there.value, there.n) == (1.0, 4)
    speed = cells["speed ÷ elsewhere"]
    assert speed.value == pytest.approx((2 / 0.1) / (9 / 0.4))
    assert (speed.n, speed.low) == (1, None)
    assert all(cell.runs == (str(tmp_path),) for cell in table.cells)
    assert "Bold" not in table.markdown()


def test_where_no_text_repeats_and_nothing_is_judged_there_is_no_figure(tmp_path: Path) -> None:
    write(tmp_path, "autoregressive")
    cells = {cell.column: cell.value for cell in TABLES["loops"](load([tmp_path])).cells}
    assert cells == {
        "text that repeats": 0,
        "α elsewhere": None,
        "α where it repeats": None,
        "speed ÷ elsewhere": None,
    }
    with pytest.raises(NoRuns, match="of real texts"):
        TABLES["loops"](load([tmp_path]).assign(synthetic=True))


def test_checkouts_of_one_environment_are_told_in_one_line(tmp_path: Path) -> None:
    for number, commit in enumerate(("1" * 40, "2" * 40, "1" * 40)):
        own = ENVIRONMENT | {"git_commit": commit}
        write(tmp_path / str(number), environment=own, decoder_settings={"gamma": number})
    notes = TABLES["humaneval"](load([tmp_path])).notes
    versions = [note for note in notes if note.startswith("torch")]
    assert versions == [
        "torch 2.13.0, transformers 5.23.0, Python 3.11.7, pearl_eval at 11111111, 22222222."
    ]


def test_what_stands_below_a_table(tmp_path: Path) -> None:
    write(tmp_path)
    frame = load([tmp_path]).assign(driver="550", hardware=None, synthetic=True, lossless=False)
    notes = TABLES["humaneval"](frame).notes
    assert notes[1:] == [
        "Bold: the best of its column.",
        "† not the target's own output, so it does not contend.",
        "Hardware: unknown; the target on 2 devices; bfloat16.",
        "torch 2.13.0, transformers 5.23.0, Python 3.11.7, driver 550, pearl_eval at 01234567.",
        "humaneval: 12 tokens, protocol paper, Greedy, reference inline.",
        "Of synthetic pairs tokens are made up: only times and counts mean anything.",
        f"Runs: {tmp_path}.",
    ]


def test_draft_lengths_are_in_order(tmp_path: Path) -> None:
    for place, gamma in enumerate((5, 3, 11)):
        write(tmp_path / str(place), decoder_settings={"gamma": gamma}, **figures(1.0 + gamma))
    frame = TABLES["gamma_sweep"](load([tmp_path])).frame
    assert frame.index.to_list() == [("", "pearl", "3"), ("", "pearl", "5"), ("", "pearl", "11")]
    assert frame["tiny"].to_list() == [4.0, 6.0, 12.0]


def test_draft_lengths_under_other_conditions_are_no_sweep(tmp_path: Path) -> None:
    """Nor are those of other decoders, pairs or tasks."""
    for place, own in enumerate(
        [
            {"decoder_settings": {"gamma": 3}},
            {"decoder_settings": {"gamma": 4}, "environment": {"dtype": "float32"}},
            {"decoder_settings": {"gamma": 5}, "pair": "big"},
            {"decoder_settings": {"gamma": 6}, "task": "gsm8k"},
            {"decoder_settings": {"gamma": 7}, "decoder": "speculative"},
        ]
    ):
        write(tmp_path / str(place), **own)  # type: ignore[arg-type]
    with pytest.raises(NoRuns, match="one decoder with several draft lengths"):
        TABLES["gamma_sweep"](load([tmp_path]))


def test_tables_are_of_runs_that_have_what_they_show(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the target alone on GSM8K: its speedup, its times, and how much its texts repeat."""
    nothing: dict[str, Any] = dict.fromkeys(("mean_accepted_tokens", "acceptance_rate"))
    own = nothing | {"draft_forwards": 0, "decoder_settings": {}}
    write(tmp_path / "0", "autoregressive", task="gsm8k", **own)
    frame = load([tmp_path])
    given = []
    for name, make in TABLES.items():
        try:
            make(frame)
        except NoRuns as error:
            assert str(error).startswith("none of these runs is ")
        else:
            given.append(name)
    assert given == ["languages", "latency", "loops"]
    # Of a task that no table knows, made up, and with its warm-up alone, there is none.
    write(tmp_path / "1", "autoregressive", task="x", prompts=1, synthetic=True, **own)
    with pytest.raises(UserError) as refused:
        print_tables([str(tmp_path / "1")])
    told = str(refused.value)
    assert told.startswith(
        "these runs give no table: humaneval (none of these runs is of HumanEval)"
    )
    assert told.count("; ") == len(TABLES) - 1 and not capsys.readouterr().out


def test_mean_accepted_tokens_are_by_decoder(tmp_path: Path) -> None:
    for place, (decoder, mean) in enumerate((("pearl", 4.25), ("speculative", 2.75))):
        write(tmp_path / str(place), decoder, mean_accepted_tokens=mean, **MEASURES)
    table = TABLES["mean_accepted_tokens"](load([tmp_path]))
    column = table.frame["tiny"].droplevel("section")
    assert column.to_dict() == {"pearl": 4.25, "speculative": 2.75}
    assert bold(table.markdown()) == ["4.25"]


def test_ablations_and_shared_devices_of_every_kind(tmp_path: Path) -> None:
    decoders = ("pearl", "pearl_no_post_verify", "pearl_shared_one_end", "speculative")
    for place, decoder in enumerate(decoders):
        write(tmp_path / str(place), decoder, **figures(3.0 - place / 4))
    frame = load([tmp_path])
    ablations = TABLES["ablations"](frame).frame["tiny"].droplevel("section")
    assert ablations.to_dict() == {"pearl": 3.0, "pearl_no_post_verify": 2.75}
    shared = TABLES["resource_competition"](frame)
    ratios = shared.frame["speedup ÷ pearl's"].droplevel(["section", "pair"])
    assert ratios.to_dict() == {"pearl": 1.0, "pearl_shared_one_end": pytest.approx(2.5 / 3)}
    assert not any("means of the prompts' own" in note for note in shared.notes)
    with pytest.raises(NoRuns, match="an ablation"):
        TABLES["ablations"](frame[frame["decoder"] != "pearl_no_post_verify"])


def test_a_users_own_dialogues_stand_beside_mt_bench(tmp_path: Path) -> None:
    """By the same means of speeds: 330 over 120 tokens/s."""
    own = {"task": "dialogue", "by_category": {"writing": figures(2.4)}, **figures(2.5)}
    for place, decoder in enumerate(("pearl", "pearl_shared")):
        write(tmp_path / str(place), decoder, **own)
    frame = load([tmp_path])
    row = TABLES["mt_bench"](frame).frame.loc[("", "tiny", "pearl")]
    assert row.to_dict() == {"writing": 2.4, "all": 2.5, "all, mean of speeds": 2.75}
    shared = TABLES["resource_competition"](frame)
    assert set(shared.frame["tokens/s"]) == {330.0}
    assert any("means of the prompts' own" in note for note in shared.notes)


def test_the_shortest_times_and_the_fewest_forwards_are_the_best(tmp_path: Path) -> None:
    runs = (("speculative", 0.25, 8, 40), ("pearl", 0.5, 6, 90))
    for place, (decoder, first, target, draft) in enumerate(runs):
        own = {"target_forwards": target, "draft_forwards": draft, "new_tokens": 24}
        write(tmp_path / str(place), decoder, **MEASURES | own | {"ttft_seconds_p50": first})
    frame = load([tmp_path])
    assert bold(TABLES["latency"](frame).markdown()) == ["250.00"]
    table = TABLES["model_runs"](frame)
    assert sorted(bold(table.markdown())) == ["0.250", "1.667"]
    row = table.frame.loc[("", "tiny", "pearl")]
    assert row.to_dict() == pytest.approx(
        {"target forwards": 6, "target forwards / token": 6 / 24}
        | {"target, ratio to speculative": 6 / 8, "draft forwards": 90}
        | {"draft forwards / token": 90 / 24, "draft, ratio to speculative": 90 / 40}
    )


def test_how_much_repeats_is_told_in_percent_and_the_speed_with_its_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the last 0.1 s two tokens that repeat, in 0.4 s before nine that do not."""
    given: list[Any] = []

    def interval(*columns: Any) -> tuple[float, float]:
        given.extend(column.tolist() for column in columns)
        return 0.5, 4.5

    monkeypatch.setattr(loops, "total_ratio_interval", interval)
    path = write(tmp_path) / "records.jsonl"
    path.write_text(path.read_text().replace(json.dumps(OUTPUT), json.dumps([7] * 12)))
    text = TABLES["loops"](load([tmp_path])).markdown()
    assert given == [[2], [pytest.approx(0.1)], [9], [pytest.approx(0.4)]]
    assert "| tiny | pearl | 17 % | 0.90 | 1.00 | 0.89× (0.50–4.50) |" in text


def test_a_line_of_csv_has_a_cells_place_figure_and_runs() -> None:
    cell = Cell("s", ("p", "r"), "x", 2.0, 1.5, 3.0, 7, ("one", "two"), unit="×")
    cited = Cell("t", ("p", "r"), "x", 4.0, source="a paper")
    assert Table("one", "One", ("pair", "row"), [cell, cited]).csv().splitlines() == [
        "section,pair,row,column,value,unit,low,high,n,runs,source",
        "s,p,r,x,2.0,×,1.5,3.0,7.0,one; two,",
        "t,p,r,x,4.0,,,,,,a paper",
    ]


def test_markdown_has_a_title_sections_and_notes_on_lines_of_their_own() -> None:
    cells = [Cell(section, ("a", "b"), "x", 1.0, 0.5, 2.0) for section in "st"]
    cells.append(Cell("t", ("a", "b"), "y", None))
    table = Table("one", "One", ("pair", "row"), cells, notes=["A note.", "Another."])
    rows = "| pair | row | x |\n| --- | --- | --- |\n| a | b | 1.00 (0.50–2.00) |"
    assert table.markdown() == (f"**One**\n\n*s*\n\n{rows}\n\n*t*\n\n{rows}\n\nA note.  \nAnother.")
    plain = Table("one", "One", ("row",), [Cell("", ("a",), "x", 1.0)]).markdown()
    assert plain == "**One**\n\n| row | x |\n| --- | --- |\n| a | 1.00 |"


def test_latex_has_a_caption_a_label_and_a_rule_between_sections() -> None:
    cells = [Cell(section, ("a_b",), "x", 1.0, 0.5, 2.0) for section in "st"]
    lines = Table("one", "One %", ("row",), cells, notes=["A note_"]).latex().splitlines()
    body = [r"row & x \\", r"\midrule", r"a\_b & 1.00 (0.50--2.00) \\"]
    assert lines == [
        r"\begin{table}", r"\centering", r"\caption{One \%}", r"\label{tab:one}",
        r"\begin{tabular}{lr}", r"\toprule",
        r"\multicolumn{2}{l}{\emph{s}} \\", *body,
        r"\midrule", r"\multicolumn{2}{l}{\emph{t}} \\", *body,
        r"\bottomrule", r"\end{tabular}", r"\par\footnotesize A note\_", r"\end{table}",
    ]  # fmt: skip


def test_each_sign_that_latex_does_not_take_as_it_is() -> None:
    assert latex_escaped("&$#}~^") == r"\&\$\#\}\textasciitilde{}\textasciicircum{}"
    assert latex_escaped("×γα†–÷≥") == (r"$\times$$\gamma$$\alpha$$^\dagger$--$\div$$\geq$")


@pytest.mark.parametrize(
    ("form", "cell", "apart"),
    [
        ("markdown", "    pearl / tiny: {}", "> "),
        ("latex", "% pearl / tiny: {}", "% "),
        # A line of CSV names its runs itself.
        ("csv", ",pearl,tiny,3.0,×,2.7,3.2,2,{},", "# "),
    ],
)
def test_what_is_said_beside_a_table_is_a_comment_in_its_format(
    form: str, cell: str, apart: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "0")
    write(tmp_path / "1", environment={"dtype": "float32"})
    print_tables([str(tmp_path)], ["humaneval"], form, cells=True)
    *_, before, last = capsys.readouterr().out.splitlines()
    assert before == "" and last == f"{apart}The runs differ in dtype: kept apart in sections."
    print_tables([str(tmp_path / "0")], ["humaneval"], form, cells=True)
    assert capsys.readouterr().out.splitlines()[-1] == cell.format(tmp_path / "0")


def test_a_table_without_runs_is_refused(tmp_path: Path) -> None:
    write(tmp_path, task="gsm8k")
    with pytest.raises(NoRuns, match="is of HumanEval"):
        TABLES["humaneval"](load([tmp_path]))


def test_command_prints_what_the_runs_give(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program.main(["tables", str(sweep), "--cells"])
    out = capsys.readouterr().out
    assert len(re.findall(r"^\*\*[A-Z]", out, re.MULTILINE)) == len(TABLES)
    assert f"pearl γ4 / tiny: {sweep / '2'}" in out
    program.main(["tables", str(sweep), "--table", "humaneval", "--format", "csv"])
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "section,decoder,column,value,unit,low,high,n,runs,source"
    assert len(out.splitlines()) == 1 + 6


def test_cells_are_told_on_demand_only(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_tables([str(sweep)], ["humaneval"])
    assert f"pearl γ4 / tiny: {sweep / '2'}" not in capsys.readouterr().out
    print_tables([str(sweep)], ["humaneval"], cells=True)
    assert f"pearl γ4 / tiny: {sweep / '2'}" in capsys.readouterr().out


def test_command_says_what_keeps_runs_apart(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(sweep / "other", identity={"data": "humaneval"}, environment={"dtype": "float32"})
    program.main(["tables", str(sweep)])
    assert "The runs differ in dtype: kept apart" in capsys.readouterr().out


def test_command_refuses_a_table_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        program.main(["tables", str(tmp_path), "--table", "mt_bench"])
    assert "no table mt_bench: none of these runs is of MT-bench" in capsys.readouterr().err


def test_command_refuses_a_table_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        program.main(["tables", "nowhere", "--table", "mt_bank"])
    told = capsys.readouterr().err
    assert "there is no table mt_bank: choose from humaneval, languages, mt_bench" in told
    assert len(told.splitlines()) == 1


def test_the_help_page_names_every_table(capsys: pytest.CaptureFixture[str]) -> None:
    program.main(["tables", "--help"])
    assert f"Tables are {', '.join([*TABLES][:-1])} and {[*TABLES][-1]}." in " ".join(
        capsys.readouterr().out.split()
    )


def test_a_run_is_set_beside_one_of_its_pair_and_task_made_alike() -> None:
    names = ("schedule", "pair", "task", "sweep", "gamma", "seed", "label")
    rows = [
        ("vanilla", "tiny", "gsm8k", 1, 5, 0, "other task"),
        ("vanilla", "own", "mgsm", 1, 5, 0, "other pair"),
        ("pearl", "tiny", "mgsm", 1, 5, 0, "other schedule"),
        ("vanilla", "tiny", "mgsm", 1, 5, 0, "alike"),
        ("vanilla", "tiny", "mgsm", 1, 7, 0, "other draft length"),
        ("vanilla", "tiny", "mgsm", 2, 5, 0, "other sweep"),
    ]
    part = pd.DataFrame(rows, columns=names)
    run = {"pair": "tiny", "task": "mgsm", "sweep": 1, "gamma": 5, "seed": 0}

    def beside(**other: Any) -> Any:
        found = run_alike(part, run | other, "vanilla")
        return None if found is None else found["label"]

    assert beside() == "alike"
    assert beside(task="gsm8k") == "other task"
    assert beside(pair="own", task="mgsm") == "other pair"
    assert beside(gamma=7) == "other draft length"
    assert beside(sweep=2) == "other sweep"
    # Of two in its sweep neither has its draft length.
    assert beside(gamma=6) is None
    assert beside(task="humaneval") is None
