"""Paired comparisons: planted differences are seen, none is not, however many are made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_frame import ENVIRONMENT, IDENTITY, PROCESS
from written_run import write_speeds

from analysis import compare
from analysis.frames.frame import load
from analysis.significance.paired import PairedTest, holm, problem_speeds, ratios
from analysis.significance.significance import changes, decoders, differing
from pearl_eval.commands import program
from pearl_eval.errors import UserError

PROMPTS = 12


def write(directory: Path, decoder: str, factor: float, seed: int, **identity: str) -> Path:
    """A run whose prompts take 0.5 s over ``factor``, up to 5 % more or less."""
    noise = np.random.default_rng(seed).uniform(0.95, 1.05, PROMPTS)
    own = ENVIRONMENT | {"git_commit": identity.get("code", "0123456789")}
    seconds = (0.5 / factor * noise).tolist()
    made = {"environment": own, "decoder_settings": {}, "reference": "inline"}
    return write_speeds(directory, decoder, seconds, IDENTITY | identity, **made)


def test_a_planted_difference_is_seen_and_measured(tmp_path: Path) -> None:
    write(tmp_path / "0", "speculative", 1.0, seed=1)
    write(tmp_path / "1", "pearl", 1.2, seed=2)
    write(tmp_path / "2", "lookahead", 1.0, seed=3)
    found = decoders(load([tmp_path])).set_index(["faster", "slower"])
    planted = found.loc[("pearl", "speculative")]
    assert planted["low"] < 1.2 < planted["high"] and 1.15 < planted["ratio"] < 1.25
    assert planted["differs"] and planted["effect"] == 1.0
    assert planted["n"] == PROMPTS
    assert found["differs"].sum() == 2  # and not speculative from lookahead
    assert len(found) == 3


def test_figures_by_hand() -> None:
    test = PairedTest.of([2.0, 4.0, 8.0])
    assert test.ratio == pytest.approx(4.0)
    # Logarithms 1, 2 and 3 to the base 2: mean 2, standard error 1/√3, t of 2 degrees of freedom at
    # 98.25 % 5.2038 (docs/intervals.md).
    assert test.high == pytest.approx(2 ** (2 + 5.2038 / 3**0.5), rel=1e-3)
    assert test.low == pytest.approx(2 ** (2 - 5.2038 / 3**0.5), rel=1e-3)
    # Ranks 1, 2 and 3, of which the first is negative: (2 + 3 − 1) / 6.
    assert PairedTest.of([0.9, 1.5, 2.0]).effect == pytest.approx(4 / 6)
    # Six of six the same way: 2 of 64 signs are as extreme.
    assert PairedTest.of([1.1, 1.2, 1.3, 1.4, 1.5, 1.6]).p == pytest.approx(2 / 64)
    # One on which both are alike says nothing.
    assert PairedTest.of([1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6]).p < 0.05


def test_too_few_problems_and_no_difference() -> None:
    assert np.isnan(PairedTest.of([1.5]).p) and PairedTest.of([1.5]).ratio == 1.5
    two = PairedTest.of([1.5, 1.5])
    assert np.isnan([two.low, two.high]).all() and two.p == 0.5
    same = PairedTest.of([1.0, 1.0, 1.0])
    assert (same.p, same.effect, same.ratio) == (1.0, 0.0, 1.0)


def test_no_difference_is_seen_as_rarely_as_promised() -> None:
    ratios = np.exp(np.random.default_rng(0).normal(0, 0.1, (1000, PROMPTS)))
    tests = [PairedTest.of(row) for row in ratios]
    assert 0.03 < np.mean([test.p < 0.05 for test in tests]) < 0.07
    # The interval's level is for problems that are less alike than these.
    assert 0.95 < np.mean([test.low < 1 < test.high for test in tests]) < 0.98
    # Of families of ten, one in twenty at most has any.
    families = np.array([test.p for test in tests]).reshape(-1, 10)
    assert np.mean([min(holm(list(family))) < 0.05 for family in families]) <= 0.08
    assert np.mean([min(family) < 0.05 for family in families]) > 0.3


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == holm([0.6, 0.9]) == pytest.approx([1.0, 1.0])
    corrected = holm([0.01, float("nan")])
    assert corrected[0] == 0.01 and np.isnan(corrected[1])


def test_turns_of_one_dialogue_count_once(tmp_path: Path) -> None:
    for name, seconds in (("speculative", 0.5), ("pearl", 0.4)):
        write_speeds(tmp_path / name, name, [seconds] * 4, IDENTITY, environment=ENVIRONMENT)
        records = tmp_path / name / "records.jsonl"
        text = records.read_text().replace('"Task/1"', '"Task/0"').replace('"turn": 0', '"turn": 1')
        lines = text.splitlines()
        lines[1] = lines[1].replace('"turn": 1', '"turn": 2')
        records.write_text("\n".join(lines) + "\n")
    (row,) = decoders(load([tmp_path / "speculative", tmp_path / "pearl"])).to_dict("records")
    assert row["n"] == 3 and row["ratio"] == pytest.approx(1.25)


def test_two_runs_of_several_sections_are_compared_once_and_with_all_others(
    tmp_path: Path,
) -> None:
    """Where the draft model's place is moot for two runs, they are with PEARL in either place."""
    places = {"0": "cuda:1", "1": "cuda:1", "2": "cuda:0", "3": "cuda:1"}
    for name, place in places.items():
        shared = name in "01"
        write_speeds(
            tmp_path / name,
            "pearl_shared" if shared else "pearl",
            [0.5, 0.4, 0.3],
            IDENTITY,
            environment=ENVIRONMENT | {"draft_device": f"{place} (NVIDIA A100)"},
            decoder_settings={"gamma": int(name) if shared else 9},
            reference="inline",
        )
    found = decoders(load([tmp_path]))
    pairs = {tuple(sorted(Path(run).name for run in runs.split(", "))) for runs in found["runs"]}
    assert pairs == {("0", "1"), ("0", "2"), ("1", "2"), ("0", "3"), ("1", "3")}
    assert len(found) == 5


