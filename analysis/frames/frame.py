"""Runs as frames: one row a run, and on request one a category, a prompt or a round."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.frames.columns import COLUMNS, CONDITIONS, MOOT, NUMBERS
from pearl_eval.errors import UserError
from pearl_eval.results.records import biased, read_run, read_summary
from pearl_eval.results.runs import finished_runs, sweep_of
from pearl_eval.results.traces import Traces

#: What tells runs of one decoder apart, and what stands before it in a label.
_LABELS = (("gamma", "γ"), ("settings", ""), ("seed", "seed "), ("decoder_code", "code "))
#: What a category shares with its run, and what it has of its own.
_SHARED = ("run", "label", "decoder", "gamma", "pair", "task", "lossless")


def load(directories: Iterable[Path | str]) -> pd.DataFrame:
    """The finished runs of runs' and sweeps' directories, a row each; ``COLUMNS`` says of what.

    What a run does not have, or an older version did not write, is missing (NaN or None). A run
    that is named twice is there once. Raises :class:`UserError` where a directory has none.
    """
    rows: dict[Path, dict[str, Any]] = {}
    for directory in directories:
        for run in finished_runs(Path(directory)):
            rows.setdefault(run.directory.resolve(), _row(run.directory, run.summary))
    if not rows:
        raise UserError("no directory was given: name runs' or sweeps' directories")
    frame = pd.DataFrame(list(rows.values()), columns=list(COLUMNS))
    # A column in which no run has a figure is one of numbers, too.
    return labelled(frame.astype({name: float for name in NUMBERS if frame[name].isna().all()}))


def labelled(frame: pd.DataFrame) -> pd.DataFrame:
    """Runs with labels that tell those of one decoder, pair, task and conditions apart.

    Repeats get numbers: whatever is done with them, it is done by whoever sees that there are two.
    """
    frame = frame.copy()
    frame["label"] = frame["decoder"]
    by = ["label", "pair", "task", *CONDITIONS]
    for name, sign in _LABELS:
        varied = {
            decoder
            for _, group in frame.groupby(by, dropna=False, sort=False)
            if group[name].nunique(dropna=False) > 1
            for decoder in group["decoder"]
        }
        for decoder in varied:
            rows = (frame["decoder"] == decoder) & frame[name].notna()
            values = frame.loc[rows, name]
            said = _differences(values) if name == "settings" else values.map(_short)
            frame.loc[rows, "label"] += (" " + sign + said).where(said != "", "")
    repeat = frame.groupby(by, dropna=False, sort=False).cumcount()
    frame["label"] += [f" (repeat {i})" if i else "" for i in repeat]
    return frame


def categories(frame: pd.DataFrame) -> pd.DataFrame:
    """The figures of each category of each run: a row each. Conditions are those of its run.

    A run without categories has none here.
    """
    rows = []
    for _, run in frame.iterrows():
        summary = read_summary(Path(run["run"]))
        for category, figures in (summary["by_category"] or {}).items():
            own = {name: run[name] for name in (*_SHARED, *CONDITIONS)}
            rows.append(own | {"category": category} | _flat_figures(figures))
    return pd.DataFrame(rows)


def prompts(frame: pd.DataFrame) -> pd.DataFrame:
    """``records.jsonl`` of each run (docs/files.md), a row a prompt, with the run's ``run``,
    ``label``, ``pair`` and ``task`` before, and ``tokens_per_second``."""
    return _joined(frame, lambda traces: _with_speed(traces.records))


def rounds(frame: pd.DataFrame) -> pd.DataFrame:
    """``rounds.parquet`` of each run (docs/files.md), a row a round, with the run's ``run``,
    ``label``, ``pair`` and ``task`` before, and what :class:`pearl_eval.results.traces.Traces`
    derives."""
    return _joined(frame, lambda traces: traces.rounds)


def timed_rounds(frame: pd.DataFrame) -> pd.DataFrame:
    """The rounds without the warm-up's and those that read a prompt."""
    own = rounds(frame)
    return own[(own["round"] > 0) & ~own["warmup"].astype(bool)]


def typical_rounds(frame: pd.DataFrame) -> pd.DataFrame:
    """The mean of each run's :func:`timed_rounds` by ``mode``: tokens, and seconds."""
    by = ["run", "pair", "task", "label", "mode"]
    figures = ["drafted", "judged", "accepted"]
    figures += ["draft_seconds", "target_seconds", "wall", "overhead"]
    return timed_rounds(frame).groupby(by, sort=False)[figures].mean().droplevel("run")


def mixed(frame: pd.DataFrame) -> list[str]:
    """The conditions in which runs differ that could otherwise be compared.

    The longest output may differ by task, the number of devices by pair; if it does within one, it
    is mixed. Nothing of it may be averaged.
    """
    found = []
    for name, scope in CONDITIONS.items():
        groups = frame.groupby(list(scope), dropna=False) if scope else [("", frame)]
        if any(group[name].nunique(dropna=name in MOOT) > 1 for _, group in groups):
            found.append(name)
    return found


