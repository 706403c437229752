"""What files of earlier versions do not say of decoders is what these say today."""

from __future__ import annotations

import pytest
from decoder_cases import ALL_NAMES, make_decoder

from pearl_eval.results.about import about_decoder

#: Decoders that came with later versions, whose runs say it themselves.
LATER = ["pearl_adaptive", "pearl_retrieval", "ssd", "suffix", "suffix_warm"]
LATER += ["assisted_early_exit", "assisted_mtp", "assisted_universal"]


@pytest.mark.parametrize("name", [name for name in ALL_NAMES if name not in LATER])
def test_what_a_decoder_would_have_said(name: str) -> None:
    decoder = make_decoder(name, 7)
    settings = {key: value for key, value in vars(decoder).items() if key in ("gamma", "ahead")}
    assert about_decoder(name, settings) == decoder.describe() | {"idea": ""}


def test_lengths_are_those_of_the_run() -> None:
    schedule = about_decoder("pearl_async", {"ahead": 24})["schedule"]
    assert schedule == {"_target_": "decoders.schedule.Ahead", "ahead": 24}
    assert about_decoder("pearl", {"gamma": 9})["schedule"]["gamma"] == 9


def test_of_others_nothing_is_known() -> None:
    said = {
        "idea": "",
        "engine": "transformers",
        "overlap": "never",
        "draft_ends": 0,
        "schedule": None,
    }
    assert about_decoder("mine", {"gamma": 9}) == said
