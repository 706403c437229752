"""Times are booked where the device spends them, however far the host runs ahead of it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from exact import DRAFT, PROMPT, TARGET, in_one_process
from small_pair import SmallPair
from torch import nn
from toy import InlineBrancher, TableModel

from decoders.autoregressive import Autoregressive
from decoders.decoder import Decoder
from decoders.draft_only import DraftOnly
from decoders.generate import Forwards
from decoders.lookahead import Lookahead
from decoders.model import cached_model as model_module
from decoders.model import cuda_graphs as static
from decoders.model.cached_model import CachedModel
from decoders.model.cuda_graphs import StaticForward
from decoders.model.tree import Tree
from decoders.pearl import Pearl
from decoders.pearl_async import PearlAsync
from decoders.pearl_retrieval import PearlRetrieval
from decoders.pearl_shared import PearlShared
from decoders.process.models import Models
from decoders.process.worker import WorkerOptions
from decoders.sampling.sampler import Greedy, Sampler
from decoders.sampling.temperature import Temperature
from decoders.session import Session
from decoders.speculative import Speculative
from decoders.ssd import Ssd

_TIMED = (
    "session pearl pearl_retrieval ssd process.drafter process.forerunner process.brancher"
    " process.retriever generate"
)
#: Seconds of a forward of each model, and of what a cache moves when a path of a tree is kept.
TARGET_SECONDS, DRAFT_SECONDS, KEEP_SECONDS = 5.0, 1.0, 3.0


class Device:
    """Computes what it is asked for later: only who waits for it, or reads a result, is told when.

    ``now`` is the host's clock, which nothing else moves.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._done = 0.0

    def launch(self, seconds: float) -> None:
        self._done = max(self._done, self.now) + seconds

    def wait(self, *_: object) -> None:
        self.now = max(self.now, self._done)


DEVICE = Device()
#: What needs a result on the host.
_READS = ("tolist", "item", "__float__", "__int__", "__bool__", "__index__", "cpu", "numpy")


