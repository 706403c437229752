"""What the tokens of one forward read of a text.

In bfloat16 sums are rounded so coarsely that two tokens often have the same logit, or nearly. Then
the order in which a forward sums decides which is chosen, and decoders whose forwards read other
numbers of tokens part, though each is right. On a CPU an *invariant* window gives each token's row
the same bits, whatever its forward reads beside it: products by packed weights do so for any two
rows or more (:func:`decoders.model.packed.fill_rows`), and attention does where it takes keys in
the same blocks, for so many queries that no kernel for a few rows comes in. That holds of the
kernels of the PyTorch that was tested; on another one outputs may have ties again, which every run
checks for.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

#: PyTorch's attention on a CPU takes so many keys at once.
_BLOCK = 512
#: Where the last block may end instead: its products sum in the same steps up to each of these.
_ENDS = (64, 128, 192, 384, _BLOCK)
#: Queries of each head come in multiples of this.
_QUERIES = 4
#: Longer windows are not invariant: their masks would take much memory.
_WIDEST = 1024


@dataclass(frozen=True)
class Window:
    """Tokens that read a text whose end they are, each of them up to itself.

    Attributes
    ----------
    hidden_from
        What is added to scores, ``[heads that share keys × queries, extent]``, head by head. Where
        something is ``copied``, to scores of the window itself, ``[tokens, tokens]``.
    extent
        How many positions of the cache are read. Those that hold nothing yet are hidden from all.
    copied
        How many of the text's first tokens are read from copies: see
        :mod:`decoders.model.packed_context`.
    prompt
        How many of the tokens begin the text, and are read as if those behind them were not there.
    """

    hidden_from: torch.Tensor
    extent: int
    copied: int = 0
    prompt: int = 0


def plain_window(like: torch.Tensor, seen: int, tokens: int, group: int) -> Window:
    """Of ``tokens`` behind ``seen`` ones; ``group`` heads of queries share keys."""
    return Window(_hidden(like, seen, tokens, seen + tokens, group), seen + tokens)


def invariant_window(
    like: torch.Tensor, seen: int, tokens: int, judged: int, group: int
) -> Window | None:
    """The same, invariant; None where only the prompt is read, or too much beside it.

    ``judged``: after how many of the tokens logits are wanted. At the beginning of a text those
    before them are its prompt, and so is the first of them, after which the first token is chosen.
    """
    prompt = 0 if seen else tokens - judged + 1
    window = tokens - prompt
    if not 0 < window <= _WIDEST:
        return None
    queries = -(-window // _QUERIES) * _QUERIES
    start = seen + prompt
    extent = _extent(start + queries)
    return Window(_hidden(like, start, queries, extent, group), extent, prompt=prompt)


def _extent(tokens: int) -> int:
    """How far a cache is read for a text of so many tokens."""
    blocks = (tokens - 1) // _BLOCK * _BLOCK
    return blocks + next(end for end in _ENDS if blocks + end >= tokens)


def _hidden(like: torch.Tensor, start: int, queries: int, extent: int, group: int) -> torch.Tensor:
    # Added to the scores, as attention would make it of a bool mask in every layer.
    hidden = like.new_full((queries, extent), -torch.inf).triu_(diagonal=start + 1)
    return hidden.repeat(group, 1) if group > 1 else hidden
