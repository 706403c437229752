"""A toy pair with hand-set conditionals, and every way that chance can go, one after the other."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch

from decoders.model.tree import Tree
from decoders.process import brancher, drafter, forerunner_service, retriever
from decoders.process.brancher import Brancher
from decoders.process.drafter import Drafter
from decoders.process.forerunner import Drafted, Forerunner
from decoders.process.retriever import Retriever
from decoders.process.worker import WorkerOptions

VOCAB = 5


class TableModel:
    """What a decoder needs of a ``CachedModel``, over conditionals from a table.

    A token's distribution depends on the two before it and on the position. They are looked up in
    what was *read*, so that a stale or misplaced cache entry changes the distribution.
    """

    vocab_size = VOCAB
    fixed_shapes = False
    device = torch.device("cpu")
    reads_trees = True
    events = ()

    def __init__(self, table: torch.Tensor) -> None:
        self._logits = table.log()
        self._seen: list[int] = []

    @property
    def length(self) -> int:
        return len(self._seen)

    def rollback(self, length: int) -> None:
        del self._seen[length:]

    def take_tokens(self) -> int:
        return 0

    def prepare(self, windows: object, start: int, end: int) -> None:
        pass

    def extend(self, tokens: Sequence[int], rows: int) -> torch.Tensor:
        if not 1 <= rows <= len(tokens) - len(self._seen):
            raise ValueError(f"{rows} rows of {len(tokens)} tokens, {len(self._seen)} seen")
        self._seen += tokens[len(self._seen) :]
        end = len(self._seen)
        ends = range(end - rows + 1, end + 1)
        before = [self._seen[i - 2] if i > 1 else 0 for i in ends]
        return self._logits[[i % 2 for i in ends], before, self._seen[end - rows :]]

    def extend_tree(self, tokens: Sequence[int], tree: Tree, nodes: Sequence[int]) -> torch.Tensor:
        rows = [self.extend(tokens, rows=1)]
        text = len(self._seen)
        for node in range(len(tree)):
            path = tree.visible()[node].nonzero()[:, 0].tolist()
            rows.append(self.extend([*tokens, *(tree.tokens[one] for one in path)], rows=1))
            self.rollback(text)
        self._seen += tree.tokens
        return torch.cat([rows[node + 1] for node in nodes])

    def grow_tree(self, length: int, tree: Tree, nodes: Sequence[int]) -> torch.Tensor:
        text, held = self._seen[:length], self._seen[length:]
        assert held == tree.tokens[: len(held)], "what is held is not the tree's first nodes"
        rows = []
        for node in nodes:
            assert node >= len(held), "read already"
            self._seen = list(text)
            rows.append(self.extend([*text, *tree.path(node)], rows=1))
        self._seen = [*text, *tree.tokens]
        return torch.cat(rows)

    def keep(self, length: int, nodes: Sequence[int]) -> None:
        self._seen[length:] = [self._seen[length + node] for node in nodes]

    def synchronize(self) -> None:
        pass


def table(seed: int, possible: int) -> torch.Tensor:
    """Conditionals ``[2, vocab, vocab, vocab]``, float64, each with so many possible tokens.

    The fewer, the fewer ways there are.
    """
    generator = torch.Generator().manual_seed(seed)
    raw = torch.rand(2, VOCAB, VOCAB, VOCAB, generator=generator, dtype=torch.float64) + 0.1
    raw.scatter_(-1, raw.argsort(-1)[..., : VOCAB - possible], 0.0)
    return raw / raw.sum(-1, keepdim=True)


class Branches:
    """Visits every way a random computation can go, depth first, with the chance of each."""

    def __init__(self) -> None:
        self._path: list[list[tuple[int, float]]] = []
        self._step = 0
        self._noise: dict[tuple[int, tuple[float, ...]], int] = {}

    def outcomes(self, run: Callable[[], tuple[int, ...]]) -> dict[tuple[int, ...], float]:
        """The exact distribution of what ``run`` returns."""
        found: dict[tuple[int, ...], float] = defaultdict(float)
        while True:
            self._step = 0
            self._noise.clear()
            result = run()
            found[result] += math.prod(options[0][1] for options in self._path)
            while self._path and len(self._path[-1]) == 1:
                self._path.pop()
            if not self._path:
                return found
            del self._path[-1][0]

    def pick(self, chances: Sequence[float]) -> int:
        """One of several outcomes."""
        if self._step == len(self._path):
            self._path.append([(i, chance) for i, chance in enumerate(chances) if chance > 0])
        self._step += 1
        return self._path[self._step - 1][0][0]

    def shared(self, logits: torch.Tensor, position: int) -> int:
        """The token at a position by shared noise: for one distribution always the same."""
        chances = logits.softmax(-1).tolist()
        key = (position, tuple(chances))
        if key not in self._noise:
            self._noise[key] = self.pick(chances)
        return self._noise[key]


def scripted_chance(branches: Branches) -> type:
    """Takes the place of ``decoders.sampling.chance.Chance``."""

    class Scripted:
        def __init__(self, seed: int, process: str) -> None:
            pass

        def copy(self) -> Any:
            return self

        def happens(self, probability: float) -> bool:
            certain = min(1.0, probability)
            return branches.pick([certain, 1.0 - certain]) == 0

        def draw(self, weights: torch.Tensor) -> int:
            return branches.pick((weights / weights.sum()).tolist())

    return Scripted


def scripted_noise(branches: Branches) -> type:
    """Takes the place of ``decoders.sampling.chance.SharedNoise``."""

    class Scripted:
        def __init__(self, seed: int, start: int) -> None:
            self._known = start

        def choose(self, logits: torch.Tensor, position: int) -> int:
            assert position >= self._known, "noise that was thrown away"
            return branches.shared(logits, position)

        def row(self, position: int, like: torch.Tensor) -> torch.Tensor:
            # What a draft model finds likely decides what is prepared, and nothing that is drawn.
            assert position >= self._known, "noise that was thrown away"
            return torch.zeros_like(like)

        def forget(self, before: int) -> None:
            self._known = max(self._known, before)

    return Scripted


class Inline:
    """Runs a draft process's service here; comes before a ``Worker`` among base classes."""

    _options = WorkerOptions()
    bytes_sent = 0

    def __init__(self, load: Any, sampler: Any, options: Any, *settings: Any) -> None:
        model = load()
        self._vocab_size = model.vocab_size
        self.fixed_shapes = model.fixed_shapes
        self._service = self.make_service(model, sampler, *settings)
        self._answers: list[Any] = []

    make_service: ClassVar[Any]

    def wait_ready(self) -> None:
        pass

    def close(self) -> None:
        pass

    def send(self, message: Any) -> None:
        answer = self._service.answer(message)
        if answer is not None:
            self._answers.append(answer)

    def receive(self) -> Any:
        return self._answers.pop(0)


