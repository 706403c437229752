"""What engines do to the scores of tokens before one is chosen, by transformers' own processors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import (
    EpsilonLogitsWarper,
    EtaLogitsWarper,
    LogitsProcessor,
    LogitsProcessorList,
    MinLengthLogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    PreTrainedTokenizerBase,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from decoders.sampling.sampler import OwnChoice, most_probable
from pearl_eval.audit.rows import UnfitRow

#: Of sampling alone: what is drawn from, not what is most probable. In transformers' order.
_WARPERS = {
    "temperature": TemperatureLogitsWarper,
    "top_k": TopKLogitsWarper,
    "top_p": TopPLogitsWarper,
    "min_p": MinPLogitsWarper,
    "typical_p": TypicalLogitsWarper,
    "epsilon_cutoff": EpsilonLogitsWarper,
    "eta_cutoff": EtaLogitsWarper,
}
#: The same thing by the names of several engines; the last is ours.
_ALIASES = {
    "min_tokens": "min_new_tokens",
    "max_new_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
}
_OF_SCORES = {
    "repetition_penalty",
    "no_repeat_ngram_size",
    "logit_bias",
    "sequence_bias",
    "min_new_tokens",
    "min_length",
    "bad_words",
    "bad_words_ids",
    "suppress_tokens",
    "begin_suppress_tokens",
}
#: Where a text ends.
_OF_ENDS = {"max_tokens", "stop", "stop_token_ids", "ignore_eos"}
#: What is refused, by the values at which it does nothing.
_REFUSED: dict[str, tuple[Any, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "num_beams": (1,),
    "use_beam_search": (False,),
    "num_beam_groups": (1,),
    "best_of": (1,),
    "penalty_alpha": (0,),
    "guidance_scale": (1,),
    "encoder_repetition_penalty": (1,),
    "encoder_no_repeat_ngram_size": (0,),
    "top_h": (),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "exponential_decay_length_penalty": (),
    "watermarking_config": (),
    "token_healing": (False,),
    "dola_layers": (),
    "allowed_token_ids": (),
    "allowed_tokens": (),
    "structured_outputs": (),
    "guided_decoding": (),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "json_schema": (),
    "regex": (),
    "ebnf": (),
    "grammar": (),
    "response_format": ({"type": "text"},),
    "logits_processors": ([],),
    "logits_processor": ([],),
    "custom_logit_processor": (),
    "thinking_token_budget": (),
}
#: What is a list, and of what.
_LISTS: dict[str, type] = {
    "stop": str,
    "stop_token_ids": int,
    "bad_words": str,
    "bad_words_ids": list,
    "suppress_tokens": int,
    "begin_suppress_tokens": int,
}
_CALLED = {str: "texts", int: "token ids", list: "lists of token ids"}
#: What changes no score, in an object of which nothing else is passed over.
_HARMLESS = {
    "n", "seed", "logprobs", "prompt_logprobs", "top_logprobs", "detokenize", "output_kind",
    "skip_special_tokens", "spaces_between_special_tokens", "include_stop_str_in_output",
    "truncate_prompt_tokens", "output_text_buffer_length", "extra_args", "stream", "user",
    "skip_clone", "skip_reading_prefix_cache", "flat_logprobs", "return_token_ids",
    "renormalize_logits", "remove_invalid_values", "use_cache", "length_penalty", "early_stopping",
    "echo", "add_special_tokens", "priority", "request_id",
}  # fmt: skip
#: All names of a row that are read as what was applied.
CONTROLS = frozenset({"do_sample", *_WARPERS, *_OF_SCORES, *_OF_ENDS, *_ALIASES, *_REFUSED} - {"n"})


@dataclass(frozen=True)
class Applied:
    """What was applied to the scores of one output, resolved from a row and its defaults.

    ``random``: tokens are drawn, not the most probable taken. ``warpers`` are settings of sampling
    by name, ``scores`` those that change which token is most probable, too. ``limit`` is the
    longest output, ``stops`` are strings and ``stop_ids`` tokens that end it besides the model's
    own, which count unless ``ignore_eos``.
    """

    random: bool
    warpers: Mapping[str, Any]
    scores: Mapping[str, Any]
    limit: int | None = None
    stops: Sequence[str] = ()
    stop_ids: Sequence[int] = ()
    ignore_eos: bool = False

    @classmethod
    def of(cls, told: Mapping[str, Any], defaults: Mapping[str, Any]) -> Applied:
        """``told`` by a row, and the ``defaults`` of what that does not tell.

        UnfitRow where that is something that no processor of transformers does.
        """
        own = _named(told)
        merged = {**_named(defaults), **own}
        _refuse(merged)
        if "do_sample" in own or own.get("temperature") is None:
            random = bool(merged.get("do_sample", False)) and merged.get("temperature") != 0
        else:
            random = own["temperature"] > 0
        warpers = {name: merged[name] for name in _WARPERS if _matters(name, merged)}
        stops = merged.get("stop") or ()
        return cls(
            random,
            warpers if random else {},
            {name: merged[name] for name in sorted(_OF_SCORES) if _matters(name, merged)},
            merged.get("max_tokens"),
            (stops,) if isinstance(stops, str) else tuple(stops),
            tuple(merged.get("stop_token_ids") or ()),
            bool(merged.get("ignore_eos", False)),
        )

    def describe(self) -> str:
        """What was applied, in a few words; empty for the plain most probable token."""
        told = {**self.warpers, **self.scores}
        said = ", ".join(f"{name}={value}" for name, value in told.items())
        return f"sampled{': ' * bool(said)}{said}" if self.random else said


def _named(settings: Mapping[str, Any]) -> dict[str, Any]:
    """By our names; what is null says nothing."""
    told = {name: value for name, value in settings.items() if value is not None}
    return {_ALIASES.get(name, name): value for name, value in told.items()}


def _refuse(settings: Mapping[str, Any]) -> None:
    for name, value in settings.items():
        if name in _REFUSED:
            if value not in _REFUSED[name]:
                raise UnfitRow(
                    f"{name}={value!r:.60} was applied, which no processor of transformers does, so"
                    " it can't be judged"
                )
        elif name not in CONTROLS and name not in _HARMLESS:
            raise UnfitRow(f"{name}={value!r:.60} is nothing that is known to be applied to scores")
    for name in (*_WARPERS, "repetition_penalty", "min_new_tokens", "min_length", "max_tokens"):
        value = settings.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise UnfitRow(f"{name}={value!r:.60} is no number")
    for name, kind in _LISTS.items():
        value = settings.get(name)
        one_text = name == "stop" and isinstance(value, str)
        if value is None or one_text:
            continue
        if not isinstance(value, list | tuple) or not all(type(one) is kind for one in value):
            raise UnfitRow(f"{name}={value!r:.60} is no list of {_CALLED[kind]}")


def _matters(name: str, settings: Mapping[str, Any]) -> bool:
    """Whether a setting is there and does anything."""
    value = settings.get(name)
    if name in ("temperature", "top_p", "typical_p", "repetition_penalty"):
        return value is not None and value != 1 and (name != "temperature" or value > 0)
    # Engines say -1 or 0 for all tokens.
    return value > 0 if name == "top_k" and value is not None else bool(value)


class Processed(OwnChoice):
    """The scores that an engine chose an output's tokens by, from the target's logits.

    Parameters
    ----------
    applied
        What was applied.
    text, begin
        Prompt and output, and where the output begins.
    eos_ids
        Tokens that end a text, which a minimal length forbids.
    tokenizer
        Reads words that were forbidden as text.
    device
        Where the logits are.
    """

    def __init__(
        self,
        applied: Applied,
        text: Sequence[int],
        begin: int,
        eos_ids: Sequence[int],
        tokenizer: PreTrainedTokenizerBase,
        device: torch.device | str = "cpu",
    ) -> None:
        self.applied = applied
        self._text = text
        #: Those that look at the text, and those that do not, or only at what is the same for all.
        self._by_text, self._plain = LogitsProcessorList(), LogitsProcessorList()
        self._add_scores(begin, list(eos_ids), tokenizer, str(device))
        warpers = LogitsProcessorList()
        for name, value in applied.warpers.items():
            warpers.append(_made(name, _WARPERS[name], value))
        self._warpers = warpers
        # A penalty multiplies some scores and divides others; so it may pull two apart.
        penalty = float(applied.scores.get("repetition_penalty", 1.0))
        self.sharpness = max(penalty, 1 / penalty) / float(applied.warpers.get("temperature", 1.0))

    def _add_scores(
        self, begin: int, eos: list[int], tokenizer: PreTrainedTokenizerBase, device: str
    ) -> None:
        """In transformers' own order. One that looks at the text has all after it do so, too."""
        told = dict(self.applied.scores)
        known = len(tokenizer)
        biases = _biases(told.pop("logit_bias", None)) + _sequences(told.pop("sequence_bias", None))
        _check_known(known, "biases", [ids for ids, _ in biases])
        if biases:
            self._add(SequenceBiasLogitsProcessor, [biases], any(len(ids) > 1 for ids, _ in biases))
        if "repetition_penalty" in told:
            self._add(RepetitionPenaltyLogitsProcessor, [float(told["repetition_penalty"])])
        if "no_repeat_ngram_size" in told:
            self._add(NoRepeatNGramLogitsProcessor, [told["no_repeat_ngram_size"]])
        words = [*(told.get("bad_words_ids") or []), *_words(told.get("bad_words"), tokenizer)]
        _check_known(known, "forbidden words", words)
        if words:
            self._add(NoBadWordsLogitsProcessor, [words, eos], any(len(ids) > 1 for ids in words))
        if "min_length" in told and eos:
            self._add(MinLengthLogitsProcessor, [told["min_length"], eos, device])
        if "min_new_tokens" in told and eos:
            minimum = told["min_new_tokens"]
            self._add(MinNewTokensLengthLogitsProcessor, [begin, minimum, eos, device])
        if "suppress_tokens" in told:
            self._add(SuppressTokensLogitsProcessor, [told["suppress_tokens"], device], False)
        if "begin_suppress_tokens" in told:
            self._add(
                SuppressTokensAtBeginLogitsProcessor, [told["begin_suppress_tokens"], begin, device]
            )

    def _add(self, kind: type[LogitsProcessor], settings: list[Any], by_text: bool = True) -> None:
        made = _made(kind.__name__, kind, *settings)
        (self._by_text if by_text or self._by_text else self._plain).append(made)

    def scores(self, logits: torch.Tensor, position: int) -> torch.Tensor:
        """What tokens are compared by where the most probable is taken.

        ``position`` is that in the text of the token that the first row predicts.
        """
        return self._by_rows(self._common(logits), position)

    def distribution(self, logits: torch.Tensor, position: int) -> torch.Tensor:
        """What tokens are drawn from, ``[rows, vocab]``, by the same ``position``."""
        return self.warped(logits, position).softmax(dim=-1)

    def warped(self, logits: torch.Tensor, position: int) -> torch.Tensor:
        """The logarithms of that, but for a constant."""
        return self._warpers(_no_text(logits), self.scores(logits, position))

    def could_draw(self, token: int, logits: torch.Tensor, position: int, error: float) -> bool:
        """Whether a token might have been drawn but for rounding, from logits ``[1, vocab]``."""
        nudged = logits.clone()
        better = logits[0] > logits[0, token]
        nudged[0, token] += error
        nudged[0, better] -= error
        return bool(self.warped(nudged, position)[0, token].isfinite())

    def _common(self, logits: torch.Tensor) -> torch.Tensor:
        wide = logits if logits.dtype == torch.float64 else logits.float()
        return self._plain(_no_text(wide), wide.clone()) if self._plain else wide

    def _by_rows(self, scores: torch.Tensor, position: int) -> torch.Tensor:
        if not self._by_text:
            return scores
        rows = []
        for index, row in enumerate(scores):
            before = torch.tensor([self._text[: position + index]], device=scores.device)
            rows.append(self._by_text(cast(torch.LongTensor, before), row[None].clone())[0])
        return torch.stack(rows)

    def reduce(self, logits: torch.Tensor, position: int) -> list[int]:
        return most_probable(self.scores(logits, position))

    def own(self, target: list[int], index: int) -> int:
        return target[index]


