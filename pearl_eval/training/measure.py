"""What a pair is worth for speculative decoding: acceptance rate, speed ratio, and its answers."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache, LlamaForCausalLM, PreTrainedTokenizerFast

from pearl_eval.training.continuations import greedy
from pearl_eval.training.corpus.document import EOS
from pearl_eval.training.corpus.functions import FunctionProblem, passes
from pearl_eval.training.corpus.word_problems import WordProblem, document

ROWS = 16


@dataclass(frozen=True)
class Acceptance:
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
) -> Acceptance:
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
    return Acceptance(agreed / total, agreed_first / total_first, loops / len(prompts))


@torch.inference_mode()
def seconds_per_token(model: LlamaForCausalLM, context: int = 300, repeats: int = 60) -> float:
    """Median time of a forward of one token after ``context`` tokens, in seconds.

    Batch 1, with a KV cache and whatever number of torch threads is set.
    """
    cache = DynamicCache()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(6, model.config.vocab_size, (1, context), generator=generator)
    model(ids, past_key_values=cache, use_cache=True)
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        model(ids[:, :1], past_key_values=cache, use_cache=True)
        times.append(time.perf_counter() - begin)
    return sorted(times)[repeats // 2]


def speed_ratio(target: LlamaForCausalLM, draft: LlamaForCausalLM) -> float:
    """The speed ratio c: the target's time per token by the draft's, on one torch thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # In turns, so that other work on the machine slows both alike.
        pairs = [(seconds_per_token(target), seconds_per_token(draft)) for _ in range(5)]
    finally:
        torch.set_num_threads(threads)
    return sorted(t / d for t, d in pairs)[2]


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
    found = [re.search(r"The answer is (-?\d+)", text) for text in texts]
    right = [
        match is not None and int(match[1]) == problem.answer
        for match, problem in zip(found, problems, strict=True)
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
