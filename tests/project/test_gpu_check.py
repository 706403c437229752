"""What ``make gpu-check`` is made of: which steps run, and what becomes of those that fail."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest

from gpu_check import __main__ as command
from gpu_check import forwards, libraries, pair
from gpu_check.card import Card
from gpu_check.decoding import Taken, tell_speeds
from gpu_check.libraries import LibrariesError
from gpu_check.rows import REHEARSAL, ROWS, Finding, read_rows, table, tell
from gpu_check.runner import Runner
from gpu_check.steps import STEPS, NoSuchStep, Step, choose
from pearl_eval.config.schema import ForwardKind
from pearl_eval.profile.profile import Timing
from pearl_eval.simulation import ForwardTimes

ROOT = Path(__file__).resolve().parents[2]
#: Told by a step, as those of the check do it.
TOLD = "from gpu_check.rows import tell; tell('speed', '3 tokens/s', 'fast'); "


def python(name: str, code: str, seconds: float = 60.0, least: float = 1.0) -> Step:
    """A step that is a few lines of Python."""
    module = f"step_{name}"
    Path(f"{module}.py").write_text(code)
    return Step(name, "", seconds, least, (module,))


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.chdir(tmp_path)
    paths = os.pathsep.join([str(tmp_path), str(ROOT / "docs")])
    return Runner(tmp_path, tmp_path, 100.0, dict(os.environ) | {"PYTHONPATH": paths})


def test_steps_are_chosen_by_name_and_run_in_their_order() -> None:
    assert choose("") == list(STEPS)
    assert [step.name for step in choose("energy, tests,")] == ["tests", "energy"]
    with pytest.raises(NoSuchStep, match=r"no step contests; expected some of card,tests,contest,"):
        choose("tests,contests")


def test_all_steps_begin_within_the_limit() -> None:
    """Each is there, and is not stopped before the others have had their time."""
    for step in STEPS:
        (module, *_) = step.command
        assert (ROOT / "docs" / f"{module.replace('.', '/')}.py").exists()
        assert step.least < step.seconds
    assert sum(step.least for step in STEPS) < command._SECONDS == 300


def test_a_step_that_fails_is_survived(runner: Runner, tmp_path: Path) -> None:
    runner.run(python("bad", f"{TOLD}raise SystemExit('no card here')"))
    runner.run(python("good", TOLD))
    rows = [(row.step, row.what, row.value.split(" after ")[0], row.note) for row in runner.rows]
    assert rows[0] == ("bad", "speed", "3 tokens/s", "fast")
    assert rows[1] == ("bad", "the step", "failed", "no card here")
    assert runner.rows[1].value.endswith("with exit code 1")
    assert rows[2] == ("good", "speed", "3 tokens/s", "fast")
    assert runner.rows[3].value.startswith("done in ")
    assert runner.failed == ["bad"]
    log = (tmp_path / "log.txt").read_text()
    assert log.index("==== bad ====") < log.index("no card here") < log.index("==== good ====")


def test_a_step_is_stopped_at_its_limit_with_all_that_it_started(
    runner: Runner, tmp_path: Path
) -> None:
    code = (
        "import subprocess, sys, time\n"
        f"{TOLD}\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "open('pid', 'w').write(str(child.pid)); print('waiting', flush=True); time.sleep(60)\n"
    )
    runner.run(python("slow", code, seconds=3.0))
    told, stopped = runner.rows
    assert told == Finding("slow", "speed", "3 tokens/s", "fast")
    assert stopped == Finding("slow", "the step", "stopped at its limit of 3 s", "waiting")
    pid = int((tmp_path / "pid").read_text())
    end = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_step_for_which_no_time_is_left_is_skipped(runner: Runner) -> None:
    runner.run(python("long", TOLD, least=200.0))
    (row,) = runner.rows
    assert row.value == "skipped"
    assert row.note.endswith("s of the limit of 100 s are left, it needs at least 200")
    assert not runner.failed


def test_a_step_may_take_what_is_left_at_most(tmp_path: Path) -> None:
    """And in a rehearsal a multiple of its own limit."""
    environment = dict(os.environ) | {"PYTHONPATH": str(tmp_path)}
    (tmp_path / "step_slow.py").write_text("import time; time.sleep(60)")
    step = Step("slow", "", 1.0, 0.5, ("step_slow",))
    for seconds, patience, said in ((1.6, 5.0, "2 s"), (60.0, 1.0, "1 s"), (60.0, 2.0, "2 s")):
        runner = Runner(tmp_path, tmp_path, seconds, environment, patience)
        runner.run(step)
        assert runner.rows[0].value == f"stopped at its limit of {said}"


def test_rows_are_on_disk_as_soon_as_they_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows"
    assert read_rows(path, "a") == []
    monkeypatch.setenv(ROWS, str(path))
    tell("one", "1 ms")
    tell("two", "2 ms", "note")
    with path.open("a") as file:
        file.write('["three", "3')
    assert read_rows(path, "a") == [
        Finding("a", "one", "1 ms"),
        Finding("a", "two", "2 ms", "note"),
    ]


def test_a_table_has_columns_as_wide_as_what_they_hold() -> None:
    rows = [Finding("card", "name", "NVIDIA X", "seen"), Finding("tests", "a", "ok")]
    assert table(rows).splitlines() == [
        "step   what  result    note",
        "-----  ----  --------",
        "card   name  NVIDIA X  seen",
        "tests  a     ok",
    ]


def test_wheels_beyond_the_limit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(LibrariesError, match="no wheels there; run make gpu-wheels"):
        libraries.check_size(tmp_path)
    (tmp_path / "a-1.whl").write_bytes(bytes(700))
    (tmp_path / "b-1.whl").write_bytes(bytes(324))
    assert libraries.MOST == 64 * 2**20
    monkeypatch.setattr(libraries, "MOST", 1024)
    assert libraries.check_size(tmp_path) == 1024
    (tmp_path / "b-1.whl").write_bytes(bytes(325))
    with pytest.raises(LibrariesError, match=r"expected at most 0; the largest is a-1\.whl"):
        libraries.check_size(tmp_path)


def test_only_what_is_missing_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"hydra-core", "pandas", *libraries.NEEDED[3:]}
    monkeypatch.setattr(libraries, "_there", lambda name: name in there)
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(libraries, "_pip", lambda *arguments: calls.append(arguments))
    for name in ("hydra_core", "omegaconf", "pandas", "scipy"):
        (tmp_path / f"{name}-1-py3-none-any.whl").write_bytes(b"")
    lacks = r"lacks accelerate, antlr4-python3-runtime, and .* has no wheels of them"
    with pytest.raises(LibrariesError, match=lacks):
        libraries.install(tmp_path, tmp_path / "site")
    assert not calls
    for name in ("accelerate", "antlr4_python3_runtime"):
        (tmp_path / f"{name}-1-py3-none-any.whl").write_bytes(b"")
    names = ["omegaconf", "accelerate", "antlr4-python3-runtime", "scipy"]
    assert libraries.install(tmp_path, tmp_path / "site") == names
    ((*options, first, second, third, fourth),) = calls
    assert "--no-index" in options and options[-2:] == ["--target", str(tmp_path / "site")]
    wheels = [Path(one).name.split("-")[0] for one in (first, second, third, fourth)]
    assert wheels == ["omegaconf", "accelerate", "antlr4_python3_runtime", "scipy"]


def test_wheels_are_asked_for_in_the_versions_that_were_tested() -> None:
    assert libraries.pinned("omegaconf") == "omegaconf==2.3.1"
    assert libraries.pinned("pandas") == "pandas==3.1.1"
    assert libraries.pinned("nvidia-ml-py") == "nvidia-ml-py"


def test_the_checkout_is_known_as_a_package(tmp_path: Path) -> None:
    """Its commands are found by what it says of itself, without being installed."""
    libraries.describe_checkout(tmp_path)
    (found,) = importlib.metadata.distributions(path=[str(tmp_path)])
    assert found.metadata["Name"] == "pearl-eval"
    assert found.version == importlib.metadata.version("pearl-eval")
    named = {one.name for one in found.entry_points if one.group == "pearl_eval.commands"}
    ours = importlib.metadata.entry_points(group="pearl_eval.commands")
    assert named == {one.name for one in ours}


def test_a_file_of_forwards_is_read_as_a_profile(tmp_path: Path) -> None:
    """Timings have a profile's fields, and windows and batches are the surfaces'."""
    assert set(forwards.timing("draft", 1, False, [1.0, 2.0])) == {f.name for f in fields(Timing)}
    timings = [
        *(forwards.timing("target", w, False, [w, w + 2.0, w + 1.0]) for w in forwards.WINDOWS),
        *(forwards.timing("draft", w, False, [0.25] * 3) for w in forwards.BATCHES),
        *(forwards.timing("target", w, True, [2.0 * w] * 3) for w in forwards.TOGETHER),
        forwards.timing("draft", 1, True, [0.5] * 3),
    ]
    times = ForwardTimes.from_profile({"timings": timings})
    assert times.target.windows == tuple(range(1, 33)) and times.target(5, 0) == 6.0
    assert times.draft.windows == (1, 2, 4, 8, 16, 32, 64)
    assert forwards.medians(timings, "target", True) == {1: 2.0, 2: 4.0, 4: 8.0, 8: 16.0, 16: 32.0}
    assert forwards.medians(timings, "draft", True) == {1: 0.5}


def test_the_command_needs_nothing_but_python_to_say_what_it_does() -> None:
    """``-S``: not even the libraries that are installed."""
    environment = {"PYTHONPATH": str(ROOT / "docs"), "PATH": os.environ["PATH"]}
    start = [sys.executable, "-S", "-m", "gpu_check"]
    done = subprocess.run([*start, "--help"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(f"  {step.name} " in done.stdout for step in STEPS)
    done = subprocess.run([*start, "--steps=x"], env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: there is no step x; expected")
    done = subprocess.run(start, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and "has no torch and no transformers" in done.stderr


def test_decoders_are_told_beside_the_target_alone(capsys: pytest.CaptureFixture[str]) -> None:
    reference = Taken(100, 4.0, 200.0, [[1, 2], [3]], 0.0, 3.5)
    ours = Taken(100, 2.5, None, [[1, 2], [4]], 1.0, 2.0)
    tell_speeds({"autoregressive": reference, "pearl": ours})
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(
        "autoregressive: 25.0 tokens/s (1.00× autoregressive, identical 2/2, 2.00 J"
    )
    assert second == (
        "pearl: 40.0 tokens/s (1.60× autoregressive, identical 1/2; of 2.50 s the target computed"
        " 2.00, the draft model 1.00)"
    )


def test_the_quickest_kind_of_forward_is_taken_of_those_that_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its share: the bytes that a token reads, over its time, over what a large read reaches."""
    monkeypatch.setenv(REHEARSAL, "1")
    shape = pair.PAIRS["llama_1b_8b"].shapes()["target"]
    read = 4 * (shape.multiplied + shape.cached * (forwards.CONTEXT + 1))

    def token(_: object, kind: ForwardKind) -> tuple[float, int, str]:
        if kind is ForwardKind.fused:
            raise ValueError("too many")
        return (0.5 if kind is ForwardKind.cuda_graphs else 2.0), 4, "; own"

    monkeypatch.setattr(pair, "_token", token)
    # The better of two ways to read: in half a second, 0.8 of what it reads then is read.
    card = Card("x", reading=read / 0.4, with_vector=read / 0.8, flops=1.0)
    assert pair.quickest(pair.PAIRS["llama_1b_8b"], card) is ForwardKind.cuda_graphs
    first, second, third = capsys.readouterr().out.splitlines()
    of = "of a large read's; goal 0.75; own)"
    assert first == f"a token, transformers: 2000.00 ms (0.00 GB read, 0.20 {of}"
    assert second == "a token, fused: failed (ValueError: too many)"
    assert third == f"a token, cuda_graphs: 500.00 ms (0.00 GB read, 0.80 {of}"


def test_few_files_are_left() -> None:
    """As many as a machine that is lent for minutes hands back."""
    assert len(command.FILES) <= 8


@pytest.mark.nightly
def test_a_rehearsal_goes_through_every_step(tmp_path: Path) -> None:
    """With the libraries of this environment; without a GPU, and with tiny shapes."""
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT / "docs"), "OUT": str(tmp_path)}
    start = [sys.executable, "-m", "gpu_check", "--rehearse"]
    process = subprocess.Popen(start, env=environment, start_new_session=True)
    try:
        assert process.wait(3000) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert {one.name for one in tmp_path.iterdir()} <= set(command.FILES)
    content = json.loads((tmp_path / "rows.json").read_text())
    ended = {r["step"]: r["value"] for r in content["rows"] if r["what"] == "the step"}
    assert content["rehearsed"] and set(ended) == {step.name for step in STEPS}
    assert all(value.startswith("done in ") for value in ended.values())
    assert (tmp_path / "table.txt").read_text().startswith("REHEARSAL: no GPU was used.")
