"""Drafted tokens judged as a block (Sun et al., arXiv 2403.10444): exact, and accepted more often.

Every way that chance can go is visited, through the verifiers' own code and the decoders'.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import exact
import numpy as np
import pytest
import torch
from decoder_cases import ALL_NAMES, NAMES, OWN_NAMES, cases, make_decoder
from exact import PROMPT, check, every_way, expected, start
from tiers import kept
from toy import Branches

from decoders.decoder import Decoder
from decoders.sampling.sampler import BLOCK, TOKEN, Draft, Greedy, Judgement
from decoders.sampling.temperature import Temperature

#: Markov tables of a vocabulary of 3: row t is what follows token t.
TARGET = np.array([[0.55, 0.33, 0.12], [0.14, 0.26, 0.6], [0.31, 0.48, 0.21]])
DRAFT = np.array([[0.31, 0.52, 0.17], [0.52, 0.38, 0.1], [0.12, 0.33, 0.55]])
#: The token before the block.
FIRST = 0


@pytest.fixture
def branches() -> Iterator[Branches]:
    with every_way() as made:
        yield made


def logits(probabilities: Any) -> torch.Tensor:
    return torch.tensor(np.array(probabilities)).log()


def enumerated(
    branches: Branches, sampler: Temperature, gamma: int
) -> tuple[dict[tuple[int, ...], float], float]:
    """The distribution of a block's output, gone on to ``gamma`` + 1 tokens by the target alone,
    and how many of the drafted tokens are accepted on average."""
    p, q = sampler.probabilities(logits(TARGET)), sampler.draft_probabilities(logits(DRAFT))

    def decode() -> tuple[int, ...]:
        text, draft, rows = [FIRST], Draft(), []
        for _ in range(gamma):
            rows.append(q[text[-1]])
            token = branches.pick(rows[-1].tolist())
            draft.append(token, float(rows[-1][token]))
            text.append(token)
        verifier = sampler.verifier(0, 1)
        seen = verifier.reduce(logits(TARGET)[text], 1)
        judgement = verifier.judge(seen, draft, lambda position: rows[position - 1])
        output = [FIRST, *judgement.verified]
        while len(output) < gamma + 2:
            output.append(branches.pick(p[output[-1]].tolist()))
        return len(judgement.accepted), *output[1:]

    found, accepted = Counter[tuple[int, ...]](), 0.0
    for (count, *output), chance in branches.outcomes(decode).items():
        found[tuple(output)] += chance
        accepted += count * chance
    return dict(found), accepted


def chain(sampler: Temperature, length: int) -> dict[tuple[int, ...], float]:
    """The target's own distribution of texts, in numpy, by definition."""
    chances = TARGET ** (1 / sampler.temperature)
    chances /= chances.sum(-1, keepdims=True)
    for row in chances:
        order = np.argsort(-row)
        row[order[sampler.top_k or 3 :]] = 0
        row /= row.sum()
        row[order[np.cumsum(row[order]) - row[order] >= sampler.top_p]] = 0
        row /= row.sum()
    found = {(): 1.0}
    for _ in range(length):
        found = {
            (*text, token): chance * row[token]
            for text, chance in found.items()
            for row in [chances[text[-1] if text else FIRST]]
            for token in range(3)
            if row[token] > 0
        }
    return found


SETTINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.5},
    {"temperature": 2.0, "top_k": 2},
    {"top_p": 0.8},
    {"temperature": 0.8, "draft_temperature": 1.6, "draft_top_p": 0.9},
]


@pytest.mark.parametrize("gamma", [1, 2, 3])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_whole_distributions_and_what_is_gained(
    branches: Branches, settings: dict[str, Any], gamma: int
) -> None:
    accepted = {}
    for verification in (TOKEN, BLOCK):
        sampler = Temperature(**settings, verification=verification)
        found, accepted[verification] = enumerated(branches, sampler, gamma)
        check(found, chain(sampler, gamma + 1))
    gained = accepted[BLOCK] - accepted[TOKEN]
    # Of two tokens that top-k or top-p keep, the one that q has too often is rejected either way.
    alike = gamma == 1 or {"top_k", "top_p"} & settings.keys()
    assert gained == pytest.approx(0, abs=1e-12) if alike else gained > 0.005
    if not settings and gamma == 1:
        # The sum of the lesser of p and q: 0.31 + 0.33 + 0.12.
        assert accepted[BLOCK] == pytest.approx(0.76)


