"""What decoding costs beside time: arithmetic, memory traffic, energy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from decoders.round import Fate, Round
from pearl_eval.sizes.model_size import ModelSize


class Cost:
    """Sums what one decoder's generations cost, counted from the shapes of the models.

    Reading the prompt is left out: it costs every decoder the same, but for a draft model's share.

    Parameters
    ----------
    sizes
        Of the models, by role.
    itemsize
        Bytes of a value.
    """

    def __init__(self, sizes: Mapping[str, ModelSize], itemsize: int) -> None:
        self._sizes = sizes
        self._itemsize = itemsize
        self._new_tokens = 0
        self._joules: float | None = None
        self._flops = dict.fromkeys(sizes, 0)
        self._wasted = dict.fromkeys(sizes, 0.0)
        self._values = dict.fromkeys(sizes, 0)

    def add(
        self, prompt_tokens: int, new_tokens: int, rounds: Iterable[Round], joules: float | None
    ) -> None:
        """Count the rounds of a generation, and the energy it used if that is known.

        A target forward's wasted tokens are those of which nothing came to stay in the text: it
        gained fewer. A draft model reads about one token for each forward, and what was looked up
        after it; wasted are those of which nothing came to be in the text.
        """
        self._new_tokens += new_tokens
        if joules is not None:
            self._joules = (self._joules or 0.0) + joules
        verified = 0
        for one in rounds:
            seen = prompt_tokens + verified
            gained = one.verified_length - verified
            verified = one.verified_length
            if one.target_tokens:
                # The last token of the prompt is read for the first of the text.
                prompt = prompt_tokens - 1 if verified == gained else 0
                own = max(1, one.target_tokens - prompt)
                self._count("target", own, max(0, own - gained) / own, seen, forwards=1)
            accepted = one.fates.count(Fate.accepted)
            # Which of the drafted tokens were prepared is not known, but how many.
            used = accepted * one.prepared / one.drafted if one.drafted else 0.0
            if one.branch_forwards:
                tokens = one.branch_tokens
                self._count("draft", tokens, 1 - used / tokens, seen, one.branch_forwards)
            if one.single_forwards:
                read = one.single_forwards + sum(one.guessed)
                wasted = 1 - (accepted - used) / read
                self._count("draft", read, wasted, seen, one.single_forwards)

    def add_autoregressive(
        self, prompt_tokens: int, new_tokens: int, joules: float | None, window: int = 1
    ) -> None:
        """Count a generation that took a forward of the target for each token.

        ``window``: as many tokens as a forward reads, whatever for.
        """
        rounds = (
            Round(
                "decode",
                target_tokens=window if done else prompt_tokens - 1 + window,
                verified_length=done + 1,
            )
            for done in range(new_tokens)
        )
        self.add(prompt_tokens, new_tokens, rounds, joules)

    def _count(self, role: str, tokens: int, wasted: float, seen: int, forwards: int) -> None:
        """``wasted`` is a share of the tokens."""
        size = self._sizes.get(role)
        if size is None:
            return
        flops = size.flops(tokens, seen)
        self._flops[role] += flops
        self._wasted[role] += flops * wasted
        self._values[role] += forwards * size.values_read(tokens // forwards, seen)

    def per_token(self) -> dict[str, Any]:
        """The figures of ``summary.json``, each per generated token; energy where it is known."""
        if not self._new_tokens:
            return {}
        kinds: Sequence[tuple[str, Mapping[str, float], int]] = (
            ("flops", self._flops, 1),
            ("wasted_flops", self._wasted, 1),
            ("bytes", self._values, self._itemsize),
        )
        energy = (
            {} if self._joules is None else {"joules_per_token": self._joules / self._new_tokens}
        )
        return energy | {
            f"{role}_{kind}_per_token": unit * sums[role] / self._new_tokens
            for role in self._sizes
            for kind, sums, unit in kinds
        }
