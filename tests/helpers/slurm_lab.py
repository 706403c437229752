"""A whole Slurm on this machine, in one folder: for the tests, and to try a command on.

    python tests/helpers/slurm_lab.py DIR -- COMMAND ...

One node with three fake GPUs, accounting, and two partitions: jobs in ``urgent`` preempt those in
``main``, which are put back in the queue. Everything listens on the loopback alone, on ports that
were free, and is ended with the process that started it. Needs Debian's packages
:data:`PACKAGES`, no rights beside one's own, and no network.
"""

from __future__ import annotations

import argparse
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

PACKAGES = "slurm-wlm munge slurmdbd mariadb-server-core mariadb-client-core"
_PROGRAMS = ["munged", "slurmctld", "slurmd", "slurmdbd", "mariadbd", "mariadb-install-db"]
_PATH = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
#: Seconds for a daemon to start or to end.
_PATIENCE = 30.0

_SLURM = """\
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld}
SlurmdPort={d}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={lab}/run/munge.socket
StateSaveLocation={lab}/state
SlurmdSpoolDir={lab}/spool
SlurmctldPidFile={lab}/run/slurmctld.pid
SlurmdPidFile={lab}/run/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MailProg=/bin/true
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SlurmctldParameters=preempt_send_user_signal
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=5
GresTypes=gpu
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={d} CPUs=4 RealMemory=8000 Gres=gpu:fake:3
PartitionName=main Nodes=n1 Default=YES DefaultTime=10 MaxTime=INFINITE DefMemPerCPU=100 \
PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=urgent Nodes=n1 MaxTime=INFINITE DefMemPerCPU=100 PriorityTier=2 PreemptMode=OFF
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={dbd}
AccountingStoragePass={lab}/run/munge.socket
AccountingStorageTRES=gres/gpu
"""
# Fake GPUs must be character devices.
_GRES = "".join(f"Name=gpu Type=fake File=/dev/{one}\n" for one in ("null", "zero", "full"))
_ACCOUNTING = """\
AuthType=auth/munge
AuthInfo=socket={lab}/run/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={dbd}
SlurmUser={user}
PidFile={lab}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={sql}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
"""
_DATABASE = """\
CREATE DATABASE IF NOT EXISTS slurm;
CREATE USER IF NOT EXISTS slurm@'127.0.0.1' IDENTIFIED BY 'slurm';
GRANT ALL ON slurm.* TO slurm@'127.0.0.1';
"""


def missing() -> str:
    """What there is not to start a lab with; empty where all is there."""
    lacking = [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]
    return f"no {', '.join(lacking)} (apt install {PACKAGES})" if lacking else ""


