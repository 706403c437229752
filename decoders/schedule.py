"""Which model runs when: what is to be known of a decoder to predict it without a model."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar, Protocol, TypeAlias

from decoders.adaptive.alternatives import MOST_OTHERS
from decoders.fan_out import FLAT, fan_outs

#: Who drafts: the draft model, or whoever looks up in the text what once followed.
DRAFT_MODEL, LOOK_UP = "draft model", "look-up in the text"
#: Or the draft model, of which a forward gives as many tokens as it agrees with what was looked up.
BOTH = f"{DRAFT_MODEL} that reads what was found by {LOOK_UP}"
#: How far beyond the verified text a draft model may run that never waits, unless told otherwise:
#: so far that it hardly ever has to wait.
AHEAD = 96
#: What a file can hold of a setting.
_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Alone:
    """One model, a token at a time: the target, or with ``drafts`` the draft model.

    ``library``: by transformers' own loop, at its cost.
    """

    drafts: bool = False
    library: bool = False

    drafts_by: ClassVar[str | None] = None

    def ends_run(self, one: Any) -> bool:
        return True


@dataclass(frozen=True)
class Sequential:
    """Draft ``gamma`` tokens, verify them, add one of the target's own.

    ``library``: by transformers' own loop, at its cost. ``heuristic``: two tokens more after a
    round in which all were accepted, one less after another. ``free``: the drafts are looked up,
    which costs no forward; they may be shorter, or there are none.
    """

    gamma: int | str
    library: bool = False
    heuristic: bool = False
    free: bool = False

    def __post_init__(self) -> None:
        _check(self.gamma)

    @property
    def drafts_by(self) -> str:
        return LOOK_UP if self.free else DRAFT_MODEL

    @property
    def looks_up(self) -> bool:
        """Whether it is us who look the drafts up; what the library does is among its costs."""
        return self.free and not self.library

    def ends_run(self, one: Any) -> bool:
        return True


@dataclass(frozen=True)
class Parallel:
    """PEARL's rounds (paper, section 4): both models start together and wait for each other.

    ``pre_verify``, ``post_verify``: without one of them it is an ablation of the paper. ``ends``:
    at how many ends of the target there is a copy of the draft model. With 0 it has a place of its
    own; with 1 it competes with the target; with 2 the copies draft by turns, each while the target
    computes at the other end.
    """

    gamma: int | str
    pre_verify: bool = True
    post_verify: bool = True
    ends: int = 0

    drafts_by: ClassVar[str | None] = DRAFT_MODEL

    def __post_init__(self) -> None:
        _check(self.gamma)
        if self.ends not in (0, 1, 2):
            raise ValueError(f"a target has two ends, so ends is 0, 1 or 2, got {self.ends}")

    def ends_run(self, one: Any) -> bool:
        # Only here does the target add a token for which nothing was drafted.
        return bool(one.mode == "verify")


@dataclass(frozen=True)
class Retrieving:
    """PEARL's rounds, in which forwards of both models also read a guess that was looked up in the
    text (pearl_retrieval).

    ``gamma`` forwards of the draft model a round, each over at most ``guesses`` guessed tokens; the
    target reads a guess after the pending tokens, unless ``target_reads`` is false.
    """

    gamma: int | str
    guesses: int
    target_reads: bool = True

    drafts_by: ClassVar[str | None] = BOTH
    looks_up: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(self.gamma)
        if self.guesses < 1:
            raise ValueError(
                f"guesses, the most tokens of a guess, must be at least 1, got {self.guesses}"
            )

    @property
    def draft_windows(self) -> tuple[int, ...]:
        """A token of the text and a guess, of one to all its tokens."""
        longest = self.guesses + 1
        return (*_doubled(2, longest), longest)

    @property
    def target_windows(self) -> tuple[int, ...]:
        """A token of the text, and pending tokens and a guess of up to as many as two guesses."""
        longest = 2 * self.guesses + 1
        return (*_doubled(2, longest), longest)

    def ends_run(self, one: Any) -> bool:
        # What the target adds along its guess was also drafted, if otherwise.
        return False


@dataclass(frozen=True)
class Ahead:
    """PEARL without a barrier: the draft model runs on, at most ``ahead`` tokens beyond the
    verified text; the target judges what there is and adds one token of its own.

    ``waits``: where there is nothing to judge, it waits for a token (AMUSD).
    """

    ahead: int
    waits: bool = False

    drafts_by: ClassVar[str | None] = DRAFT_MODEL

    def ends_run(self, one: Any) -> bool:
        return False


@dataclass(frozen=True)
class Adaptive(Ahead):
    """As ``Ahead``, but it is weighed whether the target starts or waits for a token, and how many
    of the drafted ones it judges (``pearl_adaptive``).

    ``branches``: the draft model drafts for other tokens than its own, too, where that is worth it.
    """

    branches: bool = False

    @property
    def draft_widths(self) -> tuple[int, ...]:
        """Of a draft's token and of some, or all, that may be drafted beside it."""
        return (1 + MOST_OTHERS // 4, 1 + MOST_OTHERS) if self.branches else ()


@dataclass(frozen=True)
class Branching:
    """While a draft of ``gamma`` tokens is judged, the next is prepared for likely outcomes (ssd).

    ``fan_out``, ``shape``, ``acceptance`` and ``exponent`` say for how many, see
    :func:`decoders.fan_out.fan_outs`. ``at_miss``: a draft that was not prepared is made then;
    without, the target goes on alone.
    """

    gamma: int | str
    fan_out: int
    shape: str = FLAT
    acceptance: float = 0.8
    exponent: float = 1.0
    at_miss: bool = True

    drafts_by: ClassVar[str | None] = DRAFT_MODEL

    def __post_init__(self) -> None:
        _check(self.gamma)

    def numbers(self) -> tuple[int, ...]:
        """For how many tokens after accepted lengths 0 … ``gamma`` a draft is prepared."""
        return fan_outs(int(self.gamma), self.fan_out, self.shape, self.acceptance, self.exponent)

    @property
    def draft_widths(self) -> tuple[int, ...]:
        """Of the draft that is judged, and a token of each of its continuations."""
        return (int(self.gamma) + 1, sum(self.numbers()))

    def ends_run(self, one: Any) -> bool:
        return True


@dataclass(frozen=True)
class Replicas:
    """One draft model, and several replicas of the target: distributed speculative inference (Timor
    et al., 2025), which is simulated alone.

    The draft model never waits. Each ``gamma`` tokens (its authors' lookahead) go to a replica that
    is free, of ``replicas`` (their degree of speculation parallelism), and another begins without
    drafts after each rejection. No block waits for a replica where ``gamma`` · ``replicas`` is at
    least the speed ratio.
    """

    gamma: int
    replicas: int

    drafts_by: ClassVar[str | None] = DRAFT_MODEL

    def __post_init__(self) -> None:
        _check(self.gamma)
        if self.replicas < 1:
            raise ValueError(f"replicas of the target: at least 1, got {self.replicas}")

    def ends_run(self, one: Any) -> bool:
        return False


class Rules(Protocol):
    """A schedule of a decoder's own, which also simulates its rounds.

    It may have a ``drafts_by`` that says who drafts. Without, or where that is ``None``, it is
    taken to judge no drafted tokens. It may have ``draft_widths``: over how many tokens at a time
    forwards of the draft model are that prepare several continuations; and ``draft_windows`` and
    ``target_windows``: how many tokens of one text forwards of either model read, some of what is
    usual. With a ``gamma`` that can be ``auto`` it is a dataclass.
    """

    def rounds(self, machine: Any) -> Iterator[Any]:
        """The rounds (:class:`pearl_eval.simulation.SimulatedRound`) that make a text on a machine
        (:class:`pearl_eval.simulation.Machine`)."""

    def ends_run(self, one: Any) -> bool:
        """Whether a run of accepted tokens ends with a round in which nothing was rejected."""


Schedule: TypeAlias = (
    Alone | Sequential | Parallel | Retrieving | Ahead | Branching | Replicas | Rules
)


def drafts_by(schedule: Schedule | None) -> str | None:
    """Who makes the drafts that a schedule judges; ``None`` where it judges none."""
    return getattr(schedule, "drafts_by", None)


def drafted_alone(schedule: Schedule | None) -> bool:
    """Whether what a schedule judges is made by a draft model alone, if it judges anything: then an
    acceptance rate says all that is to be known of it."""
    return drafts_by(schedule) in (None, DRAFT_MODEL)


@dataclass(frozen=True)
class Extents:
    """Over how many tokens at a time some schedules' forwards are, beside those that every decoder
    has with a draft length.

    ``target`` and ``draft``: of those over one text, of each model. ``side_by_side``: of those of
    the draft model over a token of each of several continuations.
    """

    target: frozenset[int] = frozenset()
    draft: frozenset[int] = frozenset()
    side_by_side: frozenset[int] = frozenset()

    @classmethod
    def of(cls, schedules: Iterable[Schedule | None]) -> Extents:
        """What any of these asks for."""
        found = list(schedules)
        target, draft, beside = (
            frozenset(size for one in found for size in getattr(one, name, ()))
            for name in ("target_windows", "draft_windows", "draft_widths")
        )
        return cls(target, draft, beside)


def describe(schedule: Schedule) -> dict[str, Any]:
    """A schedule as plain data: its class, and what it has of its own or unlike the default."""
    kind = type(schedule)
    said: dict[str, Any] = {"_target_": f"{kind.__module__}.{kind.__qualname__}"}
    for one in fields(schedule) if is_dataclass(schedule) else ():
        value = getattr(schedule, one.name)
        if value != one.default:
            said[one.name] = value if isinstance(value, _PLAIN) else repr(value)
    return said


def read_schedule(described: Mapping[str, Any]) -> Schedule:
    """The schedule that ``describe`` described. ValueError where there is no such schedule."""
    settings = dict(described)
    name = str(settings.pop("_target_", None))
    module, _, kind = name.rpartition(".")
    try:
        made = getattr(importlib.import_module(module), kind)
        if not (isinstance(made, type) and hasattr(made, "ends_run")):
            raise TypeError("expected a class with the methods of a schedule")
        schedule: Schedule = made(**settings)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"there is no schedule {name} with {settings}: {error}") from error
    return schedule


def _doubled(first: int, end: int) -> Iterator[int]:
    """``first``, twice as many, and so on, below ``end``."""
    while first < end:
        yield first
        first *= 2


def _check(gamma: int | str) -> None:
    """A draft length that is ``auto`` is for whoever knows the models to choose."""
    if isinstance(gamma, int) and gamma < 1:
        raise ValueError(f"gamma, the draft length, must be at least 1, got {gamma}")
