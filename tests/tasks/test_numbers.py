"""Logits that are no numbers, settings at their limits: refused or right, never silently wrong."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_pair import SmallPair, make_model
from transformers import LlamaForCausalLM

from decoders.decoder import Decoder
from decoders.model.cached_model import CachedModel
from decoders.pearl import Pearl
from decoders.pearl_async import PearlAsync
from decoders.process.models import Models
from decoders.process.worker import WorkerOptions
from decoders.sampling.chance import Chance
from decoders.sampling.sampler import Draft, Greedy, Sampler
from decoders.sampling.temperature import Temperature
from decoders.speculative import Speculative

Run = Callable[..., tuple[int, str, str]]
SHORT = ("task.limit=2", "task.max_new_tokens=8", "hydra.run.dir=run")
RULES = {
    "greedy": Greedy(),
    "sampled": Temperature(),
    "top-k, top-p": Temperature(0.7, top_k=5, top_p=0.9),
    "coupled": Temperature(coupled=True),
    "blocks": Temperature(verification="block"),
}
OPTIONS = WorkerOptions(spin_seconds=0.0)
BAD = {"nan": [0.0, math.nan, 1.0], "inf": [0.0, math.inf, 1.0], "all -inf": [-math.inf] * 3}


@pytest.mark.parametrize("logits", BAD.values(), ids=list(BAD))
@pytest.mark.parametrize("sampler", RULES.values(), ids=list(RULES))
def test_what_is_no_number_chooses_no_token(sampler: Sampler, logits: list[float]) -> None:
    rows = torch.tensor([logits])
    with pytest.raises(FloatingPointError, match="no token can be chosen"):
        sampler.proposer(1, 0).propose(rows, 0)
    with pytest.raises(FloatingPointError, match="no token can be chosen"):
        sampler.verifier(1, 0).choose(rows, 0)
    verifier = sampler.verifier(1, 0)
    candidates = Draft([1], [] if sampler in (RULES["greedy"], RULES["coupled"]) else [1e-9])
    with pytest.raises(FloatingPointError, match="no token can be chosen"):
        verifier.judge(verifier.read(rows, 0), candidates, lambda position: torch.ones(3) / 3)


def spoil(pair: SmallPair, folder: Path, role: str, value: float) -> list[str]:
    """The pair with one weight of a model's last layer spoilt."""
    shutil.copytree(pair.folder, folder)
    model = LlamaForCausalLM.from_pretrained(folder / role, dtype=torch.float32)
    with torch.no_grad():
        model.lm_head.weight[7, 3] = value
    model.save_pretrained(folder / role)
    return [f"pair.{name}.path={folder / name}" for name in ("target", "draft")]


@pytest.mark.parametrize(("role", "value"), [("target", math.nan), ("draft", math.inf)])
@pytest.mark.parametrize(
    "own",
    [
        ["decoder=pearl", "sampling=greedy"],
        ["decoder=pearl", "sampling=temperature"],
        ["decoder=pearl_shared", "sampling=temperature"],
    ],
    ids=" ".join,
)
def test_a_model_with_a_spoilt_weight_is_told_in_one_line(
    run_cli: Run, tmp_path: Path, small_pair: SmallPair, role: str, value: float, own: list[str]
) -> None:
    spoilt = spoil(small_pair, tmp_path / "pair", role, value)
    code, out, err = run_cli(*spoilt, *own, *SHORT)
    assert code == 2 and "no token can be chosen" in err and not out
    assert "Traceback" not in err and err.splitlines()[-1].startswith("pearl-eval: error: "), err
    assert ("draft process" in err) == (role == "draft")


@pytest.mark.parametrize("sampler", RULES.values(), ids=list(RULES))
def test_a_vocabulary_of_one(sampler: Sampler) -> None:
    model = CachedModel(make_model(1, layers=1, seed=0))
    verifier = sampler.verifier(3, 2)
    for length in range(2, 5):
        assert verifier.choose(model.extend([0] * length, rows=1), length) == 0


def one_token() -> CachedModel:
    return CachedModel(make_model(1, layers=1, seed=0))


DECODERS = {
    "speculative": Speculative(gamma=3),
    "pearl": Pearl(gamma=3),
    "pearl_async": PearlAsync(),
}


@pytest.mark.parametrize("decoder", DECODERS.values(), ids=list(DECODERS))
@pytest.mark.parametrize("sampler", RULES.values(), ids=list(RULES))
def test_a_vocabulary_of_one_is_decoded(decoder: Decoder, sampler: Sampler) -> None:
    """With nothing to be wrong about, all that is judged is accepted."""
    session = decoder.start(Models(one_token(), one_token, OPTIONS), sampler)
    try:
        made = session.decode([0, 0, 0], 12, [])
    finally:
        session.stop()
    assert made.output_ids == [0] * 12
    assert all(one.accepted == one.judged for one in made.rounds)


@pytest.mark.parametrize("decoder", DECODERS.values(), ids=list(DECODERS))
def test_decoders_at_the_limits_of_sampling_decode_greedily(
    decoder: Decoder, small_pair: SmallPair
) -> None:
    models = Models(small_pair.load_target(), small_pair.load_draft, OPTIONS)
    limits = [Temperature(0.001), Temperature(top_p=1e-30), Temperature(top_k=1)]
    outputs = []
    for sampler in (Greedy(), *limits):
        session = decoder.start(models, sampler)
        try:
            outputs.append(session.decode([5, 6, 7], 16, []).output_ids)
        finally:
            session.stop()
    assert outputs[1:] == outputs[:1] * 3


@pytest.mark.parametrize(
    "sampler",
    [
        Temperature(0.001),
        Temperature(top_p=1e-30),
        Temperature(top_k=1),
        Temperature(0.001, 0, 1e-9),
    ],
    ids=str,
)
@pytest.mark.parametrize("coupled", [False, True])
def test_at_their_limits_rules_are_greedy(sampler: Temperature, coupled: bool) -> None:
    sampler.coupled = coupled
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(200, 50, generator=generator)
    logits[:, 0] += 200 * (torch.arange(200) % 2)
    # Where two are close at this temperature, either may be drawn.
    close = logits.topk(2).values.diff(dim=-1).abs()[:, 0] < 0.05
    verifier, proposer = sampler.verifier(5, 0), sampler.proposer(5, 0)
    for position, row in enumerate(logits):
        ours = verifier.choose(row[None], position)
        theirs, chance = proposer.propose(row[None], position)
        if not close[position]:
            assert ours == theirs == int(row.argmax())
            assert chance is None or chance > 0.999


@pytest.mark.parametrize("verification", ["token", "block"])
def test_equal_distributions_that_rounding_parts_draw_from_themselves(verification: str) -> None:
    sampler = Temperature(verification=verification)
    rows = torch.tensor([[0.0, 1.0]])
    same = rows.softmax(dim=-1)[0]

    class Unlucky(Chance):
        def happens(self, probability: float) -> bool:
            return False

    verifier = sampler.verifier(0, 0)
    verifier._chance = Unlucky(0, "target")  # type: ignore[attr-defined]
    judged = verifier.judge(verifier.read(rows, 0), Draft([1], [float(same[1])]), lambda at: same)
    assert judged.accepted == [] and judged.rejected and judged.token in (0, 1)