def sections(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The runs, apart by whatever conditions are mixed; each part with its name ("" if there is
    but one). A run of which such a condition is moot is in every part that it goes with."""
    names = mixed(frame)
    if not names:
        return [("", frame)]
    told = list(names)
    # A digest says little to people: it is named only where nothing else tells the parts apart.
    for name in ("data", "weights", "draft_weights", "code"):
        others = [one for one in told if one != name]
        if name in told and others and _groups(frame, others) == _groups(frame, names):
            told = others
    parts = [part for _, part in frame.groupby(names, dropna=False, sort=False)]
    # Runs of which a condition is moot stand beside whatever others there are.
    whole = [frame[_goes_with(frame, part.iloc[0], names)] for part in parts]
    return [
        (", ".join(f"{name} {_said(part[name].iloc[0], name)}" for name in told), own)
        for part, own in zip(parts, whole, strict=True)
        if not any(len(own) < len(other) and own.index.isin(other.index).all() for other in whole)
    ]


def _goes_with(frame: pd.DataFrame, run: Any, names: Sequence[str]) -> pd.Series:
    """Which runs are made under the conditions of one, or have none where it has."""
    found = pd.Series(True, index=frame.index)
    for name in names:
        same = frame[name].isna() if pd.isna(run[name]) else frame[name] == run[name]
        found &= same | frame[name].isna() if name in MOOT else same
    return found


def _groups(frame: pd.DataFrame, names: Sequence[str]) -> int:
    return int(frame.groupby(list(names), dropna=False).ngroups)


def _row(directory: Path, summary: dict[str, Any]) -> dict[str, Any]:
    about = read_run(directory)
    identity = about["identity"] if about else {}
    environment, settings = summary["environment"], summary["decoder_settings"]
    parallel, versions = environment["target_parallel"], environment["versions"]
    devices = [environment.get(f"{model}_device") for model in ("target", "draft")]
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    for part in (environment, summary["traces"], summary["cost"]):
        row |= {name: part[name] for name in COLUMNS if name in part}
    row |= _flat_figures(summary)
    row |= {
        "run": str(directory),
        "sweep": str(sweep_of(directory) or directory.parent),
        "gamma": settings.get("gamma"),
        "settings": json.dumps(settings, sort_keys=True),
        "asked": _asked(identity),
        "protocol": identity.get("protocol"),
        "max_new_tokens": identity.get("task.max_new_tokens"),
        "limit": identity.get("task.limit"),
        "data": identity.get("data"),
        "weights": identity.get("weights of the target"),
        "draft_weights": identity.get("weights of the draft"),
        "sampling": _sampling(identity),
        "hardware": " / ".join(dict.fromkeys(_kinds(one) for one in devices if one)),
        "target_devices": len((devices[0] or "").split(" + ")),
        "parallel": f"{parallel['by']}, {parallel['ranks']} ranks" if parallel else None,
        "processes": _processes(environment),
        "draft_place": _draft_place(summary, devices),
        "fixed_window": identity.get("runtime.fixed_window"),
        "code": identity.get("code"),
        "decoder_code": identity.get("code of the decoder"),
        "commit": environment["git_commit"],
    }
    row |= {name: versions.get(name) for name in ("torch", "transformers", "python")}
    return row | {"lossless": _lossless(summary)}


def _flat_figures(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures that frames name, intervals in two columns."""
    flat = {name: value for name, value in figures.items() if name in COLUMNS and _flat(value)}
    for name in ("speedup", "accuracy"):
        low, high = figures.get(f"{name}_ci95") or (None, None)
        flat |= {f"{name}_low": low, f"{name}_high": high}
    return flat


def _lossless(summary: dict[str, Any]) -> bool:
    return not (summary["violations"] or summary["lossy"] or biased(summary))


def _asked(identity: dict[str, Any]) -> str:
    own = {k.removeprefix("decoder."): v for k, v in identity.items() if k.startswith("decoder.")}
    return json.dumps(own, sort_keys=True)


def _processes(environment: dict[str, Any]) -> str | None:
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


def _draft_place(summary: dict[str, Any], devices: Sequence[str | None]) -> str | None:
    """Of a decoder that shares devices by what it is, or has no draft model, it is moot."""
    target, draft = devices
    moot = not summary["draft_forwards"] or summary["decoder"].startswith("pearl_shared")
    if moot or not target or not draft or not draft.startswith("cuda"):
        return None
    return "the target's" if draft in target.split(" + ") else "its own"


def _sampling(identity: dict[str, Any]) -> str | None:
    own = {k.removeprefix("sampling."): v for k, v in identity.items() if k.startswith("sampling.")}
    if not own:
        return None
    rule = str(own.pop("_target_", "")).rpartition(".")[2]
    return ", ".join([rule, *(f"{k}={v}" for k, v in sorted(own.items()) if v is not None)])


def _kinds(devices: str) -> str:
    """The kinds of devices in ``cuda:0 (NVIDIA A100) + cuda:1 (NVIDIA A100)``, each once."""
    found = re.findall(r"\((.*?)\)(?= \+ |$)", devices) or [devices]
    return " + ".join(dict.fromkeys(found))


def _joined(frame: pd.DataFrame, part: Any) -> pd.DataFrame:
    frames = []
    for _, run in frame.iterrows():
        own = part(Traces.read(Path(run["run"]))).copy()
        for place, name in enumerate(("run", "label", "pair", "task")):
            own.insert(place, name, run[name])
        frames.append(own)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _with_speed(records: pd.DataFrame) -> pd.DataFrame:
    return records.assign(tokens_per_second=records["new_tokens"] / records["seconds"])


def _flat(value: Any) -> bool:
    return not isinstance(value, dict | list)


def _differences(settings: pd.Series) -> pd.Series:
    """Of each run's settings (JSON) those that are not all the same: ``window=10``."""
    own = settings.map(json.loads)
    names = sorted({name for one in own for name in one})
    varied = [name for name in names if len({json.dumps(one.get(name)) for one in own}) > 1]
    return own.map(
        lambda one: ", ".join(f"{name}={_short(one[name])}" for name in varied if name in one)
    )


def _said(value: Any, name: str) -> str:
    if pd.isna(value):
        return "none" if name in MOOT else "unknown"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _short(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
