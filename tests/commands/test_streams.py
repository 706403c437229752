"""Output that is closed, read by nobody, or can't have every sign: no command fails by it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pearl_eval.shell.streams import UNREAD

BEGIN = (
    "import os, sys\nfrom pearl_eval.shell.streams import standard_streams\n"
    "with standard_streams():\n"
)
TABLE = (
    "    from pearl_eval.shell.console import console\n    console(stderr=False).print('x' * 9)\n"
)


def done(body: str, **how: object) -> subprocess.CompletedProcess[str]:
    """A command of this body, in a process of its own."""
    command = [sys.executable, "-c", BEGIN + body]
    own = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(command, text=True, env=own, stderr=subprocess.PIPE, **how)  # type: ignore[call-overload]


@pytest.fixture
def unread() -> int:
    """The end of a pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    return write


@pytest.mark.parametrize("printed", ["    print('x' * 100_000)\n", "    print('x')\n", TABLE])
@pytest.mark.parametrize(("end", "code"), [("", UNREAD), ("    sys.exit(1)", 1)])
def test_output_that_nobody_reads_is_no_error_and_hides_none(
    unread: int, printed: str, end: str, code: int
) -> None:
    ended = done(printed + end, stdout=unread)
    # Plain output ends where it is noticed, before it comes to an exit code of its own.
    expected = UNREAD if "100_000" in printed else code
    assert (ended.returncode, ended.stderr) == (expected, "")


def test_what_comes_after_a_table_that_nobody_reads_is_done(unread: int, tmp_path: Path) -> None:
    file = tmp_path / "file"
    assert (
        done(f"{TABLE}    open({str(file)!r}, 'w').write('kept')", stdout=unread).returncode == 141
    )
    assert file.read_text() == "kept"


def test_another_pipe_that_breaks_is_an_error(unread: int) -> None:
    ended = done(f"    os.write({unread}, b'x')", stdout=subprocess.DEVNULL, pass_fds=[unread])
    assert ended.returncode == 1 and "BrokenPipeError" in ended.stderr


def test_with_closed_streams_no_file_gets_their_numbers(tmp_path: Path) -> None:
    file = tmp_path / "file"
    body = f"    file = open({str(file)!r}, 'w')\n    print('lost', file=sys.stderr)\n" + TABLE
    body += "    os.write(1, b'lost')\n    file.write(str(file.fileno()))"
    ended = done(body, preexec_fn=lambda: [os.close(number) for number in (0, 1, 2)])
    assert ended.returncode == 0 and int(file.read_text()) >= 3


@pytest.mark.parametrize(
    ("encoding", "seen"),
    [("ascii", b"2.50x gamma 3 - ? ...\n"), ("latin-1", b"2.50\xd7 gamma 3 - \xfc ...\n")],
)
def test_signs_that_an_encoding_lacks_are_spelled_out(encoding: str, seen: bytes) -> None:
    script = BEGIN + "    print('2.50× γ 3 – ü …')\n    print('×', file=sys.stderr)"
    ended = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": encoding},
    )
    assert (ended.returncode, ended.stdout) == (0, seen)
    assert ended.stderr == "×".encode(encoding, "ignore") + b"\n" or ended.stderr == b"x\n"
