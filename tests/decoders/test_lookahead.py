from __future__ import annotations

from typing import Any

import pytest
from decoder_cases import make_decoder
from omegaconf import OmegaConf
from small_pair import SmallPair

from decoders.autoregressive import Autoregressive
from decoders.decoder import Decoder
from decoders.lookahead import Lookahead, LookaheadWindow, Pool
from decoders.model.tree import ROOT, Branches, Tree
from decoders.process.models import Models
from decoders.process.worker import WorkerOptions
from decoders.sampling.sampler import Greedy, Sampler
from decoders.sampling.temperature import Temperature
from decoders.session import Session
from pearl_eval.config.building import build
from pearl_eval.errors import UserError

PROMPT = list(range(20, 60))
#: What each token of the two branches sees of them, in the authors' figure of the attention mask:
#: W = 5, N = 4, and two guesses. The guesses come first here, then the window, oldest level first.
MASK = """
    #.. ... .... ..... .....
    ##. ... .... ..... .....
    ### ... .... ..... .....

    ... #.. .... ..... .....
    ... ##. .... ..... .....
    ... ### .... ..... .....

    ... ... #... ..... .....
    ... ... ##.. ..... .....
    ... ... ###. ..... .....
    ... ... #### ..... .....

    ... ... .... #.... .....
    ... ... #... .#... .....
    ... ... ##.. ..#.. .....
    ... ... ###. ...#. .....
    ... ... #### ....# .....

    ... ... .... #.... #....
    ... ... #... .#... .#...
    ... ... ##.. ..#.. ..#..
    ... ... ###. ...#. ...#.
    ... ... #### ....# ....#
"""


def start(pair: SmallPair, decoder: Decoder, sampler: Sampler | None = None) -> Session:
    models = Models(pair.load_target(), pair.load_draft, WorkerOptions())
    return decoder.start(models, sampler or Greedy())


def test_the_mask_is_the_authors() -> None:
    tree = Tree()
    branches = Branches(tree)
    branches.add([1, 2, 3])
    branches.add([4, 5, 6])
    newest = LookaheadWindow(PROMPT, size=5, ngram=4).add_to(tree)
    rows = ["".join("#" if one else "." for one in row) for row in tree.visible().tolist()]
    assert rows == [line.replace(" ", "") for line in MASK.splitlines() if line.strip()]
    assert tree.depths == [1, 2, 3, 1, 2, 3, 1, 2, 3, 4, 1, 2, 3, 4, 5, 2, 3, 4, 5, 6]
    assert newest == list(range(15, 20))


def test_a_window_of_bigrams_starts_at_the_text() -> None:
    tree = Tree()
    assert LookaheadWindow(PROMPT, size=3, ngram=2).add_to(tree) == [ROOT, 0, 1]


def test_the_window_moves_on_and_gives_its_columns() -> None:
    window = LookaheadWindow([1, 2, 3], size=3, ngram=3)
    assert window.step(9, [7, 8, 6]) == [(9, 2, 7), (2, 3, 8), (3, 1, 6)]
    assert window.step(5, [4, 4, 4]) == [(5, 7, 4), (3, 8, 4), (1, 6, 4)]


def test_the_pool_forgets_what_it_saw_least_recently() -> None:
    pool = Pool(most=2)
    pool.add([(1, 2, 3), (1, 4, 5), (6, 7, 8)])
    assert pool.after(1) == [[4, 5], [2, 3]]
    pool.add([(1, 2, 3), (1, 9, 9)])
    assert pool.after(1) == [[9, 9], [2, 3]]
    assert pool.after(6) == [[7, 8]]
    assert pool.after(2) == []


def test_several_tokens_of_a_repeating_text_are_accepted_in_a_forward(
    small_pair: SmallPair,
) -> None:
    generation = start(small_pair, Lookahead()).decode([242] * 4, 120, [])
    assert len(set(generation.output_ids[-30:])) <= 5, "the target should repeat itself here"
    assert generation.target_forwards < 120 / 2
    assert max(r.accepted for r in generation.rounds) == 3


@pytest.mark.parametrize("settings", [(1, 2, 1), (3, 2, 2), (1, 5, 3), (12, 3, 7)], ids=str)
def test_any_setting_gives_the_references_tokens(
    small_pair: SmallPair, settings: tuple[int, int, int]
) -> None:
    expected = start(small_pair, Autoregressive()).decode(PROMPT, 60, []).output_ids
    decoder = start(small_pair, Lookahead(*settings))
    generation = decoder.decode(PROMPT, 60, [])
    assert generation.output_ids == expected
    assert decoder.target.length == len(PROMPT) + 60 - 1, "all but the last token is kept"
    for one in generation.rounds:
        assert one.mode == ("verify" if one.drafted else "decode")
        assert one.accepted <= one.judged <= min(one.accepted + 1, settings[1] - 1)
        assert bool(one.judged) == bool(one.drafted)


@pytest.mark.parametrize("coupled", [False, True])
def test_sampled_texts_are_the_references_for_the_same_seed(
    small_pair: SmallPair, coupled: bool
) -> None:
    """One draw for each position, whatever was guessed there: so the same draws give the same."""
    sampler = Temperature(temperature=0.3, coupled=coupled)
    reference = start(small_pair, Autoregressive(), sampler)
    decoder = start(small_pair, Lookahead(), sampler)
    accepted = judged = 0
    for seed in range(8):
        generation = decoder.decode(PROMPT, 60, [], seed)
        assert generation.output_ids == reference.decode(PROMPT, 60, [], seed).output_ids
        accepted += sum(r.accepted for r in generation.rounds)
        judged += sum(r.judged for r in generation.rounds)
    assert 20 < accepted < judged


def test_nothing_is_guessed_beyond_the_last_token_but_one(small_pair: SmallPair) -> None:
    decoder = start(small_pair, Lookahead())
    for limit in range(60, 70):
        length = 0
        for one in decoder.decode([242] * 4, limit, []).rounds:
            assert one.accepted < limit - length
            length = one.verified_length


def test_each_prompt_starts_with_an_empty_pool(small_pair: SmallPair) -> None:
    decoder = start(small_pair, Lookahead())
    first = decoder.decode(PROMPT, 40, []).rounds
    decoder.decode(PROMPT[::-1], 40, [])
    again = decoder.decode(PROMPT, 40, []).rounds
    assert [(r.drafted, r.accepted) for r in again] == [(r.drafted, r.accepted) for r in first]


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ({"window": 0}, r"decoder\.window is the positions looked ahead \(W\) and must be at"),
        ({"ngram": 1}, r"decoder\.ngram is .* at least 2, got 1"),
        ({"guesses": 0}, r"decoder\.guesses is .* at least 1, got 0"),
        ({"window": "x"}, r"decoder\.window"),
    ],
)
def test_bad_settings_are_refused(setting: dict[str, Any], line: str) -> None:
    node = OmegaConf.create({"_target_": "decoders.lookahead.Lookahead", **setting})
    with pytest.raises(UserError, match=line) as error:
        build("decoder", node, Decoder)
    assert len(str(error.value).splitlines()) == 1


def test_the_configured_lookahead_is_the_classes_own() -> None:
    assert make_decoder("lookahead") == Lookahead()
