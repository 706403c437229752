"""What a decoder is: its settings, and what it becomes when a run starts it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, ClassVar, cast

from decoders.model.architecture import Architecture
from decoders.overlap import Overlap
from decoders.process.models import Models
from decoders.sampling.sampler import BLOCK, Sampler
from decoders.schedule import Schedule, describe
from decoders.session import Session


class Decoder(ABC):
    """A way to decode. Subclasses are dataclasses: their fields are its settings.

    ``start`` makes a :class:`~decoders.session.Session` of them, which holds the models of one run
    and decodes its prompts. So a decoder is two classes in one file, and one YAML.
    """

    #: Whether the output is the target's own; if not, differences are counted, not refused.
    lossless: ClassVar[bool] = True
    #: Whether the decoder uses the draft model at all.
    uses_draft: ClassVar[bool] = True
    #: Whether its two models work at the same time.
    overlap: ClassVar[Overlap] = Overlap.never
    #: Whether it reads a text anew once that has outgrown a model's first set of rotations, as
    #: ``CachedModel.extend`` does (see ``Architecture.rope_switch``).
    follows_rope_switch: ClassVar[bool] = True
    #: Whether it decodes several texts at once: see ``Session.decode_at_once``.
    takes_several: ClassVar[bool] = False
    #: What of it does not go with ``sampling.verification=block``, as in ``PearlAsync ...``; empty
    #: where it judges by ``Sequence.judge`` what it drew from the draft model's distributions.
    no_blocks: ClassVar[str] = ""
    #: Whether its draft model has a vocabulary of its own, other than the target's.
    other_vocabulary: ClassVar[bool] = False
    #: Whether the target drafts by layers of its own, so that models whose tokens are made up,
    #: whatever their layers say, have nothing to draft by.
    drafts_itself: ClassVar[bool] = False
    #: Its idea in a few words, for pictures.
    idea: ClassVar[str] = ""

    @property
    def draft_ends(self) -> int:
        """At how many ends of the target there is a copy of the draft model.

        0: where there is one, it has a place of its own.
        """
        return 0

    @property
    def engine(self) -> str:
        """What computes the target."""
        return "transformers"

    @property
    def ranks(self) -> int:
        """How many processes compute the target together, each with a share of every layer."""
        return 1

    @property
    def engine_gpus(self) -> int:
        """GPUs that an engine in processes of its own computes the target on, where there are any.

        0: the target is computed in the run's own process.
        """
        return 0

    @property
    def memory_share(self) -> float:
        """The share of each of its GPUs' memory that what computes the target may take."""
        return 1.0

    def gpus(self, target: int, draft: int) -> tuple[int, int]:
        """GPUs for the target, and further ones for the draft model, where a pair's need so many.

        A decoder in an engine that spreads the target by itself says how many that has.
        """
        return target, draft if self.uses_draft and not self.draft_ends else 0

    @property
    def knows(self) -> str | None:
        """A file of text that it has read before the first prompt, if there is one.

        Nothing of what is decoded may be in it.
        """
        return None

    def reference(self) -> Decoder | None:
        """What a run is measured against, where that isn't autoregressive decoding as it is here.

        A decoder in another engine has that engine's own decoding for its reference, with the same
        settings and devices.
        """
        return None

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
            "engine": self.engine,
            "overlap": self.overlap.value,
            "draft_ends": self.draft_ends,
            "schedule": None if schedule is None else describe(schedule),
        }

    def check(self, sampler: Sampler) -> None:
        """Raise ValueError for a sampling rule that can't be followed.

        Called before weights are loaded.
        """
        if self.no_blocks and sampler.verification == BLOCK:
            raise ValueError(
                f"sampling.verification=block: {type(self).__name__} {self.no_blocks}; take"
                " sampling.verification=token, or a decoder that judges by the ratio rule"
                " (speculative, pearl)"
            )

    def check_here(self) -> None:
        """Raise ValueError where what it runs in is not installed.

        Called before weights are loaded, where it is to run; not where only its cost is asked for.
        """

    def check_target(self, target: Architecture) -> None:
        """Raise ValueError for a target model that can't be decoded this way.

        Called before weights are loaded.
        """

    def check_draft(self, draft: Architecture) -> None:
        """Raise ValueError for a draft model that can't draft this way.

        Called before weights are loaded.
        """

    @abstractmethod
    def start(self, models: Models, sampler: Sampler) -> Session:
        """Get ready to decode prompts with these models."""

    def with_settings(self, settings: Mapping[str, Any]) -> Decoder:
        """Such a decoder with what another's ``settings`` say."""
        names = {one.name for one in fields(cast(Any, self))}
        own = {name: value for name, value in settings.items() if name in names}
        return cast(Decoder, replace(cast(Any, self), **own))
