"""Saguaro sampling: tokens that are prepared for are drafted less often, and nothing else changes.

That the ratio rule goes by what was drafted, and not by q, is planted wrong in test_checks.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from exact import PROMPT, TARGET, check, distribution, every_way, expected, in_one_process, start
from toy import InlineBrancher, TableModel, table

from decoders.process.brancher import BrancherService
from decoders.round import Round
from decoders.sampling.sampler import BLOCK, Downscaling, Greedy, Proposer
from decoders.sampling.temperature import Temperature
from decoders.ssd import Ssd

#: q of these logits is 0.1, 0.5, 0.3, 0.1.
LOGITS = torch.tensor([[1.0, 5.0, 3.0, 1.0]]).log()
CLOSE = (TARGET + table(seed=2, possible=5)) / 2


def drafted(downscaling: Downscaling | None, sampler: Temperature) -> tuple[list[float], float]:
    """The distribution that a token is drafted from, and the chance that is told of it."""
    proposer = sampler.proposer(3, 0)
    token, chance = proposer.propose(LOGITS, 0, downscaling)
    row = proposer.row(0).tolist()
    assert chance == row[token]
    return row, sum(row)


@pytest.mark.parametrize(
    ("most", "factor", "row"),
    [
        # 0.1 + 0.25 + 0.3 + 0.1 are left, and then 0.1 + 0.25 + 0.15 + 0.1.
        (1, 0.5, [0.1 / 0.75, 0.25 / 0.75, 0.3 / 0.75, 0.1 / 0.75]),
        (2, 0.5, [0.1 / 0.6, 0.25 / 0.6, 0.15 / 0.6, 0.1 / 0.6]),
        (2, 0.25, [0.1 / 0.4, 0.125 / 0.4, 0.075 / 0.4, 0.1 / 0.4]),
        # All of them alike, which changes nothing.
        (4, 0.5, [0.1, 0.5, 0.3, 0.1]),
        (9, 0.5, [0.1, 0.5, 0.3, 0.1]),
    ],
)
def test_the_most_probable_are_drafted_less(most: int, factor: float, row: list[float]) -> None:
    found, total = drafted(Downscaling(most, factor), Temperature())
    assert found == pytest.approx(row)
    assert total == pytest.approx(1)


def test_of_what_is_left_by_warping() -> None:
    """Of two tokens, with 0.625 and 0.375 of the probability, the first counts half."""
    sampler = Temperature(draft_top_k=2)
    found, _ = drafted(Downscaling(1, 0.5), sampler)
    assert found == pytest.approx([0, 0.3125 / 0.6875, 0.375 / 0.6875, 0])
    assert drafted(None, sampler)[0] == pytest.approx([0, 0.625, 0.375, 0])


def test_logits_stay_as_they_are() -> None:
    before = LOGITS.clone()
    drafted(Downscaling(2, 0.5), Temperature())
    assert torch.equal(LOGITS, before)


def test_where_nothing_is_drawn_by_chance_it_changes_nothing() -> None:
    for sampler in (Greedy(), Temperature(coupled=True)):
        tokens = [
            sampler.proposer(3, 0).propose(LOGITS, 0, downscaling)
            for downscaling in (None, Downscaling(1, 1e-9))
        ]
        assert tokens[0] == tokens[1]


class Noting(Proposer):
    """Drafts token 0, and notes by what it was to be downscaled, with its place in the text."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, Downscaling | None]] = []

    def propose(
        self, logits: torch.Tensor, position: int, downscaling: Downscaling | None = None
    ) -> tuple[int, None]:
        self.asked.append((position, downscaling))
        return 0, None


