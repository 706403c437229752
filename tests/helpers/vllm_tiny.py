"""vLLM's engine on the tiny pair: how it is started, and what it is asked."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from small_pair import load

from decoders.sampling.temperature import Temperature
from pearl_eval.checks.distribution import DistributionCheck, Fit

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "pearl_eval" / "assets" / "tiny"
TARGET, DRAFT = str(TINY / "target"), str(TINY / "draft")
#: Drafted tokens that a step verifies at most, of each of so many texts.
MOST, TEXTS = 12, 4
#: The target on one core; the draft process takes another.
ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
    # A function is sent to the workers, to ask what the proposer did.
    "VLLM_ALLOW_INSECURE_SERIALIZATION": "1",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
}
#: Of every engine: prompts are read in parts.
ARGUMENTS = {
    "dtype": "float32",
    "max_model_len": 512,
    "max_num_seqs": TEXTS,
    "max_num_batched_tokens": 96,
    "enforce_eager": True,
}
_HEADS = (
    "def add(a: int, b: int) -> int:\n",
    "def is_prime(number):\n    '''Whether a number is prime.'''\n",
    "Question: Tom has 3 apples and buys 4 more. How many has he?\nAnswer:",
    "from typing import List\n\n\ndef below_zero(operations: List[int]) -> bool:\n",
    "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, item):\n",
    "".join(f"def times_{n}(value):\n    return value * {n}\n\n\n" for n in range(2, 16)),
)


def pearl_arguments(**pearl: Any) -> dict[str, Any]:
    """Arguments of an engine that has PEARL."""
    return {
        "speculative_config": {
            "method": "custom_class",
            "model": "pearl_eval.vllm.Pearl",
            "num_speculative_tokens": MOST,
        },
        "additional_config": {"pearl": {"draft_model": DRAFT, **pearl}},
    }


@functools.cache
def prompts() -> list[list[int]]:
    """Some prompts, the last of them read in more than two steps."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(TARGET)
    found = [tokenizer(head)["input_ids"] for head in _HEADS]
    assert len(found[-1]) > 2 * ARGUMENTS["max_num_batched_tokens"]
    return found


def generate(
    engine: Any,
    asked: list[list[int]],
    each: list[dict[str, Any]] | None = None,
    **sampling: Any,
) -> list[list[int]]:
    """What an engine makes of some prompts, as many at once as it takes.

    By the same sampling parameters, or by ``each`` prompt's own.
    """
    from vllm import SamplingParams
    from vllm.inputs import TokensPrompt

    options = {"temperature": 0, "max_tokens": 128, "ignore_eos": True, "detokenize": False}
    answers = engine.generate(
        [TokensPrompt(prompt_token_ids=prompt) for prompt in asked],
        [SamplingParams(**{**options, **sampling, **own}) for own in each or [{}] * len(asked)],
        use_tqdm=False,
    )
    return [list(answer.outputs[0].token_ids) for answer in answers]


def fit(asked: list[list[int]], made: list[list[int]], sampling: Temperature) -> Fit:
    """How well outputs that were sampled fit the target's distribution."""
    check = DistributionCheck(
        load(Path(TARGET)),
        sampling.probabilities,
        load(Path(DRAFT)),
        sampling.draft_probabilities,
    )
    for prompt, output in zip(asked, made, strict=True):
        check.add(prompt, output)
    return check.fit()


def humaneval(count: int, longest: int) -> list[list[int]]:
    """The first prompts of HumanEval that are no longer than so many tokens."""
    from transformers import AutoTokenizer

    from tasks.humaneval import HumanEval

    tokenizer = AutoTokenizer.from_pretrained(TARGET)
    found = (list(tokenizer(one.prompt)["input_ids"]) for one in HumanEval().load())
    return [ids for ids in found if len(ids) <= longest][:count]


def set_pearl(engine: Any, **changes: Any) -> None:
    """Give an engine's proposer other settings, and an empty log."""

    def set_up(worker: Any) -> None:
        import dataclasses

        drafter = worker.model_runner.drafter
        drafter.take_log()
        changed = {"wait": 0, "gamma": None, "ahead": 32, **changes}
        drafter._settings = dataclasses.replace(drafter._settings, **changed)
        if drafter._draft is not None:
            drafter._draft._settings = drafter._settings

    engine.collective_rpc(set_up)


def log_of(engine: Any) -> list[dict[str, Any]]:
    """What an engine's proposer did since it was last asked."""
    found: list[dict[str, Any]] = engine.collective_rpc(
        lambda worker: worker.model_runner.drafter.take_log()
    )[0]
    return found


def handed(log: list[dict[str, Any]]) -> list[list[int]]:
    """Drafted tokens that were handed over, row by row."""
    return [row["handed"] for entry in log for row in entry["rows"]]
