"""Versions of a run's files: said in each, refused where newer, upgraded where there is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from make_record import make_record
from pyarrow import parquet
from written_run import SUMMARY, autoregressive, pearl, write_run

from decoders.round import Round
from pearl_eval.errors import UserError
from pearl_eval.evaluation.reference import ReferenceCache
from pearl_eval.evaluation.run_files import RunFiles
from pearl_eval.results.additions import (
    with_choices,
    with_engine_times,
    with_foresight,
    with_retrieved,
)
from pearl_eval.results.records import read_records, read_run, read_summary
from pearl_eval.results.summaries import whole_summary
from pearl_eval.results.traces import read_rounds
from pearl_eval.results.version_0 import upgrade_identity, upgrade_override

NAME = "format_version"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change every object of a file of JSON, or of JSON lines."""
    whole = path.suffix == ".json"
    rows = [json.loads(path.read_text())] if whole else lines(path)
    for row in rows:
        change(row)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def say(version: Any) -> Callable[[dict[str, Any]], object]:
    return lambda row: row.update({NAME: version})


def forget(row: dict[str, Any]) -> None:
    assert row.pop(NAME) == 1


def say_in_parquet(path: Path, version: str | None) -> None:
    table = parquet.read_table(path)
    metadata = dict(table.schema.metadata)
    assert metadata.pop(b"format_version") == b"1"
    own = {} if version is None else {NAME: version}
    parquet.write_table(table.replace_schema_metadata(metadata | own), path)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", "pearl", pearl(), identity={"seed": 1})


def test_every_file_says_version_1_and_readers_do_not_see_it(run: Path) -> None:
    for name in ("summary.json", "run.json"):
        assert next(iter(json.loads((run / name).read_text()).items())) == (NAME, 1)
    for name in ("records.jsonl", "rounds.jsonl"):
        assert {line[NAME] for line in lines(run / name)} == {1}
    assert parquet.read_schema(run / "rounds.parquet").metadata[b"format_version"] == b"1"
    nothing: Any = SimpleNamespace(prompts=(), turns=0)
    ReferenceCache(run / "reference", {"seed": 1}, 1.0).complete(nothing, pytest.fail)
    assert lines(run / "reference" / "reference.jsonl") == [{NAME: 1, "identity": {"seed": 1}}]

    read = [read_summary(run), read_run(run), *read_records(run / "records.jsonl")]
    assert all(one is not None and NAME not in one for one in read)
    assert NAME not in read_rounds(run)


READ: dict[str, Callable[[Path], object]] = {
    "summary.json": read_summary,
    "run.json": read_run,
    "records.jsonl": lambda run: list(read_records(run / "records.jsonl")),
    "rounds.parquet": read_rounds,
}


@pytest.mark.parametrize("name", READ)
def test_a_newer_version_is_refused_in_one_line(run: Path, name: str) -> None:
    path = run / name
    if path.suffix == ".parquet":
        say_in_parquet(path, "2")
    else:
        rewrite(path, say(2))
    with pytest.raises(UserError) as refused:
        READ[name](run)
    assert str(refused.value) == (
        f"{path} has format version 2, and the newest that this pearl_eval knows is 1: update"
        " pearl_eval to read it"
    )


def test_a_newer_file_is_refused_whatever_it_holds(run: Path) -> None:
    for name in ("summary.json", "run.json", "records.jsonl"):
        (run / name).write_text('{"format_version": 2}\n')
        with pytest.raises(UserError, match="has format version 2, and the newest"):
            READ[name](run)


@pytest.mark.parametrize("name", ["run.json", "records.jsonl", "rounds.jsonl"])
def test_a_run_of_a_newer_version_is_not_continued(run: Path, name: str) -> None:
    rewrite(run / name, say(2))
    with pytest.raises(UserError, match=rf"{name} has format version 2, and the newest"):
        RunFiles(run, {"seed": 1})


def test_cached_references_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    (tmp_path / "reference.jsonl").write_text(json.dumps({NAME: 2, "identity": {}}) + "\n")
    with pytest.raises(UserError, match=r"reference.jsonl has format version 2, and the newest"):
        ReferenceCache(tmp_path, {}, 1.0).check()


@pytest.mark.parametrize("version", [-1, "1", 1.0, True, None])
def test_what_is_no_version_is_damage(run: Path, version: Any) -> None:
    rewrite(run / "summary.json", say(version))
    with pytest.raises(UserError, match=r"summary.json is damaged \('format_version' is "):
        read_summary(run)


