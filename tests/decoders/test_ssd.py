"""Speculative speculative decoding: what is prepared, that it is what comes, and what it changes.

That its output is the target's is checked with every decoder's.
"""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import pytest
import torch
from by_hand import Decode, by_hand, wrong_at
from decoder_cases import make_decoder
from exact import PROMPT, TARGET, in_one_process, start
from planting import Bug, planted
from test_round_fields import NOTHING, became, row, told, totals
from toy import VOCAB, InlineBrancher, TableModel, table

from decoders.fan_out import fan_outs
from decoders.model.architecture import Architecture
from decoders.process.brancher import BrancherService, Foresight
from decoders.process.worker import WorkerError
from decoders.round import Round
from decoders.sampling.chance import Chance, SharedNoise
from decoders.sampling.sampler import Draft, Greedy, Sampler
from decoders.sampling.temperature import Temperature, Warping, _CoupledProposer
from decoders.sequence import Sequence
from decoders.ssd import Ssd, SsdSession, _longest_in_time

__all__ = ["by_hand"]

TEXT = list(range(10, 24))
#: Of its second choices (see ``Scripted``) the first is right where it is wrong itself: 12 instead
#: of 42, but 20 instead of 50, where the text has 18.
DRAFT = [*wrong_at(TEXT, 2)[:8], 50, *TEXT[9:]]
#: A draft model that is right about as often as not, and may draw whatever the target may.
CLOSE = (TARGET + table(seed=2, possible=5)) / 2


def foreseen(rounds: list[Round]) -> list[tuple[Any, ...]]:
    """Of each round: outcomes prepared for, and at what came true; forwards, tokens, seconds."""
    return [
        (one.outcomes, one.fan_out, one.branch_forwards, one.branch_tokens, one.branch_seconds)
        for one in rounds
    ]


def shown(rounds: list[Round]) -> list[Round]:
    """Rounds with what ``row`` says of them."""
    other = ("outcomes", "fan_out", "branch_forwards", "branch_tokens")
    found = told(rounds)
    for one in found:
        for name in other:
            setattr(one, name, 0)
        assert one.prepared == (one.drafted if one.hit else 0)
        one.hit, one.branch_seconds, one.prepared = False, 0.0, 0
    return found


def test_rounds_whose_drafts_are_not_whole_in_time(by_hand: Decode) -> None:
    """γ = 3, for 2 tokens after each accepted length, of which the draft model knows one where its
    own was rejected: so after three drafted tokens 1 + 1 + 1 + 2 outcomes.

    Round 1: the target reads the prompt, 12 s; it is heard of at 12.5. The draft model reads it
    from 0.5 on (4 s) and drafts for 10 and 44 (4 s each): two tokens each are there then, and of
    the one that came true it reads three to draft the last (5 s), which is there at 18.
    """
    generation = by_hand(Ssd(3, 2), TEXT, DRAFT, doubts=True)
    assert shown(generation.rounds) == [
        row("decode", (0, 0, 0), (0, 12), (0, 0), NOTHING, (0, 0, 1), 2, 1),
        # 42 is rejected. The draft is read (6 s), and then 5 tokens in 7 s, twice.
        row("hit", (12, 0, 18), (17, 14), (0, 6), ([11, 42, 13], [1, 2, 3]), (2, 1, 3), 4, 101),
        row("hit", (32, 12, 43), (25, 14), (0, 11), ([13, 14, 15], [3, 4, 5]), (3, 3, 7), 4, 101),
        # 50 is rejected, and 18 was not prepared for, so that three tokens are drafted in 9 s.
        row("hit", (57, 37, 68), (25, 14), (0, 11), ([17, 50, 19], [7, 8, 9]), (2, 1, 9), 4, 101),
        row(
            "miss", (82, 62, 97), (29, 14), (0, 15),
            ([19, 20, 21], [9, 10, 11]), (3, 3, 13), 4, 101,
        ),
        # Three, two and one token fit the text after 0, 1 and 2 accepted ones: 3, 2 and 1 are read
        # at a time, the last of them no more: it is told just then. Nothing is left to prepare.
        row("decode", (111, 96, 112), (15, 11), (12, 1), NOTHING, (0, 0, 14), 1, 201),
    ]  # fmt: skip
    assert [one.hit for one in generation.rounds] == [False, True, True, True, False, False]
    assert foreseen(generation.rounds) == [
        (0, 0, 0, 0, 0),
        # A token of the text, twice two, and three.
        (2, 2, 4, 8, 12),
        (5, 1, 4, 4 + 5 + 5 + 3, 20),
        (5, 2, 4, 17, 20),
        (5, 1, 3, 14, 20),
        # No draft was wanted.
        (0, 0, 3, 4 + 3 + 2, 15),
    ]
    assert generation.output_ids == TEXT
    assert totals(generation) == (124, 12, 6, 4 + 4 + 4 + 3 + 3 + 3, [1, 3, 1, 3])
    assert became(generation) == [
        ("", 1, 12), ("ar.", 1, 20), ("aaa", 1, 25), ("ar.", 1, 25), ("aaa", 1, 29), ("", 1, 12),
    ]  # fmt: skip


