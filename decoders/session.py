"""A decoder at work: the models of one run, and how its prompts are decoded with them."""

from __future__ import annotations

import contextlib
import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any, ClassVar, Protocol, TypeVar, cast

import torch

from decoders.accepted_runs import accepted_runs
from decoders.generation import Generation
from decoders.model.cached_model import CachedModel
from decoders.model.tree import Tree
from decoders.model.waiting import wait_for
from decoders.overlap import Overlap
from decoders.process.clock import clock
from decoders.process.models import Models
from decoders.round import Round
from decoders.sampling.sampler import Draft, Proposer, Sampler
from decoders.sequence import Sequence


class Closable(Protocol):
    def close(self) -> object: ...


class Settings(Protocol):
    """What a session asks of its decoder, whose dataclass fields are the settings."""

    overlap: ClassVar[Overlap]
    uses_draft: ClassVar[bool]


Closed = TypeVar("Closed", bound=Closable)


class Session(ABC):
    """A decoder that was started. Subclasses write ``generate``, the algorithm itself.

    What every decoder records the same way (when rounds begin, how long they are, what became of
    their tokens, who waited) is recorded by ``rounds``, ``read``, ``draft_here`` and
    :class:`~decoders.sequence.Sequence`, so that ``generate`` need not.

    Parameters
    ----------
    decoder
        Its settings.
    models
        The pair. The target is loaded; ``load`` loads what else is needed.
    sampler
        How tokens are chosen.
    """

    #: The draft length in use, of decoders that have one.
    gamma: int | None = None
    #: What it has to go on without, such as a draft process that died; empty where nothing is.
    lost = ""

    def __init__(self, decoder: Settings, models: Models, sampler: Sampler) -> None:
        self.target = models.target
        self.sampler = sampler
        self.decoder = decoder
        self._held = contextlib.ExitStack()
        try:
            self.load(models)
        except BaseException:
            self.stop()
            raise

    def load(self, models: Models) -> None:
        """Load and start whatever is needed beside the target."""

    def hold(self, resource: Closed) -> Closed:
        """Close ``resource`` when this stops; gives it back."""
        return self._held.enter_context(contextlib.closing(resource))

    @abstractmethod
    def generate(self, sequence: Sequence) -> None:
        """Extend a sequence until it is finished, in ``self.rounds(sequence)``."""

    def explain(self, sequence: Sequence) -> None:
        """Record what is asked for only once the text is there, in a time that does not count."""

    @property
    def bytes_sent(self) -> int:
        """Bytes that have crossed to other processes and back, so far."""
        return 0

    def windows(self) -> Iterable[int]:
        """How many tokens the target's forwards may read, but for the one that reads the prompt."""
        return range(1, (self.gamma or 0) + 2)

    def prepare(self, start: int, end: int) -> None:
        """Make the models ready for a text, from a prompt of ``start`` tokens to ``end`` at most.

        What they set up for shapes of forwards that are new to them is done here, and so is no part
        of what is timed.
        """
        self.target.prepare(self.windows(), start, end)

    def ends_run(self, one: Round) -> bool:
        """Whether a run of accepted tokens ends with a round in which nothing was rejected.

        It does where the target adds a token of its own, for which nothing was drafted: see
        :func:`decoders.accepted_runs.accepted_runs`.
        """
        return one.own_tokens > 0

    def after_warmup(self, rounds: list[Round]) -> None:
        """Called once, after the first prompt, with its rounds: the place to choose settings."""

    def remember(self, prompt: Iterable[int], output: Iterable[int]) -> None:
        """An earlier attempt at the run decoded this prompt: learn what it had learned from it."""

    def settings(self) -> dict[str, Any]:
        """The decoder's settings as they are in use: where one is ``auto``, what was chosen."""
        chosen = {} if self.gamma is None else {"gamma": self.gamma}
        return asdict(cast(Any, self.decoder)) | chosen

    def with_gamma(self, gamma: int) -> Session:
        """A session with another draft length, which shares all that this one has loaded."""
        other = copy.copy(self)
        other.gamma = gamma
        return other

    def peak_memory_bytes(self) -> int:
        """Peak memory of processes other than this one, in bytes."""
        return 0

    def stop(self) -> None:
        """Free what was loaded and started. May be called more than once."""
        self._held.close()
        # A draft model in this process.
        vars(self).pop("draft", None)

    def decode(
        self, prompt: Iterable[int], max_new_tokens: int, stop_ids: Iterable[int], seed: int = 0
    ) -> Generation:
        """Decode one prompt: see :class:`~decoders.sequence.Sequence` for the parameters."""
        tokens = list(prompt)
        verifier = self.sampler.verifier(seed, len(tokens))
        sequence = Sequence(tokens, max_new_tokens, stop_ids, seed, verifier)
        self.prepare(len(tokens), len(tokens) + max_new_tokens)
        self.target.rollback(0)
        self.target.take_tokens()
        self.target.synchronize()
        start = clock()
        self.generate(sequence)
        self.target.synchronize()
        seconds = clock() - start
        self.explain(sequence)
        for one in sequence.rounds:
            one.since(start)
        assert sequence.finish_reason is not None
        return Generation(
            sequence.output,
            sequence.finish_reason,
            seconds,
            sequence.rounds,
            accepted_runs(sequence.rounds, self.ends_run),
            self.lost,
            self.target.events,
        )

    def decode_at_once(
        self,
        prompts: Iterable[tuple[list[int], int]],
        max_new_tokens: int,
        stop_ids: Iterable[int],
        at_once: int,
    ) -> list[tuple[list[int], float]]:
        """Decode prompts (tokens, seed), ``at_once`` of them at any time.

        Gives the generated tokens of each, and the seconds from its being handed over to its last
        token. Only for decoders that take several (``Decoder.takes_several``).
        """
        raise NotImplementedError("this decoder decodes one text at a time")

    def rounds(self, sequence: Sequence) -> Iterator[Round]:
        """Rounds, one after the other, until the text is finished. Each is yet to be filled in."""
        while not sequence.finished:
            before = self.bytes_sent
            yield sequence.open_round(clock())
            sequence.round.bytes_sent = self.bytes_sent - before
            sequence.round.target_tokens = self.target.take_tokens()
            self.close_round(sequence)

    def close_round(self, sequence: Sequence) -> None:
        """Record what follows from the rest of a round."""
        one, overlap = sequence.round, self.decoder.overlap
        draft, target = one.draft_seconds, one.target_seconds
        if overlap is Overlap.never:
            one.busy_seconds = draft + target
            if self.decoder.uses_draft and target:
                one.wait_draft_seconds, one.wait_target_seconds = target, draft
        elif overlap is Overlap.within_rounds:
            one.busy_seconds = max(draft, target)
            one.wait_draft_seconds = clock() - one.start - draft
        else:
            one.busy_seconds = target
        sequence.close_round()

    def read(self, sequence: Sequence, draft: Draft | None = None) -> Any:
        """One forward of the target, over what it has not seen of the text and ``draft`` after it.

        Gives what :meth:`Sequence.judge` judges by.
        """
        drafted = draft.tokens if draft else []
        one = sequence.round
        one.target_start = clock()
        logits = self.target.extend(sequence.tokens + drafted, rows=len(drafted) + 1)
        seen = sequence.verifier.read(logits, len(sequence))
        one.target_seconds = clock() - one.target_start
        return seen

    def read_tree(self, sequence: Sequence, tree: Tree, nodes: list[int]) -> torch.Tensor:
        """One forward of the target, over continuations of the text.

        Gives the logits, ``[nodes, vocab]``: see :meth:`CachedModel.extend_tree`.
        """
        one = sequence.round
        one.target_start = clock()
        logits = self.target.extend_tree(sequence.tokens, tree, nodes)
        wait_for(logits.device)
        one.target_seconds = clock() - one.target_start
        return logits

    def draft_here(
        self, sequence: Sequence, model: CachedModel, proposer: Proposer, count: int
    ) -> Draft:
        """``count`` tokens after the text, by a draft model in this process."""
        one = sequence.round
        one.draft_start = clock()
        drafted = Draft()
        for _ in range(count):
            tokens = sequence.tokens + drafted.tokens
            drafted.append(*proposer.propose(model.extend(tokens, rows=1), len(tokens)))
        one.draft_seconds = clock() - one.draft_start
        known = len(sequence)
        sequence.note_drafted(drafted, range(known, known + count))
        return drafted