def test_some_columns_of_rounds_are_read_alone(run: Path) -> None:
    for version in ("1", None):
        assert list(read_rounds(run, ["judged", "mode"])) == ["judged", "mode"], version
        if version:
            say_in_parquet(run / "rounds.parquet", None)


def test_an_early_summary_lacks_much(run: Path) -> None:
    """Of three outputs one is the target's, one a tie; the third differs with no violation."""
    early = {
        "prompts": 3,
        "exact_match_rate": 1 / 3,
        "ties": 1,
        "environment": {"target_device": "cpu"},
    }
    kept = ("decoder", "pair", "task", "violations", "sampled_tokens")

    def older(row: dict[str, Any]) -> None:
        own = {name: row[name] for name in kept}
        row.clear()
        row.update(own | early)

    rewrite(run / "summary.json", older)
    summary = read_summary(run)
    assert (summary["lossy"], summary["cost"], summary["decoder_settings"]) == (1, {}, {})
    assert summary["environment"] == {
        "target_device": "cpu",
        "dtype": None,
        "git_commit": None,
        "target_parallel": None,
        "versions": {},
    }
    assert summary["traces"]["by_block_position"] is None
    assert summary["traces"]["mode_shares"] == {}
    rewrite(run / "summary.json", lambda row: row.update(sampled_tokens=90))
    assert read_summary(run)["lossy"] == 0
    rewrite(run / "summary.json", lambda row: row.update(lossy=5))
    assert read_summary(run)["lossy"] == 5


def test_acceptance_lengths_of_before_follow_from_rounds_also_by_category(tmp_path: Path) -> None:
    """Of x one verification accepts two tokens, of y two accept none and three."""

    def verify(judged: int, accepted: int, length: int) -> Round:
        own = {"judged": judged, "accepted": accepted, "own_tokens": judged - accepted}
        return Round("verify", start=length / 8, verified_length=length, **own)

    files = RunFiles(tmp_path, {})
    files.append(make_record(0, category="x"), [verify(3, 2, 3)])
    files.append(make_record(1, category="y"), [verify(1, 0, 1), verify(3, 3, 4)])
    files.close()
    own = SUMMARY | {"decoder": "mine", "by_category": {"x": {}, "y": {}, "z": {}}}
    files.write_summary(own)
    summary = whole_summary(tmp_path)
    assert summary["acceptance_length"] == pytest.approx(1 + 5 / 3)
    lengths = {name: one["acceptance_length"] for name, one in summary["by_category"].items()}
    assert lengths == {"x": 3.0, "y": 2.5, "z": None}
    assert summary["traces"]["verifications"] == 3
    assert summary["traces"]["accepted_per_verification"] == [1, 0, 1, 1]
    assert summary["ttft_seconds_p50"] is not None
    # Of one prompt, which is the warm-up, there is nothing to time.
    files.write_summary(own | {"prompts": 1})
    assert whole_summary(tmp_path)["acceptance_length"] is None
    # What can't be told is none either.
    files.write_summary(own)
    (tmp_path / "rounds.parquet").unlink()
    assert whole_summary(tmp_path)["acceptance_length"] is None


def test_cuda_graphs_were_called_compiled_in_version_0(run: Path) -> None:
    assert upgrade_override("runtime=eager,compiled") == "runtime=eager,cuda_graphs"
    assert upgrade_override("runtime.forward=compiled") == "runtime.forward=cuda_graphs"
    assert upgrade_override("decoder=compiled") == "decoder=compiled"
    about = {"identity": {"runtime.forward": "compiled", "pair.name": "compiled"}}
    renamed = {"runtime.forward": "cuda_graphs", "pair.name": "compiled"}
    assert upgrade_identity(about) == {"identity": renamed}
    assert upgrade_identity({"identity": {"runtime.forward": "fused"}}) == {
        "identity": {"runtime.forward": "fused"}
    }
    rewrite(run / "summary.json", forget)
    rewrite(run / "summary.json", lambda row: row["environment"].update(forward="compiled"))
    assert read_summary(run)["environment"]["forward"] == "cuda_graphs"


def test_one_process_for_the_target_need_not_be_said_any_more() -> None:
    name = "runtime.tensor_parallel"
    assert upgrade_override(f"{name}=1") == ""
    assert upgrade_override(f"{name}=2") == f"{name}=2"
    assert upgrade_override("seed=1") == "seed=1"
    assert upgrade_identity({"identity": {name: 1, "seed": 1}}) == {"identity": {"seed": 1}}
    assert upgrade_identity({"identity": {name: 2}}) == {"identity": {name: 2}}


