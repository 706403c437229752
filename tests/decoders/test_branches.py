"""Drafts for other tokens than the draft's own: exact, as they would be drafted, found in time."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import exact
import pytest
from exact import TARGET, check, distribution, expected
from small_pair import SmallPair, save_pair
from toy import InlineForerunner, table

from decoders.adaptive.alternatives import MOST_OTHERS, Alternatives
from decoders.adaptive.deliberation import Deliberation
from decoders.adaptive.policy import MOST_PREPARED, Policy
from decoders.autoregressive import Autoregressive
from decoders.decoder import Decoder
from decoders.generation import Generation
from decoders.model.cached_model import CachedModel
from decoders.pearl_adaptive import PearlAdaptive, PearlAdaptiveSession
from decoders.process import forerunner_service
from decoders.process.forerunner import Drafted, Forerunner
from decoders.process.models import Models
from decoders.process.worker import WorkerError, WorkerOptions
from decoders.round import Round
from decoders.sampling.sampler import Greedy, Sampler
from decoders.sampling.temperature import Temperature

LENGTH = 4


class Delayed(InlineForerunner):
    """Hears what is verified only after so many more tokens, as one that is at a forward then.

    Each time it is read it drafts the first number of tokens of ``delays``, hears all that was
    verified, and drafts the second number.
    """

    delays: tuple[tuple[int, int], ...] = ((1, 1),)

    def begin(self, *arguments: Any) -> None:
        self._untold: list[Any] = []
        self._turns = itertools.cycle(self.delays)
        super().begin(*arguments)

    def send(self, message: Any) -> None:
        self._untold.append(message)
        if message[0] in ("begin", "expect", "pause"):
            self._hear()

    def _hear(self) -> None:
        for message in self._untold:
            super().send(message)
        self._untold.clear()

    def read(self, wait: float = 0.0) -> list[Drafted]:
        before, after = next(self._turns)
        self._draft(before)
        self._hear()
        self._draft(max(after, int(wait > 0)))
        return Forerunner.read(self)

    def _draft(self, count: int) -> None:
        for _ in range(count):
            if self._service.may_draft:
                self._answers.append(self._service.draft(0.0))


DELAYS = [((1, 1),), ((2, 0), (1, 2)), ((2, 1), (0, 1)), ((1, 0), (3, 0), (0, 2))]
#: A draft model that may draw whatever the target may.
CLOSE = (TARGET + table(seed=2, possible=5)) / 2


class Eager(Policy):
    """Has as much prepared as may be, from the first round on, whatever it costs."""

    def __init__(self) -> None:
        super().__init__()
        self.ran(0, 0.01)
        self.drafted(0.001, beside=True)

    def gains(self) -> list[float]:
        return [1.0] * 3


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Alternatives, "best", lambda self, worths, *_: (min(len(worths), MOST_OTHERS), 1.0)
    )
    monkeypatch.setattr("decoders.pearl_adaptive.Policy", Eager)
    # Every round is weighed.
    monkeypatch.setattr(Deliberation, "weighed", lambda *_: None)


@pytest.mark.parametrize("delays", DELAYS[:1], ids=str)
@pytest.mark.usefixtures("eager")
def test_the_distribution_is_the_targets_whatever_was_prepared(
    monkeypatch: pytest.MonkeyPatch, delays: tuple[tuple[int, int], ...]
) -> None:
    hits = list[bool]()

    class Noted(PearlAdaptiveSession):
        def close_round(self, sequence: Any) -> None:
            super().close_round(sequence)
            hits.append(sequence.round.hit)

    monkeypatch.setattr("decoders.pearl_adaptive.PearlAdaptiveSession", Noted)
    monkeypatch.setattr(Delayed, "delays", delays)
    sampler = Temperature(top_k=2)
    with exact.every_way() as branches, pytest.MonkeyPatch.context() as patch:
        patch.setattr("decoders.pearl_async.Forerunner", Delayed)
        found = distribution(branches, PearlAdaptive(8), sampler, LENGTH, CLOSE)
    check(found, expected(sampler, LENGTH))
    assert any(hits)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> SmallPair:
    """Of which about half of the drafted tokens are right."""
    return save_pair(tmp_path_factory.mktemp("pair"), noise=0.05)


def decode(pair: SmallPair, decoder: Decoder, sampler: Sampler) -> Generation:
    with exact.in_one_process(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("decoders.pearl_async.Forerunner", Delayed)
        ticks = exact.Ticks()
        for module in exact.TIMED:
            patch.setattr(f"decoders.{module}.clock", ticks)
        models = Models(pair.load_target(), pair.load_draft, WorkerOptions())
        return decoder.start(models, sampler).decode([5, 6, 7], 60, [], seed=3)


@pytest.mark.parametrize("sampler", [Greedy(), Temperature(coupled=True)], ids=repr)
@pytest.mark.parametrize("delays", DELAYS, ids=str)
@pytest.mark.usefixtures("eager")
def test_the_output_is_the_targets_whenever_what_is_heard(
    monkeypatch: pytest.MonkeyPatch,
    pair: SmallPair,
    delays: tuple[tuple[int, int], ...],
    sampler: Sampler,
) -> None:
    monkeypatch.setattr(Delayed, "delays", delays)
    found = decode(pair, PearlAdaptive(), sampler)
    assert found.output_ids == decode(pair, Autoregressive(), sampler.with_own_choice()).output_ids
    assert any(one.hit for one in found.rounds)
    plain = decode(pair, PearlAdaptive(branches=False), sampler)
    assert plain.output_ids == found.output_ids
    assert not any(one.hit or one.prepared or one.branch_forwards for one in plain.rounds)


TEXT = [5, 6, 7]


def continued(pair: SmallPair, text: list[int], count: int) -> list[int]:
    """What the draft model drafts after a text, read anew."""
    model, made = pair.load_draft(), list[int]()
    for _ in range(count):
        made.append(int(model.extend([*text, *made], rows=1).argmax()))
        model.rollback(0)
    return made


class Drafting:
    """The draft process's side, three tokens after a text, told to expect that they are judged."""

    def __init__(self, pair: SmallPair, forwards: int, gains: int = 3, end: int = 60) -> None:
        self.model = pair.load_draft()
        self.service = forerunner_service.ForerunnerService(self.model, Greedy(), confides=True)
        self.service.answer(("begin", list(TEXT), 20, end, 0))
        self.messages = [self.service.draft(0.0) for _ in range(3)]
        expected = (0.0, 0.5, 0.5, 6, 0.0, [0.3, 0.2, 0.1, 0.1], [1.0] * gains)
        self.service.answer(("expect", *expected))
        self.messages += [self.service.draft(0.0) for _ in range(forwards)]

    @property
    def drafted(self) -> list[int]:
        return [message[3] for message in self.messages]

    @property
    def prepared(self) -> dict[tuple[int, int], list[int]]:
        """What was drafted for other tokens, by position and token."""
        found = dict[tuple[int, int], list[int]]()
        for _, _, _, _, _, _, _, _, _, others in self.messages[3:]:
            for position, other, token, confidence in others:
                assert 0 < confidence <= 1
                found.setdefault((position, other), []).append(token)
        return found

    def verify(self, tokens: list[int]) -> list[tuple[int, int]]:
        """Positions and tokens of what is drafted next, three tokens."""
        self.service.answer(("verified", 1, len(TEXT), tokens))
        made = [self.service.draft(0.0) for _ in range(3)]
        return [(message[2], message[3]) for message in made]


