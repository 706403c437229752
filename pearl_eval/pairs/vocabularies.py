"""Whether the vocabularies of two models go together."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from pearl_eval.errors import UserError


def shared_tokens(target: PreTrainedTokenizerBase, draft: PreTrainedTokenizerBase) -> int:
    """How many ids, from 0 on, mean the same token to both; refused where the tokenizers differ.

    One tokenizer may have further special tokens of its own at the end, as the members of some
    model families do; ids from there on are left out.
    """
    ours, theirs = ({i: t for t, i in tok.get_vocab().items()} for tok in (target, draft))
    size = max(max(ours), max(theirs)) + 1
    first = next((i for i in range(size) if ours.get(i) != theirs.get(i)), size)
    # Each tokenizer makes this anew whenever it is asked, of up to thousands.
    added = [tokenizer.added_tokens_decoder for tokenizer in (target, draft)]
    ordinary = any(
        index >= first and index not in special
        for tokens, special in zip((ours, theirs), added, strict=True)
        for index in tokens
    )
    if ordinary or first == 0:
        raise UserError(
            "draft and target have different vocabularies, so one can't draft for the other:"
            f" token {first} is {ours.get(first)!r} for the target, {theirs.get(first)!r} for the"
            " draft; choose a draft model with the target's tokenizer"
        )
    return first


def check_apart(target: PreTrainedTokenizerBase, draft: PreTrainedTokenizerBase) -> None:
    """Refuse a draft model that has the target's vocabulary, or no token of it."""
    ours, theirs = target.get_vocab(), draft.get_vocab()
    if ours == theirs:
        raise UserError(
            "draft and target have one vocabulary, and the decoder is for a draft model that has"
            " another; take another decoder, such as decoder=assisted_constant"
        )
    if not ours.keys() & theirs.keys():
        raise UserError(
            "draft and target have no token in common, so nothing can be drafted; choose another"
            " draft model"
        )
