"""Which experts the routers of a mixture chose: recorded in one forward, imposed on another.

Routers choose by ``torch.topk``. Between two experts that score nearly the same, rounding decides;
the forward then goes on with other weights, and its logits differ by far more than rounding. Two
forwards that are made to choose the same experts differ by rounding alone, as those of a dense
model do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

_TOP_K = (torch.topk, torch.Tensor.topk)


class Routing:
    """The scores and choices of every router for each token of a text.

    ``routers`` are the names of the modules that chose, in the order of a forward. ``scores`` has
    for each of them ``[tokens, groups, experts]``, ``chosen`` ``[tokens, groups, k]``; there is one
    group but where experts are chosen group by group. All are empty for a dense model.
    """

    def __init__(self) -> None:
        self.routers: list[str] = []
        self.scores: list[torch.Tensor] = []
        self.chosen: list[torch.Tensor] = []

    def __bool__(self) -> bool:
        return bool(self.routers)

    def add(self, start: int, forward: Routers) -> None:
        """Take in what a forward chose for the tokens from ``start`` on, in place of any before."""
        if not self.routers:
            self.routers = forward.routers
            self.scores, self.chosen = list(forward.scores), list(forward.chosen)
            return
        for held, new in ((self.scores, forward.scores), (self.chosen, forward.chosen)):
            for index, rows in enumerate(new):
                held[index] = torch.cat([held[index][:start], rows])

    def keep(self, length: int, nodes: Sequence[int]) -> None:
        """Of what lies beyond ``length`` keep only some, as a cache does after a tree."""
        kept = [*range(length), *(length + node for node in nodes)]
        self.scores = [rows[kept] for rows in self.scores]
        self.chosen = [rows[kept] for rows in self.chosen]

    def between(self, start: int, end: int) -> list[torch.Tensor]:
        """What each router chose for these tokens."""
        return [rows[start:end] for rows in self.chosen]


class Routers(TorchFunctionMode):
    """Records what the routers choose in the one forward that runs within it.

    Parameters
    ----------
    model
        The model whose forward it is.
    tokens
        How many tokens that reads.
    imposed
        For each router the experts, ``[tokens, groups, k]``, that it is made to choose instead of
        its own.
    disturbed
        Makes of the scores of a router, by its number, those that it is to choose by instead.
    """

    def __init__(
        self,
        model: nn.Module,
        tokens: int,
        imposed: Sequence[torch.Tensor] = (),
        disturbed: Callable[[int, torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.routers: list[str] = []
        self.scores: list[torch.Tensor] = []
        self.chosen: list[torch.Tensor] = []
        self._tokens = tokens
        self._imposed = list(imposed)
        self._disturbed = disturbed
        self._names = {id(module): name for name, module in model.named_modules()}
        self._running = ""
        self._hook: Any = None

    def __enter__(self) -> Routers:
        self._hook = register_module_forward_pre_hook(self._enter)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._hook.remove()

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        self._running = self._names.get(id(module), self._running)

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if function not in _TOP_K:
            return result
        scores, experts = args[0], result.indices
        if self._imposed:
            experts = self._imposed[len(self.routers)].reshape(experts.shape)
        elif self._disturbed is not None:
            chosen_by = self._disturbed(len(self.routers), scores)
            experts = function(chosen_by, *args[1:], **(kwargs or {})).indices
        if experts is not result.indices:
            result = torch.return_types.topk((scores.gather(-1, experts), experts))
        self.routers.append(self._running)
        self.scores.append(scores.reshape(self._tokens, -1, scores.shape[-1]).clone())
        self.chosen.append(experts.reshape(self._tokens, -1, experts.shape[-1]).clone())
        return result