class Lazy(torch.Tensor):
    """A tensor on that device. What is computed of it is there as well."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _READS:
            DEVICE.wait()
        return super().__torch_function__(func, types, args, kwargs or {})


class LazyModel(TableModel):
    """A toy model whose forwards are asked of the device."""

    def __init__(self, table: torch.Tensor, seconds: float) -> None:
        super().__init__(table)
        self._seconds = seconds

    def extend(self, tokens: Sequence[int], rows: int) -> torch.Tensor:
        DEVICE.launch(self._seconds)
        return super().extend(tokens, rows).as_subclass(Lazy)

    def extend_tree(self, tokens: Sequence[int], tree: Tree, nodes: Sequence[int]) -> torch.Tensor:
        DEVICE.launch(self._seconds)
        seconds, self._seconds = self._seconds, 0.0
        logits = super().extend_tree(tokens, tree, nodes)
        self._seconds = seconds
        return logits

    def grow_tree(self, length: int, tree: Tree, nodes: Sequence[int]) -> torch.Tensor:
        DEVICE.launch(self._seconds)
        seconds, self._seconds = self._seconds, 0.0
        logits = super().grow_tree(length, tree, nodes)
        self._seconds = seconds
        return logits.as_subclass(Lazy)

    def keep(self, length: int, nodes: Sequence[int]) -> None:
        DEVICE.launch(KEEP_SECONDS)
        super().keep(length, nodes)

    def synchronize(self) -> None:
        DEVICE.wait()


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    monkeypatch.setattr(DEVICE, "now", 0.0)
    monkeypatch.setattr(DEVICE, "_done", 0.0)
    for name in _TIMED.split():
        module = importlib.import_module(f"decoders.{name}")
        monkeypatch.setattr(module, "clock", lambda: DEVICE.now)
    for name in ("sampling.sampler", "session"):
        monkeypatch.setattr(f"decoders.{name}.wait_for", DEVICE.wait)
    with in_one_process():
        yield DEVICE


def decode(decoder: Decoder, sampler: Sampler) -> Any:
    target = LazyModel(TARGET, TARGET_SECONDS)
    models: Any = Models(
        target,  # type: ignore[arg-type]
        lambda: LazyModel(DRAFT, DRAFT_SECONDS),  # type: ignore[arg-type, return-value]
        WorkerOptions(),
    )
    session = decoder.start(models, sampler)
    return session.decode(PROMPT, 24, [])


SAMPLERS = [Greedy(), Temperature(), Temperature(coupled=True)]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=["greedy", "sampling", "coupled"])
@pytest.mark.parametrize(
    ("make", "draft_seconds", "wait_draft", "wait_target"),
    [
        (Autoregressive, 0.0, 0.0, 0.0),
        # Two tokens are drafted, each in a second, while the target waits; then it is the draft's
        # turn to wait.
        (lambda: Speculative(2), 2.0, 5.0, 2.0),
        # The drafter of this test drafts the moment it is asked, and the target begins after that.
        (lambda: Pearl(2), 2.0, 5.0, 0.0),
        (PearlAsync, None, 0.0, 0.0),
        (lambda: Lookahead(2, 2, 3), 0.0, 0.0, 0.0),
    ],
    ids=["autoregressive", "speculative", "pearl", "pearl_async", "lookahead"],
)
def test_a_target_forward_lasts_until_the_device_is_done(
    device: Device,
    make: Callable[[], Decoder],
    draft_seconds: float | None,
    wait_draft: float,
    wait_target: float,
    sampler: Sampler,
) -> None:
    generation = decode(make(), sampler)
    rounds = generation.rounds
    assert [one.target_seconds for one in rounds] == [TARGET_SECONDS] * len(rounds)
    # Near the end of the text fewer tokens are drafted.
    whole = [one for one in rounds if one.drafted == 2]
    if draft_seconds:
        assert whole and {one.draft_seconds for one in whole} == {draft_seconds}
        assert {one.wait_draft_seconds for one in whole} == {wait_draft}
        assert {one.wait_target_seconds for one in whole} == {wait_target}
    if draft_seconds is not None:
        begun = [one.target_start - one.start for one in rounds]
        assert begun == [one.draft_seconds for one in rounds]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=["greedy", "sampling", "coupled"])
def test_forwards_that_read_a_guess_last_until_the_device_is_done(
    device: Device, sampler: Sampler
) -> None:
    """The target begins when the drafter of this test has drafted, which is a second a forward."""
    rounds = decode(PearlRetrieval(2), sampler).rounds
    assert {one.target_seconds for one in rounds} == {TARGET_SECONDS}
    for one in rounds:
        forwards = one.drafted - one.retrieved
        assert one.draft_seconds == one.target_start - one.start == forwards * DRAFT_SECONDS
        assert one.draft_start == (one.start if forwards else 0.0)
    assert any(one.retrieved for one in rounds)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=["greedy", "sampling", "coupled"])
def test_a_draft_forward_lasts_until_the_device_is_done(device: Device, sampler: Sampler) -> None:
    rounds = decode(DraftOnly(), sampler).rounds
    assert [one.draft_seconds for one in rounds] == [DRAFT_SECONDS] * 24


# Of a rejected token drawn at random the distribution is asked for, which stops the preparing.
@pytest.mark.parametrize("sampler", SAMPLERS[::2], ids=["greedy", "coupled"])
def test_preparing_lasts_until_the_device_is_done(
    device: Device, sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two forwards prepare all drafts of one token, or the second is made when it is asked for."""
    monkeypatch.setattr(InlineBrancher, "schedule", (2, 1))
    rounds = decode(Ssd(1, 1), sampler).rounds
    assert {one.target_seconds for one in rounds} == {TARGET_SECONDS}
    wanted = [one for one in rounds if one.outcomes]
    assert [one.branch_seconds for one in wanted[:4]] == [2.0, 1.0, 2.0, 1.0]
    for one in wanted:
        late = 1.0 if one.branch_seconds == 1.0 or not one.hit else 0.0
        # Here the draft process answers when it is told, in the round before.
        assert (one.draft_seconds, one.wait_target_seconds) == (one.branch_seconds + late, 0.0)


