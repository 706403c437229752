"""A sandbox made by system calls, for machines without bubblewrap: namespaces and a root folder.

User, mount, PID, network, IPC, UTS and cgroup namespaces of its own; a root folder that holds what
is bound there read-only, and an empty ``/tmp``. Source of the order of steps: namespaces(7),
user_namespaces(7), and what bubblewrap does.
"""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path
from typing import NoReturn

from tasks.sandbox.inside import warden

# From linux/sched.h.
_NEW_NS, _NEW_CGROUP, _NEW_UTS, _NEW_IPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
_NEW_USER, _NEW_PID, _NEW_NET = 0x10000000, 0x20000000, 0x40000000
# From linux/mount.h.
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT = 1, 2, 4, 8, 32
_BIND, _MOVE, _REC, _PRIVATE = 4096, 8192, 16384, 1 << 18
#: Flags of a mount that a namespace may not take off it again; statvfs has the same numbers.
_KEPT = _RDONLY | _NOSUID | _NODEV | _NOEXEC
_CAPABILITY_VERSION_3 = 0x20080522
_CAPBSET_DROP = 24
#: User and group that programs run as, in the namespace.
NOBODY = 65534
#: A folder that there always is, and that nothing is bound from.
_BASE = "/proc"

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    arguments = (source.encode(), target.encode(), kind.encode(), flags, options.encode())
    _check(_libc.mount(*arguments), f"mount {target}")


def enter(binds: list[str], tmp_bytes: int) -> None:
    """Move this process into namespaces, as their first process, with only ``binds`` to see.

    Returns in a child process; its parent waits for it, and ends with it.
    """
    _unshare_users()
    _check(
        _libc.unshare(_NEW_NS | _NEW_PID | _NEW_NET | _NEW_IPC | _NEW_UTS | _NEW_CGROUP), "unshare"
    )
    child = os.fork()
    if child:
        os.close(0)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    os.setsid()
    # A program could have a user namespace of its own, and there all of the kernel to play with.
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    _change_root(binds, tmp_bytes)
    _drop_capabilities()


def _unshare_users() -> None:
    """A user namespace in which programs are nobody; for root, nobody of the outside too."""
    user, group, pid = os.getuid(), os.getgid(), os.getpid()
    if user != 0:
        _check(_libc.unshare(_NEW_USER), "unshare users")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{NOBODY} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{NOBODY} {group} 1")
        return
    # Two users can only be mapped by a process that is privileged outside.
    unshared, told = os.pipe()
    if not (helper := os.fork()):
        os.close(told)
        os.read(unshared, 1)
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{pid}/{name}").write_text(f"0 0 1\n{NOBODY} {NOBODY} 1\n")
        os._exit(0)
    os.close(unshared)
    _check(_libc.unshare(_NEW_USER), "unshare users")
    os.close(told)
    if os.waitpid(helper, 0)[1] != 0:
        raise PermissionError("users can't be mapped")


def _change_root(binds: list[str], tmp_bytes: int) -> None:
    _mount("none", "/", "", _REC | _PRIVATE)
    sources = [(path, os.path.islink(path) and os.readlink(path)) for path in binds]
    _mount("tmpfs", _BASE, "tmpfs", _NOSUID | _NODEV, "size=64k,mode=755")
    # Before what is bound, which may lie below it.
    os.makedirs(f"{_BASE}/tmp")
    options = f"size={tmp_bytes},nr_inodes=4096,mode=1777"
    _mount("tmpfs", f"{_BASE}/tmp", "tmpfs", _NOSUID | _NODEV, options)
    for path, link in sources:
        target = _BASE + path
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if link:
            os.symlink(link, target)
            continue
        if os.path.isdir(path):
            os.makedirs(target, exist_ok=True)
        else:
            Path(target).touch()
        _mount(path, target, "", _BIND | _REC)
        # How times of access are noted stays as it is where nothing is said of it.
        kept = os.statvfs(target).f_flag & _KEPT
        _mount("none", target, "", _REMOUNT | _BIND | _RDONLY | _NOSUID | kept)
    _mount("none", _BASE, "", _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV)
    os.chdir(_BASE)
    _mount(".", "/", "", _MOVE)
    os.chroot(".")
    os.chdir("/tmp")


def _drop_capabilities() -> None:
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
    for capability in range(64):
        _libc.prctl(_CAPBSET_DROP, capability, 0, 0, 0)
    if os.getuid() == 0:
        os.setresuid(NOBODY, NOBODY, NOBODY)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def main(binds: list[str], tmp_bytes: int, seconds: float, memory: int) -> NoReturn:
    """Enter namespaces and check one program there, see
    :func:`tasks.sandbox.inside.warden.main`."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    enter(binds, tmp_bytes)
    warden.main(seconds, memory, None)
