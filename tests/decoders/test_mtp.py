"""The target's multi-token-prediction layers draft."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from library_chance import check_distribution
from safetensors.torch import load_file, save_file
from small_pair import make_model, make_tokenizer
from transformers import GenerationConfig, MellumConfig, MellumForCausalLM, modeling_layers

from decoders.assisted_mtp import AssistedMtp
from decoders.autoregressive import Autoregressive
from decoders.decoder import Decoder
from decoders.model.architecture import Architecture
from decoders.model.cached_model import CachedModel
from decoders.process.models import Models
from decoders.process.worker import WorkerOptions
from decoders.sampling.sampler import Greedy, Sampler
from decoders.sampling.temperature import Temperature, Warping
from decoders.session import Session
from pearl_eval.errors import UserError
from pearl_eval.evaluation.plan import check_target

PROMPT = list(range(20, 60))
#: Where a checkpoint has the layer that a small model is copied from.
_LAST = "model.layers.1."


def save_target(folder: Path, vocab_size: int, noise: float | None = 0.02) -> Path:
    """Save a small Mellum whose multi-token-prediction layer is its last one with some noise.

    ``None``: without that layer's weights.
    """
    torch.manual_seed(0)
    config = MellumConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        moe_intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        num_experts=4,
        num_experts_per_tok=2,
        sliding_window=16,
        max_position_embeddings=2048,
        layer_types=["full_attention", "sliding_attention"],
        num_mtp_layers=1,
        initializer_range=0.15,
        bos_token_id=None,
        eos_token_id=0,
    )
    MellumForCausalLM(config).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    if noise is not None:
        own = {key: value for key, value in weights.items() if key.startswith(_LAST)}
        for key, value in own.items():
            moved = value + noise * torch.randn_like(value)
            weights[f"mtp.layers.0.{key.removeprefix(_LAST)}"] = moved
        # Of the token's embedding and the hidden states, the former alone is read.
        weights["mtp.fc.weight"] = torch.cat([torch.eye(32), torch.zeros(32, 32)], dim=1)
        for name in ("pre_fc_norm_embedding", "pre_fc_norm_hidden", "norm"):
            weights[f"mtp.{name}.weight"] = torch.ones(32)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def load(folder: Path) -> CachedModel:
    return CachedModel(MellumForCausalLM.from_pretrained(folder, dtype=torch.float32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_target(tmp_path_factory.mktemp("mtp"), vocab_size=300)


def start(decoder: Decoder, target: CachedModel, sampler: Sampler | None = None) -> Session:
    return decoder.start(Models(target, pytest.fail, WorkerOptions()), sampler or Greedy())


@pytest.mark.parametrize("limit", [1, 2, 3, 40])
def test_output_is_the_references(folder: Path, limit: int) -> None:
    target = load(folder)
    free = start(Autoregressive(), target).decode(PROMPT, limit, []).output_ids
    session = start(AssistedMtp(), target)
    for stop_ids in ([], [free[len(free) // 2]]):
        expected = start(Autoregressive(), target).decode(PROMPT, limit, stop_ids)
        generation = session.decode(PROMPT, limit, stop_ids)
        assert generation.output_ids == expected.output_ids
        assert generation.finish_reason == expected.finish_reason
        assert len(generation.events) == generation.target_forwards == len(generation.rounds)


def test_each_layer_drafts_a_token_once_the_prompt_is_read(folder: Path) -> None:
    rounds = start(AssistedMtp(), load(folder)).decode(PROMPT, 40, []).rounds
    assert (rounds[0].mode, rounds[0].drafted, rounds[0].target_tokens) == ("decode", 0, 40)
    assert {(r.mode, r.drafted, r.target_tokens) for r in rounds[1:-1]} == {("verify", 1, 2)}
    assert {0, 1} == {r.accepted for r in rounds[1:-1]}


def test_nothing_is_drafted_that_the_text_has_no_room_for(folder: Path) -> None:
    """The target adds the last token itself."""
    session = start(AssistedMtp(), load(folder))
    for limit in range(1, 8):
        verified = 0
        for one in session.decode(PROMPT, limit, []).rounds:
            assert one.drafted <= limit - verified - 1
            verified = one.verified_length


def test_the_layers_are_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = start(AssistedMtp(), load(folder))
    kind = modeling_layers.MtpModel
    monkeypatch.setattr(kind, "from_pretrained", pytest.fail)
    first = session.decode(PROMPT, 20, [])
    again = session.decode(PROMPT, 20, [])
    assert first.output_ids == again.output_ids
    assert [r.accepted for r in first.rounds] == [r.accepted for r in again.rounds]
    assert kind.from_pretrained is pytest.fail, "what was there is there again"


def test_the_distribution_is_the_targets(tmp_path: Path) -> None:
    target = load(save_target(tmp_path, vocab_size=5))
    session = start(AssistedMtp(), target, Temperature(0.8, top_k=2))
    rounds = check_distribution(session, [1, 3, 1], 3, Warping(0.8, 2, 1.0))
    assert {0, 1} == {r.accepted for r in rounds if r.drafted}


def test_a_synthetic_pair_is_refused() -> None:
    """Its tokens are made up, and so has no layer anything to say of them."""
    pair: Any = SimpleNamespace(synthetic=True)
    with pytest.raises(UserError, match="so its target's own layers can't draft"):
        check_target(AssistedMtp(), pair)


def test_targets_without_such_layers_are_refused() -> None:
    target = CachedModel(make_model(30, layers=1, seed=1)).architecture
    with pytest.raises(ValueError, match=r"target \(llama\) has no layers for multi-token pred"):
        AssistedMtp().check_target(target)
    AssistedMtp().check_target(Architecture("mellum", 64, mtp_layers=1))


def test_weights_that_are_not_there_are_told_in_one_line(tmp_path: Path) -> None:
    target = load(save_target(tmp_path, vocab_size=30, noise=None))
    with pytest.raises(ValueError, match=f"can't be loaded from {tmp_path}: .*missing") as error:
        start(AssistedMtp(), target)
    assert "\n" not in str(error.value)


def test_a_target_that_was_made_has_no_weights_to_read() -> None:
    """It comes from nowhere."""
    target = CachedModel(make_model(30, layers=1, seed=1))
    with pytest.raises(ValueError, match="can't be loaded from nowhere: "):
        start(AssistedMtp(), target)


def test_the_layers_are_given_back(folder: Path) -> None:
    session = start(AssistedMtp(), load(folder))
    closed: list[Any] = []
    session.hold(SimpleNamespace(close=lambda: closed.append(1)))
    layers = weakref.ref(vars(session)["_layers"])
    session.stop()
    gc.collect()
    assert closed and layers() is None
    session.stop()


def test_a_rule_that_transformers_has_not_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"sampling\.coupled: transformers' generate draws"):
        start(AssistedMtp(), load(folder), Temperature(coupled=True))


def test_a_transformers_that_has_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    message = r"transformers \S+ has no multi-token prediction; install"
    AssistedMtp().check_here()
    with monkeypatch.context() as patch:
        patch.delattr(modeling_layers, "MtpModel")
        with pytest.raises(ValueError, match=message):
            AssistedMtp().check_here()
    monkeypatch.setattr("decoders.assisted_mtp.GenerationConfig", SimpleNamespace)
    with pytest.raises(ValueError, match=message):
        AssistedMtp().check_here()
    assert hasattr(GenerationConfig(), "use_mtp")


def test_a_run(run_cli: Any, folder: Path) -> None:
    arguments = ["decoder=assisted_mtp", "task.limit=2", "task.max_new_tokens=12"]
    code, out, err = run_cli(*arguments, f"pair.target.path={folder}")
    assert (code, "identical 2/2" in out) == (0, True), err
    code, _, err = run_cli(*arguments)
    assert (code, "has no layers for multi-token prediction" in err) == (2, True)
