"""PEARL that looks up: its rounds worked out on paper, and its tokens drawn as without."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from by_hand import Decode, by_hand, wrong_at
from decoder_cases import make_decoder
from exact import (
    DRAFT,
    PROMPT,
    TARGET,
    check,
    distribution,
    every_way,
    expected,
    in_one_process,
    start,
)
from test_round_fields import NOTHING, REPEATING, became, row, told, totals
from toy import InlineRetriever, TableModel

from decoders.autoregressive import Autoregressive
from decoders.pearl_retrieval import PearlRetrieval, PearlRetrievalSession
from decoders.process.drafter import DrafterService
from decoders.process.retriever import Retrieval, RetrieverService, _check_forwards
from decoders.process.worker import WorkerError
from decoders.retrieval.lookup import Reach
from decoders.round import Round
from decoders.sampling.sampler import Greedy, Sampler
from decoders.sampling.temperature import Temperature
from decoders.schedule import Retrieving
from decoders.sequence import Sequence

__all__ = ["by_hand"]

#: Two forwards of the draft model a round, and guesses of up to four tokens.
DECODER = PearlRetrieval(2, guesses=4)


def made(one: Round, guessed: list[int], given: list[int]) -> Round:
    """A round whose draft forwards each read so many tokens of a guess, and gave so many."""
    return replace(one, guessed=guessed, given=given, retrieved=sum(given) - len(given))


#: The first three rounds: 13 and 10 are drafted in a forward each, 12 in that of 11, which is
#: guessed as 10 was there before. The target has no guess: what it has pending is new to it.
BEGINNING = [
    made(
        row("pre-verify", (0, 0, 0), (7, 12), (5, 0), ([10, 11], [0, 1]), (1, 1, 1), 2, 101),
        [0, 0], [1, 1],
    ),
    made(
        row("post-verify", (12, 12, 12), (6, 12), (6, 0), ([12, 13], [2, 3]), (2, 2, 3), 2, 101),
        [0, 0], [1, 1],
    ),
    made(
        row(
            "post-verify", (24, 24, 24), (7, 12), (5, 0),
            ([10, 11, 12], [4, 5, 6]), (2, 2, 5), 2, 101,
        ),
        [0, 1], [1, 2],
    ),
]  # fmt: skip


def test_forwards_that_give_several_tokens(by_hand: Decode) -> None:
    """In round 4 the text is 10 … 13 10, and 11 12 is pending: both guess 13 10 after it. The draft
    model reads that with 12 (5 s) and adds 11; then it guesses 12 13, and adds 14. The target reads
    it, too, so 11, which follows it, is the last that is judged."""
    generation = by_hand(DECODER, REPEATING, REPEATING)
    assert told(generation.rounds) == [
        *BEGINNING,
        made(
            row(
                "post-verify", (36, 36, 36), (10, 15), (5, 0),
                ([13, 10, 11, 12, 13, 14], [7, 8, 9, 10, 11, 12]), (5, 5, 10), 5, 101,
            ),
            [2, 2], [3, 3],
        ),
        made(
            row("post-verify", (51, 51, 51), (3, 14), (11, 0), ([15], [13]), (4, 4, 14), 4, 101),
            [0], [1],
        ),
    ]  # fmt: skip
    assert generation.output_ids == REPEATING
    assert totals(generation) == (65, 12, 5, 9, [14])


def test_the_target_goes_on_along_its_guess(by_hand: Decode) -> None:
    """The draft model says 40 where the text goes on with 10, as guessed: the target adds 10 and
    what comes after it. In round 5 both guess 12 13 10 for 12 13 14."""
    generation = by_hand(DECODER, REPEATING, wrong_at(REPEATING, 8))
    assert told(generation.rounds) == [
        *BEGINNING,
        made(
            row(
                "post-verify", (36, 36, 36), (8, 15), (7, 0),
                ([13, 40, 11], [7, 8, 9]), (4, 3, 10), 5, 101,
            ),
            [2, 0], [2, 1],
        ),
        made(
            row(
                "pre-verify", (51, 51, 51), (10, 14), (4, 0),
                ([12, 13, 14, 15], [10, 11, 12, 13]), (3, 3, 13), 4, 101,
            ),
            [3, 0], [3, 1],
        ),
        row("post-verify", (65, 0, 65), (0, 12), (12, 0), NOTHING, (1, 1, 14), 2),
    ]  # fmt: skip
    assert generation.output_ids == REPEATING
    assert totals(generation) == (77, 12, 6, 10, [8, 4])
    assert became(generation)[3:] == [("ar.", 2, 15), ("aaaa", 0, 14), ("", 0, 12)]


def test_the_target_goes_on_along_several_tokens_of_its_guess(by_hand: Decode) -> None:
    """The draft model says 43 where both guess 13 10: the target adds 13, then 10, and 11 after it.
    In round 5 both guess 12 13 10; the draft model has 13 10 11 to read as well."""
    generation = by_hand(DECODER, REPEATING, wrong_at(REPEATING, 7))
    assert told(generation.rounds) == [
        *BEGINNING,
        made(
            row(
                "post-verify", (36, 36, 36), (8, 15), (7, 0),
                ([43, 10], [7, 8]), (3, 2, 10), 5, 101,
            ),
            [2, 0], [1, 1],
        ),
        made(
            row(
                "pre-verify", (51, 51, 51), (11, 14), (3, 0),
                ([12, 13, 14, 15], [10, 11, 12, 13]), (3, 3, 13), 4, 101,
            ),
            [3, 0], [3, 1],
        ),
        row("post-verify", (65, 0, 65), (0, 12), (12, 0), NOTHING, (1, 1, 14), 2),
    ]  # fmt: skip
    assert generation.output_ids == REPEATING
    assert became(generation)[3] == ("r.", 3, 15)


def test_no_more_is_guessed_than_the_text_has_room_for(by_hand: Decode) -> None:
    """For 11 tokens: in round 4 there is room for four, three of which the first forward gives."""
    rounds = by_hand(DECODER, REPEATING, REPEATING, limit=11).rounds
    assert [one.drafted_ids for one in rounds] == [
        [10, 11], [12, 13], [10, 11, 12], [13, 10, 11, 12], [],
    ]  # fmt: skip
    assert [one.retrieved for one in rounds] == [0, 0, 1, 2, 0]
    assert [(one.guessed, one.given) for one in rounds[3:]] == [([2, 0], [3, 1]), ([], [])]
    # Nor by the target, which has the last two tokens to read.
    assert [one.target_tokens for one in rounds] == [2, 2, 2, 5, 2]


def test_a_stop_token_ends_the_text_also_where_the_guess_goes_on(by_hand: Decode) -> None:
    """1 2 was followed by 3 4. The draft model says 33, so the target replaces it by 3."""
    generation = by_hand(
        DECODER, [3, 4, 20, 21], [33, 4, 20, 21], prompt=[1, 2, 3, 4, 1, 2], stop_ids=[3]
    )
    assert (generation.output_ids, generation.finish_reason) == ([3], "stop")
    (one,) = generation.rounds
    assert (one.target_tokens, one.judged, one.accepted, one.own_tokens) == (6 + 2, 1, 0, 1)


def test_the_target_waits_for_a_draft_of_many_forwards(by_hand: Decode) -> None:
    """The first of five reads two tokens in 4 s, the others one in 3 s each: 16 s from 0.5 on."""
    first = by_hand(PearlRetrieval(5), list(range(10, 20)), list(range(10, 20))).rounds[0]
    assert told([first]) == [
        made(
            row(
                "pre-verify", (0, 0, 0), (16, 12), (1, 5),
                ([10, 11, 12, 13, 14], [0, 1, 2, 3, 4]), (1, 1, 1), 2, 101,
            ),
            [0] * 5, [1] * 5,
        )
    ]  # fmt: skip


def test_the_draft_model_alone_may_look_up(by_hand: Decode) -> None:
    """As above, but the target judges the first new token alone, as PEARL does."""
    decoder = PearlRetrieval(2, guesses=4, target_reads=False)
    generation = by_hand(decoder, REPEATING, REPEATING)
    assert [one.judged for one in generation.rounds] == [1, 2, 2, 3, 6]
    assert [one.target_tokens for one in generation.rounds] == [2, 2, 2, 3, 6]
    assert [one.retrieved for one in generation.rounds] == [0, 0, 1, 4, 0]


def test_guesses_are_no_longer_than_they_may_be(by_hand: Decode) -> None:
    """Of 13 10 both guess 13; the draft model adds 10, and then 12 to 11."""
    rounds = by_hand(PearlRetrieval(2, guesses=1), REPEATING, REPEATING).rounds
    assert rounds[3].drafted_ids == [13, 10, 11, 12]
    assert [one.retrieved for one in rounds[:4]] == [0, 0, 1, 2]
    assert [one.target_tokens for one in rounds[:4]] == [2, 2, 2, 4]
    assert [one.judged for one in rounds[:4]] == [1, 2, 2, 4]


def test_guesses_that_are_half_as_long_as_what_matched(by_hand: Decode) -> None:
    """So 10 alone has no guess after it. In round 4 10 11 is followed by 12 for both; the draft
    model adds 13, guesses 10 by four tokens, and adds 11. In round 5 six tokens match, of which 12
    13 is known; the draft model adds 14 and, where no more than a token has room, 15."""
    rounds = by_hand(PearlRetrieval(2, guesses=4, factor=0.5), REPEATING, REPEATING).rounds
    assert [one.drafted_ids for one in rounds] == [
        [10, 11], [12, 13], [10, 11], [12, 13, 10, 11], [12, 13, 14, 15], [],
    ]  # fmt: skip
    assert [one.retrieved for one in rounds] == [0, 0, 0, 2, 2, 0]
    assert [one.target_tokens for one in rounds] == [2, 2, 2, 3, 5, 2]
    assert [one.judged for one in rounds] == [1, 2, 2, 3, 5, 1]


def test_what_settings_are_where_nothing_is_said() -> None:
    assert PearlRetrieval() == PearlRetrieval(5, 10, 24, 1.0, 0.1, target_reads=True)
    assert PearlRetrieval() == make_decoder("pearl_retrieval", 5)
    assert PearlRetrieval(2, 3, 5, 2.0, 0.3).reach == Reach(depth=5, factor=2.0, least=0.3)
    alone = PearlRetrieval(2, 3, target_reads=False)
    assert alone.simulated_as() == Retrieving(2, 3, target_reads=False)


#: Of the toy pair: 1 3 comes again, in which the target may go on as it did before.
LOOPING = [1, 3, 0, 1, 3, 2, 1, 3, 0, 4, 1]


@pytest.mark.parametrize(
    ("decoder", "sampler"),
    [
        (PearlRetrieval(1, 3), Temperature(draft_temperature=1.5)),
        (PearlRetrieval(2, 2), Temperature()),
        (PearlRetrieval(1, 3, target_reads=False), Temperature()),
        (PearlRetrieval(1, 3), Temperature(coupled=True)),
    ],
    ids=repr,
)
def test_distribution_where_guesses_are_right(
    decoder: PearlRetrieval, sampler: Temperature, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exact.PROMPT", LOOPING)
    guessed: list[int] = []
    follow = PearlRetrievalSession._follow

    def counted(self: Any, sequence: Any, known: int, path: list[int], logits: Any) -> None:
        before = len(sequence)
        follow(self, sequence, known, path, logits)
        guessed.append(len(sequence) - before)

    monkeypatch.setattr(PearlRetrievalSession, "_follow", counted)
    with every_way() as branches:
        check(distribution(branches, decoder, sampler, 3), expected(sampler, 3))
    # The target went on along its guess, and further.
    assert (max(guessed) > 0) is decoder.target_reads


def test_along_a_guess_noise_is_that_of_its_place() -> None:
    """So that the text is the target's own."""
    sampler, longer = Temperature(coupled=True), 0
    with in_one_process():
        ours, theirs = start(PearlRetrieval(1, 3), sampler), start(Autoregressive(), sampler)
        for seed in range(30):
            made = ours.decode(LOOPING, 12, [], seed)
            assert made.output_ids == theirs.decode(LOOPING, 12, [], seed).output_ids
            longer += sum(one.own_tokens > 1 for one in made.rounds)
    assert longer


