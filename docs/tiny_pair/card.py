"""The model card, written from the recipe and what was measured."""

from __future__ import annotations

from pathlib import Path

from pearl_eval.training.fitting import Schedule
from tiny_pair.recipe import Recipe, TrainedPair
from tiny_pair.report import PairMeasurements
from tiny_pair.shapes import Shape, parameter_count

CARD = """# tiny: a target and a draft model for trying speculative decoding on a CPU

Two Llama models with one byte-level BPE tokenizer ({vocab} tokens), trained from nothing by
`docs/tiny_pair`. They exist so that the effect of speculative decoding can be seen, and
its correctness checked, in seconds on two CPU cores. They know a few families of generated
problems and nothing else: **on the real HumanEval, GSM8K, MGSM and MT-bench the target's answers
are wrong, and its score may well be 0.** Do not use them for anything but this.

## Sizes

| model | layers | width | heads | MLP width | parameters |
| --- | --- | --- | --- | --- | --- |
{sizes}

Embeddings are tied, the context is {context} tokens, weights are bfloat16: {megabytes:.1f} MB for
both.

## Data

All training text is made by this project's own generators, or is cut from the sources of the
Python standard library of the interpreter that ran the training. Share of documents:
{shares}; from step {late_from} on
{late_shares}.

- functions: HumanEval's layout, a signature, a docstring with examples, a body. A function is a
  composition such as "the sum of the numbers that are odd, each squared". Each generated body
  passes its own generated test.
- word problems: stories and prices in small numbers, worked in steps, with and without worked
  examples before them (`Q:`/`A:` and `Question:`/`Answer:`); stories also in bn, de, es, fr, ja,
  ru, sw, te, th and zh. Each ends in "The answer is N."
- dialogue: two turns in the chat template, in MT-bench's eight categories.

One problem in twelve, chosen by a hash of what it computes, is held out: never in training, not
even inside another document. `humaneval_mini`, `gsm8k_mini` and `dialogue_mini` are drawn from
those. They are of the same families as the training text, so a score on them says that the model
learnt these families, no more.

## Recipe

Target: {target_steps} of {tokens} tokens of packed text, rows of
{lengths} tokens.
It starts from random weights with an induction circuit, which copies from the prompt, written
into the first two layers.

Draft: it starts as the target's first layers. {draft_steps}, on a KL divergence to the target
and a cross-entropy on its first choice. {corpus:.0%} of them are on corpus text, the others on
{continuations} greedy continuations by the target, {new_tokens} tokens each and past the end of
text, of prompts of all kinds (a part of them about things that the corpus has no answer to).

Muon for the layers' matrices, AdamW for the others; seed {seed}, {threads} threads. The same seed
gives the same weights on one machine.

| loss | first 50 steps | last 50 steps |
| --- | --- | --- |
| target, nats (prompts count {prompt_weight}) | {target_first:.3f} | {target_last:.3f} |
| draft, nats | {draft_first:.3f} | {draft_last:.3f} |

## Measured

Speed ratio c, one torch thread each, one token after 300: **{ratio:.1f}**.

Acceptance rate α, greedy: the share of tokens of the target's own continuation ({measured} tokens,
past any end of text) that the draft would have drafted in the same place.

| prompts | α | α up to the end of text | continuations that end in one token repeated |
| --- | --- | --- | --- |
{acceptance}

Share of held-out problems solved, greedy:

| problems | target | draft |
| --- | --- | --- |
{scores}
"""


def write_card(
    path: Path,
    recipe: Recipe,
    pair: TrainedPair,
    results: PairMeasurements,
    size: int,
    measured: int,
) -> None:
    """Write the card of ``pair`` to ``path``.

    Parameters
    ----------
    path : Path
    recipe : Recipe
    pair : TrainedPair
    results : PairMeasurements
    size : int
        Bytes of both weight files.
    measured : int
        Length of the continuations that acceptance was measured on, in tokens.
    """
    path.write_text(
        CARD.format(
            vocab=len(pair.tokenizer),
            sizes="\n".join(
                (
                    _size("target", recipe.target, parameter_count(pair.target)),
                    _size("draft", recipe.draft, parameter_count(pair.draft)),
                )
            ),
            context=recipe.max_length,
            megabytes=size / 1e6,
            shares=_shares(recipe.packing.shares),
            late_shares=_shares(recipe.packing.late_shares),
            late_from=recipe.packing.late_from,
            target_steps=_steps(recipe.target_schedule),
            draft_steps=_steps(recipe.draft_schedule),
            tokens=recipe.packing.tokens,
            lengths=", ".join(f"{n} ({w:.0%})" for n, w in recipe.packing.lengths.items()),
            corpus=recipe.distillation.corpus_share,
            continuations=recipe.continuations.groups * recipe.continuations.rows,
            new_tokens=recipe.continuations.new_tokens,
            seed=recipe.seed,
            threads=recipe.threads,
            prompt_weight=recipe.packing.prompt_weight,
            target_first=_mean(pair.target_losses[:50]),
            target_last=_mean(pair.target_losses[-50:]),
            draft_first=_mean(pair.draft_losses[:50]),
            draft_last=_mean(pair.draft_losses[-50:]),
            ratio=results.speed_ratio,
            measured=measured,
            acceptance="\n".join(
                f"| {name} | {a.rate:.3f} | {a.first_text:.3f} | {a.looping:.0%} |"
                for name, a in results.acceptance.items()
            ),
            scores="\n".join(
                f"| {name} | {score:.2f} | {results.draft_scores[name]:.2f} |"
                for name, score in results.scores.items()
            ),
        ),
        encoding="utf-8",
    )


def _size(name: str, shape: Shape, parameters: int) -> str:
    return (
        f"| {name} | {shape.layers} | {shape.width} | {shape.heads} | {shape.mlp} "
        f"| {parameters / 1e6:.2f} M |"
    )


def _steps(schedule: Schedule) -> str:
    return f"{schedule.steps} steps"


def _shares(shares: dict[str, float]) -> str:
    total = sum(shares.values())
    return ", ".join(f"{name} {share / total:.0%}" for name, share in shares.items())


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
