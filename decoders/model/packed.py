"""Products with weights that lie as oneDNN's kernels read them.

PyTorch's product of a few rows on a CPU puts its weights into the order in which its kernel reads
them, every time. Here they are put so once, when the model is loaded, and take the place of the
plain ones: the same values in as many bytes, which can be had back.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import time
from collections.abc import Iterable
from enum import Enum, auto
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad

#: Rows that the order of packed weights is made for; it serves any number as well.
_ROWS = 16
#: Bytes that a core's caches may hold: of a model that is not larger, plain weights in float32 are
#: quicker for a few rows, and it keeps both.
CACHED = 1 << 26
#: From so many rows on the packed ones of those are quicker.
ROWS = 4
#: Rows that fewer may be filled up to, see ``fill_rows``.
FILLED = 4
#: Products with fewer weights are over then before the packed kernel has begun.
SMALLEST = 100_000


class Layout(Enum):
    """How a model's weights lie."""

    plain = auto()
    packed = auto()
    #: Plain for a few rows, and a packed copy for more of them.
    both = auto()


def best_layout(weights: Iterable[torch.Tensor]) -> Layout:
    """How a model's ``weights`` should lie: packed where all are on a CPU with kernels for that."""
    every = list(weights)
    kinds = {(one.device.type, one.dtype) for one in every}
    if len(kinds) != 1 or not all(where == "cpu" and _works(dtype) for where, dtype in kinds):
        return Layout.plain
    small = sum(one.nbytes for one in every) <= CACHED
    return Layout.both if small and every[0].dtype is torch.float32 else Layout.packed


@functools.cache
def _works(dtype: torch.dtype) -> bool:
    """Whether this PyTorch packs weights of a dtype, multiplies by them and gives them back.

    Its operations for that are not public, and not the same on every machine: they are tried.
    """
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():
        return False
    # Small whole numbers, whose sums are exact in float32.
    weights = torch.arange(-48, 48).view(6, 16).to(dtype)
    rows, bias = (torch.arange(32) % 5).view(2, 16).to(dtype), torch.arange(6).to(dtype)
    try:
        packed = _pack(weights)
        alone = _kernel().default(rows, packed, bias, "none", [], "")
        added = _kernel().binary(rows, alone, packed, None, "add")
        plain = packed.to_dense()
        held = torch.ops.mkldnn._nbytes(packed)
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    expected = rows.float() @ weights.float().t()
    return (
        torch.equal(plain, weights)
        and torch.equal(alone, (expected + bias).to(dtype))
        and torch.equal(added, (expected + alone).to(dtype))
        and held >= weights.nbytes
    )


def _kernel() -> Any:
    return torch.ops.mkldnn._linear_pointwise


def _pack(weights: torch.Tensor) -> Any:
    """``weights``, ``[outputs, inputs]``, in oneDNN's order."""
    return torch.ops.mkldnn._reorder_linear_weight(weights.contiguous(), _ROWS)


class Projection(nn.Module):
    """Linear layers that read the same, as one: their outputs side by side.

    Parameters
    ----------
    layers
        Whose weights and biases are taken. All have biases, or none.
    layout
        How weights are to lie, see ``best_layout``.
    """

    def __init__(self, *layers: nn.Linear, layout: Layout = Layout.plain) -> None:
        super().__init__()
        every = [layer.weight.detach() for layer in layers]
        weights = every[0] if len(every) == 1 else torch.cat(every)
        biases = [one.bias.detach() for one in layers if getattr(one, "bias", None) is not None]
        self.bias = _parameter(torch.cat(biases)) if biases else None
        if layout is Layout.both and weights.numel() < SMALLEST:
            layout = Layout.plain
        self.dtype = weights.dtype
        #: Elements of a row.
        self.inputs = weights.shape[1]
        #: From how many rows on the packed weights are read.
        self._rows = ROWS if layout is Layout.both else 1
        #: Fewer rows than these are filled up for them.
        self.fewest = 1
        self._packed: Any = None
        if layout is not Layout.plain:
            self._packed = _pack(weights)
            self._alone, self._added = _kernel().default, _kernel().binary
        #: ``[inputs, outputs]``; none where the packed ones serve any number of rows.
        self.weight: nn.Parameter | None = None
        if layout is not Layout.packed:
            self.weight = _parameter(weights.t().contiguous())
        # The same, found without nn.Module's search for it.
        self._columns = None if self.weight is None else self.weight.detach()

    def forward(self, rows: torch.Tensor, added_to: torch.Tensor | None = None) -> torch.Tensor:
        """The layers' outputs of ``rows``, ``[…, inputs]``, ``added_to`` what is given.

        Those of layers with biases can't be added to anything.
        """
        if self._packed is None or rows.shape[-2] < self._rows or rows.dtype is not self.dtype:
            return self._plain(rows, added_to)
        count = rows.shape[-2]
        if count < self.fewest:
            filler = (0, 0, 0, self.fewest - count)
            rows = pad(rows, filler)
            added_to = None if added_to is None else pad(added_to, filler)
            return self._product(rows, added_to).narrow(-2, 0, count)
        return self._product(rows, added_to)

    def _product(self, rows: torch.Tensor, added_to: torch.Tensor | None) -> torch.Tensor:
        packed = self._packed
        if added_to is None:
            return self._alone(rows, packed, self.bias, "none", [], "")
        return self._added(rows, added_to, packed, None, "add")

    def _plain(self, rows: torch.Tensor, added_to: torch.Tensor | None) -> torch.Tensor:
        columns = self._columns
        if columns is None:
            columns = self._packed.to_dense().t()
        if columns.dtype is not rows.dtype:
            columns = columns.to(rows.dtype)
        if added_to is None and self.bias is not None:
            added_to = self.bias.to(rows.dtype)
        return rows @ columns if added_to is None else torch.addmm(added_to, rows, columns)

    @property
    def packed_bytes(self) -> int:
        """Memory of the packed weights."""
        return 0 if self._packed is None else int(torch.ops.mkldnn._nbytes(self._packed))


@torch.inference_mode()
def fill_rows(products: Iterable[Projection], alike: bool = False) -> None:
    """Have packed ``products`` of few rows filled up to ``FILLED``, where they are quicker so.

    On some CPUs oneDNN's kernel takes up to a third longer for one row or two than for four, on
    others a little less, so both are tried, on products enough that no cache holds them. A product
    of one row may also sum in another order than those of more, which sum alike: where that must
    not be (``alike``) rows are filled up anyway.
    """
    every = list(products)
    if alike or _filled_is_quicker(every):
        for product in every:
            product.fewest = FILLED


def _filled_is_quicker(products: list[Projection]) -> bool:
    sizes = itertools.accumulate(product.packed_bytes for product in products)
    enough = sum(size <= 4 * CACHED for size in sizes)
    taken = _seconds(products[: enough + 1], rows=(1, FILLED), repeats=5)
    return min(taken[FILLED]) <= min(taken[1])


def _seconds(
    products: list[Projection], rows: tuple[int, ...], repeats: int
) -> dict[int, list[float]]:
    """What all products take together, by how many rows they are of, measured by turns."""
    seconds: dict[int, list[float]] = {count: [] for count in rows}
    for _ in range(repeats):
        for count, taken in seconds.items():
            read = [torch.ones(count, product.inputs, dtype=product.dtype) for product in products]
            began = time.perf_counter()
            for product, one in zip(products, read, strict=True):
                product(one)
            taken.append(time.perf_counter() - began)
    return seconds


def give_back() -> None:
    """Return memory to the system that plain weights had, which glibc would keep for later."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _parameter(values: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(values, requires_grad=False)
