"""Lookahead decoding: n-grams of the target's own, without a draft model (Fu et al., ICML 2024)."""

from __future__ import annotations

from collections import abc
from dataclasses import dataclass

from decoders.decoder import Decoder
from decoders.model.architecture import Architecture
from decoders.model.tree import ROOT, Branches, Tree
from decoders.process.models import Models
from decoders.sampling.sampler import Sampler
from decoders.sequence import Sequence
from decoders.session import Session


@dataclass
class Lookahead(Decoder):
    """Guess by Jacobi iteration, and verify the guesses in the same target forward.

    A forward reads, after the text, a lookahead branch and a verification branch (paper, section
    3). The first is a window of tokens that are not there yet, kept as they were in the last
    ``ngram`` - 1 iterations; reading it gives one new n-gram for each of its columns. The second is
    every guess: the rest of each n-gram in the pool that starts with the text's last token.

    Parameters
    ----------
    window
        W, how many positions the lookahead branch looks ahead; at least 1.
    ngram
        N, tokens of an n-gram, of which N - 1 are guessed; at least 2.
    guesses
        G, most n-grams that are verified in one forward, and that are kept for one first token; at
        least 1.
    """

    uses_draft = False
    # A tree may have texts of both sides of the switch.
    follows_rope_switch = False
    no_blocks = "judges guesses that were drawn from no distribution, and so by no ratio"
    # Not simulated: it has no drafted tokens with an acceptance rate, but a pool of n-grams.
    idea = "the target guesses for itself, and judges the guesses in its next forward"

    window: int = 5
    ngram: int = 4
    guesses: int = 5

    def __post_init__(self) -> None:
        for name, least, meaning in (
            ("window", 1, "the positions looked ahead (W)"),
            ("ngram", 2, "the tokens of an n-gram (N)"),
            ("guesses", 1, "the n-grams verified in a forward (G)"),
        ):
            value = getattr(self, name)
            if value < least:
                raise ValueError(
                    f"decoder.{name} is {meaning} and must be at least {least}, got {value}"
                )

    def check_target(self, target: Architecture) -> None:
        if target.no_trees:
            raise ValueError(
                "lookahead decoding reads a tree of guesses in one forward, which this"
                f" target ({target.name}) can't: {target.no_trees}; choose another decoder"
            )

    def start(self, models: Models, sampler: Sampler) -> Session:
        return LookaheadSession(self, models, sampler)


class LookaheadSession(Session):
    """Holds the target alone; each prompt has a pool of n-grams and a window of its own."""

    decoder: Lookahead

    def generate(self, sequence: Sequence) -> None:
        size, ngram = self.decoder.window, self.decoder.ngram
        pool = Pool(self.decoder.guesses)
        window = LookaheadWindow(sequence.tokens, size, ngram)
        for one in self.rounds(sequence):
            last = sequence.tokens[-1]
            tree = Tree()
            branches = Branches(tree)
            for guess in pool.after(last):
                # The target adds one token itself, so the last of the text need not be guessed.
                branches.add(sequence.until_stop(guess[: sequence.remaining - 1]))
            guessed = len(tree)
            one.mode = "verify" if guessed else "decode"
            # What is further ahead than the text goes on is of no use to it.
            looks_ahead = sequence.remaining > size + ngram - 2
            newest = window.add_to(tree) if looks_ahead else []
            logits = self.read_tree(sequence, tree, [ROOT, *range(guessed), *newest])
            if looks_ahead:
                # Under sampling, too, the window takes the most probable: as the authors' code.
                results = logits[1 + guessed :].argmax(dim=-1).tolist()
                pool.add(window.step(last, results))
            judgement = sequence.judge_tree(logits, branches)
            self.target.keep(len(sequence), judgement.path)
            # What that moves is none of the next forward's time.
            self.target.synchronize()
            sequence.append(judgement.verified)


class Pool:
    """The n-grams of one prompt, by their first token; of each, the last ``most`` that were seen.

    Parameters
    ----------
    most
        How many n-grams are kept for one first token.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._rests: dict[int, list[list[int]]] = {}

    def add(self, ngrams: abc.Sequence[tuple[int, ...]]) -> None:
        """Add n-grams; the least recently added ones make room for them."""
        for first, *rest in ngrams:
            kept = self._rests.setdefault(first, [])
            if rest in kept:
                kept.remove(rest)
            kept.append(rest)
            del kept[: -self._most]

    def after(self, first: int) -> list[list[int]]:
        """What followed this token in the n-grams that start with it, the latest first."""
        return self._rests.get(first, [])[::-1]


class LookaheadWindow:
    """The lookahead branch: N - 1 levels of W tokens, one level for each of the last iterations.

    Level j, column i is a guess at the text position i + j after the last token. It attends to the
    oldest level up to its column, and to its own column in the levels up to its own: so a column,
    read downwards, is a text that the target itself went on with.

    Parameters
    ----------
    prompt
        Token ids; the first guesses are the prompt's own, from its beginning on.
    size
        W.
    ngram
        N.
    """

    def __init__(self, prompt: abc.Sequence[int], size: int, ngram: int) -> None:
        self._levels = [
            [prompt[(level + column) % len(prompt)] for column in range(size)]
            for level in range(ngram - 1)
        ]

    def add_to(self, tree: Tree) -> list[int]:
        """Add the window to a tree; gives the nodes of the newest level, by column.

        The oldest level's first column is the text's last token itself.
        """
        nodes = [ROOT]
        for token in self._levels[0][1:]:
            nodes.append(tree.add(token, nodes[-1]))
        for level in self._levels[1:]:
            nodes = [tree.add(token, above) for token, above in zip(level, nodes, strict=True)]
        return nodes

    def step(self, last: int, results: list[int]) -> list[tuple[int, ...]]:
        """Drop the oldest level and add the newest; gives the n-gram of each column.

        Parameters
        ----------
        last
            The text's last token when the window was read.
        results
            What the target predicts after each token of the newest level.
        """
        oldest, *others = self._levels
        ngrams = list(zip([last, *oldest[1:]], *others, results, strict=True))
        # However many tokens were accepted, the window moves on by one, as in the authors' code.
        self._levels = [*others, results]
        return ngrams
