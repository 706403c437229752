"""Decoders with planted faults. Also what a user's own decoder looks like: a class and a YAML."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from decoders.autoregressive import Autoregressive
from decoders.pearl import Pearl
from decoders.round import Round
from decoders.sequence import Text


@dataclass
class Liar(Autoregressive):
    """Autoregressive, but for a wrong token every so often."""

    every: int = 10

    def rounds(self, text: Text) -> Iterator[Round]:
        for index, one in enumerate(super().rounds(text)):
            if index % self.every == self.every - 1:
                text.tokens[-1] = (text.tokens[-1] + 1) % 256
            yield one


@dataclass
class DraftKiller(Pearl):
    """PEARL whose draft process gets a signal in the middle of a prompt."""

    after: int = 2
    how: int = 9

    def rounds(self, text: Text) -> Iterator[Round]:
        self.after -= 1
        for one in super().rounds(text):
            if self.after < 0:
                os.kill(self.drafter.pid, self.how)
            yield one
