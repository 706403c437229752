"""The target's own first layers draft."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from architectures import make_architecture
from library_chance import check_distribution
from small_pair import make_model

from decoders.assisted_early_exit import AssistedEarlyExit
from decoders.autoregressive import Autoregressive
from decoders.decoder import Decoder
from decoders.model.architecture import Architecture
from decoders.model.cached_model import CachedModel
from decoders.model.reading import Reading
from decoders.process.models import Models
from decoders.process.worker import WorkerOptions
from decoders.sampling.sampler import Greedy, Sampler
from decoders.sampling.temperature import Temperature, Warping
from decoders.session import Session

PROMPT = list(range(20, 60))
#: Kinds of models whose forwards can be ended early.
LEFT_EARLY = ["full", "sliding", "some sliding", "rotations of each kind", "longrope"]


def start(decoder: Decoder, target: CachedModel, sampler: Sampler | None = None) -> Session:
    return decoder.start(Models(target, pytest.fail, WorkerOptions()), sampler or Greedy())


def idle_from(layer: int) -> CachedModel:
    """A target of four layers of which those from ``layer`` on add nothing."""
    model: Any = make_model(300, layers=4, seed=1)
    with torch.no_grad():
        for one in model.model.layers[layer:]:
            one.self_attn.o_proj.weight.zero_()
            one.mlp.down_proj.weight.zero_()
    return CachedModel(model)


def test_layers_that_say_what_all_say_are_always_right() -> None:
    target = idle_from(2)
    session = start(AssistedEarlyExit(gamma=4, exit_layer=2), target)
    generation = session.decode(PROMPT, 23, [])
    # Four of the draft and one of the target's own in each round; the last three have two.
    assert [(r.drafted, r.accepted, r.own_tokens) for r in generation.rounds] == [
        *[(4, 4, 1)] * 4,
        (2, 2, 1),
    ]
    assert (
        generation.output_ids == start(Autoregressive(), target).decode(PROMPT, 23, []).output_ids
    )


def test_forwards_that_draft_are_none_of_the_targets() -> None:
    target = idle_from(2)
    generation = start(AssistedEarlyExit(gamma=4, exit_layer=1), target).decode(PROMPT, 12, [])
    assert [r.target_tokens for r in generation.rounds[:2]] == [len(PROMPT) + 4, 5]
    assert all(isinstance(one, Reading) and one.by_library for one in generation.events)
    assert len(generation.events) == len(generation.rounds) == generation.target_forwards
    assert generation.draft_forwards == 0
    # As many layers as ever, when it is over.
    assert target.model.config.num_hidden_layers == 4


def test_by_default_a_quarter_of_the_layers_drafts() -> None:
    for layers, quarter in ((2, 1), (4, 1), (8, 2), (11, 2)):
        session = start(AssistedEarlyExit(), CachedModel(make_model(30, layers, seed=1)))
        assert session.settings() == {"gamma": 5, "exit_layer": quarter}


@pytest.mark.parametrize("kind", LEFT_EARLY)
def test_kinds_of_models(kind: str) -> None:
    target = CachedModel(make_architecture(kind))
    layers = target.model.config.num_hidden_layers
    decoder = AssistedEarlyExit(gamma=3, exit_layer=layers - 1)
    decoder.check_target(target.architecture)
    expected = start(Autoregressive(), target).decode(PROMPT[:22], 14, []).output_ids
    ran: list[int] = []
    model: Any = target.model
    hook = model.model.layers[-1].register_forward_hook(lambda *_: ran.append(1))
    generation = start(decoder, target).decode(PROMPT[:22], 14, [])
    hook.remove()
    assert generation.output_ids == expected
    # The last layer runs in the target's forwards alone.
    assert len(ran) == generation.target_forwards


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("absolute positions", "it runs its layers whatever their number"),
        ("sinks", "it runs its layers whatever their number"),
        ("chunked", "its layers are not where transformers looks"),
        ("shared keys", "its later layers read the keys of earlier ones"),
    ],
)
def test_models_that_cannot_be_left_early_are_refused(kind: str, reason: str) -> None:
    architecture = CachedModel(make_architecture(kind)).architecture
    with pytest.raises(ValueError, match=rf"target \({architecture.name}\) can't: {reason}"):
        AssistedEarlyExit().check_target(architecture)


def test_a_part_of_a_larger_model_is_refused() -> None:
    model = make_model(30, layers=2, seed=1)
    larger = type("Larger", (type(model),), {})
    architecture = Architecture.of(model.config, larger)
    with pytest.raises(
        ValueError, match=r"\(llama\) can't: its layers are a part of a larger model"
    ):
        AssistedEarlyExit().check_target(architecture)


@pytest.mark.parametrize(("depth", "exit_layer"), [(4, 4), (4, 9), (1, None), (1, 1)])
def test_fewer_layers_than_all_must_draft(depth: int, exit_layer: int | None) -> None:
    target = Architecture("llama", 2048, depth=depth)
    with pytest.raises(ValueError, match=f"the target has {depth} layers, and fewer than all"):
        AssistedEarlyExit(exit_layer=exit_layer).check_target(target)
    AssistedEarlyExit(exit_layer=exit_layer).check_target(Architecture("llama", 2048, depth=10))
    # How many there are need not be known.
    AssistedEarlyExit(exit_layer=exit_layer).check_target(Architecture("llama", 2048))
    with pytest.raises(ValueError, match=r"decoder\.exit_layer must be at least 1 layer, got 0"):
        AssistedEarlyExit(exit_layer=0)


@pytest.mark.parametrize(("exit_layer", "depth", "named"), [(None, 1, 1), (1, 1, 1), (4, 4, 4)])
def test_the_layer_that_is_one_too_many_is_named(
    exit_layer: int | None, depth: int, named: int
) -> None:
    decoder = AssistedEarlyExit(exit_layer=exit_layer)
    with pytest.raises(ValueError, match=rf"exit_layer={named}: the target has {depth} layers"):
        decoder.check_target(Architecture("llama", 2048, depth=depth))
    decoder.check_target(Architecture("llama", 2048, depth=depth + 1))


def test_other_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"decoder\.gamma .* must be at least 1, got 0"):
        AssistedEarlyExit(gamma=0)
    with pytest.raises(ValueError, match=r"sampling\.coupled: transformers' generate draws"):
        start(AssistedEarlyExit(), idle_from(2), Temperature(coupled=True))


def test_the_distribution_is_the_targets() -> None:
    target = CachedModel(make_model(5, layers=2, seed=1))
    session = start(AssistedEarlyExit(gamma=2), target, Temperature(0.8, top_k=2))
    rounds = check_distribution(session, [1, 3, 1], 3, Warping(0.8, 2, 1.0))
    assert {0, 1, 2} == {r.accepted for r in rounds if r.drafted == 2}


def test_a_synthetic_pair_is_refused(run_cli: Any) -> None:
    """Its target is never wrong, whichever layers are asked."""
    code, _, err = run_cli(
        "decoder=assisted_early_exit", "pair=synthetic", "task.limit=1", small_pair=False
    )
    assert (code, "a synthetic pair makes its tokens up, so its target's own" in err) == (2, True)