def test_what_was_not_made_alike_is_not_compared(tmp_path: Path) -> None:
    write(tmp_path / "0", "speculative", 1.0, seed=1)
    write(tmp_path / "1", "pearl", 1.0, seed=2, protocol="standard")
    with pytest.raises(UserError, match="no two"):
        decoders(load([tmp_path]))


def test_what_changed_between_two_commits(tmp_path: Path) -> None:
    for folder, code, factor in (("a", "old", 1.0), ("b", "new", 1.3)):
        write(tmp_path / folder / "0", "pearl", factor, seed=len(code), code=code)
        write(tmp_path / folder / "1", "speculative", 1.0, seed=ord(folder), code=code)
    write(tmp_path / "b" / "2", "lookahead", 1.0, seed=5, code="new")
    before, after = load([tmp_path / "a"]), load([tmp_path / "b"])
    found = changes(before, after).set_index("label")
    assert list(found["differs"]) == [True, False]
    assert found.loc["pearl", "ratio"] == pytest.approx(1.3, rel=0.05)
    assert list(found["reference_ratio"]) == pytest.approx([1.0, 1.0])
    assert list(found["same_outputs"]) == [1.0, 1.0]
    assert differing(before, after) == {
        "code": ("old", "new"),
        "commit": ("old", "new"),
        "runs that the other has not": ("–", "lookahead"),
    }


def test_a_slower_machine_is_no_change(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).uniform(0.95, 1.05, (2, PROMPTS))
    made = {"environment": ENVIRONMENT, "decoder_settings": {}, "reference": "inline"}
    for folder, slower, one in zip("ab", (1.0, 1.2), noise, strict=True):
        seconds = (0.5 * slower * one).tolist()
        directory = tmp_path / folder / "0"
        write_speeds(directory, "pearl", seconds, IDENTITY, reference_seconds=slower, **made)
    (found,) = changes(load([tmp_path / "a"]), load([tmp_path / "b"])).to_dict("records")
    assert not found["differs"] and found["ratio"] == pytest.approx(1.0, rel=0.05)
    assert found["own_ratio"] == pytest.approx(1 / 1.2, rel=0.05)
    assert found["reference_ratio"] == pytest.approx(1 / 1.2)


