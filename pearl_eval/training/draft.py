"""A draft model made of a target's own layers, and the folder that it is saved in."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from pearl_eval.errors import UserError
from pearl_eval.pairs.frequent_tokens import FREQUENT, read_frequent, write_frequent
from pearl_eval.results.journal import replacing


def spread(layers: int, depth: int) -> list[int]:
    """Which ``depth`` of a target's ``layers`` a draft model begins as.

    The first two and the last, which the embeddings and the head are made for, and others evenly
    between.
    """
    if not 1 <= depth <= layers:
        raise UserError(f"draft.depth must be 1 to {layers}, the target's layers, got {depth}")
    if depth == layers:
        return list(range(layers))
    if depth < 4:
        return [0, *([1] if depth > 2 else []), *([layers - 1] if depth > 1 else [])]
    between = depth - 3
    step = (layers - 3) / (between + 1)
    return [0, 1, *(1 + round(step * (i + 1)) for i in range(between)), layers - 1]


def make_draft(target: Any, layers: Sequence[int]) -> Any:
    """A model of some of a transformers causal LM's layers, in float32.

    Raises
    ------
    UserError
        They are not there, or can't be taken one by one.
    """
    kind = target.config.model_type
    body = target.base_model
    own = getattr(body, "layers", None)
    if not isinstance(own, nn.ModuleList) or len({type(layer) for layer in own}) != 1:
        raise UserError(f"the layers of a {kind} model can't be taken one by one")
    if not layers or any(not 0 <= index < len(own) for index in layers):
        raise UserError(
            f"draft.layers: expected numbers of layers from 0 to {len(own) - 1}, got {list(layers)}"
        )
    config = copy.deepcopy(target.config)
    count = config.num_hidden_layers
    for name, value in list(vars(config).items()):
        # What a config says of each layer, such as which kind of attention it has.
        if isinstance(value, (list, tuple)) and len(value) == count:
            setattr(config, name, [value[index] for index in layers])
    config.num_hidden_layers = len(layers)
    config.dtype = torch.float32
    with torch.random.fork_rng():
        made: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    ours = {id(module): name for name, module in made.named_modules()}
    theirs = {id(module): name for name, module in target.named_modules()}
    state = target.state_dict()
    places = {
        f"{ours[id(layer)]}.": f"{theirs[id(own[index])]}."
        for index, layer in zip(layers, made.base_model.layers, strict=True)
    }
    wanted = {name: state.get(_moved(name, places)) for name in made.state_dict()}
    if any(value is None for value in wanted.values()):
        raise UserError(f"the layers of a {kind} model can't be taken one by one")
    made.load_state_dict(wanted)
    return made.eval()


def go_on_from(draft: Any, folder: Path) -> None:
    """Give a draft model the weights of one that was made of the same layers before.

    Raises
    ------
    UserError
        There is none in the folder, or one of other shapes.
    """
    path = folder / "model.safetensors"
    if not path.is_file():
        raise UserError(f"draft.start: there is no draft model in {folder} ({path.name})")
    saved = load_file(path)
    # Its embeddings and head, if they are there, are the target's.
    own = dict(draft.base_model.layers.named_parameters(prefix="layers"))
    known = _layers_of(saved)
    if set(known) != set(own) or any(known[name].shape != own[name].shape for name in own):
        raise UserError(f"draft.start: {folder} has a model of other layers or sizes")
    draft.load_state_dict(saved, strict=False)


def _layers_of(saved: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of layers, by their names from ``layers.`` on."""
    return {f"layers.{n.split('layers.', 1)[1]}": t for n, t in saved.items() if "layers." in n}


def _moved(name: str, places: dict[str, str]) -> str:
    for here, there in places.items():
        if name.startswith(here):
            return there + name[len(here) :]
    return name


def check_head(model: Any) -> None:
    """Refuse a target whose logits are more than a product of its head and last hidden states."""
    ids = torch.arange(8, device=model.device)[None]
    with torch.inference_mode():
        hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        logits = model(input_ids=ids, use_cache=False).logits
        # One that is spread over several devices may have its last layer and its head on two.
        rows = model.get_output_embeddings().weight
        product = (hidden.to(rows.device) @ rows.T).to(logits.device)
    if not torch.allclose(product.float(), logits.float(), rtol=0.05, atol=0.05):
        raise UserError(
            f"a {model.config.model_type} model makes more of its last hidden states than a product"
            " with its head, which distillation can't follow"
        )


def frequent_tokens(
    texts: Iterable[Tensor], head: int | None, vocab_size: int, kept: Tensor | None = None
) -> Tensor | None:
    """The ``head`` most frequent tokens of some texts, ascending; ``None`` for all there are.

    Where texts have fewer, all others count alike, and the first are taken. Tokens ``kept`` of a
    head that is no larger come before all others: text to go on with may have little of what was
    learned before.
    """
    if head is None or head >= vocab_size:
        return None
    if head < 1:
        raise UserError(f"draft.head must be at least 1 token, or null for all, got {head}")
    counts = torch.cat(list(texts)).bincount(minlength=vocab_size)
    if kept is not None and len(kept) <= head:
        counts[kept] += counts.max() + 1
    return counts.argsort(descending=True, stable=True)[:head].sort().values


def kept_tokens(folder: Path, vocab_size: int) -> Tensor | None:
    """The tokens of a small head that a draft model made before has; ``None`` of a whole one.

    Raises
    ------
    UserError
        The file of its tokens is damaged, or one of them is not in the vocabulary.
    """
    tokens = read_frequent(folder)
    if tokens is None or not len(tokens):
        return None
    if not 0 <= int(tokens.min()) <= int(tokens.max()) < vocab_size:
        raise UserError(
            f"draft.start: {folder / FREQUENT} has a token that is not one of the target's"
            f" {vocab_size}"
        )
    return tokens


def save_draft(
    draft: Any,
    tokenizer: PreTrainedTokenizerBase,
    tokens: Tensor | None,
    folder: Path,
    whole: bool = True,
) -> None:
    """Save a draft model as transformers saves one, in bfloat16, and what its head is cut down to.

    Whoever does not know of that finds a whole head. One that is not ``whole`` is saved without
    what is its target's, embeddings, head and tokenizer, which the pair gives back to it.
    """
    saved = copy.deepcopy(draft).to(torch.bfloat16)
    saved.config.dtype = torch.bfloat16
    saved.save_pretrained(folder)
    write_frequent(folder, tokens)
    if whole:
        tokenizer.save_pretrained(folder)
        return
    path = folder / "model.safetensors"
    theirs = {
        id(one.weight) for one in (saved.get_input_embeddings(), saved.get_output_embeddings())
    }
    names = {
        name for name, one in saved.named_parameters(remove_duplicate=False) if id(one) in theirs
    }
    own = {name: one for name, one in load_file(path).items() if name not in names}
    with replacing(path) as unfinished:
        save_file(own, unfinished, {"format": "pt"})
