"""What a draft model is distilled from, and how: the typed schema of ``conf/distill.yaml``."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from pearl_eval.config.schema import RuntimeConfig, open_node


class Loss(Enum):
    """What is made small: see :mod:`pearl_eval.training.losses`."""

    kl = "kl"
    total_variation = "total_variation"
    acceptance = "acceptance"
    mixed = "mixed"


@dataclass
class TextConfig:
    """The text a draft model learns from: the target's own, and any other.

    Parameters
    ----------
    prompts
        Files of prompts, as ``task=prompts`` reads them, which the target answers greedily.
    chat
        Whether a prompt that is a text is the message of a user, in the target's own chat format.
    openings
        Files of texts, as ``prompts``, with which prompts of the target's own making begin.
    own_prompts
        How many of those are drawn; half of them are messages of a user, if the target has a chat
        template that lets it write one.
    temperature
        At which they are drawn.
    texts
        Files of any text, or folders of them, which is read as it is.
    other_tokens
        Tokens that are taken of ``texts``.
    made
        Folders of ``distill`` whose texts, of the same target, are learned from as well: made by
        several machines at once, say, each with a seed of its own.
    held_back
        Files of prompts that the draft model must not have seen: what has ``overlap`` words in a
        row of one of them is left out.
    new_tokens
        Tokens that the target writes after a prompt, at most.
    longest
        Tokens of a text, at most; a longer prompt is left out.
    batch
        Texts that the target writes at once.
    tokens
        Tokens of all texts together that are enough; null: until all prompts are answered. More
        can be asked for later, of what was begun.
    """

    prompts: list[str] = field(default_factory=list)
    chat: bool = False
    openings: list[str] = field(default_factory=list)
    own_prompts: int = 0
    temperature: float = 0.8
    texts: list[str] = field(default_factory=list)
    other_tokens: int = 0
    made: list[str] = field(default_factory=list)
    held_back: list[str] = field(default_factory=list)
    overlap: int = 10
    new_tokens: int = 160
    longest: int = 512
    batch: int = 64
    tokens: int | None = None


@dataclass
class DraftConfig:
    """Shape of a draft model.

    Parameters
    ----------
    layers
        Which of the target's layers it begins as, from 0 on; null: ``depth`` of them, by
        :func:`pearl_eval.training.draft.spread`.
    depth
        How many, where ``layers`` is null.
    head
        Most frequent tokens that it can propose; null for all. The others it never proposes. Those
        of ``start`` are kept, if they are no more, and frequent ones of the text added.
    whole
        Whether its folder has the embeddings, head and tokenizer, too, which are its target's.
    start
        Folder of a draft model of the same target and layers, made before, that it goes on from;
        null: it begins as the target's layers are.
    """

    layers: list[int] | None = None
    depth: int = 4
    head: int | None = 8192
    whole: bool = True
    start: str | None = None


@dataclass
class FitConfig:
    """How the draft model is trained.

    Parameters
    ----------
    steps
        Steps of training.
    tokens
        Tokens of a step.
    matrix_lr, other_lr
        Peak learning rates of matrices (Muon) and of all else (AdamW).
    warmup
        Share of steps over which the rates rise; they fall over the rest as a cosine does.
    loss
        What is made small.
    first_choice
        Share of the loss that looks at the target's first choice alone.
    hidden
        Weight of the distance between the two models' last hidden states.
    prompt_weight
        Weight of a prompt's tokens, those that the target wrote having 1.
    bf16
        Whether products are computed in bfloat16; null: where the device computes in it.
    every
        Steps between checkpoints, at which held-out acceptance is measured.
    """

    steps: int = 2000
    tokens: int = 4096
    matrix_lr: float = 2e-3
    other_lr: float = 1e-3
    warmup: float = 0.02
    loss: Loss = Loss.kl
    first_choice: float = 0.2
    hidden: float = 0.0
    prompt_weight: float = 0.5
    bf16: bool | None = None
    every: int = 100


@dataclass
class DistillConfig:
    """A draft model for a target. ``folder`` is where it comes to be, with what it is made of."""

    pair: Any = field(default_factory=open_node)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    folder: str | None = None
    seed: int = 0
    text: TextConfig = field(default_factory=TextConfig)
    draft: DraftConfig = field(default_factory=DraftConfig)
    fit: FitConfig = field(default_factory=FitConfig)
