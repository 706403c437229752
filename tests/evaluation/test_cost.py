"""What decoding costs beside time."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from small_pair import make_model
from transformers import LlamaConfig
from written_run import fates

from decoders.round import Round
from pearl_eval.evaluation.cost import Cost
from pearl_eval.machine.energy import EnergyMeter
from pearl_eval.machine.environment import reset_peak_memory
from pearl_eval.sizes.model_size import ModelSize

#: Two products of 50 weights, 4 values a token in the cache, queries of width 2.
SIZE = ModelSize(weights=120, multiplied=100, cached=4, attended=2, context=64)


def cost(*rounds: Round, joules: float | None = None) -> dict[str, Any]:
    made = Cost({"target": SIZE, "draft": SIZE}, itemsize=2)
    made.add(10, rounds[-1].verified_length, rounds, joules)
    return made.per_token()


def test_size_of_a_model() -> None:
    """Counted by hand: 2 layers of width 32, heads 4 × 8, 2 of them for keys, MLP 64."""
    size = ModelSize.of(make_model(300, layers=2, seed=0).config)
    layer = 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 64
    assert size.multiplied == 2 * layer + 32 * 300
    assert size.weights == size.multiplied + 32 * 300 + 5 * 32
    assert (size.cached, size.attended, size.context) == (2 * 2 * 16, 2 * 32, 2048)


def test_tied_weights_are_held_once_and_multiplied() -> None:
    config = LlamaConfig(
        vocab_size=70, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    size = ModelSize.of(config)
    assert size.multiplied == 4 * 64 + 3 * 64 + 8 * 70
    assert size.weights == size.multiplied + 3 * 8


def test_flops_of_a_forward() -> None:
    """Three tokens after ten: 2 per weight, and 4 per attended position and query value."""
    assert SIZE.flops(3, 10) == 2 * 3 * 100 + 4 * (11 + 12 + 13) * 2


def test_autoregressive_decoding_wastes_nothing() -> None:
    rounds = [
        Round("decode", target_seconds=1.0, target_tokens=10 + 0, verified_length=1),
        Round("decode", target_seconds=1.0, target_tokens=1, verified_length=2),
    ]
    figures = cost(*rounds)
    assert figures["target_flops_per_token"] == (SIZE.flops(1, 10) + SIZE.flops(1, 11)) / 2
    assert figures["target_bytes_per_token"] == 2 * (100 + 4 * 11 + 100 + 4 * 12) / 2
    assert figures["target_wasted_flops_per_token"] == 0
    assert figures["draft_flops_per_token"] == 0
    assert "joules_per_token" not in figures


def test_a_prompt_whose_beginning_was_known_costs_a_token_all_the_same() -> None:
    """As in an engine that keeps the prompts of before: it read but four tokens of ten."""
    figures = cost(Round("decode", target_tokens=4, verified_length=1))
    assert figures["target_flops_per_token"] == SIZE.flops(1, 10)
    assert figures["target_wasted_flops_per_token"] == 0


def test_what_was_looked_up_takes_no_forward_of_the_draft_models() -> None:
    """Four tokens in two forwards over two each: all are computed, but weights are read twice."""
    drafts = {"drafted": 4, "draft_seconds": 1.0, "verified_length": 1}
    figures = cost(Round("verify", **drafts, retrieved=2, guessed=[1, 1]))  # type: ignore[arg-type]
    assert figures["draft_bytes_per_token"] == 2 * 2 * SIZE.values_read(2, 10)
    assert figures["draft_flops_per_token"] == SIZE.flops(4, 10)
    # Of two guesses that nothing of was right all is computed in vain.
    wrong = cost(Round("verify", 2, draft_seconds=1.0, verified_length=1, guessed=[3, 1]))
    assert wrong["draft_flops_per_token"] == SIZE.flops(6, 10)
    assert wrong["draft_wasted_flops_per_token"] == SIZE.flops(6, 10)
    without = cost(Round("verify", **drafts))  # type: ignore[arg-type]
    assert without["draft_bytes_per_token"] == 2 * 4 * SIZE.values_read(1, 10)


def test_every_token_of_a_later_window_counts() -> None:
    """Of four tokens read after eleven, two are of no use: all four are read for the text."""
    rounds = [
        Round("decode", target_tokens=10, verified_length=1),
        Round("verify", target_tokens=4, verified_length=3),
    ]
    figures = cost(*rounds)
    assert figures["target_flops_per_token"] == (SIZE.flops(1, 10) + SIZE.flops(4, 11)) / 3
    assert figures["target_wasted_flops_per_token"] == SIZE.flops(4, 11) // 2 / 3


def test_rejected_tokens_are_wasted_by_both() -> None:
    """Five drafted, two accepted and one of the target's own: of six read, three stay."""
    one = Round(
        "verify", drafted=5, judged=3, accepted=2, draft_seconds=1.0, target_seconds=1.0,
        target_tokens=10 + 5, verified_length=3, fates=fates("aar.."),
    )  # fmt: skip
    figures = cost(one, joules=12.0)
    assert figures["target_wasted_flops_per_token"] == SIZE.flops(6, 10) // 2 / 3
    assert figures["draft_wasted_flops_per_token"] == SIZE.flops(5, 10) * 3 // 5 / 3
    # Five forwards of one token each.
    assert figures["draft_bytes_per_token"] == 2 * 5 * (100 + 4 * 11) / 3
    assert figures["joules_per_token"] == 4.0


