"""Decoders of a sweep compared with each other, or two sweeps, prompt by prompt."""

from __future__ import annotations

from itertools import count

import pandas as pd

from analysis.frames.frame import mixed
from analysis.frames.markdown import markdown_table
from analysis.frames.source import load_any
from analysis.frames.table import LOSSY
from analysis.significance.significance import LEVEL, changes, decoders, differing

_LEGEND = (
    "ratio: geometric mean over problems, with its 95 % interval; effect: rank-biserial correlation"
    " (1: faster on every problem); p: Wilcoxon's signed-rank test, corrected by Holm for all rows."
)
_FEW = "With so few problems for so many rows no ratio is significant at 5 %: {}."


def compare(a: str, b: str | None = None, format: str = "markdown") -> None:
    """Print how decoders of one source of runs compare, or what changed from it to another."""
    before = load_any([a])
    if b is None:
        print(_decoders(before, format))
    else:
        print(_changes(before, load_any([b]), format))


def _decoders(frame: pd.DataFrame, form: str) -> str:
    found = decoders(frame)
    if form == "csv":
        return found.to_csv(index=False).rstrip()
    apart = mixed(frame)
    heads = ["pair", "task", "faster", "slower", "speedup ratio", "effect", "p (Holm)", "n", ""]
    rows = [
        [row["pair"], row["task"], _name(row, "faster"), _name(row, "slower"), *_figures(row)]
        for _, row in found.iterrows()
    ]
    if apart:
        heads = ["conditions", *heads]
        rows = [[section, *row] for section, row in zip(found["section"], rows, strict=True)]
    lossless = found["faster_lossless"].all() and found["slower_lossless"].all()
    notes = [] if lossless else [f"{LOSSY.strip()} its output is not the target's."]
    return "\n\n".join([markdown_table(heads, rows), _said(found), *notes])


def _name(row: pd.Series, which: str) -> str:
    return str(row[which]) + ("" if row[f"{which}_lossless"] else LOSSY)


def _changes(before: pd.DataFrame, after: pd.DataFrame, form: str) -> str:
    found = changes(before, after)
    if form == "csv":
        return found.to_csv(index=False).rstrip()
    surroundings = markdown_table(
        ["what differs", "before", "after"],
        [[name, *values] for name, values in differing(before, after).items()],
    )
    heads = ["pair", "task", "decoder", "speedup ratio", "effect", "p (Holm)", "n", ""]
    heads += [
        "tokens/s ratio",
        "reference's",
        "speedup",
        "acceptance rate",
        "accepted tokens",
        "acceptance length",
        "accuracy",
    ]
    rows = [
        [row["pair"], row["task"], row["label"], *_figures(row)]
        + [f"{row['own_ratio']:.3f}", f"{row['reference_ratio']:.3f}"]
        + [
            _both(row, figure, form)
            for figure, form in (
                ("speedup", ".2f"),
                ("acceptance_rate", ".3f"),
                ("mean_accepted_tokens", ".2f"),
                ("acceptance_length", ".2f"),
                ("accuracy", ".3f"),
            )
        ]
        + [f"{row['same_outputs']:.0%}"]
        for _, row in found.iterrows()
    ]
    note = (
        "speedup ratio: in it a faster machine cancels, as each run has its reference beside it;"
        " reference's: the tokens/s ratio of the autoregressive reference, i.e. of the machine."
    )
    return "\n\n".join(
        [surroundings, markdown_table([*heads, "same outputs"], rows), _said(found), note]
    )


def _figures(row: pd.Series) -> list[str]:
    if not row["n"]:
        return ["–", "–", "–", "0", "no problem timed in both"]
    if row["n"] == 1:
        return [f"{row['ratio']:.3f}", "–", "–", "1", "one problem has no spread"]
    ratio = f"{row['ratio']:.3f}"
    if not pd.isna(row["low"]):
        ratio += f" ({row['low']:.3f}–{row['high']:.3f})"
    differs = "differs" if row["differs"] else "no difference seen"
    return [ratio, f"{row['effect']:+.2f}", f"{row['p_holm']:.2g}", str(row["n"]), differs]


def _both(row: pd.Series, figure: str, form: str) -> str:
    ends = [row[f"{figure}_{end}"] for end in ("before", "after")]
    return " → ".join("–" if pd.isna(one) else f"{one:{form}}" for one in ends)


def _said(found: pd.DataFrame) -> str:
    """What the figures are, and where there are too few problems: p is no less than 2^(1−n)."""
    rows = max(1, int(found["p"].notna().sum()))
    needed = next(n for n in count(1) if rows * 2.0 ** (1 - n) < LEVEL)
    if (found["n"] >= needed).all():
        return _LEGEND
    said = "1 row needs" if rows == 1 else f"{rows} rows need"
    return f"{_LEGEND} {_FEW.format(f'{said} {needed} problems')}"
