"""What engines take from a model without being told: the defaults of its generation config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transformers import GenerationConfig

from pearl_eval.audit.ends import Ends
from pearl_eval.audit.processors import CONTROLS
from pearl_eval.errors import UserError, reason
from pearl_eval.pairs.generation_config import end_ids, read_generation_config
from pearl_eval.pairs.pair import Pair

#: Not an engine's default: how long a text may be is said by each request.
_LEFT_OUT = ("max_new_tokens", "max_length", "min_length")


@dataclass(frozen=True)
class Defaults:
    """What a target's own config says of what is applied to scores, and where its texts end."""

    settings: Mapping[str, Any]
    ends: Ends

    @classmethod
    def of(cls, pair: Pair, generation_config: bool = True) -> Defaults:
        """Those of a pair's target; without ``generation_config`` only where its texts end."""
        config = _config_of(pair)
        own = config.to_dict() if config else {}
        settings = {
            name: value
            for name, value in own.items()
            if name in CONTROLS and name not in _LEFT_OUT and generation_config
        }
        usual = pair.tokenizer.eos_token_id
        certain = end_ids(config) or ([] if usual is None else [usual])
        padding = own.get("pad_token_id")
        if padding is None:
            padding = pair.tokenizer.pad_token_id
        ends = Ends(certain, pair.stop_ids, padding, pair.contexts["target"])
        return cls(settings, ends)


def _config_of(pair: Pair) -> GenerationConfig | None:
    """The target's generation config, if it has one."""
    checkpoint = pair.checkpoints.get("target")
    if checkpoint is None:
        return None
    try:
        return read_generation_config(checkpoint)
    except Exception as error:  # whatever is thrown over a file that is not ours
        raise UserError(
            f"{checkpoint.location}: its generation config can't be read ({reason(error)})"
        ) from error
