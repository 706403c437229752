"""The command line of the check, and of gathering its wheels."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from gpu_check.libraries import (
    ROOT,
    LibrariesError,
    describe_checkout,
    gather,
    install,
    missing,
)
from gpu_check.rows import REHEARSAL, Finding, as_dicts, table
from gpu_check.runner import Runner
from gpu_check.steps import STEPS, NoSuchStep, choose

_WHEELS = ROOT / "build" / "gpu_wheels"
_SECONDS = 300.0
#: How many times as long everything may take in a rehearsal, on whatever CPU there is.
_PATIENCE = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        if options.gather:
            size = gather(options.wheels, options.python, options.extra.replace(",", " ").split())
            print(f"{options.wheels}: {size / 2**20:.1f} MiB of wheels for Python {options.python}")
            return 0
        return _check(options)
    except (LibrariesError, NoSuchStep) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {step.name:11} {step.shows}" for step in STEPS)
    parser = argparse.ArgumentParser(
        prog="make gpu-check",
        description="What has to be right and fast on a machine with a GPU, checked within minutes."
        "\nWithout a GPU the same steps are rehearsed on the CPU, with tiny shapes.",
        epilog=f"steps, in this order:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--steps", default="", help="which, with commas between; default: all")
    parser.add_argument(
        "--seconds", type=float, default=_SECONDS, help="limit for all of it (default: 300)"
    )
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, also beside a GPU")
    parser.add_argument("--wheels", type=Path, default=_WHEELS, help="default: build/gpu_wheels")
    parser.add_argument("--gather", action="store_true", help="gather the wheels, and no more")
    parser.add_argument("--python", default="3.12", help="which they are for (default: 3.12)")
    parser.add_argument("--extra", default="", help="libraries to gather beside what is needed")
    return parser


def _check(options: argparse.Namespace) -> int:
    start = time.monotonic()
    steps = choose(options.steps)
    lacking = missing(["torch", "transformers"])
    if lacking:
        raise LibrariesError(
            f"{sys.executable} has no {' and no '.join(lacking)}; name a Python that has, as"
            " make gpu-check PYTHON=python3.12"
        )
    folder = Path(os.environ.get("OUT") or ROOT / "build" / "gpu_check")
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="gpu-check-"))
    try:
        installed = install(options.wheels, scratch / "site")
        describe_checkout(scratch / "site")
        environment = _environment(scratch)
        rehearsed = options.rehearse or not _has_gpu(environment)
        if rehearsed:
            environment |= {REHEARSAL: "1", "CUDA_VISIBLE_DEVICES": ""}
        patience = _PATIENCE if rehearsed else 1.0
        left = options.seconds * patience - (time.monotonic() - start)
        runner = Runner(folder, scratch, left, environment, patience)
        runner.rows.append(
            Finding(
                "all", "libraries", f"{len(installed)} installed from wheels", " ".join(installed)
            )
        )
        for step in steps:
            runner.run(step)
            _write(folder, runner.rows, rehearsed)
        seconds = time.monotonic() - start
        failed = f"failed: {', '.join(runner.failed)}" if runner.failed else "no step failed"
        runner.rows.append(Finding("all", "the check", f"{seconds:.0f} s", failed))
        print(f"\n{_write(folder, runner.rows, rehearsed)}")
        return 1 if runner.failed else 0
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


#: All that the check leaves.
FILES = (
    "table.txt",
    "rows.json",
    "log.txt",
    "bench.json",
    "forwards_llama_1b_8b.json",
    "forwards_qwen3_0b6_8b.json",
)
_LOUD = (
    "REHEARSAL: no GPU was used. Tiny shapes ran on the CPU, so that every step was gone through;"
    "\nno figure below says anything of a GPU.\n"
)


def _write(folder: Path, rows: list[Finding], rehearsed: bool) -> str:
    """Leave the table, after each step, and give it."""
    text = (_LOUD if rehearsed else "") + table(rows)
    (folder / "table.txt").write_text(text + "\n")
    content = {"rehearsed": rehearsed, "rows": as_dicts(rows)}
    (folder / "rows.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return text


def _environment(scratch: Path) -> dict[str, str]:
    """Of the steps: this checkout and its libraries are found, what is left goes to scratch."""
    paths = [ROOT, ROOT / "docs", scratch / "site"]
    before = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    return dict(os.environ) | {
        "PYTHONPATH": os.pathsep.join([*map(str, paths), *before]),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(scratch),
        "HF_HUB_OFFLINE": "1",
        "PEARL_EVAL_LOCKS": str(scratch / "locks"),
    }


def _has_gpu(environment: dict[str, str]) -> bool:
    code = "import torch; raise SystemExit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


if __name__ == "__main__":
    raise SystemExit(main())