@pytest.mark.usefixtures("eager")
def test_what_is_prepared_is_what_would_be_drafted(pair: SmallPair) -> None:
    one = Drafting(pair, forwards=3)
    assert one.drafted == continued(pair, TEXT, 6)
    assert {len(tokens) for tokens in one.prepared.values()} <= {1, 2, 3}
    # Those whose chance is at least 0.01: four, four, two, and two once that place is drafted.
    assert [len(message[-1]) for message in one.messages[3:]] == [10, 12, 12]
    for (position, other), tokens in one.prepared.items():
        before = [*TEXT, *one.drafted[: position - len(TEXT)], other]
        assert tokens == continued(pair, before, len(tokens))
        assert other != one.drafted[position - len(TEXT)]


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("forwards", [1, 3])
@pytest.mark.usefixtures("eager")
def test_a_draft_goes_on_with_what_was_prepared(pair: SmallPair, place: int, forwards: int) -> None:
    one = Drafting(pair, forwards)
    found = [key for key in one.prepared if key[0] == len(TEXT) + place]
    for position, other in found[:1]:
        tokens = one.prepared[position, other]
        verified = [*one.drafted[:place], other]
        made = one.verify(verified)
        expected = continued(pair, TEXT + verified, len(tokens) + 3)
        assert tokens + [token for _, token in made] == expected
        assert [at for at, _ in made] == [position + 1 + len(tokens) + n for n in range(3)]
        # All but the newest token was read.
        assert one.model.length == position + 1 + len(tokens) + 2
    assert found or place == 2


