"""What decides that two runs are comparable: the conditions that each was made under."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pearl_eval.results.about import OWN_ENGINE, engine_of

#: What must be alike for the figures of two runs to be compared, and within what it may differ.
CONDITIONS: dict[str, tuple[str, ...]] = {
    "protocol": (),
    "max_new_tokens": ("task",),
    "limit": ("task",),
    "data": ("task", "pair"),
    "weights": ("pair",),
    "draft_weights": ("pair",),
    "dtype": (),
    "sampling": (),
    "hardware": (),
    "target_devices": ("pair",),
    "parallel": ("pair",),
    "processes": ("pair",),
    "draft_place": ("pair",),
    "reference": (),
    "reference_hardware": (),
    "engine": (),
    "cache": (),
    "forward": (),
    "fixed_window": (),
    "code": (),
    "torch": (),
    "transformers": (),
    "python": (),
    "driver": (),
}
#: Those that some decoders do not have: they go with any.
MOOT = ("draft_weights", "draft_place", "cache")


def conditions(summary: Mapping[str, Any], identity: Mapping[str, Any]) -> dict[str, Any]:
    """The conditions of a run from its ``summary.json`` and the identity in its ``run.json``.

    ``None`` is what is not known, or moot.
    """
    environment = summary["environment"]
    versions, parallel = environment["versions"], environment["target_parallel"]
    devices = [environment.get(f"{model}_device") for model in ("target", "draft")]
    return {
        "protocol": identity.get("protocol"),
        "max_new_tokens": identity.get("task.max_new_tokens"),
        "limit": _limit(identity),
        "data": identity.get("data"),
        "weights": identity.get("weights of the target"),
        "draft_weights": identity.get("weights of the draft"),
        "dtype": environment["dtype"],
        "sampling": _sampling(identity),
        "hardware": " / ".join(dict.fromkeys(_kinds(one) for one in devices if one)),
        "target_devices": len((devices[0] or "").split(" + ")),
        "parallel": f"{parallel['by']}, {parallel['ranks']} ranks" if parallel else None,
        "processes": _processes(environment),
        "draft_place": _draft_place(summary, devices),
        "reference": summary.get("reference"),
        "reference_hardware": (summary.get("devices") or {}).get("rule", "own"),
        "engine": _engine(summary, identity),
        # What a decoder that looks up knows beside its prompt.
        "cache": summary.get("decoder_settings", {}).get("cache"),
        "forward": environment.get("forward"),
        "fixed_window": identity.get("runtime.fixed_window"),
        "code": identity.get("code"),
        **{name: versions.get(name) for name in ("torch", "transformers", "python")},
        "driver": environment.get("driver"),
    }


def differences(
    one: Mapping[str, Any], other: Mapping[str, Any], may: Iterable[str] = ()
) -> dict[str, tuple[Any, Any]]:
    """In which conditions two runs differ, so that they can't be compared; empty if they can.

    ``one`` and ``other`` are their conditions and whatever else must be alike. What ``may`` differ
    is left out. What is moot for one of them goes with anything.
    """
    found = {}
    for name in one:
        ours, theirs = one[name], other[name]
        moot = name in MOOT and (ours is None or theirs is None)
        if name not in may and not moot and ours != theirs:
            found[name] = (ours, theirs)
    return found


def _processes(environment: Mapping[str, Any]) -> str | None:
    """As ``target 1 thread, 1 core; draft 1 thread, 1 core``: how many, not which."""
    said = []
    for model in ("target", "draft"):
        if (own := environment.get(f"{model}_process")) is None:
            return None
        cores = _count(len(own["cores"]), "core") if own["cores"] else "any cores"
        said.append(f"{model} {_count(own['threads'], 'thread')}, {cores}")
    target, draft = (set(environment[f"{model}_process"]["cores"]) for model in ("target", "draft"))
    return "; ".join([*said, *(["some shared"] if target & draft else [])])


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _draft_place(summary: Mapping[str, Any], devices: list[str | None]) -> str | None:
    """Of a decoder that shares devices by what it is, or has no draft model, it is moot."""
    target, draft = devices
    moot = not summary["draft_forwards"] or summary["decoder_about"]["draft_ends"]
    if moot or not target or not draft or not draft.startswith("cuda"):
        return None
    return "the target's" if draft in target.split(" + ") else "its own"


def _limit(identity: Mapping[str, Any]) -> str | None:
    """As ``12``, or ``12, spread`` over the task."""
    limit = identity.get("task.limit")
    if limit is None:
        return None
    return f"{limit}, spread" if identity.get("task.spread") else str(limit)


def _sampling(identity: Mapping[str, Any]) -> str | None:
    own = {k.removeprefix("sampling."): v for k, v in identity.items() if k.startswith("sampling.")}
    if not own:
        return None
    rule = str(own.pop("_target_", "")).rpartition(".")[2]
    # Runs that do not say it are of before there was a choice.
    if own.get("verification") == "token":
        del own["verification"]
    return ", ".join([rule, *(f"{k}={v}" for k, v in sorted(own.items()) if v is not None)])


def _engine(summary: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    """As ``vLLM, max_num_seqs=1``; the arguments are no part of what does not run in it."""
    engine = engine_of(summary)
    own = {k.removeprefix("engine."): v for k, v in identity.items() if k.startswith("engine.")}
    said = [f"{k}={v}" for k, v in sorted(own.items()) if v is not None]
    return ", ".join([engine, *said]) if engine != OWN_ENGINE else engine


def _kinds(devices: str) -> str:
    """The kinds of devices in ``cuda:0 (NVIDIA A100) + cuda:1 (NVIDIA A100)``, each once."""
    found = re.findall(r"\((.*?)\)(?= \+ |$)", devices) or [devices]
    return " + ".join(dict.fromkeys(found))