def test_lookahead_books_no_more_than_its_forward(device: Device) -> None:
    """Each round moves kept tokens in the cache for three seconds, which is in no forward."""
    generation = decode(Lookahead(2, 2, 3), Greedy())
    count = len(generation.rounds)
    assert generation.seconds == count * (TARGET_SECONDS + KEEP_SECONDS)
    starts = [one.target_start for one in generation.rounds]
    assert starts == [i * (TARGET_SECONDS + KEEP_SECONDS) for i in range(count)]


def test_forwards_of_transformers_begin_when_the_device_is_free(device: Device) -> None:
    """The library asks the device for two seconds of its own before each forward."""

    class Model(nn.Module):
        def forward(self, input_ids: torch.Tensor, past_key_values: Any) -> Any:
            DEVICE.launch(TARGET_SECONDS)
            return SimpleNamespace(logits=torch.zeros(1, 1, 4), past_key_values=past_key_values)

    class Cached:
        model = Model()
        events: ClassVar[list[Any]] = []

        def readable(self, ids: torch.Tensor) -> torch.Tensor:
            return ids

        def predictions(self, logits: torch.Tensor, read: Any) -> torch.Tensor:
            return logits

        def synchronize(self) -> None:
            DEVICE.wait()

    cache = type("Cache", (), {"get_seq_length": lambda self: 1})()
    forwards = Forwards(Cached())  # type: ignore[arg-type]
    with forwards.hooked():
        for _ in range(3):
            DEVICE.launch(2.0)
            Cached.model(input_ids=torch.tensor([[1]]), past_key_values=cache)
    assert forwards.take_seconds() == 3 * TARGET_SECONDS
    assert forwards.begun == 2 * (2.0 + TARGET_SECONDS) + 2.0


