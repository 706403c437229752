"""A contest as rows: a contender each, as printed and as drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from pearl_eval.bench.results import Results
from pearl_eval.figures.benchmark import REFERENCE
from pearl_eval.results.about import OWN_ENGINE, engine_of
from pearl_eval.results.replay import Replay
from pearl_eval.results.speed import Ratio
from pearl_eval.results.table import equivalence_text, number
from pearl_eval.shell.console import console

#: Decoders by what they are called together, of whom the fastest counts.
Rivals = Mapping[str, Sequence[str]]
#: Most names of problems that are printed.
_NAMED = 40


@dataclass(frozen=True)
class ContenderRow:
    """One contender's figures, on all prompts. ``ratios`` are its speed over others', by name.

    ``draft_limit_share`` and ``round_limit_share`` are its shares of limits 1 and 2, ``replay``
    what rules that know more would reach. A figure that does not exist for a contender is None.
    """

    contender: str
    decoder: str
    tokens_per_second: float
    ratios: dict[str, Ratio]
    draft_limit_share: float | None
    round_limit_share: float | None
    acceptance_rate: float | None
    equivalence: str
    engine: str = OWN_ENGINE
    replay: Replay | None = None


@dataclass(frozen=True)
class Best:
    """A decoder at the draft length that was best on one half of the prompts (``contender``).

    ``gamma`` is that length, and ``drafts`` whether it drafts at all. ``ratios`` are those of the
    other half, over rivals that were chosen likewise.
    """

    decoder: str
    contender: str
    gamma: int | None
    drafts: bool
    ratios: dict[str, Ratio]


def rows(results: Results, rivals: Rivals) -> list[ContenderRow]:
    """A row for each contender; of the rivals those are beside it of which there is but one."""
    alone = {
        name: own[0]
        for name, decoders in rivals.items()
        if len(own := [k for k, one in results.entries.items() if one.decoder in decoders]) == 1
    }
    return [
        ContenderRow(
            label,
            entry.decoder,
            entry.summary["tokens_per_second"],
            {
                name: results.ratio(label, other)
                for name, other in {REFERENCE: None, **alone}.items()
            },
            results.share_of_draft_limit(label),
            results.share_of_round_limit(label),
            entry.summary["acceptance_rate"],
            equivalence_text(entry.summary),
            engine_of(entry.summary),
            results.replay(label),
        )
        for label, entry in results.entries.items()
    ]


def bests(results: Results, rivals: Rivals) -> list[Best]:
    """Every decoder at its best draft length."""
    others = {name: results.best(decoders) for name, decoders in rivals.items()}
    found = []
    for decoder in results.decoders:
        chosen = results.best([decoder])
        assert chosen is not None
        entry = results.entries[chosen]
        ratios = {REFERENCE: results.ratio(chosen, half=False)}
        ratios |= {
            name: results.ratio(chosen, other, half=False)
            for name, other in others.items()
            if other
        }
        lengths = [one for one in results.entries.values() if one.decoder == decoder]
        gamma = entry.summary["decoder_settings"].get("gamma") if len(lengths) > 1 else None
        drafts = bool((entry.rounds["drafted"] > 0).any())
        found.append(Best(decoder, chosen, gamma, drafts, ratios))
    return found


def content(results: Results, rivals: Rivals, folder: Path) -> dict[str, Any]:
    """What ``bench.json`` holds of a contest whose runs are in ``folder``."""
    return {
        "folder": str(folder),
        "rows": [asdict(row) for row in rows(results, rivals)],
        "best": [asdict(one) for one in bests(results, rivals)],
        "speed_ratio": results.speed_ratio(),
        "acceptance_rate": results.acceptance_rate(),
        "draft_limit": results.draft_limit(),
        "forwards": [asdict(one) for one in results.forwards],
    }


def print_problems(drawn: Sequence[str], of: int, seed: int) -> None:
    """Which problems of a task are decoded."""
    named = ", ".join(drawn[:_NAMED]) + (", …" if len(drawn) > _NAMED else "")
    console(stderr=False).print(
        f"{len(drawn)} of the task's {of} problems, drawn by seed {seed}: {named}", soft_wrap=True
    )


def print_contest(title: str, contest: Mapping[str, Any]) -> None:
    """The tables of a contest (``content``), and the limits it was held against."""
    names = list(contest["rows"][0]["ratios"])
    # Benchmarks of before there was a choice name none.
    mixed = {row.get("engine", OWN_ENGINE) for row in contest["rows"]} != {OWN_ENGINE}
    headings = ["tokens\n/s", *(f"÷ {name}" for name in names), "÷ reference\nby prompt"]
    print_table(
        title,
        [
            "contender",
            *(["engine"] if mixed else []),
            *headings,
            "limit\n1",
            "limit\n2",
            "α",
            "equivalence",
        ],
        (
            [
                row["contender"],
                *([row["engine"]] if mixed else []),
                f"{row['tokens_per_second']:.1f}",
                *(str(Ratio(**row["ratios"][name])) for name in names),
                " ".join(f"{one:.2f}" for one in row["ratios"][REFERENCE]["spread"]),
                number(row["draft_limit_share"], ".0%"),
                number(row["round_limit_share"], ".0%"),
                number(row["acceptance_rate"], ".3f"),
                row["equivalence"],
            ]
            for row in contest["rows"]
        ),
    )
    console(stderr=False).print(
        "Ratios are of total tokens per second over all prompts and repeats (95 % interval over"
        " prompts); by prompt: the least, the quartiles and the most of the prompts' own. Forwards"
        f" alone, in the same run: c = {contest['speed_ratio']:.2f}.\n"
        f"Limit 1: no token comes faster than one draft forward, so {contest['draft_limit']:.0f}"
        " tokens/s. Limit 2: no round is shorter than the longer of its forwards where both models"
        " run at once, else than both together.",
        soft_wrap=True,
    )
    for said in filter(None, (wide_text(contest["forwards"]), read_text(contest["forwards"]))):
        console(stderr=False).print(said, soft_wrap=True)
    for row in contest["rows"]:
        if row.get("replay"):
            console(stderr=False).print(
                replay_text(row["contender"], row["replay"]), soft_wrap=True
            )
    if mixed:
        console(stderr=False).print(
            "The reference of a decoder that runs in vLLM is vLLM alone. Across engines compare"
            " tokens/s, not ratios to the reference.",
            soft_wrap=True,
        )
    best = contest["best"]
    print_table(
        "At the best γ: chosen on one half of the prompts, compared on the other",
        ["contender", *(f"÷ {name}" for name in best[0]["ratios"])],
        (
            [one["contender"], *(str(Ratio(**ratio)) for ratio in one["ratios"].values())]
            for one in best
        ),
    )


def wide_text(forwards: Sequence[Mapping[str, Any]]) -> str:
    """What drafting several continuations side by side costs; empty where that was not timed."""
    told = _beside_one(forwards, "wide", lambda one: f"{one:.2f}×")
    if not told:
        return ""
    return f"Draft forwards over tokens of several continuations, beside one of one token: {told}."


def read_text(forwards: Sequence[Mapping[str, Any]]) -> str:
    """What reading a guess costs a draft model; empty where that was not timed."""
    told = _beside_one(forwards, "read", lambda one: f"{one[0]:.2f}× to {one[1]:.2f}×")
    if not told:
        return ""
    return (
        "Draft forwards over a token and a guess, beside one of one token, from where none of it is"
        f" right to where all is: {told}."
    )


def _beside_one(
    forwards: Sequence[Mapping[str, Any]], kind: str, said: Callable[[Any], str]
) -> str:
    """How many times as long forwards of a kind take as one of one token, by how many they read."""
    # Benchmarks of before these were timed lack them.
    windows = sorted(forwards[0].get(kind, ()), key=int)
    shares = (
        np.median([np.divide(one[kind][window], one["draft"]) for one in forwards], axis=0)
        for window in windows
    )
    return ", ".join(
        f"{window} tokens {said(share)}" for window, share in zip(windows, shares, strict=True)
    )


def replay_text(contender: str, replay: Mapping[str, float]) -> str:
    """How near a contender came to rules that know more (``Replay``)."""
    simulated = replay["simulated"]
    return (
        f"{contender} on the same texts and forward times, simulated, once prompts are read:"
        f" {simulated:.1f} tokens/s (measured {replay['measured']:.1f}). That is"
        f" {simulated / replay['at_once']:.2f}× what never waiting and judging all there is gives,"
        f" as pearl_async does; {simulated / replay['informed']:.0%} of its rule where it is known"
        " how often tokens of each kind are right, and"
        f" {simulated / replay['outcomes']:.0%} where it is known which of those at hand are."
    )


def print_table(title: str, headings: Sequence[str], cells: Iterable[list[str]]) -> None:
    """A table on standard output."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for heading, justify in zip_longest(headings, ["left"], fillvalue="right"):
        table.add_column(heading, justify=justify, no_wrap=justify == "left")  # type: ignore[arg-type]
    for row in cells:
        table.add_row(*row)
    console(stderr=False).print(table)