def test_no_token_is_drawn_that_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The target's rows that follow what is judged are not there when it is: PEARL has none."""
    judge, counts = Sequence.judge, []

    def judged(self: Any, seen: Any, draft: Any, *rows: Any) -> Any:
        counts.append((len(seen), len(draft)))
        return judge(self, seen, draft, *rows)

    monkeypatch.setattr(Sequence, "judge", judged)
    with in_one_process():
        start(PearlRetrieval(2, 4), Temperature()).decode(LOOPING, 30, [], seed=1)
    assert counts and all(rows == tokens for rows, tokens in counts)


@pytest.mark.parametrize("sampler", [Greedy(), Temperature(), Temperature(coupled=True)], ids=repr)
def test_a_draft_is_what_it_would_be_without_guesses(sampler: Sampler) -> None:
    """Token for token, with its chance, and with the distribution it was drawn from."""
    # What the draft model itself repeats at last.
    text = DrafterService(TableModel(DRAFT), Greedy()).draft(0, [1, 3], 40, 0)[1]  # type: ignore[arg-type]
    saved = 0
    for seed in range(20):
        retrieval = Retrieval(Reach(factor=2.0), 3)
        ours = RetrieverService(TableModel(DRAFT), sampler, retrieval)  # type: ignore[arg-type]
        plain = DrafterService(TableModel(DRAFT), sampler)  # type: ignore[arg-type]
        for service in (ours, plain):
            service.answer(("begin", seed, len(text)))
        before = ours.retrieve(0, list(text), 4, len(text), 99)
        ours.answer(("begin", seed, len(text)))
        *said, guessed, given = ours.retrieve(0, list(text), 4, len(text), 99)
        assert (*said[:3], guessed, given) == (*before[:3], *before[-2:])
        theirs = plain.draft(0, list(text), len(said[1]), len(text))
        assert said[:3] == list(theirs[:3])
        assert len(guessed) == len(given) == 4 and sum(given) == len(said[1])
        assert all(1 <= gave <= read + 1 <= 4 for read, gave in zip(guessed, given, strict=True))
        saved += len(said[1]) - len(given)
        # What the model has read is what it drafted, but for the last token.
        assert ours._model._seen == [*text, *said[1][:-1]]  # type: ignore[attr-defined]
        # And goes on from there.
        again = ours.retrieve(len(text) + 1, [2], 1, len(text) + 1, 1)
        assert again[1:3] == plain.draft(len(text) + 1, [2], 1, len(text) + 1)[1:3]
        # What is verified was read once.
        assert ours._lookup._own._text == [*text, said[1][0]]
        if sampler == Temperature():
            for position in (len(text) + 1, len(text) + 2):
                rows = [service._proposer.row(position) for service in (ours, plain)]
                assert torch.equal(*rows)
            # What is verified by then needs none.
            for service in (ours, plain):
                with pytest.raises(KeyError):
                    service._proposer.row(len(text))
        # Or back, without another token.
        again = ours.retrieve(len(text) + 1, [], 1, len(text) + 1, 1)
        assert again[1:3] == plain.draft(len(text) + 1, [], 1, len(text) + 1)[1:3]
    assert saved > 5


