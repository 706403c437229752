"""The card of a distilled draft model: what it is made of, and how well it foresees its target."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_CARD = """# A draft model for {target}

Made by `pearl-eval distill` for speculative decoding with that target, whose tokenizer,
embeddings and head it has. It is of no use alone.

| | |
| --- | --- |
| layers it began as | {layers} of the target's |
| parameters of its own | {own:,} |
| head | {head} |
| learned from | {texts:,} texts, {tokens:,} tokens |
| training | {steps:,} steps of {step_tokens:,} tokens, `{loss}` |
| loss | {first:.3f} at first, {last:.3f} at last |

## How often its first choice is the target's

On texts that it has not learned from. Under greedy decoding that is its acceptance rate.

| text | accepted |
| --- | --- |
{accepted}

After steps: {by_step}.
"""


def write_card(path: Path, target: str, results: Mapping[str, Any]) -> None:
    """Write the card of a draft model from what ``distill`` found."""
    head = results["head"]
    text = _CARD.format(
        target=target,
        layers=", ".join(map(str, results["layers"])),
        own=results["own_parameters"],
        head="all tokens"
        if head is None
        else f"the {head:,} most frequent tokens, in our decoders",
        texts=results["learned_texts"],
        tokens=results["learned_tokens"],
        steps=results["steps"],
        step_tokens=results["step_tokens"],
        loss=results["loss"],
        first=results["first_loss"],
        last=results["last_loss"],
        accepted="\n".join(f"| {k} | {v:.1%} |" for k, v in results["accepted"].items()),
        by_step=", ".join(f"{step:,}: {v:.1%}" for step, v in results["accepted_by_step"])
        or "not measured, as too little text was made",
    )
    path.write_text(text, encoding="utf-8")
