"""PEARL as vLLM sees it, with a real draft process and a target that is played by hand."""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from small_pair import SmallPair, running
from vllm_by_hand import ROOM, Engine, Request, config

from decoders.adaptive.drafts import NEVER, Situation
from decoders.model.cached_model import CachedModel
from decoders.vllm import proposer
from decoders.vllm.patience import Patience, StepPolicy
from decoders.vllm.proposer import PearlProposer
from decoders.vllm.texts import ServedText

PROMPTS = [list(range(5, 25)), [7, 8, 9], list(range(100, 140)), [250]]
MOST = 8


@pytest.fixture(scope="module")
def pearl(small_pair: SmallPair) -> Iterator[PearlProposer]:
    made = PearlProposer(config(str(small_pair.folder / "draft"), most=MOST, seqs=4))
    made.load_model(None)
    assert made.pid is not None
    yield made
    pid = made.pid
    made.close()
    assert not running(pid)


@pytest.fixture
def engine(pearl: PearlProposer) -> Callable[..., Engine]:
    """An engine with PEARL under other settings."""

    def engine(**changes: Any) -> Engine:
        pearl.take_log()
        defaults = {"wait": 0, "gamma": None, "ahead": 32}
        pearl._settings = dataclasses.replace(pearl._settings, **{**defaults, **changes})
        return Engine(pearl)

    return engine


@pytest.fixture(scope="module")
def target(small_pair: SmallPair) -> CachedModel:
    return small_pair.load_target()


@pytest.fixture(scope="module")
def draft(small_pair: SmallPair) -> CachedModel:
    return small_pair.load_draft()


def greedy(model: CachedModel, prompt: Sequence[int], count: int) -> list[int]:
    model.rollback(0)
    text = list(prompt)
    for _ in range(count):
        text.append(int(model.extend(text, rows=1)[0].argmax()))
    return text[len(prompt) :]


class Checked(Request):
    """A request whose drafts must be those that the draft model alone makes of its text."""

    def __init__(self, prompt: Sequence[int], target: CachedModel, draft: CachedModel, count: int):
        super().__init__(prompt, greedy(target, prompt, count))
        self._draft = draft

    def step(self) -> list[int]:
        assert self.drafts == greedy(self._draft, self.text, len(self.drafts))
        assert len(self.drafts) <= MOST
        return super().step()


def test_what_is_handed_over_is_what_the_draft_model_makes_of_the_text(
    engine: Callable[..., Engine], target: CachedModel, draft: CachedModel
) -> None:
    for changes in ({"wait": 0}, {"wait": 3}, {"wait": "auto"}, {"ahead": 2}, {"gamma": 4}):
        one = Checked(PROMPTS[0], target, draft, 40)
        log = finished(engine(**changes), one)
        assert one.text == one.whole
        assert log[-1]["failed"] is None


def finished(engine: Engine, *requests: Request) -> list[dict[str, Any]]:
    engine.finish(*requests)
    return engine.pearl.take_log()


@pytest.mark.parametrize("wait", [1, 5, MOST])
def test_a_step_waits_for_so_many_drafts_once_the_text_is_read(
    engine: Callable[..., Engine], target: CachedModel, draft: CachedModel, wait: int
) -> None:
    one = Checked(PROMPTS[0], target, draft, 60)
    run = engine(wait=wait)
    run.step(one)
    run.until_read()
    run.finish(one)
    assert all(len(drafts) >= wait for drafts in one.handed[1:])
    # All that agree count, so there are fewer steps than tokens.
    assert len(one.handed) < 60


def papers_way(request: Request, draft: CachedModel, gamma: int) -> list[list[int]]:
    """What the paper's form hands over in each step, worked out by its rules."""
    text, pending, steps = list(request.text), [], []
    while len(text) < len(request.whole):
        # The draft model makes γ tokens beyond what is pending, while the target judges that.
        new = greedy(draft, [*text, *pending], gamma) if steps else []
        truth = request.whole[len(text) :]
        accepted = 0
        while accepted < len(pending) and pending[accepted : accepted + 1] == truth[accepted:][:1]:
            accepted += 1
        own = truth[accepted : accepted + 1]
        agreed = accepted == len(pending) and own == new[:1]
        pending = new[1:] if agreed else []
        text += truth[: accepted + 1]
        steps.append(pending)
    return steps


@pytest.mark.parametrize("gamma", [1, 2, 4, 9])
def test_the_papers_form_judges_the_first_new_token_by_the_targets_own(
    engine: Callable[..., Engine], target: CachedModel, draft: CachedModel, gamma: int
) -> None:
    one = Checked(PROMPTS[2], target, draft, 50)
    expected = papers_way(one, draft, gamma)
    log = finished(engine(gamma=gamma), one)
    assert one.handed == expected
    assert {len(drafts) for drafts in one.handed} == {0, gamma - 1}
    assert [entry["rows"][0]["handed"] for entry in log] == one.handed
    # In each step but the first γ tokens were drafted, and all of them waited for.
    assert [len(entry["rows"][0]["drafted"]) for entry in log[1:]] == [gamma] * (len(log) - 1)


