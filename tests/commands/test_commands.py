"""One program: its commands, where they are found, and the manners that all of them have."""

from __future__ import annotations

import contextlib
import inspect
import os
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import pytest

from pearl_eval.commands import program, table
from pearl_eval.commands.command import Command
from pearl_eval.errors import EquivalenceViolation, UserError
from pearl_eval.results.table import Row

Run = Callable[..., tuple[int, str, str]]
NAMES = [
    "audit",
    "bench",
    "compare",
    "dashboard",
    "distill",
    "estimate",
    "figures",
    "heatmap",
    "map",
    "overview",
    "predict",
    "profile",
    "report",
    "table",
    "tables",
    "timeline",
]
#: Those that Hydra composes a configuration for, so their help pages show it.
HYDRAS = ["audit", "bench", "distill", "estimate", "profile"]


def test_there_is_one_script_and_these_commands() -> None:
    scripts = [one.name for one in entry_points(group="console_scripts") if "pearl" in one.name]
    assert scripts == ["pearl-eval"]
    assert sorted(one.name for one in entry_points(group=program.GROUP)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_command_has_a_function_that_takes_what_its_command_line_gives(name: str) -> None:
    (found,) = entry_points(group=program.GROUP, name=name)
    command = found.load()
    takes = inspect.signature(pkgutil.resolve_name(command.run)).parameters
    assert command.summary and "\n" not in command.summary
    assert (command.arguments is None) == (name in HYDRAS)
    if command.arguments is not None:
        given = {one.dest for one in command._parser(name)._actions} - {"help"}
        assert given == {*takes}
        assert command.examples.startswith(f"pearl-eval {name}")


@pytest.mark.parametrize(
    ("words", "function", "given"),
    [
        (["compare", "a"], "analysis.compare:compare", {"a": "a", "b": None}),
        (
            ["compare", "a", "b", "--format", "csv"],
            "analysis.compare:compare",
            {"a": "a", "b": "b", "format": "csv"},
        ),
        (
            ["figures", "a", "b", "-o", "out"],
            "analysis.figures:write_figures",
            {"source": ["a", "b"], "output": Path("out")},
        ),
        (["heatmap"], "analysis.theory.heatmap:write_heatmap", {"directory": None}),
        (
            ["heatmap", "a", "-o", "b.svg"],
            "analysis.theory.heatmap:write_heatmap",
            {"directory": Path("a"), "output": Path("b.svg")},
        ),
        (
            ["map", "a", "b", "--output=c.svg"],
            "analysis.map:write_map",
            {"directory": [Path("a"), Path("b")], "output": Path("c.svg")},
        ),
        (["overview", "a"], "analysis.overview:write_overview", {"directory": Path("a")}),
        (
            ["predict", "a", "b", "--swap"],
            "analysis.theory.prediction:predict_benchmarks",
            {"directories": [Path("a"), Path("b")], "swap": True},
        ),
        (
            ["report", "a", "-o", "b.html"],
            "analysis.report:write_report",
            {"directory": Path("a"), "output": Path("b.html")},
        ),
        (["tables", "a"], "analysis.tables:print_tables", {"source": ["a"]}),
        (
            [*("tables", "a", "b", "--table", "x", "--table", "y"), "--format=latex", "--cells"],
            "analysis.tables:print_tables",
            {"source": ["a", "b"], "table": ["x", "y"], "format": "latex", "cells": True},
        ),
        (
            ["tables", "a", "--reported"],
            "analysis.tables:print_tables",
            {"source": ["a"], "reported": True},
        ),
        (
            ["timeline", "a", "b", "--prompt=T/1", "--from=0", "--tokens=1", "--seconds=0.5"],
            "analysis.timeline:write_timeline",
            {"directory": [Path("a"), Path("b")], "prompt": "T/1", "token": 0, "tokens": 1}
            | {"seconds": 0.5},
        ),
    ],
    ids=" ".join,
)
def test_a_functions_arguments_are_those_of_the_command_line(
    words: list[str], function: str, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(function.replace(":", "."), lambda **arguments: asked.append(arguments))
    program.main(words)
    assert asked == [given]


@pytest.mark.parametrize(
    ("summary", "error", "code"),
    [({"violations": 0}, "", 0), ({"violations": 1}, "", 1), (None, "it died", 1)],
)
def test_a_table_ends_by_whether_all_is_well(
    summary: dict[str, Any] | None, error: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Row("fine", "a", {"violations": 0}), Row("other", "b", summary, error)]
    printed: list[Any] = []
    monkeypatch.setattr(table, "table_rows", lambda directory: rows)
    monkeypatch.setattr(table, "print_table", lambda *given: printed.append(given))
    with pytest.raises(SystemExit) if code else contextlib.nullcontext() as end:
        table.print_runs(Path("some"))
    assert printed == [("some", rows)]
    assert end is None or end.value.code == code


PAGES = """
import sys
from pearl_eval.commands.program import main
for name in {others}:
    main([name, "--help"])
heavy = {{"hydra", "omegaconf", "pandas", "matplotlib", "rich", "wandb", "numpy"}}
assert not heavy & {{*sys.modules}}, heavy & {{*sys.modules}}
for name in {hydras}:
    main([name, "--help"])
main(["--help"])
heavy = {{"torch", "transformers", "pandas", "matplotlib", "wandb"}}
assert not heavy & {{*sys.modules}}, heavy & {{*sys.modules}}
"""


def test_help_pages_teach_and_import_nothing_that_they_do_not_need(tmp_path: Path) -> None:
    others = [name for name in NAMES if name not in HYDRAS]
    script = PAGES.format(others=others, hydras=HYDRAS)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    for name in NAMES:
        assert f"  pearl-eval {name}" in done.stdout, "an example"
        assert f"\n  {name:9}  " in done.stdout, "its line in the list of commands"
    for name in others:
        assert f"usage: pearl-eval {name} " in done.stdout
    assert done.stdout.index("Without a command") < done.stdout.index("experiment=quickstart")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nonsense"], "nonsense is neither a command nor a setting; commands: audit, bench, c"),
        (["nonsense"], "overview, predict, profile, report, table, tables, timeline;"),
        (["nonsense"], "GROUP=OPTION of the groups concurrency, decoder, engine, exp"),
        (["tabl"], "tabl is neither a command nor a setting (did you mean table or tables?)"),
        (["humaneval"], "(did you mean task=humaneval?)"),
        (["decodr"], "(did you mean decoder?)"),
        (["seed=1", "table"], "table is no setting: expected NAME=VALUE, or GROUP=OPTION of one"),
        (["bench", "tiny"], "tiny is no setting (did you mean pair=tiny?): expected NAME=VALUE"),
        (["--nonsense"], "unrecognized arguments: --nonsense; --help and --hydra-help show the"),
        (["--config-dir"], "expected one argument"),
        (["table"], "the following arguments are required: directory; pearl-eval table --help"),
        (["table", "a", "--speed"], "unrecognized arguments: --speed; pearl-eval table --help"),
        (["report", "nowhere"], "nowhere: there is no run there"),
        (["compare", "a", "b", "--format=pdf"], "argument --format: invalid choice: 'pdf'"),
    ],
)
def test_what_is_nonsense_is_one_line(
    run_command: Run, tmp_path: Path, words: list[str], told: str
) -> None:
    code, out, err = run_command("", *words)
    assert (code, out) == (2, "")
    assert told in err and len(err.splitlines()) == 1
    assert not any(tmp_path.iterdir())


