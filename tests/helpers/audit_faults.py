"""Outputs with planted faults, and how many of them an audit finds: the table of docs/audit.md.

``python tests/helpers/audit_faults.py [faults] [temperature] [DTYPE …]`` prints the rows, which
takes about an hour on a core.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from pearl_eval.audit.auditor import Auditor
from pearl_eval.audit.config import AuditConfig
from pearl_eval.audit.defaults import Defaults
from pearl_eval.audit.inputs import Inputs
from pearl_eval.audit.result import fit_of
from pearl_eval.audit.texts import RowText
from pearl_eval.audit.verdicts import VIOLATION, JudgedOutput
from pearl_eval.config.schema import RuntimeConfig
from pearl_eval.pairs.setup import Setup
from tasks.humaneval import HumanEval

ROOT = Path(__file__).resolve().parents[2]
TARGET = str(ROOT / "pearl_eval" / "assets" / "tiny" / "target")
PROMPTS, NEW = 50, 128
#: One token in so many is at fault where tokens are replaced.
_RATE = 1000
#: Faults of each kind, at least.
_EACH = 200
#: Sampled outputs that sets are drawn from.
_POOL = 400
#: Texts that are decoded at once.
_BATCH = 25
_PAD, _STOPS = 1, (0, 5)
#: What docs/audit.md says an output is held to: in epsilons, times the spread of the logits.
_EPSILONS = {torch.float32: 1024.0, torch.bfloat16: 32.0}
#: And how many times what a forward of the text errs there, where that is more.
_TIMES = 10.0
_WIDER = {torch.float32: torch.float64, torch.bfloat16: torch.float32}

AuditRow = dict[str, Any]


class Engine:
    """transformers' ``generate`` with the tiny pair's target: what is audited."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.tokenizer = AutoTokenizer.from_pretrained(TARGET)
        self.model = AutoModelForCausalLM.from_pretrained(TARGET, dtype=dtype).eval()
        # What it says of stop tokens would count where a call says that there are none.
        self.model.generation_config = GenerationConfig(pad_token_id=_PAD)
        self._wide = AutoModelForCausalLM.from_pretrained(TARGET, dtype=dtype).eval()
        self._wide.to(_WIDER[dtype])

    def prompts(self, count: int = PROMPTS) -> list[list[int]]:
        """Those of HumanEval, as token ids."""
        texts = [one.prompt for one in HumanEval().load()[:count]]
        return [list(self.tokenizer(text.strip()).input_ids) for text in texts]

    @torch.inference_mode()
    def generate(
        self, texts: Sequence[list[int]], new: int = NEW, stop: bool = False, **sampling: Any
    ) -> list[list[int]]:
        """What follows each text; ``stop``: up to a stop token, which then is its last."""
        config = GenerationConfig(
            max_new_tokens=new,
            do_sample=bool(sampling),
            eos_token_id=list(_STOPS) if stop else None,
            pad_token_id=_PAD,
            **sampling,
        )
        found: list[list[int]] = []
        for start in range(0, len(texts), _BATCH):
            part = texts[start : start + _BATCH]
            width = max(map(len, part))
            ids = torch.tensor([[_PAD] * (width - len(one)) + one for one in part])
            mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in part])
            made = self.model.generate(ids, attention_mask=mask, generation_config=config)
            found += [row[width:].tolist() for row in made]
        if stop:
            ends = [
                next((at + 1 for at, one in enumerate(row) if one in _STOPS), len(row))
                for row in found
            ]
            found = [row[:end] for row, end in zip(found, ends, strict=True)]
        return found

    @torch.inference_mode()
    def choices(self, text: list[int]) -> list[int]:
        """The two most probable tokens after a text."""
        logits = self.model(torch.tensor([text])).logits[0, -1]
        return list(logits.topk(2).indices.tolist())

    @torch.inference_mode()
    def beyond(self, prompt: list[int], output: list[int]) -> list[int]:
        """Positions of an output whose token rounding can't explain: by definition, not by an
        audit's own code. The last is where it ends, if it has no stop token."""
        ids, begin = torch.tensor([prompt + output]), len(prompt) - 1
        rows = self._wide(ids).logits[0, begin:]
        off = self.model(ids).logits[0, begin:].to(rows.dtype) - rows
        allowed = _EPSILONS[self.dtype] * torch.finfo(self.dtype).eps * rows.std(-1, correction=0)
        allowed = torch.maximum(allowed, _TIMES * off.std(-1, correction=0))
        end = rows[-1, list(_STOPS)].amax()
        theirs = [row[one] for row, one in zip(rows[:-1], output, strict=True)]
        gaps = rows.amax(-1) - torch.stack([*theirs, end])
        return (gaps > allowed).nonzero()[:, 0].tolist()


