"""Draft models that come without their embeddings, which are the target's: completed once.

Embeddings are most of a small draft model. One that was distilled with its target's
(``pearl-eval distill draft.whole=false``) leaves them out, and is a folder of a few megabytes.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from pearl_eval.errors import UserError
from pearl_eval.weights.cache import Tell, cache, check_disk, make_once

_WEIGHTS = "model.safetensors"
#: Raised when another thing is made of the same folders.
_VERSION = 1


def lacks_embeddings(folder: Path) -> bool:
    """Whether a folder has a model's weights in one file, and all but its embeddings."""
    path = folder / _WEIGHTS
    if not path.is_file():
        return False
    with safe_open(path, framework="pt") as file:
        return not any("embed" in name or "wte" in name for name in file.keys())  # noqa: SIM118


def completed(draft: Path, target: Path, mark: str, tell: Tell = lambda text: None) -> Path:
    """The folder of a draft model with the embeddings, head and tokenizer of its target.

    Parameters
    ----------
    draft
        Its folder, which ``lacks_embeddings``.
    target
        The target's folder.
    mark
        Tells the weights of both from others.
    tell
        Is told what takes long.

    Raises
    ------
    UserError
        The target has no weights of those names and shapes, or the disk is full.
    """
    digest = hashlib.sha256(f"{mark} {_VERSION}".encode()).hexdigest()[:32]
    folder = cache() / f"draft-{digest}"

    def make(made: Path, meanwhile: Path) -> None:
        del meanwhile
        own = load_file(draft / _WEIGHTS)
        taken = _taken(draft, target, own)
        check_disk(draft.name, sum(one.nbytes for one in [*own.values(), *taken.values()]), made)
        for path in draft.iterdir():
            if path.is_file() and path.name != _WEIGHTS:
                shutil.copy(path, made)
        AutoTokenizer.from_pretrained(target, trust_remote_code=False).save_pretrained(made)
        save_file(own | taken, made / _WEIGHTS, {"format": "pt"})

    make_once(draft.name, folder, make, tell)
    return folder


def _taken(draft: Path, target: Path, own: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a draft model lacks, from its target, in its own dtype."""
    config = AutoConfig.from_pretrained(draft, trust_remote_code=False)
    with torch.device("meta"):
        whole = AutoModelForCausalLM.from_config(config)
    # A tied head is the embeddings, under another name.
    wanted = {name: one.shape for name, one in whole.named_parameters() if name not in own}
    dtype = next(iter(own.values())).dtype
    found: dict[str, torch.Tensor] = {}
    for path in sorted(target.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in set(file.keys()) & set(wanted):
                found[name] = file.get_tensor(name).to(dtype).contiguous()
    for name, shape in wanted.items():
        if name not in found:
            raise UserError(f"{draft} needs {name} of its target, and {target} has none of it")
        if found[name].shape != shape:
            raise UserError(
                f"{draft} needs {name} of shape {list(shape)}, and {target} has"
                f" {list(found[name].shape)}: it is the draft model of another target"
            )
    return found
