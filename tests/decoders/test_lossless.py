"""The output distribution of every decoder is the target's, exactly.

A toy pair's every random choice is visited, through each decoder's real code. Those of transformers
are in test_generate.py. What ``ssd`` prepares changes no draft: see test_ssd.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from decoder_cases import OWN_NAMES, cases, make_decoder
from exact import check, distribution, every_way, expected
from toy import Branches, InlineForerunner

from decoders.decoder import Decoder
from decoders.lookahead import Lookahead
from decoders.pearl_adaptive import PearlAdaptive
from decoders.pearl_async import PearlAsync
from decoders.sampling.temperature import Temperature

LENGTH = 4


@pytest.fixture
def branches() -> Iterator[Branches]:
    with every_way() as made:
        yield made


#: Longer drafts only where they do not multiply the ways too much.
CASES = [*cases((1, 2), OWN_NAMES), ("pearl", 3), ("pearl_no_post_verify", 3), ("speculative", 3)]


@pytest.mark.parametrize(
    ("name", "gamma"),
    [
        # That one takes as long as most others together; warped it is below.
        pytest.param(*one, marks=pytest.mark.nightly) if one == ("pearl_no_pre_verify", 2) else one
        for one in CASES
    ],
)
def test_distribution(branches: Branches, name: str, gamma: int | None) -> None:
    sampler = Temperature()
    found = distribution(branches, make_decoder(name, gamma), sampler, LENGTH)
    check(found, expected(sampler, LENGTH))


@pytest.mark.parametrize(
    "sampler",
    [
        Temperature(temperature=0.6, top_p=0.8),
        Temperature(temperature=1.5, top_k=2),
        Temperature(temperature=0.7, draft_temperature=1.4, draft_top_k=1),
        Temperature(top_p=0.9, draft_top_p=0.5),
        Temperature(coupled=True),
        Temperature(temperature=0.6, draft_temperature=2.0, coupled=True),
    ],
    ids=repr,
)
@pytest.mark.parametrize(("name", "gamma"), cases((2,), OWN_NAMES))
def test_distribution_when_warped(
    branches: Branches, name: str, gamma: int | None, sampler: Temperature
) -> None:
    """Also where the draft model is warped otherwise than the target."""
    check(distribution(branches, make_decoder(name, gamma), sampler, 3), expected(sampler, 3))


@pytest.mark.parametrize("settings", [(1, 2, 2), (2, 2, 3), (1, 3, 2)], ids=str)
@pytest.mark.parametrize("coupled", [False, True])
def test_distribution_with_several_guesses_for_a_position(
    branches: Branches, settings: tuple[int, int, int], coupled: bool
) -> None:
    """With windows so small that they look ahead in so short a text."""
    sampler = Temperature(coupled=coupled)
    found = distribution(branches, Lookahead(*settings), sampler, 5)
    check(found, expected(sampler, 5))


@pytest.mark.parametrize("schedule", [(0,), (2,), (0, 2), (1, 0, 0, 2), (2, 0, 1)], ids=str)
@pytest.mark.parametrize(
    "decoder",
    [PearlAsync(2), PearlAsync(2, waits=True), PearlAdaptive(2), PearlAdaptive()],
    ids=repr,
)
def test_distribution_whatever_the_timing(
    branches: Branches,
    decoder: Decoder,
    schedule: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(InlineForerunner, "schedule", schedule)
    sampler = Temperature()
    check(distribution(branches, decoder, sampler, LENGTH), expected(sampler, LENGTH))
