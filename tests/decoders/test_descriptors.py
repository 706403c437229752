"""Many runs in one process, as in a long sweep, leave no file open."""

from __future__ import annotations

import gc
import os
import re
from collections import Counter
from collections.abc import Callable

import pytest
from tiers import kept

Run = Callable[..., tuple[int, str, str]]
RUNS = [
    ["decoder=pearl"],
    ["decoder=pearl_async", "sampling=temperature"],
    ["decoder=pearl_shared"],
    ["decoder=speculative", "reference=cached", "reference.folder=reference"],
    ["decoder=pearl", "tracking=wandb", "tracking.mode=offline"],
    ["decoder=pearl", "runtime.answer_timeout=1e-9"],
    ["decoder=pearl", "runtime.draft_device=cuda:99"],
]


def opened() -> Counter[str]:
    """What this process has open; sockets and pipes by their kind, any run's files as one."""
    gc.collect()  # what an error's traceback had hold of goes with it, but not at once
    found: Counter[str] = Counter()
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        kind = target if target.startswith("/") else target.split(":")[0]
        if kind.endswith(".ttf"):
            continue  # matplotlib keeps up to 64 of them, by thread
        found[re.sub(r"/run\d/", "/run/", kind)] += 1
    return found


@pytest.mark.slow
@pytest.mark.parametrize("own", kept(RUNS, RUNS[:2]), ids=" ".join)
def test_runs_of_one_process_leave_no_file_open(run_cli: Run, own: list[str]) -> None:
    seen = []
    for number in range(3):
        limits = ["task.limit=2", "task.max_new_tokens=6", f"hydra.run.dir=run{number}"]
        run_cli("task=humaneval_mini", *own, *limits)
        seen.append(opened())
    # What the first run opens may stay, for those that follow.
    assert not seen[2] - seen[1]


def test_code_is_checked_in_a_process_with_many_files_open(run_cli: Run) -> None:
    """``select`` knows but 1024 of them."""
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        code, out, err = run_cli("task=humaneval_mini", "task.limit=2", "task.max_new_tokens=6")
    finally:
        for one in files:
            os.close(one)
    assert code == 0 and "identical 2/2" in out, err
