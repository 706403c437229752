"""Runs from a W&B project: what is asked of the server, and how it ends where that can't be had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
from wandb_server import KEY, StandIn, serving

from analysis.wandb_project import download
from pearl_eval.errors import UserError


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with serving() as stand_in:
        monkeypatch.setenv("WANDB_BASE_URL", stand_in.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        wandb.teardown()
        yield stand_in
        wandb.teardown()


def test_a_project_that_can_not_be_read_is_one_line(server: StandIn, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="W&B's project me/project can't be read: ") as error:
        download("me/project", tmp_path)
    assert "\n" not in str(error.value)
