"""Starts processes for generated code, isolated by what the machine offers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

#: Bytes that a program may write to its ``/tmp``, which is in memory.
_TMP_BYTES = 64 * 2**20
#: User that programs run as where this process is root.
_NOBODY = 65534
#: What the sandbox begins with. Isolated mode: nothing is read from the user's folders.
_PYTHON_FLAGS = ("-I", "-S", "-B", "-X", "utf8", "-c")
_START = """
import json, sys
sys.path.append(sys.argv[1])
from tasks.sandbox.inside import {module}
sys.path.pop()
{module}.main(**json.loads(sys.argv[2]))
"""


class Isolation(Enum):
    """What keeps generated code from the machine; ``auto`` takes the first that works.

    ``bubblewrap``: the program ``bwrap``. ``namespaces``: the same by system calls of our own.
    ``none``: limits only; the code has this user's files and the network.
    """

    auto = "auto"
    bubblewrap = "bubblewrap"
    namespaces = "namespaces"
    none = "none"


@dataclass(frozen=True)
class Sandbox:
    """Starts a new sandbox for each program.

    Parameters
    ----------
    isolation
        Anything but ``auto``.
    seconds
        Time limit of one program.
    memory_mb
        Address space of a process, in MiB.
    """

    isolation: Isolation
    seconds: float
    memory_mb: int

    def start(self, directory: str, packages: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start the processes that check one program, see :mod:`tasks.sandbox.inside.warden`.

        ``directory`` is where a program without isolation finds itself, ``packages`` are files and
        folders that are to be seen beside the standard library. Raises ``OSError`` where nothing
        can be started.
        """
        return subprocess.Popen(
            self._command([*_visible(), *packages]),
            cwd=directory if self.isolation is Isolation.none else "/",
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def _command(self, visible: list[str]) -> list[str]:
        limits: dict[str, Any] = {"seconds": self.seconds, "memory": self.memory_mb * 2**20}
        if self.isolation is Isolation.namespaces:
            return _python("namespaces", limits | {"binds": visible, "tmp_bytes": _TMP_BYTES})
        if self.isolation is Isolation.none:
            return _python("warden", limits | {"user": None})
        root = os.getuid() == 0
        bubblewrap = [_bubblewrap() or "bwrap", "--as-pid-1", "--die-with-parent", "--new-session"]
        bubblewrap += ["--cap-drop", "ALL"]
        if root:
            # In a user namespace of bubblewrap's, root stays root outside, and root may have any
            # number of processes.
            bubblewrap += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
            bubblewrap += ["--unshare-cgroup-try", "--cap-add", "CAP_SETUID"]
            bubblewrap += ["--cap-add", "CAP_SETGID"]
        else:
            bubblewrap += ["--unshare-all"]
        # First, for what is bound may lie below it.
        bubblewrap += ["--size", str(_TMP_BYTES), "--perms", "1777", "--tmpfs", "/tmp"]
        for path in [*visible, str(Path(__file__).parents[1])]:
            bubblewrap += _bind(path)
        bubblewrap += ["--remount-ro", "/", "--chdir", "/tmp", "--"]
        return bubblewrap + _python("warden", limits | {"user": _NOBODY if root else None})


def _bind(path: str) -> list[str]:
    """Bubblewrap's options to show a path. Folders that it makes by itself are the user's alone."""
    folders = [word for parent in reversed(Path(path).parents) for word in ("--dir", str(parent))]
    if os.path.islink(path):
        return [*folders, "--symlink", os.readlink(path), path]
    return [*folders, "--dev-bind" if path.startswith("/dev/") else "--ro-bind", path, path]


def _python(module: str, arguments: dict[str, Any]) -> list[str]:
    code = _START.format(module=module)
    where = str(Path(__file__).parents[2])
    return [_interpreter(), *_PYTHON_FLAGS, code, where, json.dumps(arguments)]


def _interpreter() -> str:
    """The interpreter itself, not its link in a virtual environment, which leads to packages."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def _visible() -> list[str]:
    """What all programs get to see, read-only: the interpreter and the libraries it needs."""
    # In a virtual environment the platform's part would be looked for there.
    libraries = [f"{sys.base_prefix}/lib", sysconfig.get_path("stdlib")]
    libraries += [sysconfig.get_path("platstdlib", vars={"platbase": sys.base_exec_prefix})]
    wanted = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/dev/null"]
    wanted += ["/usr/share/zoneinfo", *map(os.path.realpath, libraries), _interpreter()]
    seen: list[str] = []
    for path in wanted:
        inside = any(Path(path).is_relative_to(other) for other in seen)
        if os.path.exists(path) and not inside:
            seen.append(path)
    return seen


def installed(isolation: Isolation) -> bool:
    """Whether what an isolation is made of is there at all."""
    return isolation is not Isolation.bubblewrap or _bubblewrap() is not None


def _bubblewrap() -> str | None:
    return shutil.which("bwrap")
