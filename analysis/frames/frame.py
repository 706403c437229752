"""Runs as frames: one row a run, and on request one a category, a prompt or a round."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.frames.columns import COLUMNS, NUMBERS
from pearl_eval.errors import UserError
from pearl_eval.results.comparable import CONDITIONS, MOOT, conditions
from pearl_eval.results.labels import labels, of_run
from pearl_eval.results.records import biased, read_identity
from pearl_eval.results.runs import finished_runs, sweep_of
from pearl_eval.results.summaries import whole_summary
from pearl_eval.results.traces import Traces

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
    by = ["label", "pair", "task", *CONDITIONS]
    known = [
        of_run(run["decoder"], json.loads(run["settings"]), run["seed"])
        | {"code": run["decoder_code"]}
        for _, run in frame.iterrows()
    ]
    groups = frame.groupby(by[1:], dropna=False, sort=False).ngroup()
    frame = frame.assign(label=labels(known, list(groups)))
    repeat = frame.groupby(by, dropna=False, sort=False).cumcount()
    frame["label"] += [f" (repeat {i})" if i else "" for i in repeat]
    return frame


def categories(frame: pd.DataFrame) -> pd.DataFrame:
    """The figures of each category of each run: a row each. Conditions are those of its run.

    A run without categories has none here.
    """
    rows = []
    for _, run in frame.iterrows():
        summary = whole_summary(Path(run["run"]))
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
    identity = read_identity(directory)
    environment, settings = summary["environment"], summary["decoder_settings"]
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
        "schedule": _schedule(summary["decoder_about"]["schedule"]),
        "decoder_code": identity.get("code of the decoder"),
        "commit": environment["git_commit"],
    }
    return row | conditions(summary, identity) | {"lossless": _lossless(summary)}


def _flat_figures(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures that frames name, intervals in two columns."""
    flat = {name: value for name, value in figures.items() if name in COLUMNS and _flat(value)}
    for name in ("speedup", "equal_hardware_speedup", "accuracy"):
        low, high = figures.get(f"{name}_ci95") or (None, None)
        flat |= {f"{name}_low": low, f"{name}_high": high}
    return flat


def _lossless(summary: dict[str, Any]) -> bool:
    return not (summary["violations"] or summary["lossy"] or biased(summary))


def _asked(identity: dict[str, Any]) -> str:
    own = {k.removeprefix("decoder."): v for k, v in identity.items() if k.startswith("decoder.")}
    return json.dumps(own, sort_keys=True)


def _schedule(said: dict[str, Any] | None) -> str | None:
    """As ``Parallel pre_verify=False``: its name and how it is unlike the plain one, lengths
    aside."""
    if said is None:
        return None
    own = [f"{k}={v}" for k, v in said.items() if k not in ("_target_", "gamma", "ahead")]
    return " ".join([said["_target_"].rpartition(".")[2], *own])


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


def _said(value: Any, name: str) -> str:
    if pd.isna(value):
        return "none" if name in MOOT else "unknown"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