def test_requests_come_and_go_and_each_has_its_own_drafts(
    engine: Callable[..., Engine], target: CachedModel, draft: CachedModel
) -> None:
    for changes in ({"wait": 2}, {"gamma": 3}, {"wait": "auto"}):
        run = engine(**changes)
        first, second, third, last = (
            Checked(prompt, target, draft, count)
            for prompt, count in zip(PROMPTS, (30, 12, 25, 30), strict=True)
        )
        run.step(first)
        run.step(first, second)
        run.step(second, first, third)  # Rows are no identity.
        run.step(third, second, first, last)
        run.until_read()
        run.step(second, last, third, first)
        run.step(last, first)  # The others are aborted, or preempted,
        run.step(last, first)
        run.finish(first, second, third, last)  # and are back.
        for one in (first, second, third, last):
            assert one.text == one.whole
            # Others may be over before anything was drafted.
            assert any(one.handed) or changes != {"wait": 2}
        assert run.pearl.take_log()[-1]["failed"] is None


def test_a_prompt_that_comes_again_is_drafted_from_nothing(
    engine: Callable[..., Engine], target: CachedModel, draft: CachedModel
) -> None:
    run = engine(gamma=5)
    first = Checked(PROMPTS[1], target, draft, 40)
    log = finished(run, first)
    again = Checked(PROMPTS[1], target, draft, 40)
    log_again = finished(run, again)
    # Of what is known already nothing is handed over any earlier, and all is drafted again.
    assert again.handed == first.handed and first.handed[0] == []

    def drafted(log: list[dict[str, Any]]) -> list[Any]:
        return [[one[:3] for one in entry["rows"][0]["drafted"]] for entry in log]

    assert drafted(log_again) == drafted(log)


def test_no_draft_is_for_beyond_the_longest_text(
    engine: Callable[..., Engine], target: CachedModel, draft: CachedModel
) -> None:
    prompt = [5 + at % 200 for at in range(ROOM - 12)]
    for changes in ({"wait": MOST}, {"gamma": 6}):
        one = Checked(prompt, target, draft, 12)
        run = engine(**changes)
        run.step(one)
        run.until_read()
        log = finished(run, one)
        places = [place for entry in log for _, place, *_ in entry["rows"][0]["drafted"]]
        assert one.text == one.whole and max(places) <= ROOM - 1


@contextmanager
def stopped(pid: int | None) -> Iterator[None]:
    """While that process isn't let run, so that it can't have read a text already."""
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_what_it_did_is_kept(
    engine: Callable[..., Engine], target: CachedModel, draft: CachedModel
) -> None:
    run = engine(wait=4)
    before = time.perf_counter()
    one = Checked(PROMPTS[0], target, draft, 40)
    with stopped(run.pearl.pid):
        run.step(one)
    run.until_read()
    log = finished(run, one)
    assert [entry["rows"][0]["handed"] for entry in log] == one.handed
    assert log[0]["rows"][0]["length"] == 21 and log[-1]["rows"][0]["length"] == 60
    for entry, following in itertools.pairwise(log):
        assert before < entry["start"] < following["start"]
        assert 0 <= entry["waited"] < entry["seconds"] < following["start"] - entry["start"] + 1
    for entry in log:
        begin, seconds = entry["wait_start"], entry["waited"]
        assert (begin > 0) == (seconds > 0)
        if begin:
            assert entry["start"] < begin and begin + seconds < entry["start"] + entry["seconds"]
    # Not for a text that is being read; for the next one it waits until the fourth is there.
    assert log[0]["waited"] == 0 and any(entry["waited"] > 0 for entry in log)
    for lineage, place, token, sure, seconds, start in log[1]["rows"][0]["drafted"]:
        assert 0 < sure < 1
        assert lineage >= 0 and place >= 21 and 0 <= token < 300
        assert seconds > 0 and before < start < time.perf_counter()
    assert run.pearl.take_log() == []


class Decided(StepPolicy):
    """Waits until three are at hand, and has two judged."""

    def decide(self, texts: Sequence[Situation]) -> Patience:
        held = [len(one.confidences) for one in texts]
        short = any(
            count < 3 and one.arrival < NEVER for count, one in zip(held, texts, strict=True)
        )
        chances = [(0.5,) * count for count in held]
        return Patience([min(2, count) for count in held], int(short), chances)