class InlineDrafter(Inline, Drafter):  # type: ignore[misc]
    """A ``Drafter`` that drafts the moment it is asked."""

    make_service = drafter.DrafterService


class InlineRetriever(Inline, Retriever):  # type: ignore[misc]
    """A ``Retriever`` that drafts the moment it is asked."""

    make_service = retriever.RetrieverService


class InlineForerunner(Inline, Forerunner):  # type: ignore[misc]
    """A ``Forerunner`` that drafts as many tokens as ``schedule`` says each time it is read.

    One that is waited for without an end comes.
    """

    make_service = forerunner_service.ForerunnerService
    schedule: tuple[int, ...] = (1,)
    _asks = True

    def begin(self, *arguments: Any) -> None:
        self._reads = itertools.cycle(self.schedule)
        super().begin(*arguments)

    def read(self, wait: float = 0.0) -> list[Drafted]:
        for _ in range(max(next(self._reads), wait == math.inf)):
            if self._service.may_draft:
                self._answers.append(self._service.draft(0.0))
        return super().read()

    def receive_now(self) -> Any | None:
        return self._answers.pop(0) if self._answers else None


class InlineBrancher(Inline, Brancher):  # type: ignore[misc]
    """A ``Brancher`` that makes as many forwards as ``schedule`` says before each outcome."""

    make_service = brancher.BrancherService
    schedule: tuple[int, ...] = (4, 2, 0)

    def begin(self, *arguments: Any) -> None:
        self._forwards = itertools.cycle(self.schedule)
        super().begin(*arguments)

    def tell(self, accepted: int, token: int) -> None:
        for _ in range(next(self._forwards)):
            if self._service.prepares:
                self._service.prepare()
        super().tell(accepted, token)