@pytest.mark.parametrize("agreed", [0, 1, 2, 3, 4])
@pytest.mark.usefixtures("eager")
def test_a_draft_goes_on_where_nothing_was_prepared_for_what_came(
    pair: SmallPair, agreed: int
) -> None:
    """Also where all that is verified was drafted, or more came than was judged."""
    one = Drafting(pair, forwards=2)
    right = one.drafted[:agreed]
    known = {other for position, other in one.prepared if position == len(TEXT) + agreed}
    other = next(token for token in range(5, 60) if token not in {*known, one.drafted[agreed]})
    made = one.verify([*right, other])
    assert made == list(
        enumerate(continued(pair, [*TEXT, *right, other], 3), len(TEXT) + agreed + 1)
    )
    same = Drafting(pair, forwards=2)
    drafted = same.drafted
    assert same.verify(drafted[: agreed + 1]) == list(
        enumerate(continued(pair, TEXT + drafted, 3), len(TEXT) + 5)
    )


@pytest.mark.usefixtures("eager")
def test_nothing_is_prepared_beyond_the_texts_end(pair: SmallPair) -> None:
    """The last position that is drafted for is the seventh: after one at the fourth three more."""
    one = Drafting(pair, forwards=2, gains=6, end=8)
    assert {position + len(tokens) for (position, _), tokens in one.prepared.items()} <= {
        4,
        5,
        6,
        7,
    }
    short = Drafting(pair, forwards=2, gains=1)
    assert {len(tokens) for tokens in short.prepared.values()} == {1}
    none = Drafting(pair, forwards=2, gains=0)
    assert all(len(message) == 8 for message in none.messages)


@pytest.mark.usefixtures("eager")
def test_it_prepares_as_before_where_it_is_no_longer_asked_how_sure_it_is(pair: SmallPair) -> None:
    """Of the draft's own token it says nothing then, as if it were sure."""
    one = Drafting(pair, forwards=1)
    assert 0 < one.messages[-1][7] < 1
    one.service.answer(("confide", False))
    one.messages.append(one.service.draft(0.0))
    assert one.messages[-1][7:9] == (1.0, 0)
    assert one.drafted == continued(pair, TEXT, 5)
    assert [len(message[-1]) for message in one.messages[3:]] == [10, 12]


@pytest.mark.usefixtures("eager")
def test_of_another_text_nothing_is_prepared_yet(pair: SmallPair) -> None:
    """Its draft is its own, whatever was drafted beside that of the text before."""
    one = Drafting(pair, forwards=2)
    assert one.prepared
    one.service.answer(("begin", [9, 8], 20, 60, 0))
    messages = [one.service.draft(0.0) for _ in range(3)]
    assert [message[:4] for message in messages] == [
        ("drafted", 0, position, token)
        for position, token in enumerate(continued(pair, [9, 8], 3), start=2)
    ]
    assert {len(message) for message in messages} == {8}


