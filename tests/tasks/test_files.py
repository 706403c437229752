"""Disks that are full, folders that can't be written, damaged files, odd surroundings."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kills import ROOT
from program import PROGRAM
from sameness import assert_same, records
from small_pair import SmallPair

from pearl_eval.commands import program
from pearl_eval.errors import UserError
from pearl_eval.results.journal import Journal
from pearl_eval.results.records import read_lines

Run = Callable[..., tuple[int, str, str]]
SHORT = ("decoder=speculative", "task.limit=4", "task.max_new_tokens=12")


def in_one_line(code: int, err: str) -> str:
    """The error that a command ended with."""
    assert code == 2 and "Traceback" not in err, err
    last = err.splitlines()[-1]
    assert last.startswith("pearl-eval: error: "), err
    return last


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A file system in memory, of so many KiB; skips where mounting is not allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size: int) -> Path:
        options = ["-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(folder)]
        if subprocess.run(["mount", *options], capture_output=True).returncode:
            pytest.skip("mounting is not allowed here")
        return folder

    yield mount
    subprocess.run(["umount", "--lazy", str(folder)], capture_output=True)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for runs that several tests begin with."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def unbroken(run_cli: Run, shared: Path) -> Path:
    """The folder of a run that nothing happened to."""
    folder = shared / "unbroken"
    if not folder.exists():
        assert run_cli(*SHORT, f"hydra.run.dir={folder}")[0] == 0
    return folder


@pytest.mark.parametrize("size", [12, 24, 40])
def test_on_a_full_disk_it_ends_in_one_line_and_goes_on_when_there_is_room(
    run_cli: Run, unbroken: Path, disk: Callable[[int], Path], size: int
) -> None:
    run = disk(size) / "run"
    code, _, err = run_cli(*SHORT, f"hydra.run.dir={run}")
    assert "No space left on device" in in_one_line(code, err)
    subprocess.run(["mount", "-o", "remount,size=64m", str(run.parent)], check=True)
    assert run_cli(*SHORT, f"hydra.run.dir={run}")[0] == 0
    assert_same(run, unbroken)


def test_a_file_system_that_is_read_only_is_refused(
    run_cli: Run, disk: Callable[[int], Path]
) -> None:
    folder = disk(64)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    code, _, err = run_cli(*SHORT, f"hydra.run.dir={folder / 'run'}")
    assert "can't be written: Read-only file system" in in_one_line(code, err)


@pytest.fixture
def broken_off(run_cli: Run, shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run that ended before its last prompt, with its reference cached."""
    from pearl_eval.evaluation.run_files import RunFiles

    append = RunFiles.append

    def fail(self: RunFiles, record: object, rounds: object) -> None:
        if len((self.directory / "records.jsonl").read_bytes().splitlines()) == 3:
            raise OSError("enough")
        append(self, record, rounds)  # type: ignore[arg-type]

    place, kept = shared / "broken_off", shared / "kept"
    if kept.exists():
        shutil.rmtree(place)
        shutil.copytree(kept, place)
    else:
        cached = ("reference=cached", f"reference.folder={place / 'reference'}")
        with monkeypatch.context() as patch:
            patch.setattr(RunFiles, "append", fail)
            assert run_cli(*SHORT, *cached, f"hydra.run.dir={place / 'run'}")[0] == 2
        shutil.copytree(place, kept)
    return place / "run"


TORN = {
    "records.jsonl": b'{"task_id": "HumanEv',
    "rounds.jsonl": b"\0\0\0\0",
    "../reference/reference.jsonl": b'{"task',
}


@pytest.mark.parametrize(("name", "tail"), TORN.items(), ids=list(TORN))
def test_a_torn_last_line_is_cut_off(
    run_cli: Run, broken_off: Path, name: str, tail: bytes
) -> None:
    with (broken_off / name).open("ab") as file:
        file.write(tail)
    assert run_cli(f"resume={broken_off}", small_pair=False)[0] == 0
    assert len(records(broken_off)) == 4


def replaced(path: Path, line: int, text: str) -> None:
    lines = path.read_text().splitlines()
    lines[line] = text
    path.write_text("\n".join(lines) + "\n")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a record of zeros": lambda run: replaced(run / "records.jsonl", 1, "\0" * 40),
    "a record of something else": lambda run: replaced(run / "records.jsonl", 1, '{"a": 1}'),
    "a record twice": lambda run: replaced(
        run / "records.jsonl", 1, (run / "records.jsonl").read_text().splitlines()[0]
    ),
    "rounds of zeros": lambda run: replaced(run / "rounds.jsonl", 1, "\0" * 40),
    "rounds of something else": lambda run: replaced(run / "rounds.jsonl", 1, "{}"),
    "rounds with less": lambda run: replaced(
        run / "rounds.jsonl",
        0,
        json.dumps({"task_id": "HumanEval/0", "sample": 0, "turn": 0, "x": 1}),
    ),
    "run.json cut off": lambda run: os.truncate(run / "run.json", 40),
    "run.json empty": lambda run: os.truncate(run / "run.json", 0),
    "run.json a list": lambda run: (run / "run.json").write_text("[]"),
    "run.json of something else": lambda run: (run / "run.json").write_text("{}"),
    "reference of zeros": lambda run: replaced(
        run.parent / "reference" / "reference.jsonl", 1, "\0" * 40
    ),
    "reference of something else": lambda run: replaced(
        run.parent / "reference" / "reference.jsonl", 1, "{}"
    ),
    "reference of nothing": lambda run: replaced(
        run.parent / "reference" / "reference.jsonl", 0, "{}"
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
def test_a_damaged_file_is_named_in_one_line(
    run_cli: Run, broken_off: Path, damage: Callable[[Path], object]
) -> None:
    damage(broken_off)
    code, _, err = run_cli(f"resume={broken_off}", small_pair=False)
    line = in_one_line(code, err)
    assert any(word in line for word in ("damaged", "references of another run")), line


READERS = {
    "overview": ("overview", "{run}"),
    "timeline": ("timeline", "{run}"),
    "compare": ("compare", "{run}"),
    "table": ("table", "{run}"),
    "sweep's table": ("table", "{sweep}"),
    "report": ("report", "{run}", "-o", "{run}/report.html"),
    "tables": ("tables", "{run}"),
    "figures": ("figures", "{run}", "-o", "{run}/figures"),
}
DAMAGED = {
    "summary.json": ["table", "sweep's table", "report", "tables"],
    "rounds.parquet": ["report", "figures"],
    "records.jsonl": ["report", "figures"],
}


def test_a_byte_that_is_no_text_is_a_damaged_line(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'{"text": "a"}\n{"text": "\xff"}\n')
    with pytest.raises(UserError, match=r"records.jsonl, line 2, is damaged"):
        list(read_lines(path))


def test_half_a_character_is_read_as_it_was_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "records.jsonl")
    journal.append([{"text": "\ud83d"}])
    assert list(read_lines(journal.path)) == [{"text": "\ud83d"}]


