"""The product installed from a wheel, run outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_the_wheel_is_complete_and_runs_outside_the_checkout(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site with a space"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    environment = os.environ | {"PYTHONPATH": str(site)}
    code = "import pearl_eval, pearl_eval.cli as c; print(pearl_eval.__file__); c.main()"
    arguments = ["task.limit=2", "task.max_new_tokens=8", "tracking=none", "hydra.run.dir=run"]
    done = subprocess.run(
        [sys.executable, "-c", code, "pair=tiny", "decoder=pearl", *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert str(site) in done.stdout
    assert "identical 2/2" in done.stdout
    assert (tmp_path / "run" / "summary.json").exists()
