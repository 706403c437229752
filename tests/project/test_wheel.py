"""The product built as it is released, installed, and run outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_wheel_of_the_sdist_is_complete_and_runs_outside_the_checkout(tmp_path: Path) -> None:
    backend = f"from hatchling.build import build_sdist; build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", backend], cwd=ROOT, check=True, capture_output=True)
    (sdist,) = tmp_path.glob("*.tar.gz")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(sdist)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site with a space"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, "--target", str(site), str(wheel)], check=True)
    arguments = ["task.limit=2", "task.max_new_tokens=8", "tracking=none", "hydra.run.dir=run"]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(site / "bin" / "pearl-eval"), *words],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done

    done = run("pair=tiny", "decoder=pearl", *arguments)
    where = f"{site}/pearl_eval/assets/tiny"
    assert (site / "analysis" / "paper" / "reported.yaml").exists()
    # How the tiny pair was made is with the docs.
    assert not list(site.rglob("tiny_pair")) and not list(site.rglob("word_problems.py"))
    assert where in (tmp_path / "run" / "run.json").read_text()
    assert "identical 2/2" in done.stdout
    assert (tmp_path / "run" / "summary.json").exists()
    assert [one.name for one in (site / "bin").glob("pearl*")] == ["pearl-eval"]
    # A command of each package, found by the wheel's own entry points.
    assert "identical 2/2" in run("table", "run").stdout
    assert run("overview", "run").stdout == f"{Path('run', 'overview.png')}\n"
