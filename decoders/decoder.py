"""What a decoder is: settings, rounds, and the generation they add up to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import Enum
from typing import Any, ClassVar, cast

from decoders.accepted_runs import accepted_runs
from decoders.model.architecture import Architecture
from decoders.model.cached_model import CachedModel
from decoders.model.reading import Event
from decoders.process.clock import clock
from decoders.process.models import Models
from decoders.round import Round
from decoders.sampling.sampler import Sampler, Verifier
from decoders.schedule import Schedule, describe
from decoders.sequence import Text


@dataclass(frozen=True)
class Generation:
    """The output of one prompt and how it came about. Times are in seconds.

    ``events`` are what the target's forwards read, so that they can be made again; none where that
    is not known.
    """

    output_ids: list[int]
    finish_reason: str
    seconds: float
    rounds: list[Round]
    accepted_runs: list[int]
    events: Sequence[Event] = field(default=(), compare=False, repr=False)

    @property
    def seconds_prefill(self) -> float:
        """Duration of the first target forward, the one that reads the prompt."""
        return next((r.target_seconds for r in self.rounds if r.target_seconds), 0.0)

    @property
    def target_forwards(self) -> int:
        return sum(r.target_seconds > 0 for r in self.rounds)

    @property
    def draft_forwards(self) -> int:
        """Forwards of a draft model: one for each token it drafted."""
        return sum(r.drafted for r in self.rounds if r.draft_seconds > 0)


class Overlap(Enum):
    """When the draft model and the target work at the same time."""

    #: They take turns: while one works, the other waits.
    never = "never"
    #: In every round they start together, and the round ends when both are done.
    within_rounds = "within rounds"
    #: The draft model works on, whatever round the target is at.
    across_rounds = "across rounds"


class Decoder(ABC):
    """A way to decode. Subclasses are dataclasses: their fields are their settings.

    ``start`` gets the models ready once per run, ``decode`` runs once per prompt, ``stop`` frees
    what ``start`` took. A subclass writes ``rounds``, the algorithm itself.
    """

    #: Whether the output is the target's own; if not, differences are counted, not refused.
    lossless: ClassVar[bool] = True
    #: Whether the decoder uses the draft model at all.
    uses_draft: ClassVar[bool] = True
    #: Whether it reads a text anew once that has outgrown a model's first set of rotations, as
    #: ``CachedModel.extend`` does (see ``Architecture.rope_switch``).
    follows_rope_switch: ClassVar[bool] = True
    #: Whether its two models work at the same time.
    overlap: ClassVar[Overlap] = Overlap.never
    #: Its idea in a few words, for pictures.
    idea: ClassVar[str] = ""

    target: CachedModel
    sampler: Sampler
    #: The target's side of sampling, for the prompt being decoded.
    verifier: Verifier
    #: The seed of that prompt.
    seed: int
    #: The draft length in use, of decoders that have one.
    chosen_gamma: int

    @property
    def draft_ends(self) -> int:
        """At how many ends of the target there is a copy of the draft model.

        0: where there is one, it has a place of its own.
        """
        return 0

    def simulated_as(self) -> Schedule | None:
        """Which model runs when, so that it can be predicted how fast this is.

        ``None``: it is not predicted. A subclass with other rounds says so here, too.
        """
        return None

    def describe(self) -> dict[str, Any]:
        """What the files of a run say of a decoder beside its settings."""
        schedule = self.simulated_as()
        return {
            "idea": self.idea,
            "overlap": self.overlap.value,
            "draft_ends": self.draft_ends,
            "schedule": None if schedule is None else describe(schedule),
        }

    def check(self, sampler: Sampler) -> None:
        """Raise ValueError for a sampling rule that can't be followed.

        Called before weights are loaded.
        """

    def check_target(self, target: Architecture) -> None:
        """Raise ValueError for a target model that can't be decoded this way.

        Called before weights are loaded.
        """

    def start(self, models: Models, sampler: Sampler) -> None:
        """Get ready to decode prompts with these models."""
        self.target = models.target
        self.sampler = sampler

    def windows(self) -> Iterable[int]:
        """How many tokens the target's forwards may read, but for the one that reads the prompt."""
        return range(1, getattr(self, "chosen_gamma", 0) + 2)

    def prepare(self, start: int, end: int) -> None:
        """Make the models ready for a text, from a prompt of ``start`` tokens to ``end`` at most.

        What they set up for shapes of forwards that are new to them is done here, and so is no part
        of what is timed.
        """
        self.target.prepare(self.windows(), start, end)

    @abstractmethod
    def rounds(self, text: Text) -> Iterator[Round]:
        """Extend ``text`` until it is finished, giving each round when it is over.

        Times of a round's events are given as read from ``clock``.
        """

    def ends_run(self, one: Round) -> bool:
        """Whether a run of accepted tokens ends with a round in which nothing was rejected.

        It does where the target adds a token of its own after the block, for which nothing was
        drafted: see :func:`decoders.accepted_runs.accepted_runs`.
        """
        return True

    def after_warmup(self, rounds: list[Round]) -> None:
        """Called once, after the first prompt, with its rounds: the place to choose settings."""

    def settings(self) -> dict[str, Any]:
        """The decoder's settings as they are in use: where one is ``auto``, what was chosen."""
        chosen = {"gamma": self.chosen_gamma} if hasattr(self, "chosen_gamma") else {}
        return asdict(cast(Any, self)) | chosen

    def with_settings(self, settings: Mapping[str, Any]) -> Decoder:
        """Such a decoder with what another's ``settings`` say; for one that was not started."""
        names = {one.name for one in fields(cast(Any, self))}
        own = {name: value for name, value in settings.items() if name in names}
        return cast(Decoder, replace(cast(Any, self), **own))

    def stop(self) -> None:
        """Free what ``start`` took. May be called more than once."""

    def peak_memory_bytes(self) -> int:
        """Peak memory of processes other than this one, in bytes."""
        return 0

    def decode(
        self, prompt: Sequence[int], limit: int, stop_ids: Sequence[int], seed: int = 0
    ) -> Generation:
        """Decode one prompt.

        Parameters
        ----------
        prompt
            Prompt token ids.
        limit
            Longest generation, in tokens.
        stop_ids
            Tokens that end the text.
        seed
            What random numbers are drawn from, if any are.
        """
        text = Text(prompt, limit, stop_ids)
        self.prepare(len(prompt), len(prompt) + limit)
        self.seed = seed
        self.verifier = self.sampler.verifier(seed, len(text.tokens))
        self.target.rollback(0)
        self.target.take_tokens()
        self.target.synchronize()
        start = clock()
        rounds = list(self.rounds(text))
        self.target.synchronize()
        seconds = clock() - start
        for one in rounds:
            one.since(start)
        assert text.finish_reason is not None
        return Generation(
            text.output,
            text.finish_reason,
            seconds,
            rounds,
            accepted_runs(rounds, self.ends_run),
            self.target.events,
        )
