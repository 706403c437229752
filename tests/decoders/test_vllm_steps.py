"""What PEARL inside vLLM does in each step of an engine, by a clock made by hand.

A draft process is played: what it says is there at times that are told beforehand. Rows, times and
what is decided are chosen; what a policy is told of them, what is sent, handed over and kept was
worked out on paper.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from vllm_by_hand import ROOM, config

from decoders.adaptive.drafts import NEVER, Situation
from decoders.vllm import proposer
from decoders.vllm.draft import DraftLost
from decoders.vllm.drafting import DRAFTED, STEP
from decoders.vllm.patience import Patience, StepPolicy
from decoders.vllm.proposer import PearlProposer

MOST, AHEAD = 8, 6
#: Seconds that a decision takes.
THINKING = 0.25


class World:
    """A clock, and a draft process whose messages are under way: when each is there, and which."""

    vocab_size, pid = 300, 77

    def __init__(self) -> None:
        self.now = 0.0
        self.says: list[tuple[float, Any]] = []
        self.heard: list[Any] = []
        self.awaited: list[float] = []
        #: Seconds that sending takes.
        self.sending = 0.0

    def send(self, message: Any) -> None:
        self.heard.append(message)
        self.now += self.sending

    def receive_now(self, name: str) -> Any:
        assert name == DRAFTED
        return self.says.pop(0)[1] if self.says and self.says[0][0] <= self.now else None

    def receive(self, name: str) -> Any:
        assert name == DRAFTED
        at, message = self.says.pop(0)
        self.now = max(self.now, at)
        return message

    def receive_within(self, name: str, seconds: float) -> Any:
        self.awaited.append(seconds)
        if self.says and self.says[0][0] <= self.now + seconds:
            return self.receive(name)
        self.now += seconds
        return None

    @contextlib.contextmanager
    def understood(self) -> Iterator[None]:
        yield

    def lost(self, how: str) -> DraftLost:
        return DraftLost(how)

    def kill(self) -> None:
        pass

    close = kill


def drafted(start: float, seconds: float, *tokens: tuple[int, int, int, int, float]) -> Any:
    """Of texts by their number: lineage, position, token and what the draft model thought of it."""
    return start + seconds, (DRAFTED, start, seconds, list(tokens))


class Told(StepPolicy):
    """A policy that decides what it is told to, and keeps what it is told of a run."""

    def __init__(self, world: World) -> None:
        super().__init__(MOST)
        self._world = world
        self.log: list[Any] = []
        self.decisions: list[Patience] = []
        self.seen: list[Sequence[Situation]] = []

    def drafted(self, seconds: float, beside: bool) -> None:
        self.log.append(("drafted", seconds, beside))
        super().drafted(seconds, beside)

    def stepped(self, seconds: float, texts: int, judged: int) -> None:
        self.log.append(("stepped", seconds, texts, judged))

    def verified(self, *one: Any) -> None:
        self.log.append(("verified", *one))

    def step(self, texts: int, judged: int) -> float:
        assert judged == 0
        return 3.0 * texts

    def decide(self, texts: Sequence[Situation]) -> Patience:
        self._world.now += THINKING
        self.seen.append(texts)
        return self.decisions.pop(0) if texts else Patience([], 0, [])


class Steps:
    """Steps of an engine's target over texts in rows."""

    def __init__(self, pearl: PearlProposer, world: World, policy: Told) -> None:
        self.pearl, self.world, self.policy = pearl, world, policy
        self.rows = np.full((4, ROOM), -1, dtype=np.int32)
        self.lengths = [0] * 4

    def __call__(self, now: float, *gained: list[int], prompt: Sequence[int] = ()) -> Any:
        """A step that is over at a time: what each row gained; a last row may be of a new text.

        Gives what was handed over, and the log's entry.
        """
        self.world.now = now
        if prompt:
            row = len(gained) - 1
            self.rows[row, : len(prompt)], self.lengths[row] = prompt, len(prompt)
        for row, tokens in enumerate(gained):
            end = self.lengths[row] + len(tokens)
            self.rows[row, self.lengths[row] : end] = tokens
            self.lengths[row] = end
        lengths = np.array(self.lengths, dtype=np.int32)
        handed = self.pearl.propose(list(gained), lengths, self.rows)
        [entry] = self.pearl.take_log()
        assert entry["failed"] is None
        assert [row["handed"] for row in entry["rows"]] == handed
        assert [row["length"] for row in entry["rows"]] == self.lengths[: len(gained)]
        # It is sent as it is, and not every way of sending knows numpy's numbers.
        assert all(type(row["length"]) is int for row in entry["rows"])
        return handed, entry


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Steps]:
    """An engine with PEARL under some settings, whose draft process is played."""

    def steps(**settings: Any) -> Steps:
        world = World()
        monkeypatch.setattr(proposer, "clock", lambda: world.now)
        pearl = PearlProposer(
            config("organisation/model", most=MOST, **{"ahead": AHEAD, **settings})
        )
        pearl._draft = world  # type: ignore[assignment]
        pearl._policy = policy = Told(world)
        return Steps(pearl, world, policy)

    return steps