@pytest.mark.parametrize("seed", [0, 3])
def test_models_that_agree_draw_the_same_by_noise_they_share(seed: int) -> None:
    """Of the seed and of the place in the text; by the draft length in use, whatever was asked."""
    with in_one_process():
        session = start(PearlRetrieval(9), Temperature(coupled=True), TARGET)
        rounds = session.with_gamma(2).decode(PROMPT, 40, [], seed).rounds
    assert sum(one.judged for one in rounds) == sum(one.accepted for one in rounds) == 40
    assert max(one.drafted - one.retrieved for one in rounds) == 2


@pytest.mark.parametrize(("most", "found"), [(1, 1), (2, 2), (3, 3)])
def test_no_more_is_drafted_than_the_text_has_room_for(most: int, found: int) -> None:
    service = RetrieverService(
        TableModel(TARGET),  # type: ignore[arg-type]
        Greedy(),
        Retrieval(Reach(factor=9.0), 9),
    )
    _, tokens, _, _, guessed, given = service.retrieve(0, [1, 3, 0, 1, 3, 0, 1, 3], 9, 8, most)
    assert len(tokens) == sum(given) == found and guessed[0] == most - 1


@pytest.mark.parametrize(
    ("guessed", "given"),
    [
        ([], []),
        ([0], [1]),
        ([0], [2]),
        ([1, 0], [2, 0]),
        ([0, 0], [1]),
        ([0.0, 0], [1, 1]),
        ([0, 0], [1, "1"]),
        (None, [2]),
        ([1], 2),
    ],
)
def test_an_answer_that_makes_no_sense_is_told(guessed: Any, given: Any) -> None:
    retriever = InlineRetriever(lambda: TableModel(DRAFT), Greedy(), None, Retrieval(Reach(), 1))
    retriever._process = type("Process", (), {"pid": 7})()
    for right in (([1], [2]), ([0, 0], [1, 1]), ([1, 1], [1, 1])):
        retriever._answers = [("proposal", [1, 2], [], 0.5, *right)]
        found = retriever.collect_found()
        assert (found.guessed, found.given) == right
    retriever._answers = [("proposal", [1, 2], [], 0.5, guessed, given)]
    with pytest.raises(WorkerError, match="an answer that makes no sense"):
        retriever.collect_found()
    retriever._answers = [("proposal", [1, 5], [], 0.5, [1], [2])]
    with pytest.raises(WorkerError, match="expected a token id from 0 to 4, got 5"):
        retriever.collect_found()


