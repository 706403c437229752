from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_pair import SmallPair, save_pair

from pearl_eval import cli

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_pair(tmp_path_factory: pytest.TempPathFactory) -> SmallPair:
    """A pair with random weights whose draft is accepted about as often as not."""
    return save_pair(tmp_path_factory.mktemp("small_pair"))


@pytest.fixture
def run_cli(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    small_pair: SmallPair,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str, str]]:
    """Run ``pearl-eval`` in this process on the small pair: exit code, output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        # argparse wants flags before overrides, as a user writes them.
        flags = [argument for argument in arguments if argument.startswith("-")]
        overrides = [argument for argument in arguments if not argument.startswith("-")]
        command = ["pearl-eval", *flags]
        if "--help" not in flags:
            command += [*small_pair.overrides, *overrides]
        monkeypatch.setattr(sys, "argv", command)
        capsys.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return run
