"""The training loop: optimizer, schedule, checkpoints, progress. What the loss is, is given."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from pearl_eval.errors import reason
from pearl_eval.results.journal import replacing

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schedule:
    """Steps and learning rates.

    Parameters
    ----------
    steps : int
    matrix_lr : float
        Peak rate of the hidden layers' matrices, under Muon.
    other_lr : float
        Peak rate of embeddings and norms, under AdamW.
    rate : dict of int to float
        Points (step, factor on both peak rates), joined by straight lines.
    checkpoint_every : int
        Steps between checkpoints.
    """

    steps: int
    matrix_lr: float
    other_lr: float
    rate: dict[int, float]
    checkpoint_every: int

    def scale(self, step: int) -> float:
        """The factor on both peak rates at ``step``."""
        return float(np.interp(step, list(self.rate), list(self.rate.values())))


@dataclass(frozen=True)
class Fitted:
    """The loss at each step, and what was measured after which steps."""

    losses: list[float]
    measured: list[tuple[int, float]]


def fit(
    model: nn.Module,
    loss_of: Callable[[int], Tensor],
    schedule: Schedule,
    checkpoint: Path,
    name: str,
    measure: Callable[[int], float] | None = None,
) -> Fitted:
    """Train ``model`` in place, from the checkpoint if there is one.

    Parameters
    ----------
    model : nn.Module
    loss_of : callable
        The loss at a step, a scalar tensor; must depend on nothing but the model and the step.
    schedule : Schedule
    checkpoint : Path
        Written every few steps and at the end; a broken run goes on from it, to the same weights.
    name : str
        Label of the progress bar.
    measure : callable, optional
        A figure of the model as it is, measured and shown at each checkpoint; is told the step.
    """
    optimizers = _optimizers(model, schedule)
    losses: list[float] = []
    measured: list[tuple[int, float]] = []
    if checkpoint.exists():
        losses, measured = _restore(checkpoint, model, optimizers)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]}{task.fields[measured]}"),
    )  # fmt: skip
    model.train()
    with Progress(*columns) as progress:
        task = progress.add_task(
            name, total=schedule.steps, completed=len(losses), loss="-", measured=_last(measured)
        )
        for step in range(len(losses), schedule.steps):
            losses.append(_step(model, loss_of, optimizers, schedule, step))
            recent = losses[-50:]
            progress.update(task, advance=1, loss=f"{sum(recent) / len(recent):.3f}")
            if (step + 1) % schedule.checkpoint_every == 0 or step + 1 == schedule.steps:
                if measure:
                    model.eval()
                    measured.append((step + 1, measure(step + 1)))
                    model.train()
                    progress.update(task, measured=_last(measured))
                _save(checkpoint, model, optimizers, losses, measured)
                # A log file shows no bar.
                log.info(
                    "%s: step %d, loss %.4f%s",
                    name, step + 1, sum(recent) / len(recent), _last(measured),
                )  # fmt: skip
    model.eval()
    return Fitted(losses, measured)


def _last(measured: list[tuple[int, float]]) -> str:
    return f", accepted {measured[-1][1]:.3f}" if measured else ""


def _optimizers(model: nn.Module, schedule: Schedule) -> list[torch.optim.Optimizer]:
    learned = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    matrices = [p for n, p in learned if p.ndim == 2 and "embed" not in n]
    known = {id(p) for p in matrices}
    others = [p for _, p in learned if id(p) not in known]
    return [
        torch.optim.Muon(
            matrices, lr=schedule.matrix_lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(
            others, lr=schedule.other_lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True
        ),
    ]


def _step(
    model: nn.Module,
    loss_of: Callable[[int], Tensor],
    optimizers: list[torch.optim.Optimizer],
    schedule: Schedule,
    step: int,
) -> float:
    loss = loss_of(step)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer, peak in zip(optimizers, (schedule.matrix_lr, schedule.other_lr), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = peak * schedule.scale(step)
        optimizer.step()
        optimizer.zero_grad()
    return loss.item()


def _save(
    path: Path,
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    losses: list[float],
    measured: list[tuple[int, float]],
) -> None:
    state: dict[str, Any] = {
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "losses": losses,
        "measured": measured,
    }
    with replacing(path) as unfinished:
        try:
            torch.save(state, unfinished)
        except RuntimeError as error:  # so PyTorch tells of a full disk
            raise OSError(f"{path} can't be written: {reason(error)}") from error


def _restore(
    path: Path, model: nn.Module, optimizers: list[torch.optim.Optimizer]
) -> tuple[list[float], list[tuple[int, float]]]:
    # Wherever it was made: what is loaded goes to where the model is.
    state = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return state["losses"], [(step, value) for step, value in state["measured"]]
