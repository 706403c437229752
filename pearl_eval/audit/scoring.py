"""What the target gives for every token of many texts, by forwards over whole texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from decoders.model.cache import RollbackCache
from decoders.model.cached_model import CachedModel
from pearl_eval.checks.rounding import CHUNK

#: Tokens that are read in one forward, of all texts of a batch together.
_TOKENS = 4096
#: Logits that one forward may give, which bounds its memory: 512 MiB in float64.
_CELLS = 2**26


@dataclass(frozen=True)
class Span:
    """Where of which text it is: prompt and output, and where the output begins."""

    text: Sequence[int]
    begin: int


@dataclass(frozen=True)
class Piece:
    """Logits for some tokens of the output of a text, those from ``start`` of the output on.

    ``rows`` are ``[tokens, vocab]``. The last row of a text's last piece is for what follows it.
    """

    index: int
    start: int
    rows: torch.Tensor


class Scorer:
    """Reads texts, in higher precision than the run's.

    Texts of about the same length are read together, each filled up at its end: what comes after a
    token changes nothing for it. Where that would be too much for one forward, they are read a part
    after the other, with a cache.

    Parameters
    ----------
    target
        The target model, with the layers of transformers.
    """

    def __init__(self, target: CachedModel) -> None:
        self._wide = target.in_higher_precision()
        self._room = max(1, min(_TOKENS, _CELLS // target.vocab_size))

    @torch.inference_mode()
    def pieces(self, spans: Sequence[Span]) -> Iterator[Piece]:
        """The logits of all outputs, piece by piece; those of one text in its order."""
        if not self._wide.one_forward:
            for index, span in enumerate(spans):
                yield from self._alone(index, span)
            return
        for batch in batches([len(span.text) for span in spans], self._room):
            yield from self._together(batch, [spans[index] for index in batch])

    def _together(self, indexes: Sequence[int], spans: Sequence[Span]) -> Iterator[Piece]:
        longest = max(len(span.text) for span in spans)
        ids = torch.zeros(len(spans), longest, dtype=torch.long)
        for row, span in enumerate(spans):
            ids[row, : len(span.text)] = torch.tensor(span.text)
        cache = RollbackCache(len(self._wide.cache.layers), longest)
        width = max(1, self._room // len(spans))
        first = min(span.begin for span in spans) - 1
        for start in range(0, longest, width):
            end = min(start + width, longest)
            # What the prompts' own tokens would give is not asked for.
            begin = min(max(start, first), end - 1)
            part = ids[:, start:end].to(self._wide.device)
            logits = self._wide.read_batch(part, cache, end - begin)
            for row, (index, span) in enumerate(zip(indexes, spans, strict=True)):
                low, high = max(begin, span.begin - 1), min(end, len(span.text))
                if low < high:
                    rows = logits[row, low - begin : high - begin]
                    yield Piece(index, low - span.begin + 1, rows)

    def _alone(self, index: int, span: Span) -> Iterator[Piece]:
        """A text whose length decides how its tokens are read."""
        text = list(span.text)
        self._wide.rollback(0)
        for start in range(0, len(text), CHUNK):
            end = min(start + CHUNK, len(text))
            logits = self._wide.extend(text[:end], end - start)
            low = max(start, span.begin - 1)
            if low < end:
                yield Piece(index, low - span.begin + 1, logits[low - start :])


def batches(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Indexes of texts that are read together: of like lengths, the longest first.

    Filled up to its longest, no batch of several has more than ``room`` tokens.
    """
    found: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda one: (-lengths[one], one)):
        if found and (len(found[-1]) + 1) * lengths[found[-1][0]] <= room:
            found[-1].append(index)
        else:
            found.append([index])
    return found