def test_runs_are_those_that_were_asked_for_alike(tmp_path: Path) -> None:
    """Whatever else is in a sweep; a draft length that was chosen otherwise is told."""
    for folder, asked in (("a", ["auto", "3"]), ("b", ["auto", "3", "5"])):
        for number, gamma in enumerate(asked):
            path = write(
                tmp_path / folder / str(number), "pearl", 1.0, seed=1, **{"decoder.gamma": gamma}
            )
            chosen = {"auto": 7 if folder == "a" else 9}.get(gamma, gamma)
            summary = path / "summary.json"
            settings = json.loads(summary.read_text()) | {
                "decoder_settings": {"gamma": int(chosen)}
            }
            summary.write_text(json.dumps(settings))
    before, after = load([tmp_path / "a"]), load([tmp_path / "b"])
    assert list(changes(before, after)["label"]) == ["pearl γ7", "pearl γ3"]
    assert differing(before, after) == {
        "settings of pearl γ7 on humaneval": ('{"gamma": 7}', '{"gamma": 9}'),
        "runs that the other has not": ("–", "pearl γ5"),
    }
    # The same three runs once more: each beside its own.
    assert differing(after, after) == {}
    assert list(changes(after, after)["same_outputs"]) == [1.0] * 3


def test_too_few_problems_for_so_many_rows_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, decoder in enumerate(
        ["pearl", "speculative", "lookahead", "generate", "pearl_async"]
    ):
        write(tmp_path / decoder, decoder, 1.0 + number, seed=number)
    program.main(["compare", str(tmp_path)])
    assert "With so few" not in capsys.readouterr().out  # 12 problems for 10 rows
    monkeypatch.setattr(compare, "LEVEL", 0.001)
    program.main(["compare", str(tmp_path)])
    assert "10 rows need 15 problems" in capsys.readouterr().out


@pytest.mark.parametrize(("prompts", "said"), [(1, "| 0 | no problem"), (2, "| 1 | one problem")])
def test_a_problem_or_none_is_no_comparison(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    prompts: int,
    said: str,
) -> None:
    made = {"environment": ENVIRONMENT, "decoder_settings": {}, "reference": "inline"}
    for decoder in ("pearl", "speculative"):
        write_speeds(tmp_path / decoder, decoder, [0.5] * prompts, IDENTITY, **made)
        file = tmp_path / decoder / "records.jsonl"
        first, *rest = map(json.loads, file.read_text().splitlines())
        records = [first | {"warmup": True}, *rest]
        file.write_text("".join(json.dumps(one) + "\n" for one in records))
    program.main(["compare", str(tmp_path)])
    out = capsys.readouterr().out
    assert said in out and "nan" not in out
    assert "1 row needs 6 problems" in out


def test_output_that_is_not_the_targets_is_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "0", "draft_only", 5.0, seed=1)
    write(tmp_path / "1", "pearl", 1.0, seed=2)
    program.main(["compare", str(tmp_path)])
    assert "†" not in capsys.readouterr().out
    summary = tmp_path / "0" / "summary.json"
    lossy = json.loads(summary.read_text()) | {"exact_match_rate": 0.0, "lossy": PROMPTS}
    summary.write_text(json.dumps(lossy))
    program.main(["compare", str(tmp_path)])
    out = capsys.readouterr().out
    assert "| draft_only † | pearl |" in out and "† its output is not the target's." in out