def test_flags_may_stand_anywhere(run_command: Run) -> None:
    code, out, err = run_command("", "decoder=pearl", "--cfg", "job", "seed=7", "--package=seed")
    assert (code, out.splitlines()[-1], err) == (0, "7", "")
    code, out, err = run_command("", "seed=7", "--info", "searchpath", "task.limit=3")
    assert (code, err) == (0, "") and "command-line" not in out


def test_weights_lie_in_huge_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch is told so before it is loaded, unless somebody has said otherwise."""
    for given, kept in ((None, "1"), ("0", "0")):
        with monkeypatch.context() as patch:
            patch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
            if given is not None:
                patch.setenv("THP_MEM_ALLOC_ENABLE", given)
            program.main(["--version"])
            assert os.environ.pop("THP_MEM_ALLOC_ENABLE") == kept


def test_versions(run_command: Run) -> None:
    assert run_command("", "--version") == (0, f"pearl-eval {version('pearl-eval')}\n", "")
    code, out, err = run_command("bench", "--version")
    assert (code, err) == (0, "") and out.startswith("Hydra 1.")


def test_a_dry_run_is_an_estimate_wherever_it_stands(run_command: Run) -> None:
    own = ["decoder=autoregressive", "estimate.target_seconds=0.1"]
    code, estimate, _ = run_command("estimate", *own)
    assert code == 0 and "1 job: " in estimate
    assert run_command("", *own, "--dry-run")[1] == estimate
    assert run_command("", "--dry-run", *own)[1] == estimate
    code, as_json, _ = run_command("estimate", "--json", *own)
    assert code == 0 and as_json.startswith("{")
    assert run_command("", "--dry-run", *own, "--json")[1] == as_json
    code, page, _ = run_command("estimate", "--help")
    assert code == 0 and "estimate.bandwidth" in page
    assert run_command("", "--dry-run", "--help")[1] == page


def install(folder: Path, patch: pytest.MonkeyPatch, **commands_: str) -> None:
    """Another package that is installed, with these commands."""
    about = folder / "other-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    lines = [f"{name} = {value}" for name, value in commands_.items()]
    (about / "entry_points.txt").write_text("\n".join(["[pearl_eval.commands]", *lines]))
    (folder / "other.py").write_text(
        "from pearl_eval.commands.command import Command, argument, output\n"
        "def run(source, output=None):\n"
        "    print('ran', source, output)\n"
        "own = [argument('source', nargs='+'), output('none')]\n"
        "MINE = Command('A command of mine', 'other:run', own)\n"
        "NONE = 'Mine'\n"
    )
    patch.syspath_prepend(folder)
    patch.delitem(sys.modules, "other", raising=False)


def test_another_package_adds_a_command(
    tmp_path: Path, run_command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", monkeypatch, mine="other:MINE")
    code, out, _ = run_command("mine", "a", "b", "-o", "c")
    assert (code, out) == (0, f"ran ['a', 'b'] {Path('c')}\n")
    assert run_command("mine", "a")[1] == "ran ['a'] None\n"
    assert "\n  mine       A command of mine\n" in run_command("", "--help")[1]
    assert "commands: audit, bench, compare, " in run_command("", "zzz")[2]
    assert "heatmap, map, mine, overview" in run_command("", "zzz")[2]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("other:GONE", "the command broken (other:GONE) can't be had: module 'other' has no attr"),
        ("nowhere:X", "the command broken (nowhere:X) can't be had: No module named 'nowhere'"),
        ("other:NONE", "the command broken (other:NONE) is 'Mine', expected a Command"),
    ],
)
def test_one_that_is_broken_hides_no_other(
    tmp_path: Path, run_command: Run, monkeypatch: pytest.MonkeyPatch, value: str, told: str
) -> None:
    install(tmp_path / "site", monkeypatch, broken=value)
    code, out, err = run_command("broken", "a")
    assert (code, out) == (2, "") and told in err and len(err.splitlines()) == 1
    code, out, _ = run_command("", "--help")
    assert code == 0 and told in out and "  bench      " in out


def fails(error: BaseException) -> Any:
    def run() -> None:
        print("begun")
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "told", "traced"),
    [
        (UserError("no\n  such thing"), 2, "no such thing", False),
        (OSError(28, "No space left"), 2, "[Errno 28] No space left", False),
        (EquivalenceViolation("not its own"), 1, "not its own", False),
        (ValueError("odd"), 2, "odd", True),
        (ValueError(), 2, "ValueError", True),
        (KeyboardInterrupt(), 130, "interrupted", False),
    ],
)
def test_however_a_command_ends_it_says_so(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    told: str,
    traced: bool,
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ending", fails(error), raising=False)
    command = Command("Ends", f"{__name__}:ending", [])
    with pytest.raises(SystemExit) as end:
        command.main("ends", [])
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (code, "begun\n")
    assert err.splitlines()[-1] == f"pearl-eval: error: {told}"
    assert ("Traceback" in err) == traced and (traced or len(err.splitlines()) == 1)


def test_whoever_wants_tracebacks_gets_them(
    monkeypatch: pytest.MonkeyPatch, run_command: Run
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    code, _, err = run_command("table", "nowhere")
    assert code == 2 and "Traceback" in err
    assert "nowhere: there is no run there" in err.splitlines()[-1]
