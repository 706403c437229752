"""What a draft model is trained with: schedule, losses, a target's continuations, the loop."""

from __future__ import annotations

from math import exp, log
from pathlib import Path

import numpy as np
import pytest
import torch
from small_pair import SmallPair, make_model
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from pearl_eval.training import fitting
from pearl_eval.training.config import Loss
from pearl_eval.training.continuations import Continuations, greedy
from pearl_eval.training.fitting import Fitted, Schedule, fit
from pearl_eval.training.losses import distillation_loss, logits_of, next_token_loss


def logits(*rows: list[float]) -> Tensor:
    """Of one text; each row has the probabilities of a place."""
    return torch.tensor([[*rows]]).log()


def test_schedule_warms_up_stays_and_falls() -> None:
    schedule = Schedule(100, 1.0, 1.0, {0: 0.1, 9: 1.0, 50: 1.0, 100: 0.0}, checkpoint_every=10)
    assert [schedule.scale(step) for step in (0, 9, 30, 75, 100)] == [0.1, 1.0, 1.0, 0.5, 0.0]


def test_next_token_loss_is_a_weighted_mean() -> None:
    """ln 2 and ln 4, the second three times as heavy."""
    loss = next_token_loss(
        logits([0.5, 0.25, 0.25], [0.5, 0.25, 0.25]),
        torch.tensor([[0, 2]]),
        torch.tensor([[1, 3.0]]),
    )
    assert loss.item() == pytest.approx((log(2) + 3 * log(4)) / 4)


def test_scores_are_float32_of_products_in_bfloat16_or_not() -> None:
    model = make_model(300, 1, 0).eval()
    ids = torch.tensor([[5, 6, 7]])
    exact, rounded = (logits_of(model, ids, bf16) for bf16 in (False, True))
    assert torch.equal(exact, model(input_ids=ids).logits)
    assert exact.dtype == rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    assert torch.allclose(exact, rounded, atol=0.05)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_distillation_loss_is_of_the_target_and_of_its_first_choice(share: float) -> None:
    """The second place weighs nothing. KL(p‖q), not KL(q‖p); and −ln q of p's first choice."""
    target = logits([0.5, 0.25, 0.25], [0.1, 0.1, 0.8])
    draft = logits([0.25, 0.5, 0.25], [0.8, 0.1, 0.1])
    divergence = 0.5 * log(2) - 0.25 * log(2)
    expected = (1 - share) * divergence + share * log(4)
    loss = distillation_loss(draft, target, torch.tensor([[2.0, 0.0]]), share)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("total_variation", 0.25),
        ("acceptance", -log(0.75)),
        # e^(−3 × 0.75) of the divergence, which is 0.5 ln 2 − 0.25 ln 2; the rest of 0.25.
        ("mixed", exp(-2.25) * 0.25 * log(2) + (1 - exp(-2.25)) * 0.25),
    ],
)
def test_other_losses_are_of_how_often_a_token_is_accepted(loss: str, expected: float) -> None:
    """The smaller probability of each: 0.25 + 0.25 + 0.25. The second place weighs nothing."""
    target = logits([0.5, 0.25, 0.25], [0.1, 0.1, 0.8])
    draft = logits([0.25, 0.5, 0.25], [0.8, 0.1, 0.1])
    found = distillation_loss(draft, target, torch.tensor([[2.0, 0.0]]), 0.0, Loss(loss))
    assert found.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("loss", list(Loss))
def test_a_draft_that_agrees_on_nothing_can_learn(loss: Loss) -> None:
    """All probabilities that the two have in common round to 0 here, and ln 0 is no number."""
    draft = torch.tensor([[[300.0, 0.0]]], requires_grad=True)
    target = torch.tensor([[[0.0, 300.0]]])
    found = distillation_loss(draft, target, torch.ones(1, 1), 0.0, loss)
    found.backward()
    assert draft.grad is not None and draft.grad.isfinite().all()
    # e^−300 of either token is common to both.
    others = {Loss.total_variation: 1.0, Loss.acceptance: 300 - log(2)}
    assert found.item() == pytest.approx(others.get(loss, 300.0))


