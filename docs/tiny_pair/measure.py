"""What a pair is worth for speculative decoding: acceptance rate, speed ratio, and its answers."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from decoders.draft_length import time_forwards
from decoders.model.cached_model import CachedModel
from pearl_eval.training.continuations import greedy
from tasks.gsm8k import is_right
from tiny_pair.corpus.document import EOS
from tiny_pair.corpus.functions import FunctionProblem, passes
from tiny_pair.corpus.word_problems import WordProblem, document

ROWS = 16
#: Text length, in tokens, and number of the forwards that are timed.
_CONTEXT, _REPEATS = 300, 60


@dataclass(frozen=True)
class Agreement:
    """Greedy agreement of a pair on one set of prompts.

    Parameters
    ----------
    rate : float
        Share of the target's tokens that are the draft's first choice in the same context: the
        chance that a drafted token which is judged is accepted.
    first_text : float
        The same up to the first end of text only.
    looping : float
        Share of continuations whose last 32 tokens are one token over and over.
    """

    rate: float
    first_text: float
    looping: float


def continuations(
    model: LlamaForCausalLM, prompts: Sequence[list[int]], new_tokens: int
) -> list[list[int]]:
    """Greedy continuations, prompts of about one length together, in the order given."""
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    out: dict[int, list[int]] = {}
    for start in range(0, len(order), ROWS):
        chosen = order[start : start + ROWS]
        new = greedy(model, [prompts[index] for index in chosen], new_tokens)
        out.update(zip(chosen, new.tolist(), strict=True))
    return [out[index] for index in range(len(prompts))]


@torch.inference_mode()
def acceptance(
    target: LlamaForCausalLM,
    draft: LlamaForCausalLM,
    prompts: Sequence[list[int]],
    new_tokens: int,
    ends: Iterable[int],
) -> Agreement:
    """Measure the agreement on the target's own continuations.

    Parameters
    ----------
    target, draft : LlamaForCausalLM
    prompts : sequence of list of int
        Token ids.
    new_tokens : int
        Tokens to continue each prompt by, past any end of text.
    ends : iterable of int
        Token ids that end a text.
    """
    final = set(ends)
    agreed = total = agreed_first = total_first = loops = 0
    for prompt, new in zip(prompts, continuations(target, prompts, new_tokens), strict=True):
        logits = draft(torch.tensor([prompt + new[:-1]]), use_cache=False).logits[0]
        same = (logits[len(prompt) - 1 :].argmax(-1) == torch.tensor(new)).tolist()
        first = next((i + 1 for i, token in enumerate(new) if token in final), new_tokens)
        agreed, total = agreed + sum(same), total + len(same)
        agreed_first, total_first = agreed_first + sum(same[:first]), total_first + first
        loops += len(set(new[-32:])) == 1
    return Agreement(agreed / total, agreed_first / total_first, loops / len(prompts))


def speed_ratio(target: LlamaForCausalLM, draft: LlamaForCausalLM) -> float:
    """The speed ratio c: the target's time per token by the draft's, on one torch thread."""
    models = CachedModel(target), CachedModel(draft)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # In turns, so that other work on the machine slows both alike.
        pairs = [
            [statistics.median(time_forwards(model, 1, _CONTEXT, _REPEATS)) for model in models]
            for _ in range(5)
        ]
    finally:
        torch.set_num_threads(threads)
    return statistics.median(t / d for t, d in pairs)


def pass_rate(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, problems: list[FunctionProblem]
) -> float:
    """Share of problems whose test the greedy completion passes (pass@1)."""
    prompts = [tokenizer(problem.prompt.strip())["input_ids"] for problem in problems]
    texts = _texts(model, tokenizer, prompts, 128)
    # The prompt of a row ends in a newline, which a model given the stripped prompt writes itself.
    good = [
        passes(problem, text.removeprefix("\n"))
        for problem, text in zip(problems, texts, strict=True)
    ]
    return sum(good) / len(good)


def answer_rate(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    problems: list[WordProblem],
    shots: list[WordProblem],
    layout: str = "qa",
) -> float:
    """Share of word problems with the right number after "The answer is"."""
    prompts = [
        tokenizer(document(problem, shots, layout).prompt)["input_ids"] for problem in problems
    ]
    texts = _texts(model, tokenizer, prompts, 128)
    right = [
        is_right(text, str(problem.answer)) for text, problem in zip(texts, problems, strict=True)
    ]
    return sum(right) / len(right)


def _texts(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: list[list[int]],
    new_tokens: int,
) -> list[str]:
    answers = continuations(model, prompts, new_tokens)
    return [str(tokenizer.decode(new)).split(EOS)[0] for new in answers]
