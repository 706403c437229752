"""Parts of checking programs that no program brings about, or only in a long time."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.rows.rows import _text
from tasks.sandbox import sandbox
from tasks.sandbox.inside.calls import _renew
from tasks.sandbox.inside.candidate import show_packages
from tasks.sandbox.sandbox import Isolation, Sandbox, installed
from tasks.scoring import checker
from tasks.scoring.checker import Checker
from tasks.scoring.score import Score


def test_a_check_is_given_up_twenty_seconds_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[tuple[float, Any, list[Any]]] = []
    log: list[str] = []

    def timer(seconds: float, function: Any, arguments: list[Any]) -> Any:
        begun.append((seconds, function, arguments))
        return SimpleNamespace(start=lambda: log.append("start"), cancel=lambda: log.append("end"))

    monkeypatch.setattr(threading, "Timer", timer)
    process: Any = object()
    with checker._limited(process, 3.0):
        assert log == ["start"]
    assert begun == [(23.0, checker._kill, [process])] and log == ["start", "end"]


@pytest.mark.parametrize(
    ("said", "told"), [(b"", ""), (b"one\ntwo\n", " (two)"), (b"a\nb\nc \xff\n", " (c \ufffd)")]
)
def test_the_last_thing_a_sandbox_said_is_told(
    said: bytes, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checker, "_end", lambda process: None)
    process: Any = SimpleNamespace(stderr=io.BytesIO(said))
    assert checker._complaint(process) == told


@pytest.mark.parametrize("there", [True, False])
def test_only_bubblewrap_must_be_installed(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_bubblewrap", lambda: "/usr/bin/bwrap" if there else None)
    assert installed(Isolation.bubblewrap) is there
    assert installed(Isolation.namespaces) and installed(Isolation.none)


@pytest.mark.parametrize(
    ("asked", "there", "working", "taken"),
    [
        ("auto", True, {"bubblewrap", "namespaces"}, "bubblewrap"),
        ("auto", True, {"namespaces"}, "namespaces"),
        ("auto", False, {"bubblewrap", "namespaces"}, "namespaces"),
        ("namespaces", True, {"bubblewrap", "namespaces"}, "namespaces"),
        ("none", True, {"bubblewrap", "namespaces", "none"}, "none"),
    ],
)
def test_the_first_isolation_that_works_is_taken(
    asked: str, there: bool, working: set[str], taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_work(monkeypatch, there, working)
    found = Checker.choose(Isolation(asked), 3.0, 512)
    assert found.sandbox == Sandbox(Isolation(taken), 3.0, 512)


def test_where_no_isolation_works_each_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """No isolation is none of those that are tried by themselves."""
    let_work(monkeypatch, False, {"bubblewrap", "none"})
    with pytest.raises(ValueError, match="can't check generated code here") as error:
        Checker.choose(Isolation.auto, 3.0, 512)
    assert str(error.value).startswith(
        "task.isolation=auto can't check generated code here (bubblewrap: bwrap is not installed;"
        " namespaces: failed: no): is task.check_memory_mb=512 enough?"
    )


def let_work(monkeypatch: pytest.MonkeyPatch, bubblewrap: bool, working: set[str]) -> None:
    monkeypatch.setattr(sandbox, "_bubblewrap", lambda: "/usr/bin/bwrap" if bubblewrap else None)
    monkeypatch.setattr(
        Checker,
        "_attempt",
        lambda self, *_: "passed" if self.isolation.value in working else "failed: no",
    )


@pytest.mark.parametrize("trial", ["passed", "failed: no"])
def test_a_sandbox_without_a_verdict_is_the_programs_fault_where_others_are_judged(
    trial: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = "failed: the sandbox ended without a verdict (why)"
    results = [lost, trial]
    asked: list[Any] = []

    def attempt(self: Checker, problem: Any, completion: str) -> str:
        asked.append(problem["entry_point"])
        return results.pop(0)

    monkeypatch.setattr(Checker, "_attempt", attempt)
    found = Checker(Sandbox(Isolation.none, 3.0, 512))
    if trial == "passed":
        assert found.check({"entry_point": "f"}, "") == Score(False, lost)
    else:
        with pytest.raises(ChildProcessError, match=r"can't be checked any longer: failed: no$"):
            found.check({"entry_point": "f"}, "")
    assert asked == ["f", "double"]
    results[:] = ["passed", "timed out"]
    scores = [found.check({"entry_point": "f"}, "") for _ in range(2)]
    assert scores == [Score(True, "passed"), Score(False, "timed out")]


@pytest.mark.parametrize("user", [0, 1000])
def test_what_bubblewrap_is_told(user: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root stays out of a user namespace, and becomes nobody later."""
    monkeypatch.setattr(sandbox, "_bubblewrap", lambda: "/usr/bin/bwrap")
    monkeypatch.setattr(os, "getuid", lambda: user)
    command = Sandbox(Isolation.bubblewrap, 3.0, 512)._command(["/dev/null"])
    words = " ".join(command)
    assert words.startswith(
        "/usr/bin/bwrap --as-pid-1 --die-with-parent --new-session --cap-drop ALL --unshare-"
    )
    assert " --size 67108864 --perms 1777 --tmpfs /tmp --dir " in words
    assert " --dev-bind /dev/null /dev/null " in words
    assert " --remount-ro / --chdir /tmp -- " in words
    for option in ("--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts"):
        assert (option in command) == (user == 0)
    assert ("--unshare-all" in command) == (user != 0)
    assert (" --cap-add CAP_SETUID --cap-add CAP_SETGID " in words) == (user == 0)
    told = {"seconds": 3.0, "memory": 512 * 2**20, "user": None if user else 65534}
    assert json.loads(command[-1]) == told