def of(text: Sequence[int]) -> bytes:
    return np.array(text, dtype=np.intc).tobytes()


def test_steps_in_which_it_is_decided(steps: Callable[..., Steps]) -> None:
    run = steps()
    world, policy = run.world, run.policy
    # A text of 3 tokens has come: at most 6 more are drafted. It is yet to be read.
    handed, entry = run(10.0, [3], prompt=[1, 2])
    assert (handed, policy.seen) == ([[]], [[]])
    assert world.heard == [(STEP, [], [(1, of([1, 2, 3]), 9)], [])]
    assert (entry["start"], entry["seconds"], entry["waited"]) == (10.0, THINKING, 0.0)
    assert entry["wait_start"] == 0.0
    assert entry["rows"] == [{"length": 3, "handed": [], "drafted": []}]

    # In the next step, of 10 - 0.25 s, two tokens were drafted, the first after reading the text,
    # which says nothing of other forwards. It is the target's own. One is at hand at 20 s, and two
    # are wanted. The next one would have been there at 14 s, a forward after the last, so that
    # the draft process was idle until it was told, and it is expected in 1 s. It is waited for
    # until 4 forwards later; it comes within 1.75 s.
    world.says = [
        drafted(11.0, 2.0, (1, 0, 3, 4, 0.9)),
        drafted(13.0, 1.0, (1, 0, 4, 5, 0.8)),
        drafted(20.5, 1.5, (1, 0, 5, 6, 0.7)),
    ]
    policy.decisions = [Patience([1], 1, [(0.7,)]), Patience([1], 0, [(0.75, 0.65)])]
    handed, entry = run(20.0, [4])
    assert policy.log == [
        ("drafted", 1.0, True),
        ("stepped", 9.75, 1, 0),
        ("verified", [0.9], 0, None, 1),
        # One that was begun after the target was done.
        ("drafted", 1.5, False),
    ]
    assert policy.seen[1:] == [
        [Situation([0.8], 1, 0.8, 1.0)],
        # At 22; the last one was there then, and such a forward takes 1.5 s.
        [Situation([0.8, 0.7], 1, 0.7, 1.5)],
    ]
    assert world.heard[1:] == [(STEP, [], [], [(1, 1, 3, [4], 10)])]
    assert world.awaited == [4.75]
    assert handed == [[5]]
    assert (entry["wait_start"], entry["waited"]) == (20.25, 2.0)
    assert (entry["start"], entry["seconds"]) == (20.0, 2.25)
    assert entry["rows"] == [
        {
            "length": 4,
            "handed": [5],
            "drafted": [
                (0, 3, 4, 0.9, 2.0, 11.0),
                (0, 4, 5, 0.8, 1.0, 13.0),
                (0, 5, 6, 0.7, 1.5, 20.5),
            ],
            "at_hand": 2,
            "awaited": 1,
            "chances": [0.75],
        }
    ]

    # Of the next one 6 was not the target's. A second text is being read, so that the step was like
    # no other. The draft process hears that it went elsewhere at 30 s, or after the token it is at:
    # such forwards took 1.25 s on average. It is waited for two steps' time, and nothing comes.
    world.says = [drafted(22.0, 1.5, (1, 0, 6, 7, 0.6))]
    policy.decisions = [Patience([0], 2, [()])]
    handed, entry = run(30.0, [5, 9], [], prompt=[7, 8])
    assert policy.log[4:] == [("drafted", 1.5, True), ("verified", [0.8, 0.7], 1, 0.9, 1)]
    assert policy.seen[3:] == [[Situation([], 3, None, 1.5)]]
    assert world.heard[2:] == [(STEP, [], [], [(1, 2, 4, [5, 9], 12)])]
    assert world.awaited[1:] == [6.0]
    assert (entry["wait_start"], entry["waited"]) == (30.25, 6.0)
    assert entry["rows"] == [
        {
            "length": 6,
            "handed": [],
            "drafted": [(0, 6, 7, 0.6, 1.5, 22.0)],
            "at_hand": 0,
            "awaited": 0,
            "chances": [],
        },
        {"length": 2, "handed": [], "drafted": []},
    ]

    # What follows 9 came too late. The second text is begun, of which nothing is decided.
    world.says = [drafted(35.5, 1.5, (1, 2, 6, 10, 0.55)), drafted(38.0, 1.5, (1, 2, 7, 11, 0.5))]
    policy.decisions = [Patience([5], 0, [(0.4,)])]
    handed, entry = run(40.0, [10], [9])
    assert policy.log[6:] == [
        *[("drafted", 1.5, True)] * 2,
        ("verified", [0.55], 0, None, 1),
    ]
    # The last one was there at 39.5.
    assert policy.seen[4:] == [[Situation([0.5], 1, 0.5, 1.0)]]
    assert world.heard[3:] == [(STEP, [], [(2, of([7, 8, 9]), 9)], [(1, 3, 6, [10], 13)])]
    assert handed == [[11], []]
    assert (entry["wait_start"], entry["waited"], entry["seconds"]) == (0.0, 0.0, THINKING)
    assert "at_hand" not in entry["rows"][1]

    # The first one is over, and what is drafted for it is of no use to anyone.
    run.rows[0, :3], run.lengths[0] = [7, 8, 9], 3
    world.says = [drafted(44.0, 2.5, (1, 2, 8, 20, 0.5), (2, 0, 3, 12, 0.45))]
    policy.decisions = [Patience([0], 0, [()])]
    handed, entry = run(50.0, [11])
    assert policy.log[9:] == [("drafted", 2.5, True), ("verified", [0.45], 0, None, 0)]
    assert world.heard[4:] == [(STEP, [1], [], [(2, 1, 3, [11], 10)])]
    assert entry["rows"][0]["drafted"] == [(0, 3, 12, 0.45, 2.5, 44.0)]

    # Nor does it say how long forwards take. Of a step in which all went on it is known again.
    world.says = [
        drafted(47.0, 9.0, (1, 2, 9, 20, 0.5)),
        drafted(57.0, 1.0, (1, 2, 10, 20, 0.5), (2, 1, 4, 13, 0.9)),
    ]
    policy.decisions = [Patience([0], 0, [()])]
    handed, entry = run(60.0, [13])
    assert policy.log[11:] == [
        ("drafted", 1.0, True),
        ("stepped", 9.75, 1, 0),
        ("verified", [0.9], 0, None, 1),
    ]
    assert entry["rows"][0]["drafted"] == [(1, 4, 13, 0.9, 1.0, 57.0)]


