"""The texts that a draft model learns from, made in batches that do not depend on each other."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pearl_eval.errors import UserError
from pearl_eval.pairs.chat import user_opening
from pearl_eval.pairs.pair import Pair
from pearl_eval.shell.progress import steps
from pearl_eval.training.config import TextConfig
from pearl_eval.training.held_back import HeldBack
from pearl_eval.training.target_text import Drawn, TargetText, load_texts, read, save_texts, write
from tasks.prompts import Prompts
from tasks.task import Problem

#: Prompts, and pieces of other text, that nothing is learned from, at most.
_ASIDE = 48
#: Texts of each kind that acceptance is measured on, at most: of what the target made up itself a
#: batch is aside.
_MEASURED = 96
#: Tokens that a prompt of the target's own making is drawn to, at least and at most.
_DRAWN = 8, 80
#: In the names of files of texts that are for measuring alone.
_HELD_OUT = "held-out-"
_KINDS = {
    "prompts": "prompts",
    "openings": "openings that it went on from",
    "messages": "messages that it made up",
    "texts": "other text",
}


@dataclass(frozen=True)
class TextBatch:
    """Texts that are made at once, by the target.

    ``name`` is its file's, ``kind`` what its texts are, ``held_out`` whether they are for measuring
    alone.
    """

    name: str
    kind: str
    held_out: bool
    make: Callable[[Any], list[TargetText]]


class Corpus:
    """Plans what is made, makes it or finds it made, and gives it.

    Parameters
    ----------
    pair
        Its target's tokenizer and chat template.
    config
        What the texts are.
    seed
        Of all that is drawn.
    folder
        Where they are kept.
    made
        Files of texts that were made elsewhere: see
        :func:`~pearl_eval.training.made_texts.made_texts`.

    Raises
    ------
    UserError
        Something in a file can't be used, or there is nothing to learn from.
    """

    def __init__(
        self,
        pair: Pair,
        config: TextConfig,
        seed: int,
        folder: Path,
        made: Sequence[Path] = (),
    ) -> None:
        self._pair, self._config, self._seed, self._folder = pair, config, seed, folder
        self._made = made
        self._held_back = HeldBack(
            (text for name in config.held_back for text in _whole(_problems(name, False))),
            config.overlap,
        )
        self.batches = [*self._of_prompts(), *self._of_own_prompts(), *self._of_texts()]
        if not made and not any(not batch.held_out for batch in self.batches):
            raise UserError(
                "there is nothing to learn from: give text.prompts=[FILE], text.own_prompts=N with"
                " a chat model or text.openings=[FILE], text.texts=[FILE] with"
                " text.other_tokens=N, or text.made=[DIR]"
            )

    def make(self, model: Any) -> None:
        """Let the target make what is not there yet, up to as many tokens as are wanted."""
        # Mixed, so that a part of it is of all kinds; what is measured on comes first. All of them,
        # so that the part is the same if making it was broken off.
        planned = list(self.batches)
        random.Random(self._seed).shuffle(planned)
        planned.sort(key=lambda batch: not batch.held_out)
        missing = [batch for batch in planned if not self._is_made(batch)]
        self._folder.mkdir(parents=True, exist_ok=True)
        if not missing:
            return
        wanted = self._config.tokens
        # Counting reads every text there is, and what the target thought at each of its tokens.
        made = sum(len(text.ids) for text in self.learned()) if wanted else 0
        for batch in steps(missing, "the target's text"):
            if wanted and not batch.held_out and made >= wanted:
                return
            kept = [one for one in batch.make(model) if not self._has_held_back(one)]
            save_texts(kept, self._path(batch))
            made += sum(len(one.ids) for one in kept) * (not batch.held_out)

    def learned(self) -> Iterator[TargetText]:
        """What was made to be learned from, but what begins as a text that is measured on.

        The same prompt may be twice in a file, or in texts made elsewhere by another seed.
        """
        measured = {_prompt(text) for _, text in self._texts(held_out=True)}
        return (text for _, text in self._texts(held_out=False) if _prompt(text) not in measured)

    def held_out(self) -> dict[str, list[TargetText]]:
        """What was made to be measured on, by its kind."""
        found: dict[str, list[TargetText]] = defaultdict(list)
        for kind, text in self._texts(held_out=True):
            if len(found[kind]) < _MEASURED:
                found[kind].append(text)
        return found

    def _texts(self, held_out: bool) -> Iterator[tuple[str, TargetText]]:
        for batch in self.batches:
            if batch.held_out is held_out and self._is_made(batch):
                yield from self._read(self._path(batch), batch.kind)
        for path in self._made:
            kind, _, rest = path.stem.partition("-")
            if rest.startswith(_HELD_OUT) is held_out:
                yield from self._read(path, kind)

    def _read(self, path: Path, kind: str) -> Iterator[tuple[str, TargetText]]:
        for text in load_texts(path):
            # It may have been made when other prompts were held back.
            if not self._has_held_back(text):
                yield _KINDS.get(kind, kind), text

    def _is_made(self, batch: TextBatch) -> bool:
        return self._path(batch).exists()

    def _path(self, batch: TextBatch) -> Path:
        return self._folder / f"{batch.name}.safetensors"

    def _has_held_back(self, text: TargetText) -> bool:
        ids = text.ids.tolist()
        # The prompt alone as well: what was written may have made another word of its last one.
        parts = (ids[: text.start], ids)
        return any(self._held_back(str(self._pair.tokenizer.decode(part))) for part in parts)

    def _of_prompts(self) -> Iterator[TextBatch]:
        config = self._config
        prompts = [
            ids
            for name in config.prompts
            for problem in _problems(name, config.chat)
            # Of a dialogue the first message.
            for asked in [replace(problem, turns=problem.turns[:1])]
            if len(ids := self._pair.prompt(asked)) <= config.longest - config.new_tokens
        ]
        random.Random(f"{self._seed} prompts").shuffle(prompts)
        aside = min(_ASIDE, len(prompts) // 4)
        yield from self._in_batches("prompts", True, prompts[:aside], _Continued)
        # Of about one length, so that little of a batch is padding.
        yield from self._in_batches("prompts", False, sorted(prompts[aside:], key=len), _Continued)

    def _of_own_prompts(self) -> Iterator[TextBatch]:
        config = self._config
        openings = [
            ids
            for name in config.openings
            for problem in _problems(name, False)
            for ids in [self._pair.encode(problem.prompt, f"{name}: {problem.task_id}")]
            if len(ids) <= config.longest - config.new_tokens
        ]
        asks = user_opening(self._pair.tokenizer) if config.own_prompts else []
        if config.own_prompts and not (openings or asks):
            raise UserError(
                f"text.own_prompts={config.own_prompts}: the target has no chat template that it"
                " could write a user's message in; give text.openings=[FILE]"
            )
        drawn = {"openings": _Drawn(openings), "messages": _Drawn([asks], asks=True)}
        kinds = [name for name, one in drawn.items() if one.openings and one.openings[0]]
        for index in range(-(-config.own_prompts // config.batch)):
            kind = kinds[index % len(kinds)]
            held_out = index < len(kinds) and config.own_prompts > 4 * config.batch
            make = replace(drawn[kind], seed=(self._seed, index))
            yield self._batch(kind, index, held_out, make)

    def _of_texts(self) -> Iterator[TextBatch]:
        config = self._config
        if not config.other_tokens:
            return
        pieces = [
            ids[start : start + config.longest]
            for name in config.texts
            for path in _files(name)
            for ids in [self._pair.tokenizer(_text(path), verbose=False).input_ids]
            for start in range(0, len(ids), config.longest)
        ]
        random.Random(f"{self._seed} texts").shuffle(pieces)
        taken, count = list[list[int]](), 0
        for piece in pieces:
            if len(piece) > 1 and count < config.other_tokens:
                taken.append(piece)
                count += len(piece)
        if not taken:
            raise UserError(f"text.other_tokens={config.other_tokens}: give text.texts=[FILE]")
        aside = min(_ASIDE, len(taken) // 4)
        yield from self._in_batches("texts", True, taken[:aside], _Read)
        yield from self._in_batches("texts", False, taken[aside:], _Read)

    def _in_batches(
        self,
        kind: str,
        held_out: bool,
        some: Sequence[Sequence[int]],
        maker: Callable[[Sequence[Sequence[int]]], _Maker],
    ) -> Iterator[TextBatch]:
        for index, start in enumerate(range(0, len(some), self._config.batch)):
            part = some[start : start + self._config.batch]
            yield self._batch(kind, index, held_out, maker(part))

    def _batch(self, kind: str, index: int, held_out: bool, make: _Maker) -> TextBatch:
        name = f"{kind}-{_HELD_OUT * held_out}{index:05d}"
        return TextBatch(name, kind, held_out, lambda model: make(model, self._config, self._pair))


_Maker = Callable[[Any, TextConfig, Pair], list[TargetText]]


@dataclass(frozen=True)
class _Continued:
    """Prompts that the target continues."""

    prompts: Sequence[Sequence[int]]

    def __call__(self, model: Any, config: TextConfig, pair: Pair) -> list[TargetText]:
        return write(model, self.prompts, config.new_tokens, pair.stop_ids)


@dataclass(frozen=True)
class _Read:
    """Texts that the target reads."""

    texts: Sequence[Sequence[int]]

    def __call__(self, model: Any, config: TextConfig, pair: Pair) -> list[TargetText]:
        # A forward of so many tokens needs more memory than one that writes.
        few = 8
        return [
            text
            for start in range(0, len(self.texts), few)
            for text in read(model, self.texts[start : start + few])
        ]


@dataclass(frozen=True)
class _Drawn:
    """Prompts that the target draws itself, and then continues.

    ``asks``: they are messages of a user, which it answers (as Magpie has it, arXiv 2406.08464).
    """

    openings: Sequence[Sequence[int]]
    asks: bool = False
    seed: tuple[int, int] = (0, 0)

    def __call__(self, model: Any, config: TextConfig, pair: Pair) -> list[TargetText]:
        rng = random.Random(f"own {self.seed}")
        begun = [list(rng.choice(self.openings)) for _ in range(config.batch)]
        choose = Drawn(config.temperature, rng.getrandbits(40))
        lengths = [rng.randint(*_DRAWN) for _ in begun]
        drawn = write(model, begun, max(lengths), pair.stop_ids, choose)
        prompts = []
        for opening, text, length in zip(begun, drawn, lengths, strict=True):
            ids = text.ids.tolist()
            if self.asks:
                message = pair.answer(ids[len(opening) :])
                if message:
                    prompts.append(pair.prompt(Problem("own", turns=(message,))))
            elif ids[-1] not in pair.stop_ids:
                prompts.append(ids[: len(opening) + length])
        if not prompts:
            return []
        # What follows is its own first choice, as greedy decoding has it.
        return write(model, sorted(prompts, key=len), config.new_tokens, pair.stop_ids)


def _prompt(text: TargetText) -> tuple[int, ...]:
    """What the target wrote a text after; all of one that it only read."""
    return tuple(text.ids[: text.start].tolist())


def _problems(name: str, chat: bool) -> list[Problem]:
    try:
        return list(Prompts(data=name, chat=chat).load())
    except (OSError, ValueError) as error:
        raise UserError(str(error)) from error


def _whole(problems: Sequence[Problem]) -> Iterator[str]:
    for problem in problems:
        yield from problem.turns or (problem.prompt,)


def _files(name: str) -> list[Path]:
    path = Path(name).expanduser()
    found = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    if not found or not all(one.is_file() for one in found):
        raise UserError(f"text.texts: {name}: there is no such file")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"text.texts: {path}: expected a text in UTF-8 ({error})") from error
