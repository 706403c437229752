"""How small changes are drawn and counted; making them takes hours, see ``make mutation``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import mutation
import pytest
from cosmic_ray import work_item
from cosmic_ray.work_db import WorkDB
from equivalent_changes import EQUIVALENT


def item(path: str, line: int, operator: str = "core/NumberReplacer") -> work_item.WorkItem:
    spec = work_item.MutationSpec(Path(path), operator, 0, (line, 4), (line, 5))
    return work_item.WorkItem.single(f"{path} {line} {operator}", spec)


def test_every_part_has_files() -> None:
    assert all(mutation.FILES.values())


def test_as_many_are_drawn_of_each_part_and_the_same_for_a_seed() -> None:
    """100 places in either of two parts, in one of which every place can be changed in ten ways."""
    ways = [f"core/{way}" for way in range(10)]
    items = [
        *(item("decoders/pearl.py", line, way) for line in range(100) for way in ways),
        *(item("pearl_eval/results/traces.py", line) for line in range(100)),
        item("pearl_eval/results/traces.py", 200, "core/NoOp"),
    ]
    first, again, other = (list(mutation.draw(items, 200, seed)) for seed in (1, 1, 2))
    assert first == again != other
    specs = [one.mutations[0] for one in first]
    assert Counter(map(mutation.part_of, specs)) == {"decoders": 20, "traces": 20}
    assert len({(spec.module_path, spec.start_pos) for spec in specs}) == 40
    assert not any("NoOp" in spec.operator_name for spec in specs)


def places(source: str, sign: str) -> list[mutation.Place]:
    return [
        (number, column)
        for number, line in enumerate(source.splitlines(), start=1)
        for column in range(len(line))
        if line.startswith(sign, column)
    ]


def test_annotations_are_not_changed() -> None:
    source = "def f(a: int | None, b=1 | 2) -> x | y:\n    c: p | q = 3 | 4\n"
    bars = places(source, "|")
    assert [mutation.declares(source)(bar) for bar in bars] == [True, False, True, True, False]


@pytest.mark.parametrize(
    ("source", "sign", "only_said"),
    [
        ("@dataclass(frozen=True, order=True)\nclass A: ...\n", "True", [True, False]),
        ("@dataclasses.dataclass(frozen=True)\nclass A: ...\n", "True", [True]),
        ("f(frozen=True)\n", "True", [False]),
        ("zip(a, b, strict=True), zip(a, b, strict=False)\n", "e)", [True, False]),
        ("load(strict=True)\n", "True", [False]),
        ("class A(Protocol):\n    @property\n    def x(self) -> int: ...\n", "property", [True]),
        ("class A(Thing):\n    @property\n    def x(self) -> int: ...\n", "property", [False]),
    ],
)
def test_what_only_declares_something_is_not_changed(
    source: str, sign: str, only_said: list[bool]
) -> None:
    assert [mutation.declares(source)(place) for place in places(source, sign)] == only_said


def test_is_becomes_no_equality() -> None:
    ways = ["Is_Eq", "IsNot_NotEq", "Is_IsNot", "Eq_Is"]
    items = [
        item("decoders/pearl.py", line, f"core/ReplaceComparisonOperator_{way}")
        for line, way in enumerate(ways)
    ]
    assert [one.mutations[0].start_pos[0] for one in mutation.draw(items, 100, 1)] == [2, 3]


def test_what_was_not_seen_is_printed_and_what_changes_nothing_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = WorkDB(tmp_path / "session.sqlite", WorkDB.Mode.create)
    items = [item("decoders/pearl.py", line) for line in range(6)]
    session.add_work_items(items)
    # Of the last one nothing is known yet.
    for line, one in enumerate(items[:5]):
        outcome = work_item.TestOutcome.SURVIVED if line > 2 else work_item.TestOutcome.KILLED
        diff = f"---\n--- a\n+++ b\n@@ @@\n same\n-    old {line}\n+    new {line}"
        session.set_result(
            one.job_id, work_item.WorkResult(work_item.WorkerOutcome.NORMAL, "", outcome, diff)
        )
    monkeypatch.setattr(mutation, "EQUIVALENT", [("decoders/pearl.py", "old 4", "new 4", "so")])
    table = mutation.report(tmp_path, (7, 8))
    printed = capsys.readouterr().out
    assert printed.count("Not seen: ") == 1 and "new 3" in printed
    # Three of four; Wilson's interval by hand: see test_published.py.
    assert "| decoders | 4 | 3 | 75% (30%–95%) |" in table and "| all | 4 | 3 |" in table
    assert "| planted by hand | 8 | 7 | 88% (53%–98%) |" in table


def test_equivalent_changes_are_of_lines_that_are_there() -> None:
    for path, before, after, why in EQUIVALENT:
        lines = [line.strip() for line in (mutation.ROOT / path).read_text().splitlines()]
        assert before in lines and after not in lines and why