def test_a_text_that_ends_at_a_draft_that_was_not_there_in_time(by_hand: Decode) -> None:
    """As above up to the fourth round, beside which less is prepared now: 4, 5 and 3 tokens, till
    85.5 (18 s). Then three are drafted in 9 s; and beside the last round 4, 2 and 1 are read, till
    107.5 (13 s), so that the draft model waits for 2 s before it is told that the text is whole.
    While the target waited, 13 s, it was at work."""
    generation = by_hand(Ssd(3, 2), TEXT, DRAFT, limit=13, doubts=True)
    assert shown(generation.rounds)[4:] == [
        row(
            "miss", (82, 64, 95), (18 + 9 + 13, 14), (2, 13),
            ([19, 20, 21], [9, 10, 11]), (3, 3, 13), 4, 201,
        )
    ]  # fmt: skip
    assert foreseen(generation.rounds)[4:] == [(5, 1, 3 + 3, 12 + 7, 18 + 13)]
    assert became(generation)[4:] == [("aaa", 1, 14 + 13)]


def test_rounds_whose_drafts_are_there_in_time(by_hand: Decode) -> None:
    """γ = 1: a draft is prepared for each of two outcomes in 8 s, and the target takes 12 s."""
    generation = by_hand(Ssd(1, 1), TEXT, DRAFT, limit=6, doubts=True)
    assert shown(generation.rounds) == [
        row("decode", (0, 0, 0), (0, 12), (0, 0), NOTHING, (0, 0, 1), 2, 1),
        row("hit", (12, 5, 13), (7, 12), (5, 1), ([11], [1]), (1, 1, 3), 2, 101),
        # After 11 only 42 was prepared for.
        row("miss", (25, 17, 29), (11, 12), (5, 4), ([13], [3]), (1, 1, 5), 2, 101),
        # For the text's end a single draft was prepared for, that after no accepted token.
        row("decode", (41, 34, 42), (7, 11), (18, 1), NOTHING, (0, 0, 6), 1, 201),
    ]
    assert foreseen(generation.rounds) == [
        (0, 0, 0, 0, 0), (1, 1, 2, 2, 7), (2, 1, 2, 4, 8), (0, 0, 2, 3, 7),
    ]  # fmt: skip
    # While it waits for a draft that is there, no model runs.
    assert became(generation) == [("", 1, 12), ("a", 1, 12), ("a", 1, 15), ("", 1, 11)]


def test_the_target_goes_on_alone_where_nothing_was_prepared(by_hand: Decode) -> None:
    generation = by_hand(Ssd(1, 1, miss="none"), TEXT, DRAFT, limit=7, doubts=True)
    assert shown(generation.rounds) == [
        row("decode", (0, 0, 0), (0, 12), (0, 0), NOTHING, (0, 0, 1), 2, 1),
        row("hit", (12, 5, 13), (7, 12), (5, 1), ([11], [1]), (1, 1, 3), 2, 101),
        row("miss", (25, 17, 26), (8, 11), (5, 1), NOTHING, (0, 0, 4), 1, 101),
        # The draft model read 12, and prepared for one outcome of an empty draft.
        row("hit", (37, 31, 38), (6, 12), (6, 1), ([14], [4]), (1, 1, 6), 2, 101),
        row("decode", (50, 43, 51), (7, 11), (18, 1), NOTHING, (0, 0, 7), 1, 201),
    ]
    assert generation.rounds[2].outcomes == 2 and not generation.rounds[2].hit


