"""What PEARL inside vLLM is told, through vLLM's own ``additional_config``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from vllm.config import VllmConfig

#: Where its settings are in ``additional_config``.
KEY = "pearl"
_DTYPES = ("float32", "float16", "bfloat16")
AUTO = "auto"


class SettingsError(ValueError):
    """A setting that is wrong: which, what was expected, what it is."""


@dataclass(frozen=True)
class PearlSettings:
    """Settings of PEARL inside vLLM.

    Parameters
    ----------
    draft_model
        Folder or hub id of the draft model; its tokens are the target's.
    revision
        Of a draft model from the hub.
    device
        Where the draft model is; ``auto``: on the CPU where the target is, else on a GPU that the
        target does not have, if there is one.
    dtype
        Of the draft model; ``None``: the target's.
    cores
        Cores of the draft process; ``None``: one that the target does not have, if there is one.
    threads
        Threads it computes with.
    nice
        How far it stands back, from 0 to 19, for other processes on its cores: those of the engine
        have little to do, but a step waits for it.
    ahead
        By how many tokens it runs ahead of the text, at most.
    wait
        Where fewer drafted tokens than this are at hand a step waits for them; ``auto``: it waits
        for those, and judges those, that pay, see :mod:`decoders.vllm.patience`.
    gamma
        The paper's form: each step drafts so many tokens, and waits for them. ``None``: neither
        model waits for the other, but as ``wait`` says.
    texts
        For how many texts it drafts at most at once; ``None``: for all (vLLM's ``max_num_seqs``).
    start_timeout
        Seconds it may take to load.
    answer_timeout
        Seconds it may be silent where tokens are expected of it, before vLLM goes on without it.
    """

    draft_model: str
    revision: str | None = None
    device: str = AUTO
    dtype: str | None = None
    cores: tuple[int, ...] | None = None
    threads: int = 1
    nice: int = 10
    ahead: int = 32
    wait: int | Literal["auto"] = "auto"
    gamma: int | None = None
    texts: int | None = None
    start_timeout: float = 120.0
    answer_timeout: float = 5.0

    @classmethod
    def of(cls, config: VllmConfig) -> PearlSettings:
        """Those of an engine; raises :class:`SettingsError`."""
        additional = config.additional_config
        given = additional.get(KEY) if isinstance(additional, Mapping) else None
        if not isinstance(given, Mapping):
            raise SettingsError(
                f"additional_config.{KEY}: expected PEARL's settings, as in"
                f' --additional-config \'{{"{KEY}": {{"draft_model": "FOLDER_OR_HUB_ID"}}}}\','
                f" got {given!r}"
            )
        known = [field.name for field in dataclasses.fields(cls)]
        for name in given:
            if name not in known:
                raise _wrong(name, f"no such setting; there are {', '.join(known)}")
        if not given.get("draft_model"):
            raise _wrong(
                "draft_model", "expected the draft model's folder or hub id; it is missing"
            )
        values = dict(given)
        if isinstance(values.get("cores"), list):
            values["cores"] = tuple(values["cores"])
        settings = cls(**values)
        assert config.speculative_config is not None
        settings._check(config.speculative_config.num_speculative_tokens)
        return settings

    @property
    def decides(self) -> bool:
        """Whether it is weighed in each step how long it waits and what it judges."""
        return self.gamma is None and self.wait == AUTO

    @property
    def location(self) -> str:
        """What transformers loads from."""
        folder = Path(self.draft_model).expanduser()
        return str(folder.absolute()) if folder.is_dir() else self.draft_model

    def _check(self, most: int) -> None:
        """SettingsError where one is wrong; ``most`` tokens are verified in a step."""
        self._expect("draft_model", _is_text, "a folder or hub id")
        folder = Path(self.draft_model).expanduser()
        if folder.is_dir() or self.draft_model.startswith(("/", ".", "~")):
            self._expect(
                "draft_model",
                lambda _: (folder / "config.json").is_file(),
                "the folder of a model, with a config.json",
            )
        self._expect("revision", _none_or(_is_text), "a revision or null")
        self._expect("device", _is_device, "auto, cpu, cuda or cuda:N")
        self._expect("dtype", _none_or(_DTYPES.__contains__), f"one of {', '.join(_DTYPES)}")
        there = set(range(os.cpu_count() or 1))
        self._expect(
            "cores",
            _none_or(lambda cores: isinstance(cores, tuple) and bool(cores) and there >= {*cores}),
            f"a list of some of the cores 0 to {max(there)}, or null",
        )
        self._expect("threads", _at_least(1), "a whole number of at least 1")
        self._expect(
            "nice",
            lambda nice: _at_least(0)(nice) and nice <= 19,
            "a whole number from 0 to 19",
        )
        self._expect("ahead", _at_least(1), "a whole number of at least 1")
        self._expect(
            "wait",
            lambda wait: wait == AUTO or (_at_least(0)(wait) and wait <= min(most, self.ahead)),
            f"auto or a whole number from 0 to {min(most, self.ahead)}, since a step verifies at"
            f" most num_speculative_tokens = {most} and drafts are at most ahead = {self.ahead}",
        )
        self._expect(
            "gamma",
            _none_or(lambda gamma: _at_least(1)(gamma) and gamma <= most + 1),
            f"null or a whole number from 1 to {most + 1}, since a step verifies gamma - 1 tokens,"
            f" and at most num_speculative_tokens = {most}",
        )
        self._expect("texts", _none_or(_at_least(1)), "null or a whole number of at least 1")
        for name in ("start_timeout", "answer_timeout"):
            self._expect(name, _is_seconds, "a number of seconds above 0")

    def _expect(self, name: str, fits: Callable[[Any], bool], what: str) -> None:
        value = getattr(self, name)
        if not fits(value):
            raise _wrong(name, f"expected {what}, got {value!r}")


def _wrong(name: str, what: str) -> SettingsError:
    return SettingsError(f"additional_config.{KEY}.{name}: {what}")


def _none_or(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


def _at_least(least: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and value >= least


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_device(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    kind, _, index = value.partition(":")
    return value in (AUTO, "cpu") or (kind == "cuda" and (value == kind or index.isdecimal()))


def _is_seconds(value: Any) -> bool:
    return type(value) in (int, float) and value > 0