def test_each_two_decoders_have_a_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two rows each needs seven problems: 2 · 2^−6 is below 5 %, 2 · 2^−5 is not."""

    def printed(*numbers: int, apart: bool = False, lossless: bool = True) -> list[str]:
        test = {"ratio": 1.25, "low": 1.125, "high": 1.5, "effect": 0.5, "p": 0.01, "p_holm": 0.02}
        row = {"section": "dtype x", "pair": "tiny", "task": "gsm8k", "differs": True} | test
        row |= {"faster": "a", "faster_lossless": True, "slower_lossless": True}
        rows = [row | {"slower": name, "n": n} for name, n in zip("bc", numbers, strict=True)]
        rows[0]["slower_lossless"] = lossless
        monkeypatch.setattr(compare, "decoders", lambda frame: pd.DataFrame(rows))
        monkeypatch.setattr(compare, "mixed", lambda frame: ["dtype"] * apart)
        monkeypatch.setattr(compare, "load_any", list)
        compare.compare("a")
        return capsys.readouterr().out.splitlines()

    figures = "1.250 (1.125–1.500) | +0.50 | 0.02"
    lines = printed(7, 8)
    heads = "pair | task | faster | slower | speedup ratio | effect | p (Holm) | n |  |"
    assert lines[0] == f"| {heads}"
    assert lines[2:4] == [
        f"| tiny | gsm8k | a | b | {figures} | 7 | differs |",
        f"| tiny | gsm8k | a | c | {figures} | 8 | differs |",
    ]
    assert not any("With so few" in line or "†" in line for line in lines)
    assert "2 rows need 7 problems" in printed(7, 6)[-1] and "need" in printed(6, 7)[-1]
    lines = printed(7, 7, apart=True, lossless=False)
    assert lines[0] == f"| conditions | {heads}"
    assert lines[2].startswith("| dtype x | tiny | gsm8k | a | b † | 1.250 ")
    assert lines[3].startswith("| dtype x | tiny | gsm8k | a | c | 1.250 ")
    assert lines[-1] == "† its output is not the target's."
    compare.compare("a", format="csv")
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.startswith("section,pair,task,differs,ratio,low,high,effect,p,p_holm,faster,")
    assert [row.split(",")[:4] for row in rows] == [["dtype x", "tiny", "gsm8k", "True"]] * 2


def test_rows_without_a_test_do_not_count_for_how_many_problems_are_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one row, so six problems; of both it would be seven."""
    row = {"pair": "tiny", "task": "gsm8k", "faster": "a", "slower": "b", "section": ""}
    row |= {"faster_lossless": True, "slower_lossless": True, "differs": False}
    figures = dict.fromkeys(("ratio", "low", "high", "effect", "p", "p_holm"), 0.5)
    rows = [row | figures | {"n": 9}, row | dict.fromkeys(figures, float("nan")) | {"n": 0}]
    monkeypatch.setattr(compare, "decoders", lambda frame: pd.DataFrame(rows))
    monkeypatch.setattr(compare, "mixed", lambda frame: [])
    monkeypatch.setattr(compare, "load_any", list)
    compare.compare("a")
    assert "1 row needs 6 problems." in capsys.readouterr().out