def test_what_is_decided_is_done_and_kept(
    engine: Callable[..., Engine],
    target: CachedModel,
    draft: CachedModel,
    pearl: PearlProposer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = Decided(MOST)
    monkeypatch.setattr(policy, "step", lambda texts, judged: 10.0)  # so long it may wait twice
    monkeypatch.setattr(proposer, "_LATE", 1e9)
    monkeypatch.setattr(pearl, "_policy", policy)
    one, run = Checked(PROMPTS[0], target, draft, 40), engine(wait="auto")
    run.step(one)
    run.until_read()
    log = finished(run, one)
    assert one.text == one.whole
    rows = [entry["rows"][0] for entry in log[1:]]
    assert all(row["at_hand"] >= 3 and len(row["handed"]) == 2 for row in rows)
    assert all(row["chances"] == [0.5, 0.5] for row in rows)
    for entry, row in zip(log[1:], rows, strict=True):
        assert 0 <= row["awaited"] <= row["at_hand"]
        assert (row["awaited"] > 0) <= (entry["waited"] > 0)
    assert any(row["awaited"] for row in rows)
    # Where a number is given nothing is decided.
    log = finished(engine(wait=2), Checked(PROMPTS[1], target, draft, 20))
    assert all("at_hand" not in entry["rows"][0] for entry in log)


def test_a_policy_is_told_what_became_of_drafted_tokens_and_what_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pearl = PearlProposer(config("organisation/model"))
    told: list[Any] = []
    monkeypatch.setattr(pearl._policy, "verified", lambda *one: told.append(one))
    rows = np.full((1, ROOM), 99, dtype=np.int32)

    def step(*gained: int) -> ServedText:
        nonlocal length
        rows[0, length : length + len(gained)] = gained
        length += len(gained)
        pearl._texts.step([list(gained)], [length], rows)
        pearl._settle()
        [text] = pearl._texts
        return text

    length = 2
    text = step(3)
    for position, (token, sure) in enumerate([(4, 0.9), (5, 0.8), (6, 0.7)], start=3):
        text.publish(0, position, token, sure)
    text.limit = 9
    pearl._ended, pearl._told = 10.0, 5.0
    pearl._policy.drafted(3.0, beside=True)
    assert pearl._situation(text, 11.0) == Situation([0.9, 0.8, 0.7], 0, 0.7, 2.0)
    step(4)
    assert told == [([0.9], 0, None, 1)]
    assert pearl._situation(text, 11.0) == Situation([0.8, 0.7], 1, 0.7, 2.0)
    # Room for one more, and for none.
    text.limit = text.length + 2
    assert pearl._situation(text, 11.0).arrival == NEVER
    text.limit += 5
    step(5, 9)
    assert told[1:] == [([0.8, 0.7], 1, 0.9, 1)]
    pearl._told = 11.0
    # At a token of no use until 13, it then begins anew.
    assert pearl._situation(text, 11.0) == Situation([], 3, None, 5.0)
    text.publish(2, 6, 8, 0.6)
    text.publish(2, 7, 8, 0.5)
    pearl._ended = 14.0
    assert pearl._situation(text, 15.0) == Situation([0.6, 0.5], 0, 0.5, 2.0)


def test_a_token_that_is_late_for_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is expected in 2 s, and a forward takes 3: 12 s later it is given up."""
    pearl, limits = PearlProposer(config("organisation/model")), list[float]()
    monkeypatch.setattr(proposer, "clock", lambda: 11.0)
    pearl._texts.step([[3]], [3], np.array([[1, 2, 3, 99]], dtype=np.int32))
    [text] = pearl._texts
    text.publish(0, 3, 4, 0.9)
    text.limit = 9
    pearl._ended, pearl._told = 10.0, 5.0
    pearl._policy.drafted(3.0, beside=False)
    monkeypatch.setattr(pearl._policy, "decide", lambda texts: Patience([1], 1, [(0.9,)]))

    def receive_within(name: str, seconds: float) -> None:
        limits.append(seconds)

    draft: Any = SimpleNamespace(receive_within=receive_within)
    for limit in (100.0, 10.0):
        waited = pearl._wait(draft, pearl._is_worth_it, limit)
        assert waited == (11.0, 0.0)
    assert limits == [pytest.approx(2.0 + 4 * 3.0), 10.0]


def test_texts_beyond_the_most_go_on_without_drafts(small_pair: SmallPair) -> None:
    made = PearlProposer(
        config(str(small_pair.folder / "draft"), most=MOST, seqs=4, texts=1, wait=2)
    )
    made.load_model(None)
    run = Engine(made)
    first, second = (Request(prompt, range(20, 40)) for prompt in PROMPTS[:2])
    run.step(first, second)
    run.until_read()
    run.finish(first, second)
    assert any(first.handed) and not any(second.handed)
    made.close()


def test_its_packages_are_found_where_others_have_their_names(
    small_pair: SmallPair, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tasks", "decoders", "analysis"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    # A relative path is meant from where vLLM runs.
    folder = os.path.relpath(small_pair.folder / "draft", tmp_path)
    made = PearlProposer(config(folder))
    made.load_model(None)
    assert made.pid is not None and made._failed is None
    assert made._draft is not None and made._draft.longest == 2048
    made.close()