def test_what_other_sandboxes_are_told() -> None:
    shared = {"seconds": 3.0, "memory": 512 * 2**20}
    own = Sandbox(Isolation.namespaces, 3.0, 512)._command(["/a", "/b"])
    assert json.loads(own[-1]) == shared | {"binds": ["/a", "/b"], "tmp_bytes": 64 * 2**20}
    assert "namespaces.main(" in own[-3]
    none = Sandbox(Isolation.none, 3.0, 512)._command(["/a"])
    assert json.loads(none[-1]) == shared | {"user": None}
    assert "warden.main(" in none[-3]


def test_packages_that_compute_do_so_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", ["/own"])
        patch.setattr(os, "environ", {})
        for folders in ([], ["/a", "/b"]):
            show_packages(folders)
            found.append((list(sys.path), dict(os.environ)))
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    assert found == [(["/own"], {}), (["/own", "/a", "/b"], dict.fromkeys(names, "1"))]


def test_rows_are_told_apart_whatever_the_order_of_their_fields() -> None:
    assert _text({"b": "é", "a": 2}) == '{"a": 2, "b": "é"}'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((1, 2), (1, 2)),
        ((1, 2), (1, 2, 3)),
        ((1, 2), [1, 2]),
        ([1, 2], (1, 2)),
        ((1, 2), 3),
        ([1, 2, 3], [4]),
        ([1], [4, 5]),
        ({"a": 1, "b": 2}, {"c": 3, "a": 4}),
        ({1, 2}, {3}),
        ({1, 2}, [3]),
        (bytearray(b"ab"), bytearray(b"c")),
        (1, 2),
    ],
)
def test_an_argument_becomes_what_the_call_made_of_it(old: Any, new: Any) -> None:
    """The same object, where it is of a kind that can be changed; keys are in their new order."""
    found = _renew(old, new)
    assert found == new and type(found) is type(new)
    if isinstance(old, (list, dict, set, bytearray)) and isinstance(new, type(old)):
        assert found is old
    if isinstance(new, dict):
        assert list(found) == list(new)


def test_what_is_in_an_argument_is_changed_in_place() -> None:
    inner: list[int] = [1]
    outer = (inner, 2)
    assert _renew(outer, ([5], 2)) is outer and inner == [5]
    kept = {"a": inner, "b": 1}
    assert _renew(kept, {"a": [6, 7]}) is kept and kept == {"a": [6, 7]} and kept["a"] is inner
    items = [inner, inner]
    assert _renew(items, [[8]]) is items and items == [[8]] and items[0] is inner