def test_each_figure_has_a_column_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    test = {"n": 7, "ratio": 1.25, "low": 1.125, "high": 1.5, "effect": -0.5, "p": 0.01}
    found = {"pair": "tiny", "task": "gsm8k", "label": "pearl γ3", "p_holm": 0.023} | test
    found |= {"differs": True, "own_ratio": 0.8, "reference_ratio": 0.64, "same_outputs": 0.5}
    figures = {
        "speedup": (2.0, 2.5),
        "acceptance_rate": (0.8126, 0.9),
        "mean_accepted_tokens": (float("nan"), 3.0),
        "acceptance_length": (3.25, 4.0),
        "accuracy": (0.5, None),
    }
    for name, (before, after) in figures.items():
        found |= {f"{name}_before": before, f"{name}_after": after}
    other = found | {"label": "alike", "differs": False, "low": float("nan")}
    monkeypatch.setattr(compare, "load_any", list)
    monkeypatch.setattr(compare, "changes", lambda before, after: pd.DataFrame([found, other]))
    monkeypatch.setattr(compare, "differing", lambda before, after: {"code": ("x", "y")})
    compare.compare("a", "b")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| what differs | before | after |" and "| code | x | y |" in lines
    heads = "pair | task | decoder | speedup ratio | effect | p (Holm) | n |  | tokens/s ratio"
    heads += " | reference's | speedup | acceptance rate | accepted tokens | acceptance length"
    assert f"| {heads} | accuracy | same outputs |" in lines
    both = "2.00 → 2.50 | 0.813 → 0.900 | – → 3.00 | 3.25 → 4.00 | 0.500 → –"
    rest = f"0.800 | 0.640 | {both} | 50% |"
    ours, theirs = "pearl γ3 | 1.250 (1.125–1.500)", "alike | 1.250"
    assert f"| tiny | gsm8k | {ours} | -0.50 | 0.023 | 7 | differs | {rest}" in lines
    assert f"| tiny | gsm8k | {theirs} | -0.50 | 0.023 | 7 | no difference seen | {rest}" in lines
    compare.compare("a", "b", "csv")
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.startswith("pair,task,label,p_holm,n,ratio,low,high,") and len(rows) == 2


def test_figures_of_both_sweeps_are_told_with_how_many_outputs_are_the_same(
    tmp_path: Path,
) -> None:
    """Of three outputs one is another."""
    figures = {
        "speedup": (2.0, 2.5),
        "acceptance_rate": (0.75, 0.8),
        "mean_accepted_tokens": (4.0, 5.0),
        "acceptance_length": (3.0, 3.5),
        "accuracy": (0.25, 0.5),
    }
    made = {"environment": ENVIRONMENT, "decoder_settings": {}, "ttft_seconds_p50": 0.1}
    for place, folder in enumerate("ab"):
        own = made | {name: both[place] for name, both in figures.items()}
        write_speeds(tmp_path / folder, "pearl", [0.5, 0.4, 0.3], IDENTITY, **own)
    file = tmp_path / "b" / "records.jsonl"
    first, *rest = map(json.loads, file.read_text().splitlines())
    records = [first | {"output_ids": [2] * 10}, *rest]
    file.write_text("".join(json.dumps(one) + "\n" for one in records))
    (found,) = changes(load([tmp_path / "a"]), load([tmp_path / "b"])).to_dict("records")
    for name, both in figures.items():
        assert (found[f"{name}_before"], found[f"{name}_after"]) == both, name
    assert found["same_outputs"] == pytest.approx(2 / 3)
    assert found["runs"] == f"{tmp_path / 'a'}, {tmp_path / 'b'}"
    assert (found["decoder"], found["seed"], found["n"]) == ("pearl", 0, 3)


def test_the_faster_run_is_named_first(tmp_path: Path) -> None:
    write(tmp_path / "0", "speculative", 1.0, seed=1)
    write(tmp_path / "1", "pearl", 2.0, seed=1)
    (row,) = decoders(load([tmp_path])).to_dict("records")
    assert row["runs"] == f"{tmp_path / '1'}, {tmp_path / '0'}"
    assert (row["faster"], row["ratio"]) == ("pearl", pytest.approx(2.0))


def timed(*rows: tuple[str, int, bool, int, float]) -> pd.DataFrame:
    """Records: problem, turn, whether it warms up, tokens of the prompt, speedup."""
    columns = ["task_id", "turn", "warmup", "prompt_tokens", "speedup"]
    own = {"sample": 0, "new_tokens": 12, "seconds": 4.0, "reference_seconds": 5.0}
    frame = pd.DataFrame(rows, columns=columns).assign(**own)
    return frame.assign(reference_output_ids=[[1] * 10] * len(rows))