def test_what_was_handed_over_was_judged_in_the_next_step(steps: Callable[..., Steps]) -> None:
    """Of two texts, two tokens and one."""
    run = steps()
    world, policy = run.world, run.policy
    run(10.0, [3], [13], prompt=[11, 12])
    world.says = [drafted(12.0, 1.0, (1, 0, 1, 4, 0.9), (2, 0, 3, 14, 0.9))]
    world.says += [drafted(13.0, 1.0, (1, 0, 2, 5, 0.9), (2, 0, 4, 15, 0.9))]
    world.says += [drafted(14.0, 1.0, (1, 0, 3, 6, 0.9), (2, 0, 5, 16, 0.9))]
    policy.decisions = [Patience([2, 1], 0, [(0.5, 0.25, 0.125), (0.75,)])]
    handed, entry = run(20.0, [4], [14])
    assert handed == [[5, 6], [15]]
    assert [row["chances"] for row in entry["rows"]] == [[0.5, 0.25], [0.75]]
    assert [row["at_hand"] for row in entry["rows"]] == [2, 2]
    assert [row["awaited"] for row in entry["rows"]] == [0, 0]
    policy.decisions = [Patience([0, 0], 0, [(), ()])]
    run(24.0, [5, 6, 7], [15, 16])
    assert ("stepped", 3.75, 2, 3) in policy.log