def test_what_is_accepted_in_the_papers_example(branches: Branches) -> None:
    """The models know no context: p(a) = 1/3 and p(b) = 2/3, q the other way round.

    So p/q is 1/2 for a and 2 for b. With two drafted tokens, token by token each is accepted with
    probability 2/3 · 1/2 + 1/3 · 1 = 2/3, on average 2/3 + 4/9 = 10/9.

    As a block: the first beginning is reached with the same 2/3. The whole is with min(1, min(1,
    r1) · r2): for aa (drawn with 4/9) 1/4, for ab (2/9) 1/2 · 2 = 1, for ba (2/9) 1 · 1/2, for bb
    (1/9) 1. That is 1/9 + 2/9 + 1/9 + 1/9 = 5/9, on average 2/3 + 5/9 = 11/9.
    """
    p, q = torch.tensor([1 / 3, 2 / 3, 0.0]), torch.tensor([2 / 3, 1 / 3, 0.0])

    def counts(verification: str) -> list[float]:
        def decode() -> tuple[int, ...]:
            tokens = [branches.pick(q.tolist()) for _ in range(2)]
            draft = Draft(tokens, [float(q[token]) for token in tokens])
            verifier = Temperature(verification=verification).verifier(0, 0)
            seen = verifier.reduce(p.log().expand(3, -1), 0)
            return (len(verifier.judge(seen, draft, lambda position: q).accepted),)

        found = branches.outcomes(decode)
        return [found[count,] for count in range(3)]

    for verification, fractions in (
        (TOKEN, [Fraction(3, 9), Fraction(2, 9), Fraction(4, 9)]),
        (BLOCK, [Fraction(3, 9), Fraction(1, 9), Fraction(5, 9)]),
    ):
        assert counts(verification) == pytest.approx([float(one) for one in fractions])
        mean = sum(count * one for count, one in enumerate(fractions))
        assert mean == (Fraction(10, 9) if verification == TOKEN else Fraction(11, 9))


class Foretold:
    """Random numbers that are foretold: which events happen; what is asked is kept."""

    def __init__(self, *events: bool) -> None:
        self._events = list(events)
        self.asked: list[float] = []
        self.weights: list[float] = []

    def happens(self, probability: float) -> bool:
        self.asked.append(probability)
        return self._events.pop(0)

    def draw(self, weights: torch.Tensor) -> int:
        self.weights = weights.tolist()
        return int(weights.argmax())


P = [[0.5, 0.3, 0.2], [0.6, 0.2, 0.2], [0.1, 0.6, 0.3], [0.2, 0.1, 0.7]]
Q = [[0.2, 0.5, 0.3], [0.3, 0.3, 0.4], [0.8, 0.1, 0.1]]


def judged(
    tokens: Sequence[int], *events: bool, p: list[list[float]] = P
) -> tuple[Judgement, Foretold, list[int]]:
    """A block from position 10 on, what was asked of chance, and which rows of q were asked for."""
    verifier: Any = Temperature(verification=BLOCK).verifier(0, 0)
    verifier._chance = Foretold(*events)
    seen = verifier.reduce(logits(p), 10)
    asked: list[int] = []

    def row(position: int) -> torch.Tensor:
        asked.append(position)
        return torch.tensor(Q[position - 10], dtype=torch.float64)

    draft = Draft(list(tokens), [Q[i][token] for i, token in enumerate(tokens)])
    return verifier.judge(seen, draft, row), verifier._chance, asked


def test_each_beginning_is_accepted_with_its_own_chance() -> None:
    """Tokens 1, 1, 0 have p/q of 3/5, 2/3 and 1/8, so they are reached with 0.6, 0.4 and 0.05.

    After two: 0.4 p − q is (0.04, 0.24, 0.12) − (0.8, 0.1, 0.1), so (0, 0.14, 0.02) is missed, in
    all 0.16, and two are accepted with 0.16 / (0.16 + 0.6). After one: 0.6 p − q is (0.36, 0.12,
    0.12) − (0.3, 0.3, 0.4), so 0.06 / (0.06 + 0.4). After none p − q leaves (0.3, 0, 0), for sure.
    """
    tokens, chances = [1, 1, 0], [0.05, 0.16 / 0.76, 0.06 / 0.46, 1.0]
    missed = [[0.3, 0, 0], [0.06, 0, 0], [0, 0.14, 0.02]]
    for count in range(3):
        made, chance, asked = judged(tokens, *[False] * (3 - count), True)
        assert (made.accepted, made.rejected) == (tokens[:count], True)
        assert chance.asked == pytest.approx(chances[: 4 - count])
        assert chance.weights == pytest.approx(missed[count])
        assert made.token == (1 if count == 2 else 0)
        assert asked == [12, 11, 10][: 3 - count]


