"""A draft and what is drafted after other tokens at its places, in one tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from decoders.adaptive.alternatives import RANKS, Alternative, SideDrafts
from decoders.model.cached_model import CachedModel
from decoders.model.tree import ROOT, Tree
from decoders.sampling.sampler import Proposer


@dataclass(slots=True)
class SideDraft:
    """What is drafted after an alternative: the ``token`` that it is, at a ``place`` of the draft,
    and the drafted ones, with the draft model's probability of each and the logits, ``[1, vocab]``,
    that each was chosen from."""

    place: int
    token: int
    #: Of ``token`` and of the drafted ones but the last, which is yet to be read.
    nodes: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    rows: list[torch.Tensor] = field(default_factory=list)


class Fork:
    """The draft after a text of ``known`` tokens, and continuations that leave it.

    ``preparation`` says which; ``proposer`` chooses their tokens.
    """

    def __init__(self, known: int, preparation: SideDrafts, proposer: Proposer) -> None:
        self._known, self._proposer = known, proposer
        self.preparation = preparation
        self._tree = Tree()
        self._line: list[int] = []
        #: The draft model's likeliest other tokens, by place.
        self._others: dict[int, list[int]] = {}
        self._continuations: dict[Alternative, SideDraft] = {}

    def grow(
        self,
        model: CachedModel,
        draft: Sequence[int],
        rows: Sequence[torch.Tensor | None],
        chosen: Sequence[Alternative],
    ) -> tuple[torch.Tensor, list[SideDraft]]:
        """One forward, after the ``draft`` and for what was ``chosen``.

        ``rows``: logits that the draft's tokens were chosen from, ``None`` where they were not
        kept. Gives the logits after the draft, and the continuations with a token more.
        """
        for token in draft[len(self._line) :]:
            self._line.append(self._tree.add(token, self._line[-1] if self._line else ROOT))
        there = [one for one in chosen if self._reaches(one, draft, rows)]
        longer = [self._continuations[one] for one in there]
        for one in longer:
            if one.nodes:
                one.nodes.append(self._tree.add(one.tokens[-1], one.nodes[-1]))
            else:
                parent = self._line[one.place - 1] if one.place else ROOT
                one.nodes.append(self._tree.add(one.token, parent))
        nodes = [self._line[-1], *(one.nodes[-1] for one in longer)]
        logits = model.grow_tree(self._known, self._tree, nodes)
        for index, one in enumerate(longer, 1):
            row = logits[index : index + 1]
            token, _ = self._proposer.propose(row, self._known + one.place + 1 + len(one.tokens))
            one.tokens.append(token)
            one.confidences.append(self._proposer.confidence(row, token))
            one.rows.append(row)
        self.preparation.lengthened(there)
        return logits[:1], longer

    def _reaches(
        self, one: Alternative, draft: Sequence[int], rows: Sequence[torch.Tensor | None]
    ) -> bool:
        """Whether there is such a token; it has a continuation then."""
        if one in self._continuations:
            return True
        place, row = one.place, rows[one.place]
        if place not in self._others:
            likely = self._proposer.likely
            found = [] if row is None else likely(row, self._known + place, RANKS, draft[place])
            self._others[place] = found
        tokens = self._others[place]
        if one.rank >= len(tokens):
            self.preparation.drop(one)
            return False
        self._continuations[one] = SideDraft(place, tokens[one.rank])
        return True

    def settle(self, model: CachedModel, agreed: int, token: int | None) -> SideDraft | None:
        """After ``agreed`` tokens of the draft, which are the target's own, came ``token`` instead
        of the next; ``None``: the draft is right as far as it goes.

        Gives the continuation for that, if there is one. Then the model's cache holds, in its
        order, what it had read of the text with it.
        """
        found = None
        if token is None:
            agreed = len(self._line)
        elif (others := self._others.get(agreed)) is not None:
            self.preparation.came(others.index(token) if token in others else None)
            at_place = (one for one in self._continuations.values() if one.place == agreed)
            found = next((one for one in at_place if one.token == token), None)
        if self.preparation.begun:
            # The draft's own tokens were read as the tree's, too.
            nodes = self._line[:agreed] + (found.nodes if found else [])
            read = model.length - self._known
            model.keep(self._known, [node for node in nodes if node < read])
        return found