def test_the_mixed_loss_does_not_gain_by_its_own_share() -> None:
    """Its gradient is that of the two losses at the share as it is."""
    target = logits([0.5, 0.25, 0.25])
    gradients = {}
    for loss in (Loss.kl, Loss.total_variation, Loss.mixed):
        draft = logits([0.25, 0.5, 0.25]).requires_grad_()
        distillation_loss(draft, target, torch.ones(1, 1), 0.0, loss).backward()
        gradients[loss] = draft.grad
    share = exp(-2.25)
    expected = share * gradients[Loss.kl] + (1 - share) * gradients[Loss.total_variation]
    assert torch.allclose(gradients[Loss.mixed], expected, atol=1e-6)


def test_matrices_but_those_of_embeddings_learn_by_muon_at_a_rate_of_their_own() -> None:
    model = nn.ModuleDict({"embed": nn.Embedding(3, 2), "layer": nn.Linear(2, 2)})
    muon, adam = fitting._optimizers(model, Schedule(9, 0.5, 0.25, {0: 1.0}, 9))
    known = {id(one): name for name, one in model.named_parameters()}
    names = [
        [known[id(one)] for group in each.param_groups for one in group["params"]]
        for each in (muon, adam)
    ]
    assert names == [["layer.weight"], ["embed.weight", "layer.bias"]]
    assert (type(muon), muon.defaults["lr"], adam.defaults["lr"]) == (torch.optim.Muon, 0.5, 0.25)


def test_a_step_is_of_a_gradient_of_length_1_at_most_and_the_rate_of_its_time() -> None:
    """Gradients 6 and 8, so 0.6 and 0.8; at step 5 half of each peak rate."""
    first, second = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    model = nn.ParameterList([first, second])
    optimizers = [torch.optim.SGD([one], lr=99.0) for one in (first, second)]
    schedule = Schedule(10, 0.5, 0.25, {0: 1.0, 10: 0.0}, checkpoint_every=10)

    def loss_of(step: int) -> Tensor:
        return (6 * first + 8 * second + step).sum()

    assert fitting._step(model, loss_of, list(optimizers), schedule, 5) == 5.0
    assert first.item() == pytest.approx(-0.6 * 0.25)
    assert second.item() == pytest.approx(-0.8 * 0.125)
    assert first.grad is None and second.grad is None