def test_a_run_without_a_choice_had_the_papers_rule() -> None:
    """Cached references do not depend on it, and say nothing of it."""
    mode = {"reference.mode": "inline"}
    own = {"identity": mode | {"reference.hardware": "own"}}
    assert upgrade_identity({"identity": dict(mode)}) == own
    assert upgrade_identity({"identity": {"seed": 1}}) == {"identity": {"seed": 1}}


def test_a_run_that_version_0_began_is_continued(tmp_path: Path) -> None:
    """What code it was of can't be told; all else must be the same."""
    identity = {"seed": 1, "sampling._target_": "decoders.sampling.sampler.Greedy", "code": "ours"}
    identity |= {"code of the decoder": "ours, too"}
    with RunFiles(tmp_path, identity) as files:
        files.begin({"gamma": 3})
        files.append(make_record(0), autoregressive()[:4])
    for name in ("run.json", "records.jsonl", "rounds.jsonl"):
        rewrite(tmp_path / name, forget)

    def earlier(row: dict[str, Any]) -> None:
        row["identity"] |= {"sampling._target_": "decoders.sampler.Greedy", "code": "theirs"}
        del row["identity"]["code of the decoder"]

    rewrite(tmp_path / "run.json", earlier)
    rewrite(tmp_path / "records.jsonl", lambda row: row.pop("tie"))
    for name in ("fates", "own_tokens", "busy_seconds"):
        rewrite(tmp_path / "rounds.jsonl", lambda row, name=name: row.pop(name))
    with pytest.raises(UserError, match=r"differs in seed \(1 there, 2 here\): choose"):
        RunFiles(tmp_path, identity | {"seed": 2})
    with RunFiles(tmp_path, identity) as files:
        assert list(files.finished) == [("Task/0", 0, 0)]
        assert not files.same_code
        derived = [replace(one, own_tokens=1, busy_seconds=0.1) for one in autoregressive()[:4]]
        assert files.finished["Task/0", 0, 0].rounds == derived
        files.append(make_record(1), pearl()[:4])
        assert list(files.rounds()["round"]) == [*range(4)] * 2
    assert json.loads((tmp_path / "run.json").read_text())["identity"] == identity
    # From here on the code counts again.
    with RunFiles(tmp_path, identity) as files:
        assert files.same_code
    with pytest.raises(UserError, match=r"differs in code \(ours there, else here\)"):
        RunFiles(tmp_path, identity | {"code": "else"})


def test_references_of_version_0_are_used(tmp_path: Path) -> None:
    stored = {"seed": 1, "sampling._target_": "decoders.temperature.Temperature", "code": "theirs"}
    (tmp_path / "reference.jsonl").write_text(json.dumps({"identity": stored}) + "\n")
    ours = {"seed": 1, "sampling._target_": "decoders.sampling.temperature.Temperature"}
    ReferenceCache(tmp_path, ours | {"code": "ours"}, 1.0).check()
    with pytest.raises(UserError, match=r"which differ in seed \(1 there, 2 here\):"):
        ReferenceCache(tmp_path, ours | {"code": "ours", "seed": 2}, 1.0).check()


def test_what_rounds_of_before_lack_is_as_where_none_of_it_was_done() -> None:
    """What they have stays."""
    rounds = pd.DataFrame({"mode": ["a", "b"], "drafted": [2, 3]}, index=[3, 5])
    plain, added = asdict(Round()), set()
    for add in (with_engine_times, with_choices, with_retrieved, with_foresight):
        made = add(rounds)
        for name in set(made) - set(rounds):
            assert list(made[name]) == [plain[name]] * 2 and list(made.index) == [3, 5]
            assert type(made[name].tolist()[0]) is type(plain[name])
            known = rounds.assign(**{name: [7, 8]})
            assert list(add(known)[name]) == [7, 8] and set(add(known)) == set(made)
        added |= set(made)
    assert added == {
        "mode", "drafted", "step_start", "step_seconds", "wait_start", "drafted_from",
        "drafted_until", "at_hand", "awaited", "confidences", "chances", "retrieved",
        "guessed", "given", "outcomes", "fan_out", "branch_forwards", "branch_tokens", "hit",
        "branch_seconds", "prepared",
    }  # fmt: skip


def test_of_a_draft_that_was_hit_all_was_prepared_before_rounds_said_so() -> None:
    rounds = pd.DataFrame({"drafted": [2, 3, 4], "hit": [False, True, False]})
    assert list(with_foresight(rounds)["prepared"]) == [0, 3, 0]


def test_rounds_of_no_column_are_read_back_as_none(tmp_path: Path) -> None:
    RunFiles(tmp_path, {}).close()
    assert read_rounds(tmp_path).empty
    assert isinstance(read_rounds(tmp_path), pd.DataFrame)
