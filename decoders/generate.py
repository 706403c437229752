"""transformers' own ``generate``: its decoding loops, run and measured as ours are."""

from __future__ import annotations

import contextlib
import random
from collections import abc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import GenerationConfig, LogitsProcessor
from transformers.generation.streamers import BaseStreamer

from decoders.decoder import Decoder
from decoders.model.cached_model import CachedModel
from decoders.model.reading import Reading
from decoders.process.clock import clock
from decoders.process.models import Models
from decoders.sampling.sampler import Sampler, common_length
from decoders.sampling.temperature import Temperature, Warping, check_library
from decoders.schedule import Alone, Schedule
from decoders.sequence import Sequence
from decoders.session import Session


@dataclass
class Generate(Decoder):
    """transformers' ``generate`` of the target alone, one forward per token.

    Its caches are the library's own, its tokens and times come from hooks around the forwards.
    Subclasses choose another of its decoding loops by their ``arguments``.
    """

    uses_draft = False
    follows_rope_switch = False
    no_blocks = "takes its tokens from transformers' generate, which judges by a rule of its own"
    idea = "transformers' own loop, a forward for each token"

    def simulated_as(self) -> Schedule | None:
        return Alone(library=True)

    def check(self, sampler: Sampler) -> None:
        super().check(sampler)
        check_library(sampler, "transformers' generate")

    def start(self, models: Models, sampler: Sampler) -> Session:
        self.check(sampler)
        return GenerateSession(self, models, sampler)


class GenerateSession(Session):
    """Holds the target, and the draft model of decoders that have one, as the library runs them."""

    draft: CachedModel | None = None

    def arguments(self) -> dict[str, Any]:
        """What ``generate`` is given beside the text and the settings every loop shares."""
        return {}

    def own_settings(self) -> GenerationConfig:
        """What the target's generation config says while it generates."""
        return GenerationConfig()

    @property
    def drafting(self) -> bool:
        """Whether the target's forward under way is one that drafts."""
        return False

    def prepare(self, start: int, end: int) -> None:
        """The library runs forwards of its own, of no fixed shape."""

    def generate(self, sequence: Sequence) -> None:
        model = cast(Any, self.target.model)
        ids = torch.tensor([sequence.tokens], device=self.target.device)
        if self.draft:
            self.draft.rollback(0)
        watch = Watch(sequence, self)
        # No pad_token_id: the assistant model would not attend to such tokens in the text itself.
        with watch, _with_settings(model, self.own_settings()), self._seeded(sequence.seed):
            model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=sequence.remaining,
                eos_token_id=sorted(sequence.stop_ids) or None,
                streamer=watch,
                **self._sampling(),
                **self.arguments(),
            )

    def _sampling(self) -> dict[str, Any]:
        if not self.sampler.random:
            return {"do_sample": False}
        # Not as settings: transformers (5.23) hands the warpers it makes of those to the assistant
        # model, which makes them again, and so warps its distribution twice.
        return {"do_sample": True, "top_k": 0, "logits_processor": self.warpers()}

    def warpers(self) -> list[LogitsProcessor]:
        """What makes of logits those that are sampled from."""
        own = self.sampler
        if not isinstance(own, Temperature):
            return []
        return [_Warp(Warping(own.temperature, own.top_k, own.top_p))]

    @contextlib.contextmanager
    def _seeded(self, seed: int) -> Iterator[None]:
        """Draw torch's random numbers from a prompt's seed, and leave its state as it was."""
        models = [model for model in (self.target, self.draft) if model]
        devices = {model.device for model in models if model.device.type == "cuda"}
        with torch.random.fork_rng(sorted(devices, key=str)):
            torch.manual_seed(random.Random(f"generate {seed}").getrandbits(63))
            yield


class _Warp(LogitsProcessor):
    def __init__(self, warping: Warping) -> None:
        self._warping = warping

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return self._warping(scores)


