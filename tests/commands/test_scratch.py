"""Temporary files of killed processes are removed, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pearl_eval.evaluation import reservation
from pearl_eval.shell.scratch import scratch

ROOT = Path(__file__).resolve().parents[2]
#: Makes a folder, says where, and is killed.
KILLED = """
import os, signal, tempfile
from pearl_eval.shell.scratch import scratch
tempfile._get_default_tempdir = None  # it would try by writing a file, and be killed amid that
with scratch() as folder:
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(parent: Path) -> Path:
    environment = os.environ | {"TMPDIR": str(parent), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", KILLED], env=environment, capture_output=True, text=True
    )
    return Path(done.stdout.strip())


def test_only_what_was_abandoned_is_removed() -> None:
    with tempfile.TemporaryDirectory(prefix="scratch-", dir="/tmp") as name:
        parent = Path(name)
        abandoned = killed(parent)
        assert abandoned.parent == parent and abandoned.is_dir()
        # Those of the locks, of W&B's downloads, and a user's own.
        others = [parent / Path(reservation._FOLDER).name, parent / "pearl-eval-results"]
        for one in others:
            one.mkdir()
        outer, tempfile.tempdir = tempfile.tempdir, name
        try:
            with scratch() as ours:
                assert not abandoned.exists()
                assert all(one.is_dir() for one in others)
                again = killed(parent)  # another process meanwhile leaves ours alone
                assert ours.is_dir() and again.is_dir()
            with scratch() as next_command:
                assert next_command == ours
        finally:
            tempfile.tempdir = outer
