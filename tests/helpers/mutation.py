"""Small changes all over the code, each run against the tests that run the changed line.

``make mutation`` makes 300, the same number in each part of the code, drawn by a seed that is
another one each day (MUTATION_SEED: that one); it goes on where it was if it was ended, and takes
hours. Which changes there are, making them and noting what became of them is cosmic-ray's part;
this module draws them, finds the tests, and writes how many were seen to docs/validity.md.
"""

from __future__ import annotations

import argparse
import ast
import datetime
import functools
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import WorkDB
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkItem, WorkResult
from coverage import CoverageData
from equivalent_changes import EQUIVALENT
from scipy.stats import binomtest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "validity.md"
BEGIN, END = "<!-- tests/helpers/mutation.py writes this -->", "<!-- up to here -->"
#: The parts, each drawn from alike.
PARTS = {
    "decoders": ["decoders/**/*.py"],
    "verdicts": [
        "pearl_eval/**/equivalence.py",
        "pearl_eval/**/rounding.py",
        "pearl_eval/**/stand_ins.py",
        "pearl_eval/**/comparison.py",
    ],
    "distribution": ["pearl_eval/**/distribution.py"],
    "speed": [
        "pearl_eval/**/speed.py",
        "pearl_eval/**/intervals.py",
        "pearl_eval/**/cost.py",
        "pearl_eval/**/energy.py",
    ],
    "summary": [
        "pearl_eval/**/summary.py",
        "pearl_eval/**/metrics.py",
        "pearl_eval/results/table.py",
    ],
    "records": [
        "pearl_eval/**/records.py",
        "pearl_eval/**/run_files.py",
        "pearl_eval/**/recorder.py",
        "pearl_eval/**/plan.py",
    ],
    "traces": ["pearl_eval/**/traces.py"],
    "scoring": ["tasks/**/*.py"],
    "simulation": ["pearl_eval/simulation/**/*.py"],
    "analysis": ["analysis/**/*.py"],
}
PLANTED = ["tests/project/test_checks.py", "tests/project/test_source_bugs.py"]
#: Tests of what runs in processes of its own only, of which no test is noted.
IN_CHILDREN = {"tasks/sandbox/inside": ("test_sandbox.py", "test_judge.py", "test_humaneval.py")}
#: Of the tests of a line the quickest are run: as many as took this part of the time of all tests,
#: a minute on an idle machine. On one that was busy with other things all took longer alike.
TEST_SHARE = 1 / 18


#: Operators that change nothing. Where ``is`` stands there is but one object of a kind: None, a
#: member of an enumeration.
_NO_CHANGE = ("NoOp", "_Is_Eq", "_IsNot_NotEq")
#: Line, from 1, and column.
Place = tuple[int, int]
#: Those of each pattern, below the root.
FILES = {
    pattern: {path.relative_to(ROOT) for path in ROOT.glob(pattern)}
    for patterns in PARTS.values()
    for pattern in patterns
}


def part_of(spec: MutationSpec) -> str:
    """The part that a change is in."""
    path = spec.module_path
    return next(name for name, globs in PARTS.items() if any(path in FILES[g] for g in globs))


def copy_sources(to: Path) -> None:
    """Copy what git knows of."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, check=True)
    for name in listed.stdout.decode().splitlines():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, to / name)


def pytest(tree: Path, *arguments: str, **environment: str) -> int:
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    there = os.environ | {"PYTHONPATH": str(tree)} | environment
    return subprocess.run(command, cwd=tree, env=there).returncode


def durations(report: Path) -> dict[str, float]:
    """Seconds of each test that passed, by its name and its file's."""
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        if not len(case):
            module = case.attrib["classname"].replace(".", "/")
            found[f"{module}.py::{case.attrib['name']}"] = float(case.attrib["time"])
    return found


@functools.cache
def declares(source: str) -> Callable[[Place], bool]:
    """Whether a place only declares something, so that right code does the same without it.

    Annotations, which nothing evaluates; decorators in a protocol, which is never called; that a
    dataclass is frozen, and that what a zip takes is of one length, which right code keeps to.
    """
    parts: list[ast.AST | None] = []
    for node in ast.walk(ast.parse(source)):
        parts += [getattr(node, name, None) for name in ("annotation", "returns")]
        if isinstance(node, ast.ClassDef) and any(_named(base, "Protocol") for base in node.bases):
            parts += [one for own in node.body for one in getattr(own, "decorator_list", ())]
        if isinstance(node, ast.Call):
            kept = {"frozen"} if _named(node.func, "dataclass") else set()
            kept |= {"strict"} if _named(node.func, "zip") else set()
            parts += [
                one.value
                for one in node.keywords
                if one.arg in kept and getattr(one.value, "value", None) is True
            ]
    ranges = [
        ((part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset))
        for part in parts
        if isinstance(part, ast.expr)
    ]
    return lambda place: any(begin <= place < end for begin, end in ranges)


