"""CI runs all that the README has it run, and says what it could not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: Programs that CI looks for or would install with, none of which is to do anything here.
_INSTALLED = ["apt-get", "bwrap", "slurmctld", "slurmdbd", "mariadbd"]


@pytest.mark.parametrize(
    ("failing", "made", "code", "said"),
    [
        ("", ["test", "vllm", "test-vllm"], 0, ""),
        ("test", ["test"], 3, ""),
        ("vllm", ["test", "vllm"], 0, "THE TESTS IN VLLM WERE NOT RUN"),
        ("test-vllm", ["test", "vllm", "test-vllm"], 3, ""),
    ],
)
def test_ci_runs_both_tiers(
    tmp_path: Path, failing: str, made: list[str], code: int, said: str
) -> None:
    for name in _INSTALLED:
        (tmp_path / name).write_text("#!/bin/sh\n")
    asked = tmp_path / "asked"
    (tmp_path / "make").write_text(
        f'#!/bin/sh\necho $1 >> {asked}\n[ "$1" != "{failing}" ] || exit 3\n'
    )
    for name in (*_INSTALLED, "make"):
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    run = subprocess.run([ROOT / ".ci" / "run"], env=environment, capture_output=True, text=True)
    assert (asked.read_text().split(), run.returncode) == (made, code)
    assert said in run.stderr and ("NOT RUN" in run.stderr) == bool(said)
