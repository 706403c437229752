from __future__ import annotations

import gc
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from small_pair import SmallPair, save_pair
from templates import PLAIN

from decoders.process import fork_server
from decoders.process.placement import available_cores
from pearl_eval.commands import program
from pearl_eval.evaluation.reservation import FOLDER_VARIABLE
from pearl_eval.shell.command import DRAFT_MODULES

torch.set_num_threads(1)
# What was imported stays; each run looks for garbage at its start, and would look through it all.
gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_locks(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests that run at the same time do not wait for each other's cores."""
    os.environ[FOLDER_VARIABLE] = str(tmp_path_factory.mktemp("locks"))


@pytest.fixture(scope="session", autouse=True)
def cores_in_turn() -> Iterator[None]:
    """The targets of tests that run at the same time are not all bound to the first core."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))

    def turned() -> list[int]:
        cores = available_cores()
        first = worker % len(cores)
        return cores[first:] + cores[:first]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pearl_eval.machine.placement.available_cores", turned)
        yield


@pytest.fixture(scope="session", autouse=True)
def draft_modules() -> None:
    """Draft processes find their libraries imported, in a server that may use every core."""
    fork_server.prepare(DRAFT_MODULES)


@pytest.fixture(scope="session")
def small_pair(tmp_path_factory: pytest.TempPathFactory) -> SmallPair:
    """A pair with random weights whose draft is accepted about as often as not."""
    return save_pair(tmp_path_factory.mktemp("small_pair"))


@pytest.fixture(scope="session")
def chat_pair(small_pair: SmallPair, tmp_path_factory: pytest.TempPathFactory) -> SmallPair:
    """The small pair with a chat template."""
    folder = tmp_path_factory.mktemp("chat_pair")
    shutil.copytree(small_pair.folder, folder, dirs_exist_ok=True)
    (folder / "target" / "chat_template.jinja").write_text(PLAIN)
    return SmallPair(folder)


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Command:
    """``pearl-eval NAME`` in this process: exit code, output, standard error.

    Of a run the name is empty.
    """

    def run(name: str, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["pearl-eval"])
        # As in a process of its own: `--info` of an earlier test has all of them say everything.
        logging.getLogger().setLevel(logging.WARNING)
        capsys.readouterr()
        try:
            program.main([*filter(None, [name]), *arguments])
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def run_cli(run_command: Command, small_pair: SmallPair) -> Command:
    """``pearl-eval``, on the small pair unless told not to."""
    small = small_pair

    def run(*arguments: str, small_pair: bool = True) -> tuple[int, str, str]:
        quiet = [] if "--help" in arguments else ["tracking=none"]
        own = small.overrides if small_pair and "--help" not in arguments else []
        return run_command("", *quiet, *own, *arguments)

    return run


@pytest.fixture
def run_profile(run_command: Command, small_pair: SmallPair) -> Command:
    """``pearl-eval profile`` on the small pair."""
    return lambda *arguments: run_command("profile", *small_pair.overrides, *arguments)


@pytest.fixture
def run_bench(run_command: Command, small_pair: SmallPair) -> Command:
    """``pearl-eval bench`` on the small pair."""
    return lambda *arguments: run_command("bench", *small_pair.overrides, *arguments)


@pytest.fixture
def run_chat(run_cli: Command, chat_pair: SmallPair) -> Command:
    """``pearl-eval`` on the small pair with a chat template."""
    return lambda *arguments: run_cli(*chat_pair.overrides, *arguments, small_pair=False)