def _named(node: ast.AST, name: str) -> bool:
    return getattr(node, "id", getattr(node, "attr", None)) == name


def draw(specs: Iterable[WorkItem], count: int, seed: int) -> Iterator[WorkItem]:
    """``count`` changes, as many of each part; of one place, each as likely as the others."""
    places: dict[str, dict[tuple[object, ...], list[WorkItem]]] = {name: {} for name in PARTS}
    for item in specs:
        (spec,) = item.mutations
        declared = declares((ROOT / spec.module_path).read_text())
        if not declared(spec.start_pos) and not spec.operator_name.endswith(_NO_CHANGE):
            place = spec.module_path, spec.start_pos, spec.end_pos
            places[part_of(spec)].setdefault(place, []).append(item)
    chance = random.Random(seed)
    for part in places.values():
        for place in chance.sample(sorted(part, key=str), min(count // len(PARTS), len(part))):
            # Their order in the session is by chance, and not by the seed's.
            yield chance.choice(sorted(part[place], key=lambda item: str(item.mutations)))


def begin(folder: Path, tests: list[str], count: int, seed: int) -> None:
    """Run all tests once, noting which lines each runs, and draw the changes."""
    tree, found = folder / "tree", folder / "tests.xml"
    if not found.exists():
        copy_sources(tree)
        pytest(
            tree, "-n", "2", "--dist", "worksteal", "--cov", "--cov-context=test",
            "--cov-report=", f"--junitxml={found}", *tests, COVERAGE_FILE=str(folder / ".coverage"),
        )  # fmt: skip
    everything = WorkDB(folder / "everything.sqlite", WorkDB.Mode.create)
    os.chdir(ROOT)
    init(sorted(set().union(*FILES.values())), everything, {})
    chosen = list(draw(everything.work_items, count, seed))
    everything.close()
    unfinished = WorkDB(folder / "unfinished.sqlite", WorkDB.Mode.create)
    unfinished.clear()
    unfinished.add_work_items(chosen)
    unfinished.close()
    (folder / "unfinished.sqlite").rename(folder / "session.sqlite")


class Tests:
    """Which tests run a line."""

    def __init__(self, folder: Path) -> None:
        self._tree = folder / "tree"
        self._seconds = durations(folder / "tests.xml")
        self._data = CoverageData(str(folder / ".coverage"))
        self._data.read()
        self.limit = TEST_SHARE * sum(self._seconds.values())

    def of(self, spec: MutationSpec) -> list[str]:
        """The quickest tests that run the changed lines, the quickest first."""
        contexts = self._data.contexts_by_lineno(str(self._tree / spec.module_path))
        lines = range(spec.start_pos[0], spec.end_pos[0] + 1)
        running = self._known(name for line in lines for name in contexts.get(line, ()))
        if not running:
            # What is run as a module is imported belongs to no test: those of the whole file.
            running = self._known(name for names in contexts.values() for name in names)
        if not running:
            files = IN_CHILDREN.get(str(spec.module_path.parent), ())
            running = {
                name for name in self._seconds if Path(name.partition("::")[0]).name in files
            }
        known = sorted(running, key=lambda name: self._seconds[name])
        chosen, total = [], 0.0
        for name in known:
            total += self._seconds[name]
            if chosen and total > self.limit:
                break
            chosen.append(name)
        return chosen

    def _known(self, contexts: Iterable[str]) -> set[str]:
        return {name.split("|")[0] for name in contexts} & set(self._seconds)


def work(
    folder: Path, worker: int, job: WorkItem, tests: list[str], seconds: float
) -> tuple[str, WorkResult]:
    """Make one change in a copy of a worker's own, and run its tests there."""
    if not tests:
        lost = "no test runs this"
        return job.job_id, WorkResult(WorkerOutcome.NORMAL, lost, TestOutcome.SURVIVED)
    tree = folder / f"tree-{worker}"
    (spec,) = job.mutations
    if not tree.exists():
        shutil.copytree(folder / "tree", tree)
    # One that was ended may have left its change there.
    shutil.copytree(folder / "tree", tree, dirs_exist_ok=True)
    os.chdir(tree)
    os.environ["PYTHONPATH"] = str(tree)
    (tree / "these").write_text("\n".join(tests))
    command = f"{sys.executable} -m pytest -x -q -p no:cacheprovider @these"
    return job.job_id, mutate_and_test([spec], command, timeout=3 * seconds)


def _work(job: tuple[Path, WorkItem, list[str], float]) -> tuple[str, WorkResult]:
    folder, item, tests, seconds = job
    return work(folder, multiprocessing.current_process()._identity[0], item, tests, seconds)


def changed(result: WorkResult) -> tuple[str, str]:
    """The line as it was, and as it was made."""
    lines = [line[1:].strip() for line in (result.diff or "").splitlines()[3:] if line[:1] in "+-"]
    return (lines[0], lines[-1]) if lines else ("", "")


def report(folder: Path, planted: tuple[int, int]) -> str:
    """The table for the page; what was not seen is printed."""
    session = WorkDB(folder / "session.sqlite", WorkDB.Mode.open)
    results = dict(session.results)
    seen = {name: [0, 0] for name in PARTS}
    for item in session.work_items:
        (spec,) = item.mutations
        result = results.get(item.job_id)
        if result is None:
            continue
        equivalent = (str(spec.module_path), *changed(result)) in {one[:3] for one in EQUIVALENT}
        if not equivalent:
            seen[part_of(spec)][0] += result.is_killed
            seen[part_of(spec)][1] += 1
        if not equivalent and not result.is_killed:
            where = f"{spec.module_path}:{spec.start_pos[0]} ({spec.definition_name})"
            why = f"\n{result.diff}" if result.diff else f": {result.output}"
            print(f"\nNot seen: {where}, {spec.operator_name}{why}")
    rows = {**seen, "all": [sum(column) for column in zip(*seen.values(), strict=True)]}
    lines = ["| where | changes | seen | share (95 %) |", "| --- | --- | --- | --- |"]
    for name, (killed, made) in (rows | {"planted by hand": list(planted)}).items():
        if made:
            interval = binomtest(killed, made).proportion_ci(method="wilson")
            share = f"{killed / made:.0%} ({interval.low:.0%}–{interval.high:.0%})"
            lines.append(f"| {name} | {made} | {killed} | {share} |")
    return "\n".join(lines)


def write(table: str, seed: int) -> None:
    """Put the table into the page."""
    text = PAGE.read_text() if PAGE.exists() else f"# Validity\n\n{BEGIN}\n{END}\n"
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(f"{head}{BEGIN}\nSeed {seed}.\n\n{table}\n{END}{tail}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tests", nargs="*", default=["tests"], help="tests to take into account")
    parser.add_argument("--changes", type=int, default=300)
    parser.add_argument("--no-page", action="store_true", help="print the table only")
    asked = parser.parse_args()
    seed = int(os.environ.get("MUTATION_SEED", datetime.date.today().toordinal()))
    folder = ROOT / "build" / "mutation" / str(seed)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "session.sqlite").exists():
        begin(folder, asked.tests, asked.changes, seed)
    session = WorkDB(folder / "session.sqlite", WorkDB.Mode.open)
    tests = Tests(folder)
    # Those of few tests, so that their time is little, have a start of Python's and of libraries'.
    limit = max(60.0, tests.limit)
    pending = session.pending_work_items
    jobs = [(folder, item, tests.of(item.mutations[0]), limit) for item in pending]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        for number, (job_id, result) in enumerate(pool.imap_unordered(_work, jobs), start=1):
            session.set_result(job_id, result)
            print(f"{number} of {len(jobs)}: {result.test_outcome}", flush=True)
    planted = (0, 0)
    if not asked.no_page:
        found = folder / "planted.xml"
        pytest(ROOT, "-m", "", "-k", "planted_bug", f"--junitxml={found}", *PLANTED)
        cases = list(ElementTree.parse(found).iter("testcase"))
        planted = sum(not len(case) for case in cases), len(cases)
    table = report(folder, planted)
    print(table)
    if not asked.no_page:
        write(table, seed)


if __name__ == "__main__":
    main()
