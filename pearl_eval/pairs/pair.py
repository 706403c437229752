"""A model pair as a run uses it, and what a source of pairs is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from typing import Any

from transformers import PreTrainedTokenizerBase

from decoders.model.architecture import Architecture
from decoders.model.cached_model import CachedModel
from decoders.process.models import Checkpoint
from pearl_eval.config.schema import Dtype, RuntimeConfig
from pearl_eval.errors import UserError
from pearl_eval.machine.devices import Devices
from pearl_eval.pairs.chat import dialogue_ids
from pearl_eval.sizes.model_size import ModelSize
from tasks.task import Problem


@dataclass(frozen=True)
class Pair:
    """A target model and a draft model that share a tokenizer. Weights are not loaded yet.

    ``sizes`` and ``architectures`` are those of the models that are used, by role; models made
    up from nothing may have no architecture to speak of.
    ``load_target`` and ``load_draft`` load them in the process that calls them, the draft model on
    its devices, or on those it is given as ``devices``. Both can be pickled.
    ``weights`` tells the weights of each role from others; there are none where the configuration
    says it all. ``checkpoints`` says where a role's weights are, where they are as they are used.
    ``synthetic`` says that tokens are made up, so that only times and counts mean something.
    ``draft_tokenizer`` is the draft model's, where that has a vocabulary of its own.
    """

    tokenizer: PreTrainedTokenizerBase
    sizes: Mapping[str, ModelSize]
    stop_ids: tuple[int, ...]
    load_target: Callable[[], CachedModel]
    load_draft: Callable[..., CachedModel]
    weights: Mapping[str, str] = field(default_factory=dict)
    checkpoints: Mapping[str, Checkpoint] = field(default_factory=dict)
    synthetic: bool = False
    architectures: Mapping[str, Architecture] = field(default_factory=dict)
    draft_tokenizer: PreTrainedTokenizerBase | None = None

    @property
    def contexts(self) -> dict[str, int]:
        """The longest text of each model that is used, in tokens, by its role."""
        return {role: size.context for role, size in self.sizes.items()}

    def encode(self, prompt: str, name: str = "the prompt") -> list[int]:
        """Token ids of a prompt. What looks like a control token in it is read as text.

        ``name`` is what errors call it.

        Raises
        ------
        UserError
            It can't be: the tokenizer makes a control token of it in any case.
        """
        ids = self._read(prompt)
        for token, added in self.tokenizer.added_tokens_decoder.items():
            if added.special and added.content in prompt:
                own = self._read("").count(token)
                if ids.count(token) > own:
                    raise UserError(
                        f"{name}: it has {added.content!r}, of which the pair's tokenizer makes a"
                        " control token in any case; leave it out"
                    )
        return ids

    def prompt(self, problem: Problem, answers: Sequence[str] = ()) -> list[int]:
        """Token ids that a model answers a problem from; of a dialogue, after ``answers`` to it."""
        if not problem.turns:
            return self.encode(problem.prompt, problem.task_id)
        asked = [message for message, _ in problem.earlier]
        said = [answer for _, answer in problem.earlier]
        return dialogue_ids(
            self.tokenizer, problem.system_prompt, [*asked, *problem.turns], [*said, *answers]
        )

    def decode(self, prompt_ids: Sequence[int], output_ids: Sequence[int]) -> str:
        """Text of generated tokens, exactly as it continues the prompt.

        Some tokenizers drop a leading space when they decode a piece alone, so the prompt is
        decoded along and cut off.
        """
        head, whole, alone = (
            str(self.tokenizer.decode(ids, skip_special_tokens=True))
            for ids in (list(prompt_ids), [*prompt_ids, *output_ids], list(output_ids))
        )
        return whole[len(head) :] if whole.startswith(head) else alone

    def answer(self, output_ids: Sequence[int]) -> str:
        """Text of an answer in a dialogue: what was generated up to the end of the turn."""
        said = takewhile(lambda token: token not in self.stop_ids, output_ids)
        # A synthetic pair makes up tokens that its tokenizer does not have.
        known = [token % len(self.tokenizer) for token in said]
        return str(self.tokenizer.decode(known, skip_special_tokens=True)).strip()

    def _read(self, text: str) -> list[int]:
        # What is too long is said by ``check_context``, not by the tokenizer.
        return list(self.tokenizer(text, verbose=False, split_special_tokens=True).input_ids)

    def check_context(
        self, lengths: Mapping[str, int], max_new_tokens: int, answers: int = 1
    ) -> None:
        """Refuse prompts (their tokens, by name) that leave no room for new tokens.

        New are ``answers`` times ``max_new_tokens``: the last prompt of a dialogue holds the
        answers before it.
        """
        for role, context in self.contexts.items():
            for name, length in lengths.items():
                if length + answers * max_new_tokens <= context:
                    continue
                room = (context - max(lengths.values())) // answers
                new = f"{answers} answers of " if answers > 1 else ""
                remedy = (
                    f"lower task.max_new_tokens to at most {room}"
                    if room > 0
                    else "take a model with a longer context"
                )
                raise UserError(
                    f"{name}: a prompt of {length} tokens and"
                    f" {new}task.max_new_tokens={max_new_tokens} do not fit the {role} model's"
                    f" context of {context} tokens; {remedy}"
                )

    def check_rope_switch(
        self, name: str, first: int, last: int, max_new_tokens: int, answers: int = 1
    ) -> None:
        """Refuse a text that outgrows a model's first set of rotations while it is decoded.

        Parameters
        ----------
        name
            What errors call it.
        first, last
            Tokens of its prompt; of a dialogue, of its first and its last one.
        max_new_tokens, answers
            Most tokens of an answer, and how many answers there are.
        """
        longest = last + answers * max_new_tokens
        for role, architecture in self.architectures.items():
            switch = architecture.rope_switch
            if switch is None or not first <= switch < longest:
                continue
            room = (switch - last) // answers
            remedy = (
                f"lower task.max_new_tokens to at most {room}"
                if room > 0
                else "leave the problem out"
            )
            raise UserError(
                f"{name}: a text that grows from {first} to up to {longest} tokens crosses"
                f" {switch}, where the {role} model ({architecture.name}, longrope) changes the"
                " rotations of all its tokens, which neither this decoder nor runtime.fixed_window"
                f" follows; {remedy}, or choose decoder=speculative or pearl"
            )


@dataclass
class PairSource(ABC):
    """Where a pair comes from. Subclasses are dataclasses: their fields are their settings.

    Parameters
    ----------
    dtype
        Floating-point type that both models compute in.
    gamma
        Draft lengths that suit the pair, by names that decoders' configurations ask for them by:
        ``gamma: ${pair.gamma.NAME}``. ``auto`` has one chosen by measuring.
    """

    dtype: Dtype = Dtype.float32
    gamma: dict[str, Any] = field(default_factory=dict)

    def choose_devices(self, runtime: RuntimeConfig) -> Devices:
        """Where the two models go; a source whose models can be spread overrides it."""
        return Devices.choose(runtime.target_device, runtime.draft_device, among=runtime.gpus)

    def gpus(self) -> dict[str, int]:
        """GPUs that each model needs, by role; none where it runs on the CPU as well."""
        return {"target": 0, "draft": 0}

    def sizes(self) -> dict[str, ModelSize]:
        """The sizes of its models by role, as far as they can be told without a network."""
        return {}

    def target_settings(self) -> dict[str, Any]:
        """The settings that the target depends on: what a reference run is one of."""
        settings = asdict(self)
        del settings["gamma"]
        return settings

    @abstractmethod
    def open(self, devices: Devices, uses_draft: bool) -> Pair:
        """Find the pair and check it, as far as that can be done without loading weights.

        ``uses_draft``: whether the draft model is needed; if not it is not looked at.
        """

    def open_apart(self, devices: Devices) -> Pair:
        """The same, for decoders whose draft model has a vocabulary of its own."""
        raise UserError(
            "this pair's models share a vocabulary, and the decoder is for a draft model that has"
            " another; take pair=own with such a draft model, or another decoder"
        )