def test_a_block_that_is_accepted_needs_no_row_of_q() -> None:
    made, chance, asked = judged([1, 1, 0], True)
    assert (made.accepted, made.rejected, made.token, asked) == ([1, 1, 0], False, 2, [])
    assert chance.asked == pytest.approx([0.05]) and chance.weights == pytest.approx(P[3])
    # Without logits for the token after it there is none, as in PEARL.
    assert judged([1, 1, 0], True, p=P[:3])[0].token is None


def test_what_a_token_has_in_abundance_does_not_count_for_the_next() -> None:
    """Tokens 1, 0, 0 have 3/5, 2 and 1/8: 0.6, then 1 and not 1.2, then 1/8 and not 0.15.

    After two p − q leaves (0, 0.5, 0.2), and they are accepted for sure.
    """
    made, chance, _ = judged([1, 0, 0], False, True)
    assert chance.asked == pytest.approx([0.125, 1.0])
    assert chance.weights == pytest.approx([0, 0.5, 0.2]) and made.accepted == [1, 0]


def test_a_beginning_that_the_target_never_gives_is_passed_over() -> None:
    """The second token has p = 0. So no beginning with it is accepted, and its q is not asked."""
    never = [P[0], [0.6, 0.0, 0.4], *P[2:]]
    made, chance, asked = judged([1, 1, 0], False, False, True, p=never)
    # 0.6 p − q after one: (0.36, 0, 0.24) − (0.3, 0.3, 0.4).
    assert chance.asked == pytest.approx([0, 0.06 / 0.46, 1]) and asked == [11, 10]
    assert made.accepted == [] and made.token == 0


def test_where_both_distributions_are_the_same_rounding_may_turn_the_last_token_down() -> None:
    """Its chance is 0.7 by p, and a bit more by q. As p − q leaves nothing, what takes its place is
    drawn from p."""
    for verification, rejecting in ((BLOCK, [False]), (TOKEN, [True, False])):
        verifier: Any = Temperature(verification=verification).verifier(0, 0)
        verifier._chance = chance = Foretold(*rejecting)
        seen = verifier.reduce(logits([[0.5, 0.3, 0.2], [0.2, 0.1, 0.7]]), 10)
        rows = {10: seen[0], 11: seen[1]}
        made = verifier.judge(seen, Draft([1, 2], [0.2, 0.7 + 1e-9]), rows.__getitem__)
        assert (made.accepted, made.rejected, made.token) == ([1], True, 2)
        assert chance.asked[-1] == pytest.approx(1) and chance.weights == pytest.approx(
            [0.2, 0.1, 0.7]
        )


@pytest.mark.parametrize("verification", [TOKEN, BLOCK])
@pytest.mark.parametrize("place", [0, 1])
def test_what_is_no_number_is_told_and_chooses_nothing(verification: str, place: int) -> None:
    sampler = Temperature(verification=verification)
    p = logits(P[:3])
    p[place] = torch.nan
    verifier = sampler.verifier(0, 0)
    draft = Draft([0, 0], [0.2, 0.3])
    with pytest.raises(FloatingPointError, match="lead to nan, by which no token can be chosen"):
        verifier.judge(verifier.reduce(p, 10), draft, lambda position: torch.tensor(Q[0]))


#: Own decoders that draw drafts by the ratio rule.
DRAWING = ["pearl", "pearl_no_post_verify", "pearl_no_pre_verify", "pearl_shared",
           "pearl_shared_one_end", "speculative", "ssd"]  # fmt: skip
#: What others say of themselves.
REFUSED = {
    "assisted_confidence": "Assisted takes its tokens from transformers' generate",
    "assisted_constant": "Assisted takes its tokens from transformers' generate",
    "assisted_early_exit": "AssistedEarlyExit takes its tokens from transformers' generate",
    "assisted_heuristic": "Assisted takes its tokens from transformers' generate",
    "assisted_mtp": "AssistedMtp takes its tokens from transformers' generate",
    "assisted_universal": "AssistedUniversal takes its tokens from transformers' generate",
    "generate": "Generate takes its tokens from transformers' generate",
    "lookahead": "Lookahead judges guesses that were drawn from no distribution",
    "pearl_adaptive": "PearlAdaptive draws both models' tokens with noise they share",
    "pearl_async": "PearlAsync draws both models' tokens with noise they share",
    "pearl_retrieval": "PearlRetrieval judges as many drafted tokens as agree with a guess",
    "prompt_lookup": "PromptLookup takes its tokens from transformers' generate",
    "suffix": "Suffix judges guesses that were drawn from no distribution",
    "suffix_warm": "Suffix judges guesses that were drawn from no distribution",
    "vllm": "Vllm takes its tokens from vLLM",
    "vllm_pearl": "VllmPearl takes its tokens from vLLM",
}