def asked(downscale: float, prepared: int) -> list[tuple[int, Downscaling | None]]:
    """Of a draft of two tokens after a first one of the target's, of which so many were made
    before the outcome was known."""
    service = BrancherService(TableModel(CLOSE), Greedy())  # type: ignore[arg-type]
    service.answer(("begin", list(PROMPT), 99, 0, [3, 1, 2], True, downscale))
    service._proposer = noting = Noting()
    for _ in range(prepared):
        service.prepare()
    # What follows the prompt is prepared for by the last of the numbers: two tokens.
    likely = noting.likely(TableModel(CLOSE).extend(PROMPT, 1), 0, 2, None)
    service.answer(("outcome", 0, likely[0]))
    return noting.asked


def test_each_place_by_how_many_are_prepared_for_after_it() -> None:
    """And one more, since the drafted token may be one of the most probable itself."""
    first = (len(PROMPT) + 1, Downscaling(4, 0.5))
    second = (len(PROMPT) + 2, Downscaling(2, 0.5))
    # At a miss, or at once; then one of each continuation side by side; then both.
    assert asked(0.5, 0) == [first, second]
    assert asked(0.5, 2) == [first, first, second]
    assert asked(0.5, 3) == [first, first, second, second]


def test_one_is_the_draft_models_own() -> None:
    assert [scale for _, scale in asked(1.0, 2)] == [None, None, None]


@pytest.mark.parametrize("schedule", [(0,), (1, 3), (9,)], ids=str)
@pytest.mark.parametrize("sampler", [Temperature(), Temperature(verification=BLOCK)], ids=repr)
def test_the_output_is_the_targets(
    sampler: Temperature, schedule: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exactly, by going every way that chance may go; however much is there in time."""
    monkeypatch.setattr(InlineBrancher, "schedule", schedule)
    with every_way() as branches:
        found = distribution(branches, Ssd(2, 1, downscale=0.25), sampler, 3, CLOSE)
    check(found, expected(sampler, 3))


def test_drafts_are_the_same_whether_they_were_prepared_or_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []
    for schedule in ((0,), (1, 3), (9,)):
        monkeypatch.setattr(InlineBrancher, "schedule", schedule)
        with in_one_process():
            session = start(Ssd(3, 1, downscale=0.3), Temperature(), CLOSE)
            rounds = [
                one for seed in range(9) for one in session.decode(PROMPT, 25, [], seed).rounds
            ]
        made.append([(one.drafted_ids, one.accepted, one.hit) for one in rounds])
    assert made[0] == made[1] == made[2]


def shares(downscale: float) -> tuple[float, float]:
    """Of 40 texts: how many of the outcomes were prepared for, and how many of the judged tokens
    accepted."""
    with in_one_process():
        session = start(Ssd(3, 1, downscale=downscale), Temperature(), CLOSE)
        rounds: list[Round] = []
        for seed in range(40):
            rounds += session.decode(PROMPT, 25, [], seed).rounds
    wanted = [one for one in rounds if one.outcomes]
    hits = sum(one.hit for one in wanted) / len(wanted)
    return hits, sum(one.accepted for one in rounds) / sum(one.judged for one in rounds)


def test_more_is_hit_and_less_accepted() -> None:
    (hits, accepted), (more, fewer) = shares(1.0), shares(0.25)
    assert more > hits + 0.05
    assert fewer < accepted - 0.05


@pytest.mark.parametrize("downscale", [0.0, -0.5, 1.5])
def test_settings_that_make_no_sense(downscale: float) -> None:
    with pytest.raises(ValueError, match=f"decoder.downscale .*at most 1, got {downscale}"):
        Ssd(downscale=downscale)


@pytest.mark.parametrize("sampler", [Greedy(), Temperature(coupled=True)], ids=repr)
def test_it_is_refused_where_the_target_chooses_by_itself(sampler: Any) -> None:
    with pytest.raises(ValueError, match=r"decoder.downscale=0.5: the target chooses by itself"):
        Ssd(downscale=0.5).check(sampler)
    Ssd().check(sampler)
    Ssd(downscale=0.5).check(replace(Temperature(), top_p=0.9))