def test_forwards_that_cannot_be_are_told_with_what_they_were_to_give() -> None:
    told = r"that give 3 tokens, .* got guesses of \[1, 0\] that gave \[2, 2\]$"
    with pytest.raises(ValueError, match=told):
        _check_forwards([1, 0], [2, 2], 3)
    _check_forwards([1, 0], [2, 1], 3)


def test_settings_that_cannot_be_are_refused() -> None:
    PearlRetrieval(guesses=1)
    with pytest.raises(ValueError, match=r"decoder\.guesses .* at least 1 token, got 0"):
        PearlRetrieval(guesses=0)
    with pytest.raises(ValueError, match=r"decoder\.depth"):
        PearlRetrieval(depth=1)
    with pytest.raises(ValueError, match=r"decoder\.gamma"):
        PearlRetrieval(0)


def test_windows_reach_as_far_as_forwards_may() -> None:
    with every_way():
        session: Any = start(PearlRetrieval(2, guesses=3), Greedy())
        assert list(session.windows()) == list(range(1, 2 * 4 + 3 + 2))
        assert list(session.draft_windows()) == list(range(1, 2 * 3 + 2))
        alone: Any = start(PearlRetrieval(2, guesses=3, target_reads=False), Greedy())
        assert list(alone.windows()) == list(range(1, 2 * 4 + 2))
        assert list(alone.draft_windows()) == list(range(1, 3 + 2))


@pytest.mark.parametrize("target_reads", [True, False])
def test_no_forward_reads_more_than_its_window(
    target_reads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the prompt is read; and some of the draft model's read as much."""
    read: dict[TableModel, set[int]] = {}
    extend = TableModel.extend

    def noted(model: TableModel, tokens: Any, rows: int) -> torch.Tensor:
        if model.length:
            read.setdefault(model, set()).add(len(tokens) - model.length)
        return extend(model, tokens, rows)

    monkeypatch.setattr(TableModel, "extend", noted)
    with in_one_process():
        decoder = PearlRetrieval(1, guesses=2, factor=9.0, target_reads=target_reads)
        session: Any = start(decoder, Temperature())
        for seed in range(10):
            session.decode(LOOPING, 30, [], seed)
    assert max(read[session.target]) <= max(session.windows())
    assert max(read[session.drafter._service._model]) == max(session.draft_windows())