def test_a_token_accepted_in_a_later_round_is_not_wasted() -> None:
    """As PEARL has them: drafted in one round, judged in the next."""
    verified = Round(
        "verify", drafted=0, judged=3, accepted=3, target_seconds=1.0, target_tokens=3,
        verified_length=4,
    )  # fmt: skip
    drafted = Round(drafted=3, draft_seconds=1.0, verified_length=1, fates=fates("aaa"))
    assert cost(drafted, verified)["draft_wasted_flops_per_token"] == 0


def test_what_was_prepared_is_read_once_and_mostly_wasted() -> None:
    """Three forwards read 12 tokens after ten. At a hit two of them are in the text; at a miss
    none, and three tokens are drafted besides, of which one is in the text."""
    hit = Round(
        "hit", drafted=3, accepted=2, draft_seconds=1.0, verified_length=2, fates=fates("aar"),
        hit=True, branch_forwards=3, branch_tokens=12, prepared=3,
    )  # fmt: skip
    figures, wasted = cost(hit), SIZE.flops(12, 10) * 10 / 12
    assert figures["draft_flops_per_token"] == SIZE.flops(12, 10) / 2
    assert figures["draft_wasted_flops_per_token"] == pytest.approx(wasted / 2)
    assert figures["draft_bytes_per_token"] == 2 * 3 * (100 + 4 * 14) / 2
    miss = Round(
        "miss", drafted=3, accepted=1, draft_seconds=1.0, verified_length=2, fates=fates("ar."),
        branch_forwards=3, branch_tokens=12,
    )  # fmt: skip
    figures = cost(miss)
    assert figures["draft_flops_per_token"] == (SIZE.flops(12, 10) + SIZE.flops(3, 10)) / 2
    wasted = SIZE.flops(12, 10) + SIZE.flops(3, 10) * 2 / 3
    assert figures["draft_wasted_flops_per_token"] == pytest.approx(wasted / 2)