@dataclass(frozen=True)
class Planted:
    """An output with a fault, as a row of a file; ``positions`` are of single wrong tokens."""

    row: AuditRow
    positions: tuple[int, ...] = ()


def row_of(prompt: list[int], output: list[int], **more: Any) -> AuditRow:
    return {"prompt_token_ids": prompt, "output_token_ids": output, **more}


class Faults:
    """Plants faults in an engine's outputs.

    Parameters
    ----------
    engine
        The engine.
    prompts
        What it continues.
    """

    def __init__(self, engine: Engine, prompts: Sequence[list[int]], new: int = NEW) -> None:
        self._engine, self._prompts, self._new = engine, prompts, new
        #: Beyond the limit, so that a text from which something is lost still is as long.
        self.long = engine.generate(prompts, new + 1)
        self.whole = [output[:new] for output in self.long]
        #: Those that end by themselves.
        self.ended = engine.generate(prompts, new, stop=True)

    def right(self) -> list[AuditRow]:
        """Without a fault: up to the limit, and up to a stop token."""
        limited = [self._limited(*both) for both in zip(self._prompts, self.whole, strict=True)]
        return limited + [
            row_of(*both, max_tokens=self._new)
            for both in zip(self._prompts, self.ended, strict=True)
        ]

    def replaced(self, seed: int, by: str, goes_on: bool) -> list[Planted]:
        """One token in 1,000 replaced; ``goes_on``: and what follows is generated after it."""
        draw = random.Random(f"{seed} {by} {goes_on}")
        drawn = [[at for at in range(self._new) if draw.random() < 1 / _RATE] for _ in self.whole]
        chosen = [index for index, places in enumerate(drawn) if places]
        prompts = [self._prompts[index] for index in chosen]
        texts = [list(self.whole[index]) for index in chosen]
        places = [drawn[index] for index in chosen]
        for number in range(max(map(len, places), default=0)):
            there = [index for index, own in enumerate(places) if len(own) > number]
            for index in there:
                at, text = places[index][number], texts[index]
                text[at] = self._other(prompts[index] + text[:at], text[at], by, draw)
                if goes_on:
                    texts[index] = text[: at + 1]
            if goes_on:
                # All to the limit of one that has just begun; what is beyond it is cut off.
                heads = [prompts[index] + texts[index] for index in there]
                after = self._engine.generate(heads, self._new)
                for index, more in zip(there, after, strict=True):
                    texts[index] = (texts[index] + more)[: self._new]
        return [
            Planted(self._limited(prompt, text), tuple(own))
            for prompt, text, own in zip(prompts, texts, places, strict=True)
        ]

    def _other(self, text: list[int], own: int, by: str, draw: random.Random) -> int:
        if by == "random":
            return next(one for one in iter(lambda: draw.randrange(6, 2048), None) if one != own)
        return next(one for one in self._engine.choices(text) if one != own)

    def skipped(self, seed: int) -> list[Planted]:
        """In each output, one token is lost."""
        draw = random.Random(f"{seed} skipped")
        found = []
        for prompt, output in zip(self._prompts, self.long, strict=True):
            at = draw.randrange(self._new - 1)
            found.append(Planted(self._limited(prompt, output[:at] + output[at + 1 :])))
        return found

    def repeated(self, seed: int) -> list[Planted]:
        """In each output, a block of 2 to 16 tokens comes twice."""
        draw = random.Random(f"{seed} repeated")
        found = []
        for prompt, output in zip(self._prompts, self.whole, strict=True):
            size = draw.randint(2, 16)
            end = draw.randrange(size, self._new - size)
            text = output[:end] + output[end - size :]
            found.append(Planted(self._limited(prompt, text[: self._new])))
        return found

    def truncated(self, seed: int) -> list[Planted]:
        """Outputs that ended by themselves lose their last 2 to 16 tokens, of which the stop token
        is the last."""
        draw = random.Random(f"{seed} truncated")
        found = []
        for prompt, output in zip(self._prompts, self.ended, strict=True):
            lost = draw.randint(2, 16)
            if output[-1] in _STOPS and len(output) > lost:
                row = row_of(prompt, output[:-lost], max_tokens=self._new)
                found.append(Planted(row))
        return found

    def stopped(self, seed: int) -> list[Planted]:
        """A stop token where the target goes on, or at its end another one than its own."""
        draw = random.Random(f"{seed} stopped")
        found = []
        for prompt, output in zip(self._prompts, self.ended, strict=True):
            if output[-1] not in _STOPS or len(output) < 3:
                continue
            at = len(output) - 1 if draw.random() < 0.5 else draw.randrange(len(output) - 1)
            wrong = draw.choice([one for one in _STOPS if one != output[at]])
            row = row_of(prompt, [*output[:at], wrong], max_tokens=self._new)
            found.append(Planted(row, (at,)))
        return found

    def _limited(self, prompt: list[int], output: list[int]) -> AuditRow:
        return row_of(prompt, output, max_tokens=self._new, ignore_eos=True)


