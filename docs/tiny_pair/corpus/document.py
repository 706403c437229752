"""The unit of training text, and the rule that keeps held-out problems out of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

EOS = "<|eos|>"
PAD = "<|pad|>"
SYSTEM = "<|system|>"
USER = "<|user|>"
ASSISTANT = "<|assistant|>"
END = "<|end|>"
SPECIAL_TOKENS = (EOS, PAD, SYSTEM, USER, ASSISTANT, END)

HELD_OUT_ONE_IN = 12


@dataclass(frozen=True)
class Document:
    """One training text: ``prompt + completion + <|eos|>``.

    Parameters
    ----------
    kind : str
        Which generator made it, for example ``"function"``.
    prompt : str
        What a task would give to the model. Empty for running text.
    completion : str
        What the model should answer.
    """

    kind: str
    prompt: str
    completion: str

    @property
    def text(self) -> str:
        """The document as it is trained on, end-of-text token included."""
        return f"{self.prompt}{self.completion}{EOS}"


def held_out(key: str) -> bool:
    """Whether the problem ``key`` belongs to the held-out set.

    Decided by a hash of what the problem *is* (not of its wording or of the seed), so that no
    seed, order or later change of the mixture can leak a held-out problem into training.
    """
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:4], "big") % HELD_OUT_ONE_IN == 0