@pytest.mark.parametrize(("wait", "until"), [(1, 20.0), (2, 20.0), (3, 22.0), (4, 25.0)])
def test_a_number_of_tokens_is_waited_for_where_as_many_may_come(
    steps: Callable[..., Steps], wait: int, until: float
) -> None:
    """One each second. At 20 s three are there, of which one is the target's own: two are at hand.
    No more than 4 beyond the text are drafted, which are there at 25."""
    run = steps(wait=wait, ahead=4)
    world = run.world
    run(10.0, [3])
    world.says = [drafted(12.0 + at, 1.0, (1, 0, 1 + at, 4 + at, 0.9)) for at in range(3)]
    world.says += [drafted(21.0 + at, 1.0, (1, 0, 4 + at, 7 + at, 0.9)) for at in range(1)]
    world.says += [drafted(24.0, 1.0, (1, 0, 5, 8, 0.9))]
    handed, entry = run(20.0, [4])
    assert world.now == until
    assert entry["waited"] == until - 20.0
    assert handed[0] == [5, 6, 7, 8][: {20.0: 2, 22.0: 3, 25.0: 4}[until]]
    assert entry["wait_start"] == (20.0 if until > 20.0 else 0.0)
    assert "at_hand" not in entry["rows"][0] and run.policy.seen == []


@pytest.mark.parametrize("drafts", [1, 3])
def test_nothing_is_waited_for_where_a_text_can_become_no_longer(
    steps: Callable[..., Steps], drafts: int
) -> None:
    """Than 4: of a text of 2 the other two are drafted, though three are wanted; and a text of 4
    needs none, though the draft process has yet to hear of that."""
    run = steps(wait=3)
    run.pearl._longest = 4
    run(10.0, [3])
    run.world.says = [drafted(11.0 + at, 1.0, (1, 0, 1 + at, 4 + at, 1.0)) for at in range(drafts)]
    handed, entry = run(14.0, [4] if drafts == 3 else [4, 9, 9])
    assert entry["waited"] == 0.0
    assert handed == [[5, 6] if drafts == 3 else []]


def test_what_is_drafted_while_the_draft_process_is_told_is_handed_over(
    steps: Callable[..., Steps],
) -> None:
    run = steps(wait=0)
    run(10.0, [3])
    run.world.says = [
        drafted(12.0, 1.0, (1, 0, 1, 4, 1.0)),
        drafted(13.0, 1.25, (1, 0, 2, 5, 1.0)),
        drafted(14.25, 1.0, (1, 0, 3, 6, 1.0)),
    ]
    run.world.sending = 0.5
    assert run(14.0, [4])[0] == [[5]]


