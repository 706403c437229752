"""One prompt while it is decoded: its tokens, where it ends, what became of what was drafted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import torch

from decoders.model.tree import ROOT, Branches
from decoders.round import Fate, Round
from decoders.sampling.sampler import Draft, Judgement, Rows, Verifier, no_rows

Tokens = TypeVar("Tokens", list[int], Draft)


@dataclass(frozen=True)
class TreeJudgement:
    """What became of a tree of guesses.

    ``path`` are the nodes that were accepted, ``verified`` their tokens and the target's own.
    """

    path: list[int]
    verified: list[int]


class Sequence:
    """The verified tokens of one prompt, the rule that ends them, and the rounds they came by.

    Parameters
    ----------
    prompt
        Prompt token ids, at least one.
    max_new_tokens
        Longest generation, in tokens.
    stop_ids
        Tokens that end the text; the stop token itself is kept. Empty: generate to the limit.
    seed
        What this prompt's random numbers are drawn from, if any are.
    verifier
        The target's side of sampling. Only ``judge`` needs it.
    """

    def __init__(
        self,
        prompt: Iterable[int],
        max_new_tokens: int,
        stop_ids: Iterable[int] = (),
        seed: int = 0,
        verifier: Verifier | None = None,
    ) -> None:
        self.tokens = list(prompt)
        if not self.tokens:
            raise ValueError("a prompt needs at least one token")
        if max_new_tokens < 1:
            raise ValueError(
                f"the longest generation must be at least 1 token, got {max_new_tokens}"
            )
        self.prompt_length = len(self.tokens)
        self.max_new_tokens = max_new_tokens
        self.stop_ids = frozenset(stop_ids)
        self.seed = seed
        self.finish_reason: str | None = None
        self.rounds: list[Round] = []
        self._verifier = verifier
        #: The latest token drafted for a text position: its round, and its place there.
        self._latest: dict[int, tuple[Round, int]] = {}
        #: Tokens of the present round that had been drafted.
        self._from_draft = 0

    def __len__(self) -> int:
        """Number of tokens, the prompt's included."""
        return len(self.tokens)

    @property
    def output(self) -> list[int]:
        """The tokens generated so far."""
        return self.tokens[self.prompt_length :]

    @property
    def remaining(self) -> int:
        """How many tokens may still be generated."""
        return self.max_new_tokens - (len(self.tokens) - self.prompt_length)

    @property
    def finished(self) -> bool:
        return self.finish_reason is not None

    @property
    def verifier(self) -> Verifier:
        """The target's side of sampling."""
        assert self._verifier is not None
        return self._verifier

    @property
    def round(self) -> Round:
        """The round that is under way, or the last one."""
        return self.rounds[-1]

    def until_stop(self, tokens: Tokens) -> Tokens:
        """``tokens`` up to and including the first stop token, and at most ``remaining`` of them.

        Nothing after it can become part of the text, so nothing after it need be judged.
        """
        kept = 0
        for token in islice(tokens, self.remaining):
            kept += 1
            if token in self.stop_ids:
                break
        return tokens[:kept]

    def append(self, tokens: list[int]) -> None:
        """Add verified tokens; the text ends at a stop token or at its limit."""
        kept = self.until_stop(tokens)
        self.tokens += kept
        if kept and kept[-1] in self.stop_ids:
            self.finish_reason = "stop"
        elif self.remaining == 0:
            self.finish_reason = "length"

    def judge(self, seen: Any, draft: Draft, rows: Rows = no_rows) -> Judgement:
        """Judge drafted tokens that follow the text, and record what becomes of them.

        Parameters
        ----------
        seen
            What the target makes of the text and the draft: see :meth:`Verifier.read`.
        draft
            The tokens. What follows the text's end among them is not judged.
        rows
            Distributions that they were drawn from: see :meth:`Verifier.judge`.
        """
        judgement = self.verifier.judge(seen, self.until_stop(draft), rows)
        self.note_judged(len(self), len(judgement.accepted), judgement.judged)
        return judgement

    def judge_tree(self, logits: torch.Tensor, branches: Branches) -> TreeJudgement:
        """Judge the guesses of a tree that follow the text, and record what becomes of them.

        The target chooses once for each position, whatever was guessed there, and follows the
        guesses that agree: so what it chooses does not depend on them.

        Parameters
        ----------
        logits
            Row 0 is the target's prediction after the text, row i + 1 that after node i.
        branches
            The guesses.
        """
        tree, guesses = branches.tree, list(branches.depth_first())
        node, path, rejected, verified = ROOT, list[int](), set[int](), list[int]()
        judged = 0
        while True:
            row = logits[node + 1 : node + 2]
            verified.append(self.verifier.choose(row, len(self) + len(path)))
            children = branches.after(node)
            judged += bool(children)
            rejected.update(children.values())
            if verified[-1] not in children:
                break
            node = children[verified[-1]]
            path.append(node)
        positions = [len(self) + tree.depths[one] - 1 for one in guesses]
        self.note_drafted([tree.tokens[one] for one in guesses], positions)
        fates = dict.fromkeys(rejected, Fate.rejected) | dict.fromkeys(path, Fate.accepted)
        self.round.fates = [fates.get(one, Fate.discarded).value for one in guesses]
        self.round.judged += judged
        self.round.accepted += len(path)
        self._from_draft += len(path)
        return TreeJudgement(path, verified)

    def take(self, draft: Draft) -> None:
        """Add drafted tokens to the text as they are, without asking the target."""
        for position in range(len(self), len(self) + len(draft)):
            one, place = self._latest[position]
            one.fates[place] = Fate.accepted.value
        self._from_draft += len(draft)
        self.append(draft.tokens)

    def note_drafted(self, tokens: Iterable[int], positions: Iterable[int]) -> None:
        """Record tokens that were drafted in this round, for these positions of the text."""
        one = self.round
        for token, position in zip(tokens, positions, strict=True):
            self._latest[position] = (one, len(one.drafted_ids))
            one.drafted_ids.append(token)
            one.drafted_at.append(position - self.prompt_length)
            one.fates.append(Fate.discarded.value)
        one.drafted = len(one.drafted_ids)

    def note_judged(self, start: int, accepted: int, judged: int) -> None:
        """Record that the tokens last drafted for positions from ``start`` on were judged.

        The first ``accepted`` of the ``judged`` ones were accepted. Those that are not in the text
        yet are about to be. Where the text has tokens in their places already, the target chose
        those without them, and they were but compared.
        """
        self.round.judged += judged
        self.round.accepted += accepted
        if start >= len(self):
            self._from_draft += accepted
        else:
            self.round.compared += judged
            self.round.compared_accepted += accepted
        for index in range(judged):
            one, place = self._latest[start + index]
            one.fates[place] = (Fate.accepted if index < accepted else Fate.rejected).value

    def open_round(self, start: float) -> Round:
        """Begin a round, at a time of the clock."""
        self._from_draft = 0
        self.rounds.append(Round(start=start))
        return self.round

    def close_round(self) -> None:
        """End the round: its tokens are known."""
        before = self.rounds[-2].verified_length if len(self.rounds) > 1 else 0
        self.round.verified_length = len(self) - self.prompt_length
        self.round.own_tokens = self.round.verified_length - before - self._from_draft
