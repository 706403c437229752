"""Runs that are continued: what comes out is what an unbroken run gives, but for times."""

from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing import forkserver
from pathlib import Path

import pandas as pd
import pytest
from sameness import assert_same, figures, records
from small_pair import SmallPair, make_model

from decoders.round import Round
from pearl_eval.commands import program
from pearl_eval.evaluation.identity import run_code
from pearl_eval.evaluation.run_files import RunFiles
from pearl_eval.results.records import Record
from pearl_eval.shell.resume import parted, resumed

Run = Callable[..., tuple[int, str, str]]
#: Of a task that runs no programs; those that matter to resuming have HumanEval.
SHORT = ("task=gsm8k_mini", "task.limit=4", "task.max_new_tokens=12", "hydra.run.dir=run")


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the disk be full after so many prompts, in the middle of writing a record."""

    def fill(prompts: int) -> None:
        append, written = RunFiles.append, []

        def broken(self: RunFiles, record: Record, rounds: list[Round]) -> None:
            if len(written) < prompts:
                written.append(record)
                return append(self, record, rounds)
            monkeypatch.setattr(RunFiles, "append", append)
            with (self.directory / "records.jsonl").open("a") as file:
                file.write('{"task_id": "Hum')
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(RunFiles, "append", broken)

    return fill


@pytest.mark.parametrize(
    "settings",
    [
        ["decoder=pearl"],
        ["decoder=pearl", "sampling=temperature", "task.samples_per_task=2"],
        # What it looks up in are the outputs of the earlier prompts.
        ["decoder=suffix_warm", "decoder.factor=4"],
    ],
    ids=" ".join,
)
def test_a_continued_run_is_as_an_unbroken_one(
    run_cli: Run, tmp_path: Path, full_disk: Callable[[int], None], settings: list[str]
) -> None:
    command = [*settings, *SHORT[1:], "task=humaneval"]
    full_disk(2)
    code, _, err = run_cli(*command)
    assert code == 2 and "No space left on device" in err and "Traceback" not in err
    assert "No space left" in (tmp_path / "run" / "error.txt").read_text()
    assert len(pd.read_parquet(tmp_path / "run" / "rounds.parquet").groupby(["task_id", "sample"]))
    code, _, err = run_cli(*command)
    assert code == 0 and "continued, 2 of " in err and "HumanEval" not in err, err
    assert run_cli(*command, "hydra.run.dir=unbroken")[0] == 0
    assert_same(tmp_path / "run", tmp_path / "unbroken")


def test_a_run_under_an_old_name_is_continued_under_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = {"task": ["runtime=compiled", "seed=2"], "hydra": ["hydra.run.dir=run"]}
    runtime = {"cwd": str(tmp_path), "config_sources": []}
    (tmp_path / ".hydra").mkdir()
    started = {"hydra": {"overrides": asked, "runtime": runtime}}
    (tmp_path / ".hydra" / "hydra.yaml").write_text(json.dumps(started))
    words = resumed([f"resume={tmp_path}"])
    assert words[:2] == ["runtime=cuda_graphs", "seed=2"]


def test_what_was_chosen_by_measuring_stays(
    run_cli: Run, tmp_path: Path, full_disk: Callable[[int], None]
) -> None:
    command = ["decoder=speculative", "decoder.gamma=auto", *SHORT]
    full_disk(2)
    assert run_cli(*command)[0] == 2
    chosen = json.loads((tmp_path / "run" / "run.json").read_text())["settings"]
    assert run_cli(*command)[0] == 0
    assert figures(tmp_path / "run")["decoder_settings"] == chosen
    same = f"decoder.gamma={chosen['gamma']}"
    assert run_cli(*command, same, "hydra.run.dir=unbroken")[0] == 0
    # The warm-up prompt came before the choice.
    assert records(tmp_path / "run")[1:] == records(tmp_path / "unbroken")[1:]


def test_dialogues_are_continued_between_turns(
    run_cli: Run, tmp_path: Path, full_disk: Callable[[int], None]
) -> None:
    command = ["task=dialogue_mini", "task.limit=2", "task.max_new_tokens=8"]
    full_disk(3)
    assert run_cli(*command, "hydra.run.dir=run", small_pair=False)[0] == 2
    assert run_cli("resume=run", small_pair=False)[0] == 0
    assert run_cli(*command, "hydra.run.dir=unbroken", small_pair=False)[0] == 0
    assert_same(tmp_path / "run", tmp_path / "unbroken")
    assert [one["turn"] for one in records(tmp_path / "run")] == [1, 2, 1, 2]


def test_finished_prompts_are_not_decoded_again(
    run_cli: Run, tmp_path: Path, full_disk: Callable[[int], None]
) -> None:
    full_disk(3)
    assert run_cli(*SHORT)[0] == 2
    before = (tmp_path / "run" / "records.jsonl").read_text().splitlines()[:3]
    # Time limits are free to change.
    limits = ("runtime.answer_timeout=99", "runtime.devices_timeout=9", "reference.wait_timeout=9")
    assert run_cli("resume=run", *limits, small_pair=False)[0] == 0
    lines = (tmp_path / "run" / "records.jsonl").read_text().splitlines()
    assert lines[:3] == before and len(lines) == 4
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["environment"]["attempts"] == 2


def test_a_run_that_is_over_is_shown_again_and_not_made_again(
    run_cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_cli(*SHORT)[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*.json*")}
    monkeypatch.setattr("pearl_eval.pairs.pretrained.load_model", pytest.fail)
    code, out, err = run_cli(*SHORT)
    assert code == 0 and "identical 4/4" in out and "this run is there already" in err
    assert {path: path.read_bytes() for path in before} == before


def test_a_violation_stays_one(run_cli: Run) -> None:
    liar = (f"--config-dir={Path(__file__).parents[1] / 'conf'}", "decoder=liar", *SHORT)
    assert run_cli(*liar)[0] == 1
    code, _, err = run_cli(*liar)
    assert code == 1 and "4 of 4 outputs are not the target's own; the first: GSM8K/0" in err


def test_another_run_is_refused_saying_in_what_it_differs(
    run_cli: Run,
    tmp_path: Path,
    small_pair: SmallPair,
    monkeypatch: pytest.MonkeyPatch,
    full_disk: Callable[[int], None],
) -> None:
    pair = tmp_path / "pair"
    shutil.copytree(small_pair.folder, pair)
    own = [f"pair.{name}.path={pair / name}" for name in ("target", "draft")]
    rows = tmp_path / "problems.jsonl"
    rows.write_text("".join(f'{{"question": "{i}?", "answer": "#### {i}"}}\n' for i in range(4)))
    command = [f"task.data={rows}", *own, *SHORT]
    full_disk(1)
    assert run_cli(*command)[0] == 2

    def refused(*changed: str) -> str:
        code, _, err = run_cli(*command, *changed)
        assert code == 2 and len(err.splitlines()) == 1, err
        return err.split("it differs in ")[1].split(": choose another")[0]

    assert refused("decoder.gamma=7", "seed=3") == (
        "decoder.gamma (9 there, 7 here), seed (0 there, 3 here)"
    ) or refused("decoder.gamma=7", "seed=3").startswith("data (")
    with monkeypatch.context() as patch:
        other = {"code of the decoder": "other code"}
        patch.setattr(
            "pearl_eval.evaluation.identity.run_code", lambda plan: run_code(plan) | other
        )
        assert refused().startswith("code of the decoder (")
        assert refused().endswith(" there, other code here)")
    rows.write_text(rows.read_text().replace("1?", "one?"))
    assert refused().startswith("data (")
    rows.write_text(rows.read_text().replace("one?", "1?"))
    make_model(300, layers=2, seed=9).save_pretrained(pair / "draft")
    assert refused().startswith("weights of the draft (")
    assert len(records(tmp_path / "run")) == 1


def test_a_sweep_is_continued_by_its_folder(
    run_cli: Run, tmp_path: Path, full_disk: Callable[[int], None]
) -> None:
    full_disk(5)
    command = ("-m", "decoder=autoregressive,speculative,pearl", *SHORT[:3])
    code, out, _ = run_cli(*command, "hydra.sweep.dir=my sweep")
    assert code == 1 and "No space left" in out and out.count("identical 4/4") == 2
    code, out, err = run_cli("resume=my sweep", small_pair=False)
    assert code == 0 and out.count("identical 4/4") == 3, err
    assert err.count("this run is there already") == 2 and "continued, 1 of 4" in err


def test_a_second_process_on_a_sweep_is_refused(run_cli: Run, tmp_path: Path) -> None:
    command = ("-m", "decoder=autoregressive,speculative", *SHORT[:1], "task.limit=1")
    (tmp_path / "sweep").mkdir()
    first = os.open(tmp_path / "sweep", os.O_RDONLY)
    fcntl.flock(first, fcntl.LOCK_EX)
    code, out, err = run_cli(*command, "hydra.sweep.dir=sweep")
    assert code == 2 and "another process is at work on the sweep there" in err and not out
    assert len(err.splitlines()) == 1 and not any((tmp_path / "sweep").iterdir())
    os.close(first)
    assert run_cli(*command, "hydra.sweep.dir=sweep")[0] == 0
    # It is let go of at the end.
    assert run_cli("resume=sweep", small_pair=False)[0] == 0


def test_whoever_continues_a_sweep_may_say_what_changes_nothing(
    run_cli: Run, full_disk: Callable[[int], None]
) -> None:
    full_disk(5)
    command = ("-m", "decoder=autoregressive,speculative", *SHORT[:3])
    assert run_cli(*command, "hydra.sweep.dir=sweep")[0] == 1
    more = ("runtime.share_devices=true", "reference.wait_timeout=9", "tracking=none")
    code, out, err = run_cli("resume=sweep", *more, small_pair=False)
    assert code == 0 and out.count("identical 4/4") == 2, err


def test_a_run_with_configurations_of_ones_own_is_continued(
    run_cli: Run, full_disk: Callable[[int], None]
) -> None:
    """By its folder alone, and with flags before or after."""
    own = Path(__file__).parents[1] / "conf"
    full_disk(1)
    assert run_cli(f"--config-dir={own}", "decoder=liar", *SHORT)[0] == 2
    code, _, err = run_cli("resume=run", "--cfg=job", small_pair=False)
    assert code == 0, err
    code, _, err = run_cli("resume=run", small_pair=False)
    assert code == 1 and "4 of 4 outputs are not the target's own" in err
    code, _, err = run_cli(f"--config-dir={own}", "resume=run", small_pair=False)
    assert code == 1 and "4 of 4 outputs are not the target's own" in err, err
    given = ["tracking=none", "resume=run", "--config-dir", "other", "-v"]
    flags, overrides = parted(resumed(given))
    assert flags == ["--config-dir", "other", "-v"]
    assert "decoder=liar" in overrides and overrides[-1] == "hydra.mode=RUN"


@pytest.mark.parametrize("content", ["", "hydra:\n  runtime:\n", "a: [\n"])
def test_a_sweep_whose_description_is_damaged_is_refused(
    run_cli: Run, tmp_path: Path, content: str
) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "multirun.yaml").write_text(content)
    for command in (["resume=sweep"], ["-m", *SHORT[:3], "hydra.sweep.dir=sweep"]):
        code, out, err = run_cli(*command)
        assert code == 2 and not out and len(err.splitlines()) == 1, err
        assert "multirun.yaml" in err and ("damaged" in err or "can't be read" in err)


def test_a_run_that_another_process_is_at_work_on_is_left_as_it_is(
    run_cli: Run, tmp_path: Path
) -> None:
    """Its configuration, too."""
    assert run_cli(*SHORT)[0] == 0
    run = tmp_path / "run"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    (run / "run.json").unlink()
    first = os.open(run, os.O_RDONLY)
    fcntl.flock(first, fcntl.LOCK_EX)
    code, _, err = run_cli(*SHORT, "decoder=speculative")
    os.close(first)
    assert code == 2 and "another process is at work on the run there" in err
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert after == {path: content for path, content in before.items() if path.name != "run.json"}


def test_a_run_that_is_over_stays_so_whatever_else_is_asked_for_there(
    run_cli: Run, tmp_path: Path
) -> None:
    assert run_cli(*SHORT)[0] == 0
    assert run_cli(*SHORT, "decoder.gamma=0")[0] == 2
    assert not (tmp_path / "run" / "error.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resume=nowhere"], "there is no run and no sweep there"),
        (["resume=a", "resume=b"], "resume= is given twice"),
    ],
)
def test_what_cannot_be_resumed_is_one_line(
    run_cli: Run, arguments: list[str], message: str
) -> None:
    code, out, err = run_cli(*arguments, small_pair=False)
    assert code == 2 and message in err and len(err.splitlines()) == 1 and not out


def _command(arguments: Sequence[str], folder: Path) -> None:
    """``pearl-eval`` in a child of this process, which has all libraries imported."""
    # Draft processes come from the server there is. That it runs can be asked by its parent only.
    for known in (forkserver, forkserver._forkserver):
        known.ensure_running = lambda: None
    os.chdir(folder)
    program.main(arguments)


def test_killed_at_any_moment_a_run_is_continued(
    run_cli: Run, tmp_path: Path, small_pair: SmallPair
) -> None:
    """Killed while it loads, decodes, writes; and each time its own folder says how to go on."""
    arguments = ["decoder=pearl", "task.limit=6", "task.max_new_tokens=24"]
    start = [*small_pair.overrides, *arguments, "tracking=none", "hydra.run.dir=run"]
    records_file = tmp_path / "run" / "records.jsonl"
    for done in (0, 1, 4):
        process = multiprocessing.get_context("fork").Process(
            target=_command, args=(start, tmp_path)
        )
        process.start()
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.is_alive():
            if records_file.exists() and records_file.read_bytes().count(b"\n") >= done:
                break
            time.sleep(0.002)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        start = ["resume=run"]
    assert run_cli("resume=run", small_pair=False)[0] == 0
    assert run_cli(*arguments, "hydra.run.dir=unbroken")[0] == 0
    assert_same(tmp_path / "run", tmp_path / "unbroken")
