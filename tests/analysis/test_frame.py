"""Runs as frames, and what keeps those apart that were not made alike."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from written_run import SUMMARY, autoregressive, pearl, write_run

from analysis.frames.columns import COLUMNS
from analysis.frames.frame import (
    _with_speed,
    categories,
    load,
    mixed,
    prompts,
    rounds,
    sections,
    typical_rounds,
)
from analysis.frames.markdown import markdown_table
from analysis.frames.source import load_any, sources
from pearl_eval.errors import UserError
from pearl_eval.results.comparable import CONDITIONS

IDENTITY = {
    "protocol": "paper",
    "task.max_new_tokens": 12,
    "task.limit": 2,
    "sampling._target_": "decoders.sampling.sampler.Greedy",
    "runtime.fixed_window": False,
    "weights of the target": "aaaa",
    "weights of the draft": "bbbb",
    "data": "cccc",
    "code": "dddd",
}
PROCESS = {"cores": [0], "threads": 1}
ENVIRONMENT: dict[str, Any] = {
    "target_process": PROCESS,
    "draft_process": PROCESS | {"cores": [1]},
    "dtype": "bfloat16",
    "target_device": "cuda:1 (NVIDIA A100) + cuda:2 (NVIDIA A100)",
    "draft_device": "cuda:0 (NVIDIA A100)",
    "versions": {"torch": "2.13.0", "transformers": "5.23.0", "python": "3.11.7"},
    "git_commit": "0123456789abcdef",
    "cpu_count": 8,
    "host": "lab",
}


def write(directory: Path, decoder: str = "pearl", **values: Any) -> Path:
    """A run under the conditions above; ``identity`` and ``environment`` change some."""
    identity = IDENTITY | values.pop("identity", {})
    environment = ENVIRONMENT | values.pop("environment", {})
    own = {"decoder_settings": {"gamma": 3}, "reference": "inline"} | values
    made = pearl() if decoder != "autoregressive" else autoregressive()
    return write_run(directory, decoder, made, identity=identity, environment=environment, **own)


def test_a_run_is_a_row(tmp_path: Path) -> None:
    write(tmp_path / "sweep" / "0")
    (row,) = load([tmp_path / "sweep"]).to_dict("records")
    assert set(row) == set(COLUMNS)
    expected = {
        "run": str(tmp_path / "sweep" / "0"),
        "sweep": str(tmp_path / "sweep"),
        "label": "pearl",
        "gamma": 3,
        "protocol": "paper",
        "max_new_tokens": 12,
        "weights": "aaaa",
        "draft_weights": "bbbb",
        "sampling": "Greedy",
        "hardware": "NVIDIA A100",
        "target_devices": 2,
        "processes": "target 1 thread, 1 core; draft 1 thread, 1 core",
        "draft_place": "its own",
        "torch": "2.13.0",
        "commit": "0123456789abcdef",
        "speedup": SUMMARY["speedup"],
        "speedup_low": 2.7,
        "speedup_high": 3.2,
        "lossless": True,
        "host": "lab",
    }
    assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("figures", "lossless"),
    [
        ({"sampling_p_value": 0.2, "lossy": 0}, True),
        ({"sampling_p_value": 1e-9, "lossy": 0}, False),
        ({"sampling_p_value": 0.2, "lossy": 1}, False),
    ],
)
def test_sampled_output_is_lossless_where_it_is_the_targets(
    tmp_path: Path, figures: dict[str, Any], lossless: bool
) -> None:
    write(tmp_path, exact_match_rate=0.0, sampled_tokens=900, **figures)
    assert load([tmp_path])["lossless"].tolist() == [lossless]


def test_sections_of_long_conditions_have_names_of_their_own(tmp_path: Path) -> None:
    for number in range(2):
        own = {"sampling.coupled": False, "sampling.draft_temperature": 1.25}
        own |= {"sampling._target_": "decoders.sampling.temperature.Temperature"}
        write(tmp_path / str(number), identity=own | {"sampling.top_p": 0.5 + number / 4})
    (one, _), (other, _) = sections(load([tmp_path]))
    assert one.endswith("top_p=0.5") and other.endswith("top_p=0.75")


def test_runs_and_sweeps_are_loaded_once(tmp_path: Path) -> None:
    for number in range(2):
        write(tmp_path / str(number), identity={"seed": number}, seed=number)
    frame = load([tmp_path, tmp_path / "1", tmp_path])
    assert list(frame["label"]) == ["pearl seed=0", "pearl seed=1"]


def test_repeats_are_told_apart(tmp_path: Path) -> None:
    runs = [("pearl", 3), ("pearl", 5), ("pearl", 5), ("speculative", 3), ("speculative", 4)]
    for number, (decoder, gamma) in enumerate(runs):
        write(tmp_path / str(number), decoder, decoder_settings={"gamma": gamma})
    labels = ["pearl γ3", "pearl γ5", "pearl γ5 (repeat 1)", "speculative γ3", "speculative γ4"]
    assert list(load([tmp_path])["label"]) == labels


def test_a_run_of_an_older_version_has_gaps(tmp_path: Path) -> None:
    write_run(tmp_path, "pearl", pearl())
    (row,) = load([tmp_path]).to_dict("records")
    assert row["protocol"] is None and row["speedup"] == 3.0


def test_prompts_and_rounds_know_their_runs(tmp_path: Path) -> None:
    write(tmp_path / "0")
    write(tmp_path / "1", "autoregressive", decoder_settings={})
    frame = load([tmp_path])
    own = prompts(frame)
    assert list(own["label"]) == ["pearl"] * 2 + ["autoregressive"] * 2
    assert own["tokens_per_second"].iloc[0] == pytest.approx(12 / 0.6)
    assert list(own)[:4] == list(rounds(frame))[:4] == ["run", "label", "pair", "task"]
    speeds = _with_speed(pd.DataFrame({"new_tokens": [10, 9], "seconds": [4.0, 2.0]}))
    assert list(speeds["tokens_per_second"]) == [2.5, 4.5]
    assert rounds(frame).groupby("run", sort=False).size().to_list() == [2 * 6, 2 * 12]


def test_typical_rounds_are_of_each_run(tmp_path: Path) -> None:
    """Without the warm-up, and without the first round of a text."""
    write(tmp_path / "0")
    write(tmp_path / "1", pair="big")
    typical = typical_rounds(load([tmp_path]))
    assert list(typical.index.names) == ["pair", "task", "label", "mode"]
    assert len(typical.loc["tiny"]) == len(typical.loc["big"]) == 2
    post = typical.loc[("tiny", "humaneval", "pearl", "post-verify")]
    assert post["judged"] == pytest.approx((3 + 2 + 3 + 2) / 4)
    assert typical.loc[("tiny", "humaneval", "pearl", "pre-verify")]["judged"] == 1
    # The last drafts nothing, and neither model runs for 20 of its 100 ms, in the others for 10.
    assert post.to_dict() == pytest.approx(
        {"drafted": 9 / 4, "judged": 2.5, "accepted": 9 / 4, "draft_seconds": 0.0675}
        | {"target_seconds": 0.08, "wall": 0.1, "overhead": 0.0125}
    )


def test_a_row_has_figures_of_cost_of_rounds_and_of_scores(tmp_path: Path) -> None:
    """Of 15 drafted tokens 11 are accepted; of 600 ms models are busy for 530."""
    cost = {"joules_per_token": 1.5, "target_flops_per_token": 8.0, "draft_flops_per_token": 2.0}
    scores = {"accuracy_ci95": [0.25, 0.75], "reference_accuracy": 0.375}
    equal = {"equal_hardware_speedup": 1.5, "equal_hardware_speedup_ci95": [1.25, 1.75]}
    write(tmp_path, cost=cost, **scores, **equal)
    (row,) = load([tmp_path]).to_dict("records")
    assert {name: row[name] for name in cost} == cost
    assert (row["wasted_fraction"], row["overhead_fraction"]) == pytest.approx((4 / 15, 7 / 60))
    assert (row["accuracy_low"], row["accuracy_high"]) == (0.25, 0.75)
    assert (row["accuracy"], row["reference_accuracy"]) == (0.5, 0.375)
    ends = (row["equal_hardware_speedup_low"], row["equal_hardware_speedup_high"])
    assert ends == (1.25, 1.75)


def test_a_row_says_what_was_asked_for_and_what_came_of_it(tmp_path: Path) -> None:
    asked = {"decoder.gamma": "auto", "decoder.ends": 2, "task.limit": 3}
    settings = {"gamma": 7, "ends": 2}
    write(tmp_path / "0", "pearl_shared", identity=asked, decoder_settings=settings, seed=5)
    write(tmp_path / "1", "autoregressive", decoder_settings={})
    row, alone = load([tmp_path]).to_dict("records")
    assert (row["asked"], row["settings"]) == (
        '{"ends": 2, "gamma": "auto"}',
        '{"ends": 2, "gamma": 7}',
    )
    assert (row["gamma"], row["schedule"], row["seed"]) == (7, "Parallel ends=2", 5)
    assert (alone["asked"], alone["settings"], alone["schedule"]) == ("{}", "{}", "Alone")


def test_what_is_not_known_of_a_condition_and_what_is_moot_are_told_apart(tmp_path: Path) -> None:
    for place in "012":
        write(tmp_path / place)
    frame = load([tmp_path]).assign(
        protocol=[None, "paper", "paper"], draft_place=[None, "its own", "the target's"]
    )
    assert [name for name, _ in sections(frame)] == [
        "protocol unknown, draft_place none",
        "protocol paper, draft_place its own",
        "protocol paper, draft_place the target's",
    ]


def test_categories_have_rows_of_their_own(tmp_path: Path) -> None:
    figures = {"prompts": 1, "speedup": 2.5, "speedup_ci95": None, "accuracy": 1.0}
    write(tmp_path, task="mgsm", by_category={"de": figures, "es": figures | {"speedup": 2.0}})
    own = categories(load([tmp_path]))
    assert list(own["category"]) == ["de", "es"]
    assert list(own["speedup"]) == [2.5, 2.0]


@pytest.mark.parametrize(
    ("condition", "change"),
    [
        ("max_new_tokens", {"identity": {"task.max_new_tokens": 24}}),
        ("protocol", {"identity": {"protocol": "standard"}}),
        ("sampling", {"identity": {"sampling.temperature": 0.5}}),
        ("dtype", {"environment": {"dtype": "float32"}}),
        ("hardware", {"environment": {"draft_device": "cuda:0 (NVIDIA H100)"}}),
        ("target_devices", {"environment": {"target_device": "cuda:1 (NVIDIA A100)"}}),
        ("processes", {"environment": {"target_process": PROCESS | {"threads": 8}}}),
        ("processes", {"environment": {"draft_process": PROCESS}}),
        ("draft_place", {"environment": {"draft_device": "cuda:1 (NVIDIA A100)"}}),
        ("reference", {"reference": "cached"}),
        ("code", {"identity": {"code": "eeee"}}),
        ("draft_weights", {"identity": {"weights of the draft": "ffff"}}),
        ("data", {"identity": {"data": "ffff"}}),
    ],
)
def test_what_was_not_made_alike_is_kept_apart(
    tmp_path: Path, condition: str, change: dict[str, Any]
) -> None:
    write(tmp_path / "0")
    write(tmp_path / "1", **change)
    frame = load([tmp_path])
    assert mixed(frame) == [condition]
    parts = sections(frame)
    assert [len(part) for _, part in parts] == [1, 1]
    assert all(name.startswith(condition) for name, _ in parts)


def test_another_task_or_pair_may_have_other_limits_and_devices(tmp_path: Path) -> None:
    write(tmp_path / "0")
    limit = {"identity": {"task.max_new_tokens": 24, "data": "ffff"}}
    write(tmp_path / "1", task="gsm8k", **limit)
    write(tmp_path / "2", pair="other", environment={"target_device": "cuda:1 (NVIDIA A100)"})
    assert mixed(load([tmp_path])) == []


def test_a_decoder_without_a_draft_model_goes_with_any(tmp_path: Path) -> None:
    write(tmp_path / "0")
    write(tmp_path / "1", "lookahead", identity={"weights of the draft": None})
    assert mixed(load([tmp_path])) == []


def test_what_is_moot_for_a_run_goes_with_every_part(tmp_path: Path) -> None:
    on_targets = {"environment": {"draft_device": "cuda:1 (NVIDIA A100)"}}
    write(tmp_path / "0")
    write(tmp_path / "1", **on_targets)
    write(tmp_path / "2", "pearl_shared", **on_targets)
    parts = {name: list(part["label"]) for name, part in sections(load([tmp_path]))}
    assert parts == {
        "draft_place its own": ["pearl", "pearl_shared"],
        "draft_place the target's": ["pearl", "pearl_shared"],
    }


def test_a_cold_cache_is_in_no_table_with_a_warm_one(tmp_path: Path) -> None:
    """What looks nothing up is beside either."""
    write(tmp_path / "0")
    for place, cache in enumerate(("cold", "warm"), start=1):
        write(tmp_path / str(place), "suffix", decoder_settings={"gamma": 4, "cache": cache})
    frame = load([tmp_path])
    assert mixed(frame) == ["cache"]
    parts = {name: list(part["label"]) for name, part in sections(frame)}
    assert parts == {
        "cache cold": ["pearl", "suffix"],
        "cache warm": ["pearl", "suffix cache=warm"],
    }


def test_labels_say_which_settings_differ(tmp_path: Path) -> None:
    """However many there are that do not."""
    same = {"guesses": 15, "longest_name_of_a_setting": "as long as it is, it is the same"}
    for place, window in enumerate((10, 15, 15)):
        write(tmp_path / str(place), "lookahead", decoder_settings=same | {"window": window})
    assert list(load([tmp_path])["label"]) == [
        "lookahead window=10",
        "lookahead window=15",
        "lookahead window=15 (repeat 1)",
    ]


def test_labels_tell_a_decoder_that_was_changed_from_what_it_was(tmp_path: Path) -> None:
    for place, code in enumerate(("aa11", "bb22", "bb22")):
        write(tmp_path / str(place), identity={"code of the decoder": code})
    write(tmp_path / "3", "autoregressive", identity={"code of the decoder": "cc33"})
    frame = load([tmp_path])
    told = ["pearl code=aa11", "pearl code=bb22", "pearl code=bb22 (repeat 1)", "autoregressive"]
    assert list(frame["label"]) == told
    assert len(sections(frame)) == 1


def test_figures_that_no_run_has_are_numbers_all_the_same(tmp_path: Path) -> None:
    """As a run of one prompt writes it, which is its warm-up."""
    write(tmp_path / "0", speedup=None, speedup_ci95=None, wait_fraction_draft=None)
    frame = load([tmp_path])
    assert (frame["speedup"] / frame["speedup_low"]).isna().all()
    assert frame["wait_fraction_draft"].dtype == float


def test_a_digest_is_named_only_where_nothing_else_differs(tmp_path: Path) -> None:
    write(tmp_path / "0")
    write(tmp_path / "1", identity={"task.limit": 4, "data": "ffff"})
    assert [name for name, _ in sections(load([tmp_path]))] == ["limit 2", "limit 4"]


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run there"):
        load([tmp_path])
    with pytest.raises(UserError, match="no directory was given"):
        load([])


def test_what_is_no_project_is_refused() -> None:
    with pytest.raises(UserError, match="ENTITY/PROJECT"):
        load_any(["wandb:project"])


def test_notebooks_read_what_is_named_or_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PEARL_EVAL_RUNS", raising=False)
    with pytest.raises(UserError, match="PEARL_EVAL_RUNS"):
        sources()
    (tmp_path / "multirun" / "day" / "time").mkdir(parents=True)
    assert sources() == ["multirun/day/time"]
    # The newest, whatever it is called, and of here and the folder above.
    for name, age in (("multirun/a/1", 30), ("multirun/day/time", 40), ("multirun/z/9", 50)):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    assert sources() == ["multirun/a/1"]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert sources() == ["../multirun/a/1"]
    monkeypatch.setenv("PEARL_EVAL_RUNS", "a b")
    assert sources() == ["a", "b"]


def test_every_column_is_documented() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "analysis.md"
    rows = []
    for name, one in COLUMNS.items():
        scope = f" within a {' and '.join(CONDITIONS[name])}" if CONDITIONS.get(name) else ""
        own = f" **Condition**{scope}." if name in CONDITIONS else ""
        rows.append((f"`{name}`", one.unit, f"{one.meaning}{own}"))
    assert markdown_table(("column", "unit", "meaning"), rows) in page.read_text()
