"""Writing a pair as two folders that `from_pretrained` loads."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast


def save_pair(
    target: LlamaForCausalLM,
    draft: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
) -> None:
    """Save ``target/`` and ``draft/`` under ``folder``, weights in bfloat16.

    Both have the tokenizer, so that either can be used alone.
    """
    for name, model in (("target", target), ("draft", draft)):
        rounded = copy.deepcopy(model).bfloat16()
        rounded.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


def load_pair(
    folder: Path,
) -> tuple[LlamaForCausalLM, LlamaForCausalLM, PreTrainedTokenizerFast]:
    """The target, the draft and their tokenizer, weights in float32."""
    models = [
        LlamaForCausalLM.from_pretrained(folder / name, dtype=torch.float32).eval()
        for name in ("target", "draft")
    ]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "target")
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    return models[0], models[1], tokenizer


def weight_bytes(folder: Path) -> int:
    """Size of both models' weight files."""
    return sum(path.stat().st_size for path in folder.glob("*/*.safetensors"))
