"""Cores and GPUs that a timed run has to itself: locks that all runs of a machine respect.

A lock is the kernel's (``flock``) on a file named for its core or GPU. It ends with the process
that holds it, however that ends.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from decoders.process.placement import available_cores
from pearl_eval.errors import UserError
from pearl_eval.evaluation.plan import Plan
from pearl_eval.pairs.setup import Places, Setup
from pearl_eval.results.journal import locked
from pearl_eval.shell.console import print_note

#: Where the files are, if not in :data:`_FOLDER`: the same for all who share a machine.
FOLDER_VARIABLE = "PEARL_EVAL_LOCKS"
_FOLDER = "/tmp/pearl-eval-locks"
#: Seconds between two looks, on average.
_PAUSE = 0.5


@contextlib.contextmanager
def reserved(plan: Plan) -> Iterator[Plan]:
    """A plan on cores and GPUs that it has to itself: see :func:`reserve`."""
    with reserve(plan.setup) as setup:
        yield replace(plan, setup=setup)


@contextlib.contextmanager
def reserve(setup: Setup) -> Iterator[Setup]:
    """Have the cores and GPUs of a setup to oneself in the body of a ``with``.

    Those that were not asked for by name may turn out to be others, as many, that are free. Where
    there are too few, it says so and waits. ``runtime.share_devices`` does without all of this.

    Raises
    ------
    UserError
        ``runtime.devices_timeout`` seconds were not enough.
    """
    runtime = setup.runtime
    if runtime.share_devices:
        yield setup
        return
    wanted = names(setup.places)
    end: float | None = None
    while True:
        for places in (setup.places, _elsewhere(setup)):
            needed = names(places)
            if _count(needed) == _count(wanted) and (locks := _lock(needed)) is not None:
                with locks:
                    yield setup.moved(places)
                return
        if end is None:
            end = time.monotonic() + runtime.devices_timeout
            print_note(f"waiting for {_holders(wanted)}; runtime.share_devices=true does not wait")
        elif time.monotonic() > end:
            raise UserError(
                f"after runtime.devices_timeout={runtime.devices_timeout:g} seconds there still is"
                f" {_holders(wanted)}; wait longer, or say runtime.share_devices=true"
            )
        time.sleep(_PAUSE * random.uniform(0.5, 1.5))


def names(places: Places) -> set[str]:
    """What a run would lock: its cores, where it is bound to some, and its GPUs."""
    processes = places.processes
    cores = {*processes.target.cores, *processes.draft.placement.cores}
    devices = {*places.devices.target, *places.devices.draft, *places.engine} - {"cpu"}
    return {f"core-{core}" for core in cores} | {gpu_name(gpu) for gpu in devices}


def gpu_name(device: str) -> str:
    """A name for a GPU that does not depend on which of them a process sees."""
    return f"gpu-{torch.cuda.get_device_properties(device).uuid}"


def _elsewhere(setup: Setup) -> Places:
    """Where a setup would go if there were only what is free."""
    runtime = setup.runtime
    gpus = range(torch.cuda.device_count()) if runtime.gpus is None else runtime.gpus
    cores = available_cores() if runtime.cores is None else runtime.cores
    free = replace(
        runtime,
        gpus=[gpu for gpu in gpus if _free(gpu_name(f"cuda:{gpu}"))],
        cores=[core for core in cores if _free(f"core-{core}")],
    )
    try:
        return setup.places_in(free)
    except UserError:  # too few
        return setup.places


def _count(names: Iterable[str]) -> Counter[str]:
    """How many cores and how many GPUs."""
    return Counter(name.split("-")[0] for name in names)


def _free(name: str) -> bool:
    if locks := _lock([name]):
        locks.close()
    return locks is not None


def _lock(names: Iterable[str]) -> contextlib.ExitStack | None:
    """Lock all or nothing; closing what is returned unlocks."""
    with contextlib.ExitStack() as stack:
        for name in sorted(names):
            file = _open(name)
            stack.callback(os.close, file)
            if not locked(file):
                return None
            os.ftruncate(file, 0)
            os.pwrite(file, f"process {os.getpid()} in {Path.cwd()}".encode(), 0)
        return stack.pop_all()


def _open(name: str) -> int:
    folder = Path(os.environ.get(FOLDER_VARIABLE, _FOLDER))
    path = folder / name
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o1777)
        # In two steps: the kernel lets nobody create what another user has created already.
        with contextlib.suppress(FileExistsError):
            created = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            os.fchmod(created, 0o666)
            os.close(created)
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError as error:
        raise UserError(
            f"{path} can't be locked ({error.strerror}), so that other runs would keep off what"
            f" this one uses; set {FOLDER_VARIABLE} to a folder, or say runtime.share_devices=true"
        ) from error


def _holders(names: Iterable[str]) -> str:
    """What is in use, and by whom."""
    taken = [name for name in sorted(names) if not _free(name)]
    folder = Path(os.environ.get(FOLDER_VARIABLE, _FOLDER))
    users = dict.fromkeys((folder / name).read_text() for name in taken)
    return f"{', '.join(taken)}, in use by {' and '.join(users)}"