@pytest.mark.parametrize(
    ("file", "reader"), [(file, one) for file, readers in DAMAGED.items() for one in readers]
)
def test_a_damaged_file_is_named_by_whatever_reads_it(
    unbroken: Path,
    tmp_path: Path,
    file: str,
    reader: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "sweep" / "0"
    shutil.copytree(unbroken, run)
    os.truncate(run / file, 60)
    said = refused_by(reader, run, capsys)
    assert f"{file}" in said and "is damaged" in said, said


def refused_by(reader: str, run: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says that can't read a run."""
    places = {"run": run, "sweep": run.parent}
    with pytest.raises(SystemExit) as ended:
        program.main([one.format(**places) for one in READERS[reader]])
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


SPOILT = {
    "summary.json": {"{}": "it lacks 'decoder'", "[]": "it holds no JSON object"},
    "run.json": {"[1]": "it holds no JSON object"},
    "records.jsonl": {"{}": "line 1, is damaged (it lacks 'task_id')", "3": "line 1, is damaged"},
}
SPOILT["summary.json"] |= {'{"decoder": 3}': "('decoder' is 3)"}
READ_BY = {"summary.json": [*READERS], "run.json": ["tables"], "records.jsonl": ["report"]}


@pytest.mark.parametrize(
    ("file", "reader", "content"),
    [(file, one, text) for file in SPOILT for one in READ_BY[file] for text in SPOILT[file]],
)
def test_a_file_that_holds_something_else_is_damaged(
    unbroken: Path,
    tmp_path: Path,
    file: str,
    reader: str,
    content: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "sweep" / "0"
    shutil.copytree(unbroken, run)
    (run / file).write_text(content)
    said = refused_by(reader, run, capsys)
    # A sweep's table asks for other figures first.
    expected = "it lacks '" if "it lacks" in SPOILT[file][content] else SPOILT[file][content]
    assert f"{run / file}" in said and "is damaged" in said and expected in said, said


@pytest.mark.slow
def test_odd_surroundings_change_nothing(tmp_path: Path, small_pair: SmallPair) -> None:
    """A path with spaces and letters of other scripts, no HOME, a locale of ASCII alone."""
    odd = tmp_path / "Ein Ordner, größer 模型 [x]"
    odd.mkdir()
    short = ("decoder=speculative", "task.limit=1", "task.max_new_tokens=4")
    (odd / "pair").symlink_to(small_pair.folder)
    # Up to 3.12, Python itself can't start by "C" from an editable install of such a checkout.
    locale = "C" if str(ROOT).isascii() else "C.UTF-8"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LC_ALL": locale}
    own = [f"pair.{name}.path='{odd / 'pair' / name}'" for name in ("target", "draft")]
    done = subprocess.run(
        [PROGRAM, *short, *own, "tracking.mode=offline"],
        cwd=odd,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    (run,) = (path.parent for path in odd.glob("outputs/**/summary.json"))
    assert len(records(run)) == 1


def test_a_clock_that_jumps_changes_no_figure(
    run_cli: Run, tmp_path: Path, unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Backwards by a day each time it is asked: what is timed is timed by another clock."""
    asked = [time.time()]

    def jumping() -> float:
        asked.append(asked[-1] - 86_400)
        return asked[-1]

    with monkeypatch.context() as patch:
        patch.setattr(time, "time", jumping)
        assert run_cli(*SHORT, "hydra.run.dir=run")[0] == 0
    assert_same(tmp_path / "run", unbroken)
    assert all(
        0 < json.loads(line)["seconds"] < 60 for line in (tmp_path / "run" / "records.jsonl").open()
    )


def test_another_users_cache_is_refused_where_it_cannot_be_written(broken_off: Path) -> None:
    """Two users may share references; one who may only read is told so, not left waiting."""
    if os.getuid():
        pytest.skip("only root can be two users")
    from pearl_eval.errors import UserError
    from pearl_eval.evaluation.reference import ReferenceCache

    for folder in broken_off.parents:
        if folder.owner() == "root" and folder.name.startswith("pytest-"):
            folder.chmod(0o755)
    broken_off.parent.parent.chmod(0o755)
    os.seteuid(65534)
    try:
        cache = ReferenceCache(broken_off.parent / "reference", {}, 1.0)
        with pytest.raises(UserError, match=r"reference.folder: .*Permission denied"):
            cache.complete(None, None)  # type: ignore[arg-type]
    finally:
        os.seteuid(0)