def test_a_model_that_is_spread_is_waited_for_at_every_device(
    small_pair: SmallPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_pair.load_target().model
    model.lm_head.to("meta")
    waited: list[str] = []
    monkeypatch.setattr(model_module, "wait_for", lambda device: waited.append(device.type))
    CachedModel(model).synchronize()
    assert sorted(waited) == ["cpu", "meta"]


def fixed_shapes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each forward of a fixed shape computes, from now on."""
    take, runs = StaticForward._prepared, list[int]()

    def taken(self: Any, ids: torch.Tensor, *rest: Any) -> Any:
        runs.append(ids.shape[1])
        return take(self, ids, *rest)

    monkeypatch.setattr(StaticForward, "_prepared", taken)
    return runs


class TestRecording:
    """Forwards of fixed shapes are set up before the clock runs."""

    @pytest.fixture
    def steps(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[bool, int, int]]]:
        """Each shape that is set up: whether a text was being timed, its tokens and its bucket."""
        monkeypatch.setattr(static, "BUCKET", 16)
        monkeypatch.setattr(model_module, "INITIAL_CAPACITY", 48)
        found: list[tuple[bool, int, int]] = []
        timed = False
        make, decode = StaticForward._step, Session.decode

        def noted(self: Any, ids: torch.Tensor, positions: Any, bucket: int, cache: Any) -> Any:
            found.append((timed, ids.shape[1], bucket))
            return make(self, ids, positions, bucket, cache)

        def clock() -> float:
            # The first reading of a text begins its time, the last ends it.
            nonlocal timed
            timed = True
            return 0.0

        def decoded(self: Session, *arguments: Any) -> Any:
            nonlocal timed
            timed = False
            return decode(self, *arguments)

        monkeypatch.setattr(StaticForward, "_step", noted)
        monkeypatch.setattr("decoders.session.clock", clock)
        monkeypatch.setattr(Session, "decode", decoded)
        with in_one_process():
            yield found

    @pytest.mark.parametrize(
        "make",
        [
            Autoregressive,
            lambda: Speculative(3),
            lambda: Pearl(3),
            lambda: Pearl(3, pre_verify=False),
            lambda: Pearl(3, post_verify=False),
            PearlAsync,
            DraftOnly,
            lambda: PearlShared(3),
            lambda: Ssd(3),
        ],
    )
    def test_nothing_is_recorded_while_a_text_is_timed(
        self,
        small_pair: SmallPair,
        steps: list[tuple[bool, int, int]],
        make: Callable[[], Decoder],
    ) -> None:
        """Also where the second text is longer, so that the cache moves."""

        def load(of: Callable[[], CachedModel]) -> CachedModel:
            model = of()
            model.fuse(static=True)
            return model

        decoder = make()
        target = load(small_pair.load_target)
        session = decoder.start(
            Models(target, lambda: load(small_pair.load_draft), WorkerOptions()), Greedy()
        )
        for prompt, limit in ((list(range(20, 30)), 30), (list(range(20, 60)), 60)):
            session.decode(prompt, limit, [])
            assert steps and not any(timed for timed, _, _ in steps)

    def test_what_goes_on_with_a_text_is_computed_in_a_fixed_shape(
        self, small_pair: SmallPair, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not the prompt, nor a tree, whose mask is its own."""
        target, plain = small_pair.load_target(), small_pair.load_target()
        target.fuse(static=True)
        runs = fixed_shapes(monkeypatch)
        text = list(range(20, 30))
        for more in ([], [5], [6, 7], [8, 9, 10]):
            text += more
            got, expected = (model.extend(text, rows=1) for model in (target, plain))
            torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
        assert runs == [1, 2, 3]
        tree = Tree()
        nodes = [tree.add(1), tree.add(2)]
        target.extend_tree([*text, 4], tree, nodes)
        assert runs == [1, 2, 3]

    def test_wide_forwards_have_no_fixed_shape(
        self,
        small_pair: SmallPair,
        steps: list[tuple[bool, int, int]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Of up to three tokens here; and of no more than are read."""
        target = small_pair.load_target()
        target.fuse(static=True)
        target.prepare([16, 17], 10, 16)
        assert [(tokens, bucket) for _, tokens, bucket in steps] == [(16, 16)]
        steps.clear()
        monkeypatch.setattr(static, "WIDEST", 3)
        target.prepare(range(1, 6), 10, 16)
        assert [tokens for _, tokens, _ in steps] == [1, 2, 3]
        runs = fixed_shapes(monkeypatch)
        text = list(range(20, 30))
        target.extend(text, rows=1)
        for count in (4, 3):
            text += range(count)
            target.extend(text, rows=1)
        assert runs == [3]

    def test_the_shapes_of_a_text(
        self, small_pair: SmallPair, steps: list[tuple[bool, int, int]]
    ) -> None:
        """A prompt of 10 tokens and 30 more, read up to 16, 32 or 48; blocks of up to 3 tokens and
        the one before them."""
        target = small_pair.load_target()
        target.fuse(static=True)
        target.prepare(range(1, 5), 10, 40)
        shapes = [(tokens, bucket) for bucket in (16, 32, 48) for tokens in range(1, 5)]
        assert [(tokens, bucket) for _, tokens, bucket in steps] == shapes
        assert target.length == 0
        target.prepare(range(1, 5), 10, 40)
        assert len(steps) == len(shapes)
        # After 16 tokens no forward is read up to there.
        steps.clear()
        target.prepare([7], 16, 17)
        assert steps == [(False, 7, 32)]
