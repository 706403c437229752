"""Generated code is hostile: none passes, none harms, none stops the run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hostile import HOSTILE, body

from tasks.sandbox import sandbox
from tasks.sandbox.inside import namespaces
from tasks.sandbox.sandbox import Isolation, Sandbox, _visible
from tasks.scoring.checker import Checker
from tasks.scoring.score import Score

ROOT = Path(__file__).resolve().parents[2]
PROBLEM = {
    "task_id": "Test/0",
    "prompt": "def answer(x):\n",
    "entry_point": "answer",
    "test": "def check(candidate):\n    assert candidate(21) == 42\n",
}
RIGHT = "    return 2 * x\n"


#: One for each process that tests: it tells our sandboxes from those of tests that run beside us.
MEMORY_MB = 520 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
#: Enough for what ends by itself, on however busy a machine; and for what does not.
PATIENT, SHORT = 60.0, 1.0


def checker(isolation: Isolation) -> Checker:
    try:
        return Checker.choose(isolation, PATIENT, MEMORY_MB)
    except ValueError as error:
        pytest.skip(str(error))


def check_hostile(checker: Checker, name: str, home: Path, port: int) -> Score:
    """Check a hostile completion, which must fail, and for its reason."""
    code, reason = HOSTILE[name]
    if "timed out" in reason or not reason:
        checker = Checker(Sandbox(checker.isolation, SHORT, MEMORY_MB))
    score = checker.check(PROBLEM, body(code, str(home), port))
    assert not score.correct
    assert score.result.startswith(reason)
    return score


@pytest.fixture(scope="module", params=[Isolation.bubblewrap, Isolation.namespaces])
def isolated(request: pytest.FixtureRequest) -> Checker:
    return checker(request.param)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    (tmp_path / "secret").write_text("secret")
    return tmp_path


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


def sandbox_processes() -> list[psutil.Process]:
    """Processes of a sandbox of this checkout's and these tests', whoever is their parent."""
    limit = f'"memory": {MEMORY_MB * 2**20}'
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if str(ROOT) in words and any(limit in word for word in words):
            found.append(process)
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_code_fails_and_harms_nothing(
    isolated: Checker, name: str, home: Path, server: socket.socket
) -> None:
    score = check_hostile(isolated, name, home, server.getsockname()[1])
    assert score.result.isprintable() and len(score.result) < 300
    assert (home / "secret").read_text() == "secret"
    assert os.path.exists(os.__file__)
    with pytest.raises(BlockingIOError):
        server.accept()
    assert not sandbox_processes()
    assert isolated.check(PROBLEM, RIGHT).correct


def test_the_program_is_alone_with_the_interpreter(isolated: Checker) -> None:
    top = {Path(path).parts[1] for path in [*_visible(), str(ROOT)]} | {"tmp"}
    code = f"""\
    import os
    assert set(os.environ) <= {{"PATH", "LANG", "LC_CTYPE", "PWD"}}, os.environ
    assert os.getuid() != 0
    assert os.getcwd() == "/tmp"
    assert set(os.listdir("/")) <= {top}, os.listdir("/")
    assert os.listdir("/etc") == ["ld.so.cache"] and os.listdir("/dev") == ["null"]
    assert set(os.listdir("/usr")) <= {{"bin", "lib", "lib64", "share", "local"}}
    for name in ("/", "/usr/lib", os.path.dirname(os.__file__)):
        assert not os.access(name, os.W_OK), name
    return 2 * x
"""
    assert isolated.check(PROBLEM, code).result == "passed"


def test_the_program_is_nobody_and_has_what_it_is_said_to_have(isolated: Checker) -> None:
    """Bubblewrap leaves a user that is not root who it is."""
    nobody = isolated.isolation is Isolation.namespaces or os.getuid() == 0
    code = f"""\
    import ctypes, os, resource
    if {nobody}:
        assert (os.getuid(), os.getgid()) == (65534, 65534)
    if {isolated.isolation is Isolation.namespaces}:
        # PR_CAPBSET_READ
        assert not any(ctypes.CDLL(None).prctl(23, each) for each in range(41))
    limits = dict(AS={MEMORY_MB * 2**20}, NPROC=0, FSIZE=16 * 2**20, NOFILE=64, MSGQUEUE=0, CORE=0)
    # A second more than the program has on the clock.
    limits["CPU"] = {int(PATIENT) + 1}
    for name, value in limits.items():
        found = resource.getrlimit(getattr(resource, "RLIMIT_" + name))
        assert found == (value, value), (name, found)
    return 2 * x