def test_a_rejected_token_is_replaced_before_the_outcome_is_known(by_hand: Decode) -> None:
    """γ = 1, sampled where each model is sure: 41 is rejected, and its distribution asked for.

    Beside the second round 4 and 3 s are prepared, from 12.5 to 19.5; the distribution is asked for
    at 25.5, and the outcome told at 26.5: in all the draft model waits for 7 s. Of the token that
    11 is followed by it knows no second choice, so 41 alone was prepared for.
    """
    generation = by_hand(Ssd(1, 1), TEXT, wrong_at(TEXT, 1), limit=6, sampler=Temperature())
    assert shown(generation.rounds) == [
        row("decode", (0, 0, 0), (0, 12), (0, 0), NOTHING, (0, 0, 1), 2, 1),
        row("hit", (12, 5, 13), (7, 12), (5, 1), ([41], [1]), (1, 0, 2), 2, 202),
        row("miss", (26, 19, 30), (10, 12), (7, 4), ([12], [2]), (1, 1, 4), 2, 101),
        row("hit", (42, 35, 43), (7, 12), (19, 1), ([14], [4]), (1, 1, 6), 2, 201),
    ]
    assert foreseen(generation.rounds) == [
        (0, 0, 0, 0, 0), (1, 1, 2, 2, 7), (1, 0, 2, 3, 7), (1, 1, 2, 3, 7),
    ]  # fmt: skip
    assert became(generation) == [("", 1, 12), ("r", 1, 12), ("a", 1, 15), ("a", 1, 12)]
    assert generation.output_ids == TEXT[:6]


def test_a_text_that_ends_while_more_is_prepared(by_hand: Decode) -> None:
    """At its second round, beside which a draft was prepared for each of two outcomes, in 4 and 4 s
    from 12.5 on; as much as beside the first, 4 and 3 s from 0.5 on, it is that round's."""
    rounds = by_hand(Ssd(1, 1), TEXT, DRAFT, stop_ids=[12], doubts=True).rounds
    assert shown(rounds) == [
        row("decode", (0, 0, 0), (0, 12), (0, 0), NOTHING, (0, 0, 1), 2, 1),
        row("hit", (12, 5, 13), (15, 12), (10, 1), ([11], [1]), (1, 1, 3), 2, 201),
    ]
    assert foreseen(rounds)[1] == (1, 1, 4, 2 + 4, 15)
    # Or at its first.
    rounds = by_hand(Ssd(1, 1), TEXT, DRAFT, stop_ids=[10], doubts=True).rounds
    assert shown(rounds) == [row("decode", (0, 0, 0), (7, 12), (5, 0), NOTHING, (0, 0, 1), 2, 101)]
    assert foreseen(rounds) == [(0, 0, 2, 2, 7)]


def drafted_one_by_one(sampler: Sampler, gamma: int, length: int, seed: int) -> tuple[Any, ...]:
    """Vanilla speculative decoding after a first token of the target's own: its text, and how many
    tokens each round drafted and accepted."""
    target, draft = TableModel(TARGET), TableModel(CLOSE)
    proposer = sampler.proposer(seed, len(PROMPT))
    sequence = Sequence(PROMPT, length, (), seed, sampler.verifier(seed, len(PROMPT)))
    counts = []
    while not sequence.finished:
        sequence.open_round(0.0)
        known = len(sequence)
        count = min(gamma, sequence.remaining - 1) if known > len(PROMPT) else 0
        drafted = draft_of(draft, proposer, sequence.tokens, count)
        sequence.note_drafted(drafted.tokens, range(known, known + count))
        logits = target.extend(sequence.tokens + drafted.tokens, count + 1)
        seen = sequence.verifier.read(logits, known)
        judgement = sequence.judge(seen, drafted, proposer.row)
        accepted = len(judgement.accepted)
        counts.append((drafted.tokens, accepted))
        target.rollback(known + accepted)
        draft.rollback(known + accepted)
        sequence.append(judgement.verified)
        proposer.forget(len(sequence))
    return sequence.output, counts


def draft_of(model: TableModel, proposer: Any, text: list[int], count: int) -> Draft:
    drafted = Draft()
    for _ in range(count):
        tokens = text + drafted.tokens
        drafted.append(*proposer.propose(model.extend(tokens, rows=1), len(tokens)))
    return drafted


