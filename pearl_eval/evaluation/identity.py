"""What makes a run the same run: only then may it be continued, or its reference be used again.

Code is part of it as far as it computes, judges or records. That is whatever is imported, beginning
with how runs are evaluated, the ``code`` that all runs share, and with a run's own decoder,
sampling, pair and task, each of which has a digest of its own:

- ``decoders``: what its decoder uses. Another decoder's file is none of it.
- ``tasks``: what its task uses, with the sandbox, which decides what is correct.
- ``pearl_eval/config``, ``pairs``, ``weights``, ``machine``: what is loaded, and where.
- ``pearl_eval/checks``, ``evaluation``, ``results``, ``sizes``: verdicts and figures. ``results``
  has modules that only read what runs left: no run imports those.

Left out are ``shell``, ``tracking`` and ``figures``, which runs import to tell what they do, and
all that no run imports: estimates, benchmarks, reports, whatever is in ``analysis``.

A reference is its tokens, seconds and joules: what decodes one token after the other, and what
loads and places the target. Its prompts are in the identity themselves.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from decoders.decoder import Decoder
from pearl_eval.evaluation.plan import Plan
from pearl_eval.evaluation.sources import code_digest
from pearl_eval.pairs.pair import PairSource
from pearl_eval.results.version_0 import OTHER_DIGEST
from pearl_eval.shell.resume import FREE

#: Further settings that change nothing of a reference run.
_NOT_THE_REFERENCES = (
    "decoder.",
    "engine.",
    "pair.",
    "reference.",
    "runtime.draft_",
    "runtime.spin_seconds",
    "sampling.verification",
)
#: What tells of a run, and changes nothing of it.
_TELLING = ("pearl_eval.shell", "pearl_eval.tracking", "pearl_eval.figures")
#: What is done with a reference, once it is there.
_NOT_THE_REFERENCES_CODE = ("tasks", "pearl_eval.checks", "pearl_eval.results", "pearl_eval.sizes")

#: Facts by name, as JSON has them.
Identity = dict[str, Any]


def run_identity(config: Mapping[str, Any], plan: Plan) -> Identity:
    """What a run is: its configuration, code, weights, data, devices and libraries."""
    settings = {k: v for k, v in _flat(config) if not k.startswith(FREE)}
    weights = {f"weights of the {role}": mark for role, mark in plan.pair.weights.items()}
    surroundings = _surroundings(plan, "draft", "target")
    known = {"corpus": plan.corpus.sha256} if plan.corpus else {}
    return _plain(settings | weights | surroundings | known | run_code(plan))


def reference_identity(config: Mapping[str, Any], plan: Plan) -> Identity:
    """What a reference run is: whatever of a run has to do with its target alone."""
    settings = _reference_settings(config, plan.setup.source, plan.decoder)
    weights = {"weights of the target": plan.pair.weights.get("target")}
    code = {"code": reference_code(plan)}
    return _plain(settings | weights | _surroundings(plan, "target") | code)


def _reference_settings(
    config: Mapping[str, Any], source: PairSource, decoder: Decoder
) -> Identity:
    """What was asked for that a reference run depends on; where it runs has no part in it."""
    own = (*FREE, *_NOT_THE_REFERENCES)
    settings = {k: v for k, v in _flat(config) if not k.startswith(own)}
    # In another engine, that and its settings.
    if reference := decoder.reference():
        settings |= {"engine": reference.engine}
        settings |= {f"engine.{k}": v for k, v in _flat(asdict(cast(Any, reference)))}
    return _plain(settings | {f"target.{k}": v for k, v in _flat(source.target_settings())})


def tells_code(stored: Identity) -> bool:
    """Whether its digest of the code can be compared with ours: not that of an earlier version."""
    return not str(stored.get("code")).startswith(OTHER_DIGEST)


def differences(stored: Identity, ours: Identity) -> str:
    """In what two identities differ, in words; empty where they are the same.

    Code that can't be compared is passed over.
    """
    if not tells_code(stored):
        stored = stored | {name: ours[name] for name in ours if name.split(" ")[0] == "code"}
    names = sorted(name for name in {*stored, *ours} if stored.get(name) != ours.get(name))
    return ", ".join(
        f"{name} ({_short(stored.get(name))} there, {_short(ours.get(name))} here)"
        for name in names
    )


def reference_key(config: Mapping[str, Any], source: PairSource, decoder: Decoder) -> str:
    """The same for all that asked for the same reference run."""
    return digest([repr(sorted(_reference_settings(config, source, decoder).items())).encode()])


def digest(parts: Iterable[bytes]) -> str:
    """A short fingerprint of some bytes."""
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "little") + part)
    return found.hexdigest()[:16]


def _surroundings(plan: Plan, *roles: str) -> dict[str, Any]:
    """Libraries, data, and the devices of these models."""
    where = plan.setup.describe()
    versions = {f"version of {k}": v for k, v in where["versions"].items() if k != "pearl-eval"}
    names = [f"{role}_device" for role in roles]
    devices = dict(zip(names, _renumbered([where[name] for name in names]), strict=True))
    facts = {name: where[name] for name in ("dtype", "driver")}
    stops = {"stop tokens": list(plan.pair.stop_ids)}
    return devices | facts | versions | stops | {"data": _data(plan)}


def _renumbered(devices: Sequence[str]) -> list[str]:
    """GPUs numbered as they are used: which of equal ones is free when a run begins is chance."""
    used = list(dict.fromkeys(re.findall(r"cuda:\d+", " ".join(devices))))
    return [re.sub(r"cuda:\d+", lambda m: f"cuda:{used.index(m[0])}", one) for one in devices]


def _data(plan: Plan) -> str:
    """Of the problems as they are decoded and scored, so also of the tokenizer."""
    return digest(
        json.dumps([asdict(one.problem), one.ids, one.seed, one.sample], default=str).encode()
        for one in plan.prompts
    )


def run_code(plan: Plan) -> Identity:
    """Digests of the code that a run goes through: of what all runs share, and of its own parts."""
    parts = {
        "decoder": plan.decoder,
        "sampling": plan.sampler,
        "pair": plan.setup.source,
        "task": plan.task,
    }
    own = {
        f"code of the {name}": code_digest((), _files_of(part), _TELLING)
        for name, part in parts.items()
    }
    return {"code": code_digest(["pearl_eval.evaluation.evaluation"], skip=_TELLING)} | own


def reference_code(plan: Plan) -> str:
    """A digest of the code that makes a reference run."""
    return code_digest(
        [
            type(plan.reference).__module__,
            "pearl_eval.evaluation.plan",
            "pearl_eval.machine.energy",
        ],
        _files_of(plan.sampler, plan.setup.source),
        (*_TELLING, *_NOT_THE_REFERENCES_CODE),
    )


def _files_of(*parts: object) -> list[Path]:
    """Where the classes of a run's parts are: each may be the user's own, from anywhere."""
    files = (getattr(sys.modules[type(part).__module__], "__file__", None) for part in parts)
    return [Path(file).resolve() for file in files if file]


def _flat(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _plain(identity: dict[str, Any]) -> Identity:
    """As it is read back from a file."""
    plain: Identity = json.loads(json.dumps(identity, default=str))
    return plain


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