def test_a_log_tells_the_mean_of_the_last_fifty_losses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of 0 to 59 those from 10 on; at step 20 those of 0 to 19."""
    model = nn.Linear(1, 1)

    def loss_of(step: int) -> Tensor:
        return 0 * model.weight.sum() + step

    with caplog.at_level("INFO", logger=fitting.__name__):
        fit(model, loss_of, Schedule(60, 0.1, 0.1, {0: 1.0}, 20), tmp_path / "c.pt", "x", float)
    assert [one.message for one in caplog.records] == [
        "x: step 20, loss 9.5000, accepted 20.000",
        "x: step 40, loss 19.5000, accepted 40.000",
        "x: step 60, loss 34.5000, accepted 60.000",
    ]


def test_what_is_not_to_be_learned_stays(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[0].requires_grad_(False)
    before = [weights.clone() for weights in model.parameters()]
    schedule = Schedule(2, 0.1, 0.1, {0: 1.0, 2: 1.0}, checkpoint_every=2)
    fit(model, lambda _: model(torch.eye(3)).pow(2).mean(), schedule, tmp_path / "c.pt", "x")
    same = [torch.equal(*pair) for pair in zip(model.parameters(), before, strict=True)]
    assert same == [True, True, False, False]


def test_a_batch_of_continuations_weighs_what_was_generated() -> None:
    """Prompts of one and of three tokens, each continued by two; of the first, two are padding."""
    ids = np.array([[5, 6, 7, 0, 0], [1, 2, 3, 8, 9]], np.uint16)
    made = Continuations([(ids, np.array([1, 3]))], new_tokens=2)
    picked, weights = made.batch(np.random.default_rng(0), tokens=10)
    rows = dict(zip(map(tuple, picked.tolist()), weights.tolist(), strict=True))
    assert rows == {(5, 6, 7, 0, 0): [1.0, 1.0, 0.0, 0.0], (1, 2, 3, 8, 9): [0.0, 0.0, 1.0, 1.0]}
    picked, _ = made.batch(np.random.default_rng(0), tokens=9)
    assert len(picked) == 1


def test_continuations_are_the_models_own_whatever_they_are_padded_with(
    small_pair: SmallPair,
) -> None:
    model = LlamaForCausalLM.from_pretrained(small_pair.folder / "target", dtype=torch.float32)
    prompts = [[3, 4, 5, 6], [7]]
    together = greedy(model, prompts, 4)
    for row, prompt in zip(together.tolist(), prompts, strict=True):
        text = list(prompt)
        for _ in range(4):
            text.append(int(model(torch.tensor([text])).logits[0, -1].argmax()))
        assert row == text[len(prompt) :]


def test_a_training_that_was_broken_off_comes_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = Schedule(7, 0.1, 0.1, {0: 1.0, 7: 0.0}, checkpoint_every=3)

    def trained(name: str) -> tuple[nn.Module, Fitted]:
        torch.manual_seed(0)
        model = nn.Linear(4, 4)

        def loss_of(step: int) -> Tensor:
            return (model(torch.eye(4)) - step).pow(2).mean()

        def largest(step: int) -> float:
            assert not model.training and step in (3, 6, 7)
            return float(model.weight.detach().abs().max())

        return model, fit(model, loss_of, schedule, tmp_path / name, name, largest)

    whole, fitted = trained("whole")
    real, steps = fitting._step, iter(range(20))

    def breaking(*args):  # type: ignore[no-untyped-def]
        if next(steps) == 4:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(fitting, "_step", breaking)
    with pytest.raises(KeyboardInterrupt):
        trained("broken")
    broken, other = trained("broken")
    # Steps 0 to 3, of which three were kept, and then 3 to 6.
    assert next(steps) == 5 + 4
    assert other == fitted and len(fitted.losses) == 7
    assert [step for step, _ in fitted.measured] == [3, 6, 7]
    assert fitted.measured[-1][1] == float(whole.weight.abs().max())
    assert all(map(torch.equal, broken.parameters(), whole.parameters()))
    assert whole.training is False


def test_a_checkpoint_is_read_wherever_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine without the GPU that it was made on, too."""
    model, schedule = nn.Linear(2, 2), Schedule(1, 0.1, 0.1, {0: 1.0}, 1)

    def loss(step: int) -> Tensor:
        return model(torch.eye(2)).sum()

    fit(model, loss, schedule, tmp_path / "c.pt", "x")
    real, asked = torch.load, list[dict[str, object]]()

    def load(path: Path, **options: object) -> object:
        asked.append(options)
        return real(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(torch, "load", load)
    fit(model, loss, schedule, tmp_path / "c.pt", "x")
    assert [one["map_location"] for one in asked] == ["cpu"]


def test_a_checkpoint_for_which_there_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(state: object, path: Path) -> None:
        path.write_bytes(b"some of it")
        raise RuntimeError("PytorchStreamWriter failed writing file: file write failed")

    monkeypatch.setattr(torch, "save", full)
    model = nn.Linear(2, 2)
    with pytest.raises(OSError, match=r"c\.pt can't be written: PytorchStreamWriter"):
        fit(
            model,
            lambda step: model(torch.eye(2)).sum(),
            Schedule(1, 0.1, 0.1, {0: 1.0}, 1),
            tmp_path / "c.pt",
            "x",
        )
    assert list(tmp_path.iterdir()) == []