"""
    assert isolated.check(PROBLEM, code).result == "passed"


def test_the_program_inherits_nothing_of_the_judge(isolated: Checker) -> None:
    code = """\
    import os
    for descriptor in range(4, 256):
        try:
            os.fstat(descriptor)
        except OSError:
            continue
        raise ValueError(descriptor)
    assert os.read(0, 100) == b""
    return 2 * x
"""
    assert isolated.check(PROBLEM, code).result == "passed"


def test_no_isolation_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.sandbox.sandbox._interpreter", lambda: "/bin/false")
    with pytest.raises(ValueError, match=r"run it without protection by task\.isolation=none"):
        Checker.choose(Isolation.auto, 1.0, 512)


@pytest.mark.parametrize(
    "name",
    ["endless loop", "memory at once", "one large file", "a million lines", "os._exit(0)", "crash"],
)
def test_limits_hold_without_isolation(name: str, home: Path) -> None:
    check_hostile(checker(Isolation.none), name, home, port=1)


def test_without_isolation_no_process_and_no_file_is_left(tmp_path: Path) -> None:
    """Root may fork there, so a daemon may get away from its parent, but not from the check."""
    code = f"""\
    import os, time
    open({str(tmp_path / "where")!r}, "w").write(os.getcwd())
    open("left", "w").close()
    if not os.fork():
        os.setsid()
        if not os.fork():
            time.sleep(600)
        os._exit(0)
    return 2 * x
"""
    checker(Isolation.none).check(PROBLEM, code)
    assert not sandbox_processes()
    assert not os.path.exists((tmp_path / "where").read_text())


def test_who_answers_for_a_program_that_has_ended_answers_in_vain() -> None:
    """Root may fork without isolation; anyone else is refused that."""
    code = """\
    import os
    parent = os.getpid()
    if os.fork():
        os._exit(0)
    while os.getppid() == parent:
        pass
    return 2 * x
"""
    result = checker(Isolation.none).check(PROBLEM, code).result
    assert result.startswith(("failed: it ended itself", "failed: BlockingIOError"))


def test_a_sandbox_ends_with_who_started_it(isolated: Checker) -> None:
    code = (
        "from tasks.scoring.checker import *;"
        f"c = Checker.choose(Isolation.{isolated.isolation.value}, 600.0, {MEMORY_MB});"
        f"print(flush=True); c.check({PROBLEM!r}, '    while True: pass')"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    wait_until(lambda: len(sandbox_processes()) >= 3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_until(lambda: not sandbox_processes())


def wait_until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_check_that_cannot_start_is_an_error_not_a_score(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"task\.check_memory_mb=1 enough"):
        Checker.choose(Isolation.none, 1.0, memory_mb=1)
    ready = checker(Isolation.none)
    monkeypatch.setattr("tasks.sandbox.sandbox._interpreter", lambda: "/bin/false")
    with pytest.raises(ChildProcessError, match="can't be checked any longer"):
        ready.check(PROBLEM, RIGHT)


def test_links_are_shown_as_links_and_devices_as_devices(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.touch()
    link.symlink_to("file")
    folders = [word for one in reversed(link.parents) for word in ("--dir", str(one))]
    assert sandbox._bind(str(link)) == [*folders, "--symlink", "file", str(link)]
    assert sandbox._bind(str(file)) == [*folders, "--ro-bind", str(file), str(file)]
    null = ["--dir", "/", "--dir", "/dev", "--dev-bind", "/dev/null", "/dev/null"]
    assert sandbox._bind("/dev/null") == null


def test_flags_are_the_kernels() -> None:
    """linux/mount.h, linux/sched.h; the first four are those of statvfs as well."""
    own = (namespaces._RDONLY, namespaces._NOSUID, namespaces._NODEV, namespaces._NOEXEC)
    assert own == (os.ST_RDONLY, os.ST_NOSUID, os.ST_NODEV, os.ST_NOEXEC)
    assert (namespaces._REMOUNT, namespaces._BIND, namespaces._MOVE) == (0x20, 0x1000, 0x2000)
    assert (namespaces._REC, namespaces._PRIVATE) == (0x4000, 0x40000)
    # os has them from Python 3.12 on.
    names = {
        "NEWNS": 0x20000, "NEWCGROUP": 0x2000000, "NEWUTS": 0x4000000, "NEWIPC": 0x8000000,
        "NEWUSER": 0x10000000, "NEWPID": 0x20000000, "NEWNET": 0x40000000,
    }  # fmt: skip
    for name, number in names.items():
        assert getattr(namespaces, f"_NEW_{name[3:]}") == getattr(os, f"CLONE_{name}", number)
        assert number == getattr(os, f"CLONE_{name}", number)