class Bench:
    """Audits rows in this process."""

    def __init__(self, dtype: torch.dtype) -> None:
        name = str(dtype).removeprefix("torch.")
        pair = {
            "_target_": "pearl_eval.pairs.pretrained.Pretrained",
            "target": {"path": TARGET},
            "draft": {"path": TARGET},
            "dtype": name,
        }
        config = AuditConfig(pair=OmegaConf.create(pair))
        setup = Setup.make(config.pair, RuntimeConfig(target_device="cpu"), uses_draft=False)
        defaults = Defaults.of(setup.pair)
        self.inputs = Inputs(config, setup.pair, defaults)
        self._auditor = Auditor(setup.pair.load_target(), setup.pair, self.inputs, defaults.ends)

    def judge(self, rows: Sequence[AuditRow]) -> list[JudgedOutput]:
        return self._auditor.judge(self.texts(rows))

    def texts(self, rows: Sequence[AuditRow]) -> list[RowText]:
        """Rows as they are read from a file."""
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
            file.flush()
            read = self.inputs.file(file.name)
        assert not read.unusable, read.unusable[0]
        return read.texts


@dataclass
class Count:
    """Of one kind of fault: how many were planted, are beyond the tolerance, and were found.

    ``missed`` are those that are beyond the tolerance and were not found.
    """

    planted: int = 0
    beyond: int = 0
    found: int = 0
    missed: int = 0

    def add(self, beyond: bool, found: bool) -> None:
        self.planted += 1
        self.beyond += beyond
        self.found += found
        self.missed += beyond and not found


#: What is planted, by the words of the table.
KINDS: dict[str, Callable[[Faults, int], list[Planted]]] = {
    "the runner-up for one token in 1,000, the engine goes on after it": lambda f, s: f.replaced(
        s, "runner-up", True
    ),
    "the runner-up for one token in 1,000, the rest stays as it was": lambda f, s: f.replaced(
        s, "runner-up", False
    ),
    "a random token for one in 1,000, the engine goes on after it": lambda f, s: f.replaced(
        s, "random", True
    ),
    "a random token for one in 1,000, the rest stays as it was": lambda f, s: f.replaced(
        s, "random", False
    ),
    "a token skipped": Faults.skipped,
    "a block of 2 to 16 tokens repeated": Faults.repeated,
    "the last 2 to 16 tokens lost": Faults.truncated,
    "a wrong stop token": Faults.stopped,
}