@pytest.mark.parametrize(
    "sampler", [Greedy(), Temperature(temperature=0.8), Temperature(coupled=True)], ids=repr
)
@pytest.mark.parametrize("schedule", [(0,), (1, 3), (9,)], ids=str)
def test_what_is_prepared_is_what_would_have_been_drafted(
    sampler: Sampler, schedule: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every draft and every token is as if drafts were made one by one, and by the same random
    numbers: whatever is prepared, however much of it is there in time, hit or missed."""
    monkeypatch.setattr(InlineBrancher, "schedule", schedule)
    hits = set()
    with in_one_process():
        for gamma, fan_out, shape in ((1, 1, "flat"), (3, 1, "flat"), (3, 2, "geometric")):
            session = start(Ssd(gamma, fan_out, shape), sampler, CLOSE)
            for seed in range(6):
                made = session.decode(PROMPT, 25, [], seed)
                drafts = [(one.drafted_ids, one.accepted) for one in made.rounds]
                expected = drafted_one_by_one(sampler, gamma, 25, seed)
                assert (made.output_ids, drafts) == expected
                hits |= {one.hit for one in made.rounds if one.outcomes}
    assert hits == {False, True}


class InOrder:
    """Random numbers by which 0, 1, 2 … are drawn, and after the vocabulary's last token 0 again,
    whatever the distribution."""

    def __init__(self) -> None:
        self._drawn = 0

    def copy(self) -> InOrder:
        return copy.copy(self)

    def draw(self, weights: torch.Tensor) -> int:
        self._drawn += 1
        return (self._drawn - 1) % VOCAB


@pytest.mark.parametrize("schedule", [(0,), (1, 3), (9,)], ids=str)
def test_each_token_is_drafted_with_the_next_random_number(
    schedule: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """None is used twice and none left out: not by what was prepared and what is drafted after it,
    at a hit or a miss, however much of it was there in time."""
    monkeypatch.setattr(InlineBrancher, "schedule", schedule)
    monkeypatch.setattr(
        "decoders.sampling.temperature.Chance",
        lambda seed, process: InOrder() if process == "draft" else Chance(seed, process),
    )
    hits = set()
    with in_one_process():
        session = start(Ssd(3, 1), Temperature(), CLOSE)
        for seed in range(4):
            rounds = session.decode(PROMPT, 40, [], seed).rounds
            drafted = [token for one in rounds for token in one.drafted_ids]
            assert drafted == [number % VOCAB for number in range(len(drafted))]
            hits |= {one.hit for one in rounds if one.outcomes}
    assert hits == {False, True}


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (
            "draft, self._proposer = found.draft, found.proposer",
            "draft, self._proposer._rows = found.draft, found.proposer._rows",
        ),
        ("self._proposer.branch(), node)", "self._sampler.proposer(0, known), node)"),
        ("self._proposer.branch(), node)", "self._proposer, node)"),
    ],
    ids=["left to the next draft", "from the text's begin on", "shared by continuations"],
)
def test_random_numbers_that_are_used_otherwise_are_seen(right: str, wrong: str) -> None:
    bug = Bug("", "", "", "decoders.process.brancher", right, wrong)
    with planted(bug), pytest.MonkeyPatch.context() as patch, pytest.raises(AssertionError):
        test_each_token_is_drafted_with_the_next_random_number((9,), patch)


@pytest.mark.parametrize("sampler", [Greedy(), Temperature(temperature=0.8)], ids=repr)
def test_what_is_hit_is_no_matter_of_time(
    sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nothing is drafted at a miss, so that it decides what is drafted at all."""
    found = []
    for schedule in ((0,), (2,), (9,)):
        monkeypatch.setattr(InlineBrancher, "schedule", schedule)
        with in_one_process():
            session = start(Ssd(3, 1, miss="none"), sampler, CLOSE)
            made = [session.decode(PROMPT, 25, [], seed) for seed in range(6)]
        found.append(
            [
                (one.drafted_ids, one.mode, one.outcomes, one.fan_out, one.hit)
                for generation in made
                for one in generation.rounds
            ]
        )
    assert found[0] == found[1] == found[2]
    missed = [one for one in found[0] if one[1] == "miss"]
    assert missed and not any(drafted or hit for drafted, _, _, _, hit in missed)
    assert {one[1] for one in found[0]} == {"decode", "hit", "miss"}


def test_with_shared_noise_a_model_that_agrees_foresees_the_target() -> None:
    """By the noise of its own place, after each accepted length: one token is enough."""
    with in_one_process():
        session = start(Ssd(3, 1), Temperature(coupled=True), TARGET)
        rounds = session.decode(PROMPT, 40, [], seed=1).rounds
    assert [one.mode for one in rounds] == ["decode", *["hit"] * 10]
    assert [one.accepted for one in rounds] == [0, *[3] * 9, 2]


class Told(BrancherService):
    """A draft process at the toy pair, with what it would take some turns to get to."""

    def __init__(self, fan_outs: tuple[int, ...], draft: list[int], end: int = 99) -> None:
        super().__init__(TableModel(CLOSE), Greedy())  # type: ignore[arg-type]
        self.answer(("begin", list(PROMPT), end, 0, list(fan_outs), True, 1.0))
        self._draft.tokens += draft

    @property
    def keys(self) -> list[tuple[int, int, int]]:
        """What is prepared for: accepted, token, and how many tokens are there."""
        return [(one.accepted, one.token, len(one.draft)) for one in self._branches or ()]


def first_choices(text: list[int], count: int, but: int | None = None) -> list[int]:
    """The draft model's, of what follows a text."""
    row = TableModel(CLOSE).extend(text, 1)[0]
    order = [token for token in row.argsort(descending=True).tolist() if token != but]
    return order[:count]


def test_outcomes_that_are_prepared_for() -> None:
    """After each accepted length the likeliest tokens, but the one that must have been rejected;
    the last number is for a draft that is accepted as a whole, however short that is."""
    (first,) = first_choices(PROMPT, 1)
    service = Told((2, 1, 4, 3), [first, 2])
    assert service.prepares and service.keys == []
    service.prepare()
    zero, one = first_choices(PROMPT, 2, but=first), first_choices([*PROMPT, first], 1, but=2)
    two = first_choices([*PROMPT, first, 2], 3)
    expected = [*((0, t) for t in zero), *((1, t) for t in one), *((2, t) for t in two)]
    assert service.keys == [(*key, 0) for key in expected]
    for made in (1, 2, 3):
        assert service.prepares
        service.prepare()
        assert service.keys == [(*key, made) for key in expected]
    assert not service.prepares
    # Each is what the draft model goes on with.
    for branch in service._branches or ():
        text = [*PROMPT, *[first, 2][: branch.accepted], branch.token]
        for token in branch.draft:
            assert [token] == first_choices(text, 1)
            text.append(token)


def test_no_more_is_prepared_than_fits_the_text() -> None:
    """Tokens are drafted up to position 6: after one, two and three more than the prompt's two."""
    service = Told((1, 1, 1, 1), [0, 0, 0], end=6)
    for _ in range(9):
        if service.prepares:
            service.prepare()
    assert [(accepted, made) for accepted, _, made in service.keys] == [(0, 3), (1, 2), (2, 1)]
    assert not Told((1, 1), [], end=3).prepares
    assert Told((1, 1), [], end=4).prepares


def test_while_a_rejected_token_is_replaced_nothing_is_prepared() -> None:
    """Its distribution is asked for, so that the outcome is about to come."""
    service = Told((2, 2), [])
    service._sampler = Temperature()
    service.answer(("begin", list(PROMPT), 99, 0, [2, 2], True, 1.0))
    answer = service.answer(("outcome", 0, 1))
    assert answer is not None and answer[0] == "continuation"
    service.prepare()
    assert service.prepares
    answer = service.answer(("row", len(PROMPT) + 1))
    assert answer is not None and answer[0] == "distribution"
    assert not service.prepares
    service.answer(("outcome", 0, 2))
    assert service.prepares


def test_of_what_the_text_has_no_distribution_is_kept() -> None:
    """Two tokens are drafted after 1 3 1, then two after one of them and a token of the target's,
    which was not prepared for."""
    service = Told((1, 1, 1), [])
    service._sampler = Temperature()
    service.answer(("begin", list(PROMPT), 99, 0, [1, 1, 1], True, 1.0))
    service.answer(("outcome", 0, 1))
    assert service._proposer.row(4).shape == (VOCAB,)
    (likely,) = first_choices([*PROMPT, 1, service._draft.tokens[0]], 1, service._draft.tokens[1])
    answer = service.answer(("outcome", 1, (likely + 1) % VOCAB)) or ()
    assert len(answer[1]) == 2 and not answer[6]
    for position in (5, 6):
        assert service._proposer.row(position).shape == (VOCAB,)
    for position in (3, 4):
        with pytest.raises(KeyError):
            service._proposer.row(position)


def test_a_pause_ends_what_is_prepared_and_tells_what_was_made() -> None:
    service = Told((1, 1, 1), [0, 0])
    for _ in range(2):
        service.prepare()
    # The draft's two tokens and the one before them; then one for each of three outcomes.
    name, outcomes, fan_out, hit, forwards, tokens, seconds, waited = service.answer(
        ("pause",), 0.5
    ) or ()  # fmt: skip
    assert (name, outcomes, fan_out, hit, forwards, tokens) == ("paused", 0, 0, False, 2, 3 + 3)
    assert seconds > 0 and waited == 0.5
    assert not service.prepares


class TestFanOuts:
    def test_flat(self) -> None:
        assert fan_outs(3, 2, "flat", 0.8, 1.0) == (2, 2, 2, 2)

    def test_geometric(self) -> None:
        """α = 0.8, γ = 2: lengths have the chances 0.2, 0.16 and 0.64. A second token is worth a
        half of them, a third a sixth, a fourth a twelfth."""
        assert fan_outs(2, 1, "geometric", 0.8, 1.0) == (1, 1, 1)
        # 0.32, 0.107 and 0.1, before 0.08.
        assert fan_outs(2, 2, "geometric", 0.8, 1.0) == (2, 1, 3)
        # And 0.08, 0.053 and 0.033, before 0.032.
        assert fan_outs(2, 3, "geometric", 0.8, 1.0) == (3, 2, 4)

    @pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
    @pytest.mark.parametrize("acceptance", [0.3, 0.8])
    def test_no_other_numbers_make_a_hit_likelier(self, acceptance: float, exponent: float) -> None:
        reached = [acceptance**k * (1 - acceptance) for k in range(3)] + [acceptance**3]

        def missed(numbers: tuple[int, ...]) -> float:
            pairs = zip(reached, numbers, strict=True)
            return sum(chance * number**-exponent for chance, number in pairs)

        found = fan_outs(3, 3, "geometric", acceptance, exponent)
        others = [one for one in itertools.product(range(1, 10), repeat=4) if sum(one) == 12]
        assert found in others
        assert missed(found) == pytest.approx(min(missed(one) for one in others))

    def test_many_of_them_are_the_papers_series(self) -> None:
        """F_k = F_0 · α^(k / (1 + r)), and for the whole draft (1 − α)^(−1 / (1 + r)) as many."""
        numbers = fan_outs(3, 1000, "geometric", 0.6, 0.5)
        series = [0.6 ** (k / 1.5) for k in range(3)] + [0.6 ** (3 / 1.5) * 0.4 ** (-1 / 1.5)]
        assert sum(numbers) == 4000
        expected = [4000 * one / sum(series) for one in series]
        assert numbers == pytest.approx(expected, abs=1)


def test_what_settings_are_where_nothing_is_said() -> None:
    assert Ssd() == Ssd(5, 2, "flat", 0.8, exponent=1.0, miss="draft", downscale=1.0)
    assert Ssd() == make_decoder("ssd", 5)


def test_a_decoder_prepares_by_its_settings() -> None:
    """Whatever draft length is in use, and asked for: as in :class:`TestFanOuts`."""
    assert Ssd("auto", 2, "geometric", 0.8, 1.0).fan_outs(2) == (2, 1, 3)
    assert Ssd(9, 3, "geometric", 0.8, 1.0).fan_outs(2) == (3, 2, 4)
    assert Ssd(9, 3).fan_outs(2) == (3, 3, 3)
    with in_one_process():
        session: Any = start(Ssd(2, 2, "geometric"), Greedy())
        session.decode(PROMPT, 4, [])
    assert session.brancher._service._fan_outs == [2, 1, 3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma": 0}, "decoder.gamma is the draft length and must be at least 1, got 0"),
        ({"fan_out": 0}, "decoder.fan_out .*must be at least 1, got 0"),
        ({"shape": "round"}, "decoder.shape is flat or geometric, got 'round'"),
        ({"miss": "guess"}, "decoder.miss is draft or none, got 'guess'"),
        ({"acceptance": 1.0}, "decoder.acceptance .*between 0 and 1, got 1.0"),
        ({"acceptance": 0.0}, "decoder.acceptance .*between 0 and 1, got 0.0"),
        ({"exponent": 0.0}, "decoder.exponent .*above 0, got 0.0"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ssd(**settings)


def test_a_draft_model_that_reads_no_trees_is_refused() -> None:
    Ssd().check_draft(Architecture("llama", 64))
    with pytest.raises(ValueError, match=r"draft model \(bloom\) can't read: it counts otherwise"):
        Ssd().check_draft(Architecture("bloom", 64, no_trees="it counts otherwise"))


def test_the_draft_length_that_is_prepared_in_time() -> None:
    """12 forwards in 6 s, so 0.5 s each; the target's take 2.4 s on average, so that four are
    prepared in time, of which one reads the draft. The first round and the last do not count."""
    usual = [
        Round(branch_forwards=5, branch_seconds=2.0, target_seconds=2.0),
        Round(branch_forwards=7, branch_seconds=4.0, target_seconds=2.8),
    ]
    other = Round(branch_forwards=50, branch_seconds=1.0, target_seconds=50.0)
    assert _longest_in_time([other, *usual, other]) == 3
    assert _longest_in_time([other, usual[0], other]) == 4
    assert _longest_in_time([other, Round(target_seconds=1.0), other]) == 5
    slow = Round(branch_forwards=1, branch_seconds=4.0, target_seconds=1.0)
    assert _longest_in_time([other, slow, other]) == 1


def test_auto_chooses_after_the_first_prompt() -> None:
    with in_one_process():
        session = start(Ssd("auto"), Greedy())
        assert isinstance(session, SsdSession)
        assert session.settings()["gamma"] == 5
        rounds = [Round(branch_forwards=9, branch_seconds=1.0, target_seconds=1.0)] * 3
        session.after_warmup(rounds)
        assert session.gamma == session.settings()["gamma"] == 8
        fixed = start(Ssd(2), Greedy())
        fixed.after_warmup(rounds)
        assert fixed.gamma == 2


def test_what_is_made_ready_before_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """γ = 3, for 2 tokens after each of 4 accepted lengths: of 8 continuations the likely token and
    all drafted ones but the last are read, behind a text of up to 40. Forwards of either model read
    up to three drafted tokens and the one before them."""
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(TableModel, "fixed_shapes", True)
    monkeypatch.setattr(TableModel, "prepare", lambda _, *arguments: asked.append(arguments))
    with in_one_process():
        start(Ssd(3, 2), Greedy()).prepare(10, 40)
    ready = [(list(windows), begin, end) for windows, begin, end in asked]
    assert ready == [([1, 2, 3, 4], 10, 40), ([1, 2, 3, 4], 10, 40 + 3 * 8)]


def test_a_session_has_the_draft_process_for_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is there once that is."""
    ready, closed = [], []
    monkeypatch.setattr(InlineBrancher, "peak_memory_bytes", lambda _: 7)
    monkeypatch.setattr(InlineBrancher, "wait_ready", lambda brancher: ready.append(brancher))
    monkeypatch.setattr(InlineBrancher, "close", lambda brancher: closed.append(brancher))
    with in_one_process():
        session: Any = start(Ssd(3, 2), Greedy())
    assert ready == [session.brancher]
    assert session.peak_memory_bytes() == 7 and not closed
    session.stop()
    assert closed == [session.brancher]


class TestLikely:
    LOGITS = torch.tensor([[0.5, 3.0, -torch.inf, 2.0, 1.0]])

    def test_the_first_choices_but_one(self) -> None:
        proposer = Greedy().proposer(0, 0)
        assert proposer.likely(self.LOGITS, 7, 2, None) == [1, 3]
        assert proposer.likely(self.LOGITS, 7, 2, 3) == [1, 4]
        # One that was not among them leaves no gap.
        assert proposer.likely(self.LOGITS, 7, 2, 0) == [1, 3]

    def test_no_more_than_are_possible(self) -> None:
        proposer = Greedy().proposer(0, 0)
        assert proposer.likely(self.LOGITS, 7, 9, None) == [1, 3, 4, 0]
        assert proposer.likely(self.LOGITS, 7, 9, 1) == [3, 4, 0]

    def test_with_shared_noise_those_that_the_noise_makes_likely(self) -> None:
        noise = SharedNoise(3, 5)
        proposer = _CoupledProposer(Warping(1.0, 0, 1.0), noise)
        order = (self.LOGITS[0] + noise.row(6, self.LOGITS[0])).argsort(descending=True).tolist()
        assert proposer.likely(self.LOGITS, 6, 4, None) == order[:4]
        token, _ = proposer.propose(self.LOGITS, 6)
        assert order[0] == token

    def test_and_that_can_be_drawn(self) -> None:
        """At half the temperature logits differ twice as much, and the best two are kept."""
        noise = SharedNoise(1, 5)
        noise._rows = [torch.tensor([9.0, 0.0, 0.0, 1.5, 0.0])]
        proposer = _CoupledProposer(Warping(0.5, 2, 1.0), noise)
        assert proposer.scores(self.LOGITS, 5)[0].tolist() == [
            -math.inf,
            6,
            -math.inf,
            5.5,
            -math.inf,
        ]
        assert proposer.likely(self.LOGITS, 5, 4, None) == [1, 3]
        # Until the place is past.
        proposer.forget(6)
        with pytest.raises(LookupError, match="there is no noise at 5, only from 6 on"):
            proposer.scores(self.LOGITS, 5)


def test_a_branch_draws_what_would_be_drawn_next() -> None:
    logits = torch.zeros(1, 500)
    proposer = Temperature().proposer(4, 0)
    proposer.propose(logits, 0)
    first, second = proposer.branch(), proposer.branch()
    drawn = [[one.propose(logits, place)[0] for place in range(1, 6)] for one in (first, second)]
    assert drawn[0] == drawn[1] == [proposer.propose(logits, place)[0] for place in range(1, 6)]
    # And has rows of its own.
    other = proposer.branch()
    other.propose(logits + torch.arange(500), 1)
    assert torch.equal(proposer.row(1), torch.full((500,), 1 / 500))
    assert not torch.equal(other.row(1), proposer.row(1))


def test_a_copy_of_random_numbers_is_read_on_its_own() -> None:
    chance = Chance(5, "draft")
    weights = torch.ones(1000)
    chance.draw(weights)
    other = chance.copy()
    ahead = [other.draw(weights) for _ in range(4)]
    assert [chance.draw(weights) for _ in range(4)] == ahead


class TestNonsense:
    """What a draft process may say that makes no sense is told in a line."""

    @pytest.fixture
    def brancher(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setattr(InlineBrancher, "pid", 7)
        return InlineBrancher(lambda: TableModel(CLOSE), Greedy(), None)

    MADE = (2, 1, True, 3, 4, 0.5, 0.25)

    def test_sense(self, brancher: Any) -> None:
        brancher._answers = [("continuation", [1, 2], [], 0.5, *self.MADE)]
        proposal, foresight, waited = brancher.collect()
        assert (proposal.draft.tokens, proposal.seconds, waited) == ([1, 2], 0.5, 0.25)
        assert foresight == Foresight(2, 1, True, 3, 4, 0.5)
        brancher._answers = [("paused", *self.MADE)]
        assert brancher.pause() == (foresight, 0.25)

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            (("proposal", [1], [], 0.5, *MADE), "expected a draft .*, got 'proposal'"),
            (("continuation", [5], [], 0.5, *MADE), "expected a token id from 0 to 4, got 5"),
            (("continuation", [1], [2.0], 0.5, *MADE), "expected a chance above 0"),
            (("continuation", [1], [], -1.0, *MADE), "expected a time in seconds, got -1.0"),
            (("continuation", [1], [], 0.5, -1, *MADE[1:]), "expected numbers of what was"),
            (("continuation", [1], [], 0.5, 2.5, *MADE[1:]), "expected numbers of what was"),
            (("continuation", [1], [], 0.5, 2, -1, *MADE[2:]), "expected numbers of what was"),
            (("continuation", [1], [], 0.5, *MADE[:3], -1, *MADE[4:]), "expected numbers of"),
            (("continuation", [1], [], 0.5, *MADE[:4], -1, *MADE[5:]), "expected numbers of"),
            (("continuation", [1], [], 0.5, 2, 1, 1, *MADE[3:]), "expected whether it was"),
            (("continuation", [1], [], 0.5, *MADE[:6], math.nan), "expected a time in seconds"),
            (("continuation", [1], [], 0.5, *MADE[:5], -1.0, 0.0), "expected a time in seconds"),
            (("continuation", [1], []), "gave an answer that makes no sense"),
        ],
    )
    def test_no_draft(self, brancher: Any, answer: tuple[Any, ...], message: str) -> None:
        brancher._answers = [answer]
        with pytest.raises(WorkerError, match=message):
            brancher.collect()

    @pytest.mark.parametrize("size", [VOCAB - 1, VOCAB + 1])
    def test_no_distribution(self, brancher: Any, size: int) -> None:
        chances = torch.full((size,), 1 / size)
        brancher._answers = [("distribution", "float32", chances.numpy().tobytes())]
        # What it answers itself is no distribution under greedy decoding.
        brancher._service.answer = lambda message: None
        with pytest.raises(WorkerError, match=f"over 5 tokens, got one over {size}"):
            brancher.row(3)

    def test_no_pause(self, brancher: Any) -> None:
        brancher._answers = [("continuation", *self.MADE)]
        with pytest.raises(WorkerError, match="expected 'paused', got 'continuation'"):
            brancher.pause()