@pytest.mark.usefixtures("eager")
def test_a_model_that_reads_one_text_at_a_time_prepares_nothing(
    monkeypatch: pytest.MonkeyPatch, pair: SmallPair
) -> None:
    monkeypatch.setattr(CachedModel, "reads_trees", False)
    one = Drafting(pair, forwards=2)
    assert all(len(message) == 8 for message in one.messages)
    assert one.drafted == continued(pair, TEXT, 5)


class Main(Forerunner):
    """The main process's side, of a text of three tokens; what it is sent is put in ``waiting``."""

    pid, role = 1, "it"

    def __init__(self) -> None:
        self.waiting, self.sent = list[Any](), list[Any]()
        self._vocab_size = 100
        self.begin([1, 2, 3], 20, 50, 0)

    def send(self, message: Any) -> None:
        self.sent.append(message)

    def receive_now(self) -> Any:
        return self.waiting.pop(0) if self.waiting else None

    def hears(self, *messages: tuple[Any, ...]) -> list[int]:
        """The tokens that it takes in."""
        self.waiting += messages
        return [drafted.token for drafted in self.read()]

    def verified(self, text: list[int]) -> list[tuple[int, int]]:
        """Positions and tokens of the draft after a text that is verified now."""
        self.verify(self._lengths[-1], text[self._lengths[-1] :])
        return self.pends(text)

    def pends(self, text: list[int]) -> list[tuple[int, int]]:
        self.settle(text)
        self.adopt()
        return [(drafted.position, drafted.token) for drafted in self.pending(text)]


def token(
    position: int,
    token: int,
    *others: tuple[int, int, int],
    lineage: int = 0,
    update: int = 0,
    ended: float = 1.0,
) -> tuple[Any, ...]:
    """A message: a drafted token and, for others, a position, the other token and one after it."""
    told = [(at, other, after, 0.25) for at, other, after in others]
    return "drafted", lineage, position, token, 2.0, 0.0, ended, 0.5, update, told


def test_what_was_prepared_is_the_draft_once_it_came() -> None:
    """The draft is 10, 11, 12, and 50, 51 was prepared for 20 instead of 11."""
    main = Main()
    assert main.hears(token(3, 10), token(4, 11, (3, 30, 40), (4, 20, 50))) == [10, 11]
    assert main.hears(token(5, 12, (4, 20, 51), (4, 21, 60), ended=9.0)) == [12]
    text = [1, 2, 3, 10, 20]
    main.verify(3, text[3:])
    assert main.settle(text) == (3, 1, 2) and main.stale and main.anew
    assert main.foreseen == (3, 2)
    found = main.adopt()
    assert [(one.lineage, one.position, one.token, one.seconds, one.waited) for one in found] == [
        (1, 5, 50, 0.0, 0.0), (1, 6, 51, 0.0, 0.0),
    ]  # fmt: skip
    assert all(one.prepared and one.confidence == 0.25 for one in found)
    assert not main.stale and main.anew and main.draft == (5, found)
    assert main.pending(text) == found and main.adopt() == []
    # When the draft process will be done is known by its last forward.
    assert main.latest is not None
    assert (main.latest.ended, main.latest.token) == (9.0, 51)
    # The next of its tokens goes on with that.
    assert main.hears(token(7, 52, lineage=1, update=1)) == [52]
    assert main.pends(text) == [(5, 50), (6, 51), (7, 52)] and not main.anew
    assert main.latest is not None and main.latest.token == 52