@pytest.mark.parametrize(("draft", "awaited"), [(0.125, [0.375]), (0.03125, [])])
def test_what_is_due_before_it_is_decided_is_not_waited_for(
    steps: Callable[..., Steps], draft: float, awaited: list[float]
) -> None:
    """The next token is due in a forward and may come 4 later; a decision takes 0.25 s. Of the
    second text none will come, since it can become no longer."""
    run = steps()
    world, policy = run.world, run.policy
    run.pearl._longest = 6
    run(10.0, [3], [17], prompt=[11, 12, 13, 14, 15])
    world.says = [drafted(12.0, 1.0, (1, 0, 1, 4, 0.5), (2, 0, 6, 18, 0.5))]
    policy.decisions = [Patience([0, 0], 0, [(), ()])]
    run(13.5, [4], [])
    world.says = [drafted(14.0, draft, (1, 0, 2, 5, 0.5))]
    policy.decisions = [Patience([0, 0], 1, [(), ()])]
    run(18.0, [5], [])
    assert [one.arrival for one in policy.seen[-1]] == [draft, NEVER]
    assert world.awaited == awaited


def test_what_comes_while_it_waits_is_compared_with_the_text(steps: Callable[..., Steps]) -> None:
    """The target is further than the draft model: what that drafts is not the target's own."""
    run = steps()
    world, policy = run.world, run.policy
    run(10.0, [3])
    world.says = [
        drafted(12.0, 1.0, (1, 0, 1, 4, 0.75)),
        drafted(13.0, 1.5, (1, 0, 2, 8, 0.5)),
    ]
    policy.drafted(3.0, beside=True)
    policy.decisions = [Patience([0], 1, [()]), Patience([0], 0, [()])]
    run(14.0, [4, 5, 6])
    assert policy.seen[1:] == [
        [Situation([], 3, 0.75, 2.0)],
        # Now it must begin anew, and does. A forward takes 2.25 s on average.
        [Situation([], 3, None, 2.25)],
    ]
    assert policy.log[-1] == ("verified", [0.5], 1, 0.75, 0)


def test_the_papers_form_by_hand(steps: Callable[..., Steps]) -> None:
    """γ = 2. Nothing is asked for before the first step; then 2 tokens, and after these, as one of
    them is handed over, 1 + 2."""
    run = steps(gamma=2)
    world = run.world
    handed, entry = run(10.0, [3])
    assert handed == [[]]
    assert world.heard == [(STEP, [], [(1, of([3]), 3)], [])]
    world.says = [
        drafted(12.0, 3.0, (1, 0, 1, 4, 1.0)),
        drafted(15.0, 6.0, (1, 0, 2, 5, 1.0)),
        drafted(21.0, 1.0, (1, 0, 3, 6, 1.0)),
    ]
    # The step is over once the second is there, at 21.
    handed, entry = run(20.0, [4])
    assert handed == [[5]] and world.now == 21.0
    assert (entry["wait_start"], entry["waited"]) == (20.0, 1.0)
    assert world.heard[1:] == [(STEP, [], [], [(1, 1, 1, [4], 5)])]
    assert [one[1:3] for one in entry["rows"][0]["drafted"]] == [(1, 4), (2, 5)]
    world.says += [drafted(22.0, 1.0, (1, 0, 4, 7, 1.0))]
    handed, entry = run(30.0, [5, 6])
    assert handed == [[7]] and entry["waited"] == 0.0
    # Disagreed: none is pending.
    world.says += [drafted(31.0, 1.0, (1, 0, 5, 9, 1.0)), drafted(32.0, 1.0, (1, 0, 6, 9, 1.0))]
    handed, entry = run(40.0, [8])
    assert handed == [[]]
    assert world.heard[3:] == [(STEP, [], [], [(1, 3, 4, [8], 7)])]