def test_prompts_are_paired_that_both_have_timed() -> None:
    """Turns of one dialogue are 2 and 8 times as fast, so 4 times. Of the others one has another
    prompt, one warmed up, and one is not there."""
    theirs = timed(
        ("a", 1, False, 5, 1.0), ("a", 2, False, 9, 2.0), ("b", 0, False, 5, 1.0),
        ("c", 0, True, 5, 1.0), ("d", 0, False, 5, 1.5), ("e", 0, False, 5, 1.0),
    )  # fmt: skip
    ours = timed(
        ("d", 0, False, 5, 4.5), ("a", 1, False, 5, 2.0), ("a", 2, False, 9, 16.0),
        ("b", 0, False, 6, 7.0), ("c", 0, False, 5, 7.0),
    )  # fmt: skip
    assert sorted(ratios(theirs, ours, "speedup").tolist()) == pytest.approx([3.0, 4.0])
    assert sorted(ratios(ours, theirs, "speedup").tolist()) == pytest.approx([1 / 4, 1 / 3])


def test_speeds_of_a_problem() -> None:
    """12 tokens in 4 s, by the reference 10 in 5 s."""
    records = timed(("a", 0, True, 5, 9.0), ("b", 0, False, 5, 1.5))
    figures = {"tokens_per_second": 3.0, "reference_tokens_per_second": 2.0, "speedup": 1.5}
    for figure, value in figures.items():
        found = problem_speeds(records, figure)
        assert (found["task_id"].tolist(), found["value"].tolist()) == (["b"], [value])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("hardware", {"draft_device": "cuda:0 (NVIDIA H100)"}),
        ("draft_place", {"draft_device": "cuda:1 (NVIDIA A100)"}),
        ("processes", {"target_process": PROCESS | {"threads": 8}}),
        ("torch", {"versions": ENVIRONMENT["versions"] | {"torch": "9"}}),
        ("transformers", {"versions": ENVIRONMENT["versions"] | {"transformers": "9"}}),
        ("python", {"versions": ENVIRONMENT["versions"] | {"python": "9"}}),
        ("driver", {"driver": "550"}),
    ],
)
def test_another_machine_or_library_may_be_what_changed(
    tmp_path: Path, name: str, change: dict[str, Any]
) -> None:
    for folder, more in (("a", {}), ("b", change)):
        own = {"environment": ENVIRONMENT | more, "decoder_settings": {}}
        write_speeds(tmp_path / folder, "pearl", [0.5, 0.4, 0.3], IDENTITY, **own)
    before, after = load([tmp_path / "a"]), load([tmp_path / "b"])
    assert len(changes(before, after)) == 1 and list(differing(before, after)) == [name]


def test_sweeps_under_other_conditions_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a" / "0", "pearl", 1.0, seed=1)
    write(tmp_path / "b" / "0", "pearl", 1.0, seed=2, protocol="standard")
    with pytest.raises(UserError, match="their protocol is paper and standard"):
        changes(load([tmp_path / "a"]), load([tmp_path / "b"]))


def test_sweeps_without_a_common_run_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a" / "0", "pearl", 1.0, seed=1)
    write(tmp_path / "b" / "0", "lookahead", 1.0, seed=2)
    with pytest.raises(UserError, match="pearl on humaneval before, lookahead on humaneval after"):
        changes(load([tmp_path / "a"]), load([tmp_path / "b"]))


def test_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "a" / "0", "speculative", 1.0, seed=1)
    write(tmp_path / "a" / "1", "pearl", 1.3, seed=2)
    write(tmp_path / "b" / "0", "pearl", 1.0, seed=3, code="new")
    program.main(["compare", str(tmp_path / "a")])
    assert "| pearl | speculative | 1.3" in capsys.readouterr().out
    program.main(["compare", str(tmp_path / "a"), str(tmp_path / "b")])
    out = capsys.readouterr().out
    assert "| code | dddd | new |" in out
    assert "| tiny | humaneval | pearl | 0.7" in out and "| differs |" in out
    with pytest.raises(SystemExit, match="2"):
        program.main(["compare", str(tmp_path / "c")])
    assert "there is no run there" in capsys.readouterr().err