def test_a_token_that_was_under_way_when_the_news_was() -> None:
    """Its forward began before that was heard. It is of the draft even if it is read later than the
    next news was sent; what was drafted in it for what did not come is of no use."""
    main, late = Main(), token(5, 12, (4, 20, 51), (3, 30, 41), (4, 21, 60))
    main.hears(token(3, 10), token(4, 11, (4, 20, 50)))
    text = [1, 2, 3, 10, 20]
    assert main.verified(text) == [(5, 50)]
    assert main.foreseen == (1, 1)
    # The token that it was drafted beside follows the former draft.
    assert main.hears(late) == [12, 51] and main.pends(text) == [(5, 50), (6, 51)]
    assert main.foreseen == (3, 2)
    assert main.latest is not None and main.latest.token == 51

    main = Main()
    main.hears(token(3, 10), token(4, 11, (4, 20, 50)))
    assert main.verified(text) == [(5, 50)]
    main.judged(1, False)
    main.verify(5, [50, 70])
    assert main.hears(late, token(7, 52, lineage=1, update=1)) == [12, 51, 52]
    assert main.pends([*text, 50, 70]) == []  # 51, and not 70.


def test_all_that_was_prepared_may_be_under_way_when_the_news_is() -> None:
    """And another news may be sent before it is read."""
    main = Main()
    main.hears(token(3, 10), token(4, 11))
    text = [1, 2, 3, 10, 20]
    assert main.verified(text) == [] and main.stale and main.foreseen == (0, 0)
    main.verify(5, [50])
    late = token(5, 12, (4, 20, 50)), token(6, 13, (4, 20, 51))
    assert main.hears(*late) == [12, 13] and main.pends([*text, 50]) == []
    assert main.hears(token(7, 52, lineage=1, update=1)) == [50, 51, 52]
    assert main.pends([*text, 50]) == [(6, 51), (7, 52)]


def test_what_was_prepared_for_something_else_is_of_no_use() -> None:
    """Another token, another place, and what came after a draft that had gone elsewhere before."""
    main = Main()
    main.hears(token(3, 10), token(4, 11, (4, 20, 50), (3, 21, 40), (5, 21, 60)))
    assert main.verified([1, 2, 3, 10, 21]) == [] and main.foreseen == (3, 1)
    # 20 comes at that position, but not of that draft.
    main = Main()
    main.hears(token(3, 10), token(4, 11, (4, 20, 50)))
    assert main.verified([1, 2, 3, 30]) == [] and main.foreseen == (1, 0)
    assert main.verified([1, 2, 3, 30, 20]) == [] and main.foreseen == (0, 0)
    # The draft is right.
    main = Main()
    main.hears(token(3, 10), token(4, 11, (4, 20, 50)))
    assert main.verified([1, 2, 3, 10]) == [(4, 11)]
    assert main.verified([1, 2, 3, 10, 11]) == [] and main.adopt() == []


def test_a_token_in_another_ones_place_is_told() -> None:
    for messages, told in (
        ([token(4, 10)], "position 3, got that of 4"),
        ([token(3, 10), token(3, 11)], "position 4, got that of 3"),
        (
            [token(3, 10), token(4, 11, (4, 20, 50)), token(5, 12, lineage=1, update=1)],
            "position 6, got that of 5",
        ),
    ):
        main = Main()
        main.hears(*messages[:-1])
        main.verify(3, [10, 20])
        with pytest.raises(WorkerError, match=f"expected the drafted token of {told}"):
            main.hears(messages[-1])


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (("else", *token(3, 10)[1:]), "'drafted' of a lineage below 1, got 'else' of 0"),
        (token(3, 10, lineage=1), "'drafted' of a lineage below 1, got 'drafted' of 1"),
        (token(-1, 10, (4, 20, 50), update=2), r"at least 0, .* got \(0, -1, 2, 4\)"),
        (token(3, 100), "token id from 0 to 99, got 100"),
    ],
)
def test_a_token_that_makes_no_sense_is_told(message: tuple[Any, ...], told: str) -> None:
    with pytest.raises(WorkerError, match=rf"it \(pid 1\) .* makes no sense: expected .*{told}"):
        Main().hears(message)