def test_what_is_accepted_of_a_draft_that_was_prepared_in_part() -> None:
    """Two forwards read six tokens and gave two of the draft's five, a forward each the other
    three. Three are in the text: 3 · 2 / 5 of what was prepared, and 3 · 3 / 5 of the others."""
    one = Round(
        "verify", drafted=5, accepted=3, draft_seconds=1.0, verified_length=4, fates=fates("aaar."),
        branch_forwards=2, branch_tokens=6, prepared=2,
    )  # fmt: skip
    figures = cost(one)
    assert figures["draft_flops_per_token"] == (SIZE.flops(6, 10) + SIZE.flops(3, 10)) / 4
    wasted = SIZE.flops(6, 10) * 4.8 / 6 + SIZE.flops(3, 10) * 1.2 / 3
    assert figures["draft_wasted_flops_per_token"] == pytest.approx(wasted / 4)
    # Nothing came of what was prepared while nothing else was drafted.
    vain = Round("decode", verified_length=1, branch_forwards=2, branch_tokens=6)
    assert cost(vain)["draft_wasted_flops_per_token"] == SIZE.flops(6, 10)


def test_each_round_wastes_its_own_share() -> None:
    """A token after 10, of which nothing is wasted; after 11, two of three."""
    rounds = [
        Round(drafted=1, draft_seconds=1.0, verified_length=1, fates=fates("a")),
        Round(drafted=3, draft_seconds=1.0, verified_length=2, fates=fates("ar.")),
    ]
    wasted = cost(*rounds)["draft_wasted_flops_per_token"]
    assert wasted == pytest.approx(SIZE.flops(3, 11) * 2 / 3 / 2)


def test_a_reference_of_fixed_windows_costs_what_the_same_decoder_does() -> None:
    rounds = [
        Round("decode", target_seconds=1.0, target_tokens=17, verified_length=1),
        Round("decode", target_seconds=1.0, target_tokens=8, verified_length=2),
    ]
    reference = Cost({"target": SIZE}, itemsize=2)
    reference.add_autoregressive(10, 2, None, window=8)
    figures = cost(*rounds)
    assert {name: figures[name] for name in reference.per_token()} == reference.per_token()


def test_a_reference_reads_one_token_a_forward() -> None:
    """After the prompt's last, which is read for the first token: 2 × 12 J over 4 tokens."""
    reference = Cost({"target": SIZE}, itemsize=2)
    for joules in (12.0, None, 12.0):
        reference.add_autoregressive(10, 2 if joules else 0, joules)
    assert reference.per_token() == {
        "joules_per_token": 6.0,
        "target_flops_per_token": (SIZE.flops(1, 10) + SIZE.flops(1, 11)) / 2,
        "target_wasted_flops_per_token": 0,
        "target_bytes_per_token": 2 * (100 + 4 * 11 + 100 + 4 * 12) / 2,
    }


def test_a_cpu_counts_no_energy() -> None:
    assert EnergyMeter(["cpu"]).joules() is None


def test_gpus_count_their_energy_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in for the driver's library: each counts millijoules of its own."""
    counted = {"GPU-a": 1500, "GPU-b": 2500}
    nvml = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=counted.__getitem__,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(
        "torch.cuda.get_device_properties", lambda gpu: SimpleNamespace(uuid="ab"[gpu.index])
    )
    assert EnergyMeter(["cuda:0", "cuda:1", "cuda:0"]).joules() == 4.0
    assert EnergyMeter(["cuda:0", "cpu"]).joules() is None
    del counted["GPU-b"]
    assert EnergyMeter(["cuda:0", "cuda:1"]).joules() is None


def test_a_gpu_that_nothing_has_used_has_no_peak_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA refuses to forget one before it is set up, as where both models are on the CPU."""
    forgotten: list[int] = []
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: None)
    monkeypatch.setattr("torch.cuda.reset_peak_memory_stats", forgotten.append)
    reset_peak_memory()
    assert forgotten == []
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    reset_peak_memory()
    assert forgotten == [0, 1]


def test_nothing_decoded_costs_nothing() -> None:
    assert Cost({"target": SIZE}, itemsize=2).per_token() == {}


@pytest.mark.parametrize("role", ["target", "draft"])
def test_a_model_that_is_not_there_has_no_figures(role: str) -> None:
    made = Cost({role: SIZE}, itemsize=2)
    made.add(10, 1, [Round("decode", target_tokens=10, verified_length=1)], None)
    assert {name.split("_")[0] for name in made.per_token()} == {role}
