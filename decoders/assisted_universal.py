"""Universal assisted generation, as transformers has it: a draft model of another vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from transformers import LogitsProcessorList, SuppressTokensLogitsProcessor
from transformers.generation.candidate_generator import (
    AssistantToTargetTranslator,
    AssistantVocabTranslatorCache,
)

from decoders.assisted import Assisted, AssistedSession
from decoders.candidates import cut_at_limit, giving
from decoders.process.models import Models
from decoders.sampling.sampler import Sampler
from decoders.sequence import Sequence
from decoders.session import Session


@dataclass
class AssistedUniversal(Assisted):
    """``generate`` with an ``assistant_model`` and the tokenizers of both.

    Greedy: the text goes to the draft model as text, and what it drafts comes back as text, in the
    target's tokens. Sampling: the draft model draws only tokens that both vocabularies have, and
    these are judged by the ratio rule.

    Parameters
    ----------
    gamma
        Draft length in the draft model's tokens.
    """

    other_vocabulary = True
    idea = "transformers' own, with a draft model of another vocabulary"

    schedule: str = "constant"
    gamma: int = 5

    def simulated_as(self) -> None:
        # How many of the target's tokens a draft makes, no acceptance rate says.
        return None

    def start(self, models: Models, sampler: Sampler) -> Session:
        self.check(sampler)
        return AssistedUniversalSession(self, models, sampler)


class AssistedUniversalSession(AssistedSession):
    """Holds the draft model in this process, and the tokenizers of both models."""

    decoder: AssistedUniversal

    def load(self, models: Models) -> None:
        super().load(models)
        assert models.tokenizers is not None
        self._tokenizers = models.tokenizers
        # transformers takes models of as many tokens each for ones that share a vocabulary.
        self._configs = [one.model.config.get_text_config() for one in (self.target, self.draft)]
        self._translator = self._translate() if self.sampler.random else None

    def _translate(self) -> AssistantToTargetTranslator:
        """What tells the library which tokens the models share.

        By itself transformers (5.23) cuts the draft model's head down to these, in the order in
        which its tokenizer lists them, and then takes them to be in the order of their ids: it
        judges tokens by other tokens' chances, and the output is not distributed as the target's.
        So the head stays as it is, and the other tokens are ruled out when one is drawn.
        """
        made = AssistantToTargetTranslator(
            *self._tokenizers, self.target.vocab_size, cast(Any, self.draft.model)
        )
        table = made._assistant_to_target_input_ids[: self.draft.vocab_size]
        table[table >= self.target.vocab_size] = made.SUPPRESS_TOKEN_ID
        made._assistant_to_target_input_ids = table
        own = (table == made.SUPPRESS_TOKEN_ID).nonzero()[:, 0]
        ruled_out = SuppressTokensLogitsProcessor(own.tolist(), str(self.draft.device))
        made.logits_processors = LogitsProcessorList([ruled_out, *self.warpers()])
        return made

    def generate(self, sequence: Sequence) -> None:
        target, draft = self._configs
        own = target.vocab_size
        # The size of the logits that it gets of the target, and any other one for the draft model.
        target.vocab_size, draft.vocab_size = self.target.vocab_size, self.target.vocab_size + 1
        cache = AssistantVocabTranslatorCache
        try:
            with cut_at_limit(self.target), giving(cache, "get_translator", self._translator):
                super().generate(sequence)
        finally:
            target.vocab_size = own

    def arguments(self) -> dict[str, Any]:
        tokenizer, assistant = self._tokenizers
        own = {"tokenizer": tokenizer, "assistant_tokenizer": assistant}
        return super().arguments() | own
