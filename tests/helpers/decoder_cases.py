"""Every decoder of conf/decoder, so that a new one is under every equivalence test unasked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from omegaconf import DictConfig, OmegaConf

from decoders.decoder import Decoder
from decoders.generate import Generate
from decoders.model.architecture import Architecture
from pearl_eval.config.building import build
from pearl_eval.config.paths import config_dir


def make_decoder(name: str, gamma: int | str | None = None) -> Decoder:
    """The decoder of a YAML file, with another draft length where it has one."""
    node = OmegaConf.load(config_dir() / "decoder" / f"{name}.yaml")
    assert isinstance(node, DictConfig)
    if "gamma" in node:
        node.gamma = gamma or 4
    # Of a configuration, to whose other parts it may refer.
    whole = OmegaConf.create({"decoder": node, "engine": {}})
    return build("decoder", whole.decoder, Decoder)


_EVERY = sorted(path.stem for path in (config_dir() / "decoder").glob("*.yaml"))
#: Those that need no other engine: what runs in vLLM has its tests in tests/in_vllm.
ALL_NAMES = [name for name in _EVERY if make_decoder(name).engine == "transformers"]


def _fits(decoder: Decoder) -> bool:
    """Whether it takes the small pair: two Llamas of one vocabulary, with layers as any has."""
    try:
        decoder.check_target(Architecture("llama", 2048, depth=2))
    except ValueError:
        return False
    return not decoder.other_vocabulary


#: Those that any pair will do for: others have tests of their own.
FITTING = [name for name in ALL_NAMES if _fits(make_decoder(name))]
#: Those that claim the target's own output.
NAMES = [name for name in FITTING if make_decoder(name).lossless]


#: Those of them that run on a ``CachedModel`` alone; transformers' need its model.
OWN_NAMES = [name for name in NAMES if not isinstance(make_decoder(name), Generate)]


def cases(gammas: tuple[int, ...], names: Sequence[str] = NAMES) -> list[tuple[str, int | None]]:
    """Each decoder with each draft length, or once where it has none."""
    found: list[tuple[str, int | None]] = []
    for name in names:
        has_gamma = "gamma" in {f.name for f in fields(make_decoder(name))}
        found += [(name, gamma) for gamma in gammas] if has_gamma else [(name, None)]
    return found