def test_nothing_is_handed_over_by_a_step_in_which_the_draft_process_is_lost(
    steps: Callable[..., Steps],
) -> None:
    """Though a token of its was pending: it is gone when it is told what has become of the text."""
    run = steps(gamma=2)
    run(10.0, [3])
    run.world.says = [
        drafted(12.0, 3.0, (1, 0, 1, 4, 1.0)),
        drafted(15.0, 3.0, (1, 0, 2, 5, 1.0)),
    ]

    def send(message: Any) -> None:
        raise DraftLost("it is gone")

    run.world.send = send  # type: ignore[method-assign]
    run.rows[0, 1] = 4
    assert run.pearl.propose([[4]], np.array([2]), run.rows) == [[]]
    [entry] = run.pearl.take_log()
    assert entry["failed"] == "it is gone"
    assert [row["handed"] for row in entry["rows"]] == [[]]


def test_a_draft_process_that_owes_nothing_may_be_silent(steps: Callable[..., Steps]) -> None:
    """It may be for 5 s where tokens are expected of it: it has drafted the two it may."""
    run = steps(wait=0, ahead=2)
    world = run.world
    assert run(5.0) == ([], {**run(6.0)[1], "start": 5.0})
    run(10.0, [3])
    world.says = [drafted(11.0, 1.0, (1, 0, 1, 4, 1.0)), drafted(12.0, 1.0, (1, 0, 2, 5, 1.0))]
    # A row that has gained nothing is at its prompt still, and is given no tokens.
    assert run(13.0, [])[0] == [[]]
    run(40.0, [])
    # From 40 on one more is due.
    run(40.0, [4])
    run(45.0, [])
    # Asked anew it is still silent since then.
    run.lengths[0] -= 1
    world.now = 45.5
    run.pearl.propose([[4]], np.array([2, 0]), run.rows)
    [entry] = run.pearl.take_log()
    assert entry["failed"] == "was silent for 5.5 s"
    assert entry["rows"] == [{"length": 2, "handed": [], "drafted": []}]


@pytest.mark.parametrize(
    ("settings", "there", "expected"),
    [
        ({}, None, ("cpu", "float32")),
        ({"device": "cuda:3", "dtype": "bfloat16"}, None, ("cuda:3", "bfloat16")),
        # A target on two GPUs: the draft model has the third, or shares with the one it runs on.
        ({}, 3, ("cuda:2", "float32")),
        ({}, 2, ("cuda:1", "float32")),
    ],
)
def test_what_a_draft_process_is_started_with(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    settings: dict[str, Any],
    there: int | None,
    expected: tuple[str, str],
) -> None:
    """Texts can become no longer than both models can read."""
    started: list[tuple[Any, ...]] = []

    class Started(World):
        longest = 5

        def __init__(self, *arguments: Any) -> None:
            super().__init__()
            started.append(arguments)

        def wait_ready(self) -> None:
            pass

    monkeypatch.setattr(proposer, "DraftProcess", Started)
    monkeypatch.setattr(proposer, "mend", lambda: there == 3)
    told = config("organisation/model", most=MOST, **settings)
    if there is not None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
        told.device_config.device_type = "cuda"
    pearl = PearlProposer(told)
    assert pearl.pid is None and pearl._log.maxlen == 8192
    pearl.load_model(None)
    mended = ["PEARL has mended that" in one.getMessage() for one in caplog.records]
    assert mended == [True] * (there == 3)
    assert started == [(pearl._settings, *expected, 300, False)]
    assert pearl.pid == 77
    pearl.propose([[3]], np.array([3]), np.array([[1, 2, 3]], dtype=np.int32))
    # 2 tokens more than there are, not 32.
    draft: Any = pearl._draft
    assert draft.heard == [(STEP, [], [(1, of([1, 2, 3]), 5)], [])]
    pearl.close()
    assert pearl.pid is None