@pytest.mark.parametrize(
    "others",
    [[(4, 20, 300, 0.5)], [(4, 300, 20, 0.5)], [(-1, 20, 30, 0.5)], [(4.0, 20, 30, 0.5)],
     [(4, 20, 30, 1.5)], [(4, 20, 30)], [4], 4],
    ids=str,
)  # fmt: skip
def test_nonsense_of_what_was_prepared_is_told(others: Any) -> None:
    for update in (0, -1):
        main = Main()
        with pytest.raises(WorkerError, match="makes no sense"):
            main.hears((*token(3, 10)[:8], update, others if update == 0 else [(4, 20, 30, 0.5)]))


def test_what_a_round_says_of_what_was_prepared() -> None:
    """A wide forward over three tokens, a plain one, and two tokens that were prepared."""
    session: Any = object.__new__(PearlAdaptiveSession)
    drafts = list[tuple[float, bool]]()
    session._policy = SimpleNamespace(drafted=lambda *one: drafts.append(one))
    session._told = session._begun = session._beside = 0.0
    sequence: Any = SimpleNamespace(round=Round("verify"), note_drafted=lambda *_: None)
    wide = Drafted(0, 3, 10, 2.0, 0.0, 4.0, 0.5, 0, [(4, 20, 50, 0.5), (4, 21, 60, 0.5)])
    plain = Drafted(0, 4, 11, 1.5, 0.0, 6.0)
    made = [Drafted(1, at, 50, 0.0, 0.0, 4.0, prepared=True) for at in (5, 6)]
    session.note(sequence, [wide, plain])
    one = sequence.round
    assert (one.hit, one.prepared, one.branch_forwards, one.branch_tokens) == (False, 1, 1, 3)
    session.note(sequence, made)
    assert (one.hit, one.prepared, one.branch_forwards, one.branch_tokens) == (True, 3, 1, 3)
    assert (one.branch_seconds, one.draft_seconds) == (2.0, 3.5)
    # What takes no time of its own says nothing of what a forward takes.
    assert [seconds for seconds, _ in drafts] == [2.0, 1.5]
    one.drafted = 4
    assert one.single_forwards == 1


def test_the_token_before_what_was_prepared_was_an_unlikely_one() -> None:
    session: Any = object.__new__(PearlAdaptiveSession)
    learned = list[tuple[Any, ...]]()
    session._policy = SimpleNamespace(verified=lambda *one: learned.append(one))
    session._weighs = True
    for prepared, before in ((True, 0.0), (False, None)):
        draft = [SimpleNamespace(confidence=0.1 * n, prepared=prepared) for n in (1, 2, 3)]
        session.forerunner = SimpleNamespace(draft=(5, draft))
        session.learn(5, 1, 2)
        session.learn(6, 2, 2)
        assert learned == [([0.1, 0.2], 0, before, 1), ([0.2, 0.1 * 3], 1, 0.1, 2)]
        learned.clear()


def test_a_round_says_what_was_foreseen_where_the_draft_went_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session: Any = object.__new__(PearlAdaptiveSession)
    monkeypatch.setattr("decoders.pearl_async.PearlAsyncSession.look", lambda *_: [])
    found = []
    for hit, stale in ((False, False), (True, False), (False, True)):
        sequence: Any = SimpleNamespace(round=Round("verify", hit=hit))
        session.forerunner = SimpleNamespace(stale=stale, foreseen=(7, 3))
        assert session.look(sequence) == []
        found.append((sequence.round.outcomes, sequence.round.fan_out))
    assert found == [(0, 0), (7, 3), (7, 3)]


def test_there_is_room_for_what_is_prepared_beyond_a_text() -> None:
    assert PearlAdaptiveSession.draft_room == MOST_OTHERS * MOST_PREPARED == 128