def measure(engine: Engine, bench: Bench, faults: Faults, kind: str, each: int = _EACH) -> Count:
    """Plant faults of a kind, seed by seed, until there are enough, and audit them."""
    count, seed = Count(), 0
    own = {tuple(one) for one in [*faults.whole, *faults.ended]}
    while count.planted < each:
        planted = [
            one
            for one in KINDS[kind](faults, seed)
            if tuple(one.row["output_token_ids"]) not in own
        ]
        seed += 1
        if not planted:
            continue
        judged = bench.judge([one.row for one in planted])
        for one, found in zip(planted, judged, strict=True):
            prompt, output = one.row["prompt_token_ids"], one.row["output_token_ids"]
            beyond = engine.beyond(prompt, output)
            wrong = [divergence.position for divergence in found.violations]
            if one.positions:
                for position in one.positions:
                    count.add(position in beyond, position in wrong)
            else:
                ends = () if one.row.get("ignore_eos") else (len(output),)
                places = {*range(len(output)), *ends}
                count.add(bool(places & {*beyond}), found.kind == VIOLATION)
    return count


def pool(engine: Engine, bench: Bench, actual: float, texts: int) -> list[JudgedOutput]:
    """Sampled outputs that are claimed to be of temperature 1, judged."""
    prompts = engine.prompts()
    chosen = (prompts * -(-texts // len(prompts)))[:texts]
    torch.manual_seed(int(1000 * actual))
    made = engine.generate(chosen, NEW, temperature=actual, top_k=0, top_p=1.0)
    rows = [
        row_of(*both, temperature=1.0, ignore_eos=True, max_tokens=NEW)
        for both in zip(chosen, made, strict=True)
    ]
    return bench.judge(rows)


def refused(judged: Sequence[JudgedOutput], sets: int, texts: int) -> int:
    """How many of some sets, each of so many texts drawn from those judged, are refused."""
    draw = random.Random(texts)
    fits = [fit_of(draw.sample(judged, texts)) for _ in range(sets)]
    return sum(fit is not None and fit.refused for fit in fits)


def main() -> None:
    torch.set_num_threads(1)
    told = sys.argv[1:]
    what = [one for one in ("faults", "temperature") if one in told or not told]
    names = [one for one in told if one not in what] or ["float32", "bfloat16"]
    lines: list[str] = []
    for dtype in (getattr(torch, name) for name in names):
        engine, bench = Engine(dtype), Bench(dtype)
        if "faults" in what:
            lines += _faults(engine, bench)
        if "temperature" in what:
            lines += _temperatures(engine, bench)
    print("\n".join(lines))


def _faults(engine: Engine, bench: Bench) -> Iterator[str]:
    name = str(engine.dtype).removeprefix("torch.")
    faults = Faults(engine, engine.prompts())
    judged = bench.judge(faults.right())
    kinds = [one.kind for one in judged]
    near, tokens = sum(one.near for one in judged), sum(one.tokens for one in judged)
    told = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
    print(f"{name}, none: {told}; near {near / tokens:.4%} of {tokens}", flush=True)
    yield f"| {name} | none | {len(kinds)} | | {kinds.count(VIOLATION)} | |"
    for kind in KINDS:
        count = measure(engine, bench, faults, kind)
        share = f"{count.found / count.planted:.1%}"
        line = (
            f"| {name} | {kind.strip()} | {count.planted} | {count.beyond} | {count.found}"
            f" ({share}) | {count.missed} |"
        )
        print(line, flush=True)
        yield line


def _temperatures(engine: Engine, bench: Bench) -> Iterator[str]:
    name = str(engine.dtype).removeprefix("torch.")
    for actual in (0.9, 1.0):
        judged = pool(engine, bench, actual, _POOL)
        assert not [one for one in judged if one.kind == VIOLATION]
        for texts in (25, 50, 100):
            count = refused(judged, _EACH, texts)
            line = (
                f"| {name} | {actual} | {texts * NEW} | {_EACH} | {count} ({count / _EACH:.1%}) |"
            )
            print(line, flush=True)
            yield line


if __name__ == "__main__":
    main()