@contextlib.contextmanager
def _with_settings(model: Any, settings: GenerationConfig) -> Iterator[None]:
    """Keep settings that a model comes with (a temperature, a penalty) from being filled in."""
    own, model.generation_config = model.generation_config, settings
    try:
        yield
    finally:
        model.generation_config = own


class Watch(BaseStreamer):
    """Sees one ``generate`` from within: makes rounds of its forwards, adds its tokens to the text.

    transformers gives it the prompt, then what each forward of the target verified.
    """

    def __init__(self, sequence: Sequence, session: GenerateSession) -> None:
        self._sequence = sequence
        self._session = session
        self._target = Forwards(session.target, lambda: session.drafting)
        self._draft = Forwards(session.draft) if session.draft else None
        self._hooks = contextlib.ExitStack()
        self._prompt_seen = False
        self._start = clock()

    def __enter__(self) -> Watch:
        for forwards in (self._target, self._draft):
            if forwards:
                self._hooks.enter_context(forwards.hooked())
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.close()

    def put(self, value: torch.Tensor) -> None:
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        sequence, known = self._sequence, len(self._sequence)
        verified = value.flatten().tolist()
        guesses = self._target.last_read(self._target.length - known)
        one = sequence.open_round(self._start)
        one.mode = "verify" if guesses else "decode"
        sequence.note_drafted(guesses, range(known, known + len(guesses)))
        candidates = sequence.until_stop(guesses)
        accepted = common_length(candidates, verified)
        sequence.note_judged(known, accepted, min(accepted + 1, len(candidates)))
        sequence.append(verified)
        one.target_start = self._target.begun
        one.target_seconds = self._target.take_seconds()
        one.target_tokens = self._target.take_tokens()
        one.draft_start = self._start
        one.draft_seconds = self._draft.take_seconds() if self._draft else 0.0
        self._session.close_round(sequence)
        self._start = clock()

    def end(self) -> None:
        pass


class Forwards:
    """A model's forwards while transformers runs it: what they read, and how long they took.

    Their logits are made what ``CachedModel`` gives, so that both have one vocabulary. Nothing else
    is made of forwards while it is ``drafting``.
    """

    def __init__(self, model: CachedModel, drafting: Callable[[], bool] = lambda: False) -> None:
        self._model = model
        self._drafting = drafting
        self._tokens: abc.Sequence[int] = []
        #: When the last forward began.
        self.begun = 0.0
        self._seconds = 0.0
        self._read = 0
        #: Number of tokens in the cache after the last forward.
        self.length = 0

    @contextlib.contextmanager
    def hooked(self) -> Iterator[None]:
        """Watch the model's forwards."""
        model = cast(Any, self._model.model)
        hooks = [
            model.register_forward_pre_hook(self._before, with_kwargs=True),
            model.register_forward_hook(self._after, with_kwargs=True),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def last_read(self, count: int) -> list[int]:
        """The last ``count`` tokens that the last forward read."""
        return list(self._tokens[len(self._tokens) - count :])

    def take_seconds(self) -> float:
        """Duration of the forwards since this was last asked."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def take_tokens(self) -> int:
        """Number of tokens that forwards read since this was last asked."""
        read, self._read = self._read, 0
        return read

    def _before(self, module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        # What the library asked of the device since the last forward is none of this one's time.
        if not self._drafting():
            self._model.synchronize()
            self.begun = clock()
        return args, kwargs | {"input_ids": self._model.readable(kwargs["input_ids"])}

    def _after(self, module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        tokens = kwargs["input_ids"][0].tolist()
        # Not the one that was given: some models begin a new one for a long prompt.
        length = output.past_key_values.get_seq_length()
        rows = output.logits.shape[1]
        read = list(enumerate(tokens[-rows:], start=length - rows))
        output.logits = self._model.predictions(output.logits[0], read)[None]
        if self._drafting():
            return
        self._tokens, self.length = tokens, length
        self._read += len(tokens)
        self._model.events.append(Reading(length - len(tokens), tokens, rows, by_library=True))
        self._model.synchronize()
        self._seconds += clock() - self.begun