@pytest.mark.parametrize("name", REFUSED)
def test_who_judges_otherwise_refuses_blocks(name: str) -> None:
    decoder = make_decoder(name)
    message = f"^sampling.verification=block: {REFUSED[name]}.*; take sampling.verification=token"
    with pytest.raises(ValueError, match=message):
        decoder.check(Temperature(verification=BLOCK))


@pytest.mark.parametrize("name", [one for one in ALL_NAMES if one not in REFUSED])
def test_others_take_them(name: str) -> None:
    make_decoder(name).check(Temperature(verification=BLOCK))


def test_settings_that_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="under greedy decoding a block is accepted up to the"):
        Greedy(verification=BLOCK)
    for rule in (Greedy, Temperature):
        with pytest.raises(ValueError, match="verification is token or block, got 'tokens'"):
            rule(verification="tokens")
    with pytest.raises(ValueError, match=r"with sampling\.coupled a token is accepted iff"):
        Temperature(coupled=True, verification=BLOCK)
    assert Temperature(verification=BLOCK).with_own_choice() == Temperature(coupled=True)


def decoded(
    branches: Branches,
    decoder: Decoder,
    sampler: Temperature,
    length: int,
    stop: Sequence[int] = (),
    draft: torch.Tensor = exact.DRAFT,
) -> tuple[dict[tuple[int, ...], float], float]:
    """The exact distribution of a decoder's outputs, and how many drafted tokens it accepts."""

    def decode() -> tuple[int, ...]:
        made = start(decoder, sampler, draft).decode(PROMPT, length, stop)
        return sum(one.accepted for one in made.rounds), *made.output_ids

    found, accepted = Counter[tuple[int, ...]](), 0.0
    for (count, *output), chance in branches.outcomes(decode).items():
        found[tuple(output)] += chance
        accepted += count * chance
    return dict(found), accepted


def test_those_that_take_them_are_known() -> None:
    drafting = {name for name in OWN_NAMES if make_decoder(name).uses_draft}
    assert drafting - REFUSED.keys() == set(DRAWING) and set(DRAWING) <= set(NAMES)


@pytest.mark.parametrize(("name", "gamma"), cases((2,), DRAWING))
def test_decoders_that_judge_blocks_are_lossless(branches: Branches, name: str, gamma: int) -> None:
    """Both where a block is judged as a whole, and where PEARL judges its first token before."""
    sampler = Temperature(temperature=0.7, top_p=0.9, draft_temperature=1.4, verification=BLOCK)
    check(decoded(branches, make_decoder(name, gamma), sampler, 3)[0], expected(sampler, 3))


@pytest.mark.parametrize("name", DRAWING)
def test_decoders_that_judge_blocks_accept_more(branches: Branches, name: str) -> None:
    # Without post-verify a block is one token shorter: there is more to gain from two on.
    gamma, accepted = 3 if name == "pearl_no_post_verify" else 2, {}
    # The target begins with a token of its own.
    length = 4 if name == "ssd" else 3
    for verification in (TOKEN, BLOCK):
        sampler = Temperature(draft_temperature=2.0, verification=verification)
        found, accepted[verification] = decoded(
            branches, make_decoder(name, gamma), sampler, length, draft=exact.TARGET
        )
        check(found, expected(sampler, length))
    assert accepted[BLOCK] > accepted[TOKEN] + 0.001


@pytest.mark.parametrize("name", kept(["speculative", "pearl"], ["speculative"]))
def test_longer_blocks_that_a_stop_token_cuts(branches: Branches, name: str) -> None:
    sampler = Temperature(verification=BLOCK)
    for stop in ([], [2]):
        wanted = Counter[tuple[int, ...]]()
        for output, chance in expected(sampler, 4).items():
            end = output.index(2) + 1 if stop and 2 in output else 4
            wanted[output[:end]] += chance
        found, _ = decoded(branches, make_decoder(name, 3), sampler, 4, stop)
        check(found, dict(wanted))