class SlurmLab:
    """A Slurm that is idle and ready; ``environment`` leads commands to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.environment = os.environ | {
            "PATH": _PATH,
            "SLURM_CONF": str(self.folder / "slurm.conf"),
        }

    def run(self, *command: str) -> str:
        """Run a command on the lab and return its output; raises where it fails."""
        done = subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")
        return done.stdout

    @classmethod
    @contextmanager
    def started(cls, folder: Path) -> Iterator[SlurmLab]:
        """Start a lab in a folder, and leave nothing of it running at the end."""
        lab = cls(folder)
        with ExitStack() as stack:
            stack.callback(lab._end_jobs)
            lab._configure()
            lab._start(stack)
            stack.callback(lab._cancel_jobs)
            yield lab

    def _configure(self) -> None:
        for name in ("run", "log", "state", "spool"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        ctld, d, dbd, sql = _free_ports(4)
        self._ports = {"dbd": dbd, "sql": sql}
        facts = dict(lab=self.folder, host=socket.gethostname(), user=getpass.getuser())
        facts |= dict(ctld=ctld, d=d, dbd=dbd, sql=sql)
        (self.folder / "slurm.conf").write_text(_SLURM.format(**facts))
        (self.folder / "gres.conf").write_text(_GRES)
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        (self.folder / "database.sql").write_text(_DATABASE)
        for name, content in (
            ("slurmdbd.conf", _ACCOUNTING.format(**facts).encode()),
            ("munge.key", os.urandom(128)),
        ):
            (self.folder / name).touch(mode=0o600)
            (self.folder / name).write_bytes(content)

    def _start(self, stack: ExitStack) -> None:
        run, log, data = (self.folder / name for name in ("run", "log", "data"))
        self._daemon(
            stack,
            f"munged --foreground --force --key-file={self.folder}/munge.key --origin=127.0.0.1"
            f" --socket={run}/munge.socket --pid-file={run}/munge.pid"
            f" --log-file={log}/munge.log --seed-file={run}/munge.seed",
            (run / "munge.socket").exists,
        )
        sql = f"--no-defaults --datadir={data} --user={getpass.getuser()}"
        if not data.exists():
            how = "--auth-root-authentication-method=normal --skip-test-db"
            self.run("mariadb-install-db", *sql.split(), *how.split())
        self._daemon(
            stack,
            f"mariadbd {sql} --bind-address=127.0.0.1 --port={self._ports['sql']}"
            f" --socket={run}/sql.socket --pid-file={run}/sql.pid"
            f" --init-file={self.folder}/database.sql",
            lambda: _listens(self._ports["sql"]),
        )
        self._daemon(stack, "slurmdbd -D", lambda: _listens(self._ports["dbd"]))
        conf = self.environment["SLURM_CONF"]
        self._daemon(stack, f"slurmctld -D -f {conf}", lambda: True)
        self._daemon(stack, f"slurmd -D -f {conf} -N n1", self._idle)

    def _daemon(self, stack: ExitStack, command: str, ready: Callable[[], bool]) -> None:
        """Start a daemon that ends with us, however we end, and wait until it is ready."""
        name = command.split()[0]
        log = self.folder / "log" / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--", *command.split()],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # so that Ctrl-C is ours to hear
            )
        stack.callback(_end, process)
        end = time.monotonic() + _PATIENCE
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{name} did not start: {log.read_text()[-2000:]}")
            time.sleep(0.05)

    def _idle(self) -> bool:
        done = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"],
            env=self.environment,
            capture_output=True,
            text=True,
        )
        return done.returncode == 0 and set(done.stdout.split()) == {"idle"}

    def _cancel_jobs(self) -> None:
        self.run("scancel", f"--user={getpass.getuser()}")
        end = time.monotonic() + _PATIENCE
        while self.run("squeue", "--noheader") and time.monotonic() < end:
            time.sleep(0.1)

    def _end_jobs(self) -> None:
        """End what Slurm's daemons leave behind: the processes of jobs."""
        left = [p for p in psutil.process_iter() if self._ours(p)]
        for process in left:
            process.kill()
        psutil.wait_procs(left, timeout=_PATIENCE)

    def _ours(self, process: psutil.Process) -> bool:
        try:
            conf = process.environ().get("SLURM_CONF")
            if process.name().startswith("slurmstepd"):  # overwrites its environment
                spool = str(self.folder / "spool")
                return any(str(c.laddr).startswith(spool) for c in process.net_connections("unix"))
        except psutil.Error:
            return False
        return conf == self.environment["SLURM_CONF"] and process.pid != os.getpid()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python tests/helpers/slurm_lab.py",
        description="Start a Slurm of its own in a folder, run a command on it, and end it.",
    )
    parser.add_argument("folder", type=Path, help="made where there is none; keeps the logs")
    parser.add_argument("command", nargs="+", help="what to run on it, after --")
    arguments = parser.parse_args()
    if lacking := missing():
        parser.exit(2, f"{parser.prog}: {lacking}\n")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that it ends all here, too
    with SlurmLab.started(arguments.folder) as lab:
        return subprocess.run(arguments.command, env=lab.environment).returncode


if __name__ == "__main__":
    sys.exit(main())