def _no_text(scores: torch.Tensor) -> torch.LongTensor:
    """Stands for a text where no processor looks at it, of one token for each row of scores."""
    nothing = torch.zeros(len(scores), 1, dtype=torch.long, device=scores.device)
    return cast(torch.LongTensor, nothing)


def _made(name: str, kind: type[LogitsProcessor], *settings: Any) -> LogitsProcessor:
    """A processor; UnfitRow where it does not take its settings."""
    try:
        return kind(*settings)
    except (ValueError, TypeError) as error:
        told = ", ".join(map(repr, settings))
        raise UnfitRow(f"{name} can't be applied with {told:.80}: {error}") from error


def _biases(told: Any) -> list[list[Any]]:
    """OpenAI's: numbers by token id, as text or as numbers."""
    if told is None:
        return []
    try:
        return [[[int(token)], float(bias)] for token, bias in dict(told).items()]
    except (ValueError, TypeError):
        raise UnfitRow(f"logit_bias={told!r:.60} is no object of numbers by token id") from None


def _sequences(told: Any) -> list[list[Any]]:
    """transformers': biases by sequences of token ids, as a list of pairs."""
    pairs = told.items() if isinstance(told, Mapping) else told or []
    try:
        return [[list(ids), float(bias)] for ids, bias in pairs]
    except (ValueError, TypeError):
        raise UnfitRow(f"sequence_bias={told!r:.60} is no list of token ids and biases") from None


def _check_known(size: int, what: str, sequences: Sequence[Sequence[Any]]) -> None:
    for token in (token for ids in sequences for token in ids):
        if type(token) is not int or not 0 <= token < size:
            raise UnfitRow(
                f"its {what} have {token!r:.20}, which is no token of the target's {size}"
            )


def _words(told: Any, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """vLLM's: words as text, each both at the beginning of a text and after a space."""
    found: list[list[int]] = []
    for word in told or []:
        first = list(tokenizer(word.lstrip(), add_special_tokens=False).input_ids)
        spaced = list(tokenizer(f" {word.lstrip()}", add_special_tokens=False).input_ids)
        found.append(first)
        if spaced[0] != first[0] and len(spaced) == len(first):
            found.append(spaced)
    return found
