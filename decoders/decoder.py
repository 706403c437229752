"""What a decoder is: its settings, and what it becomes when a run starts it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, cast

from decoders.model.architecture import Architecture
from decoders.process.models import Models
from decoders.sampling.sampler import Sampler

if TYPE_CHECKING:
    from decoders.session import Session


class Overlap(Enum):
    """When the draft model and the target work at the same time."""

    #: They take turns: while one works, the other waits.
    never = "never"
    #: In every round they start together, and the round ends when both are done.
    within_rounds = "within rounds"
    #: The draft model works on, whatever round the target is at.
    across_rounds = "across rounds"


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

    def check(self, sampler: Sampler) -> None:
        """Raise ValueError for a sampling rule that can't be followed.

        Called before weights are loaded.
        """

    def check_target(self, target: Architecture) -> None:
        """Raise ValueError for a target model that can't be decoded this way.

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
