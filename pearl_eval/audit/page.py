"""An audit in words: a page of Markdown, which the terminal shows as it is."""

from __future__ import annotations

from collections.abc import Iterator

from pearl_eval.audit.comparison import Parting
from pearl_eval.audit.result import MEANINGS, AuditResult, FileResult
from pearl_eval.audit.verdicts import TIE, JudgedOutput

#: So many outputs of a kind are told of one by one; all are in ``audit.json``.
_SHOWN = 20
_WHY = {
    "same": "the same",
    "rounding": "part where either token is the target's own within rounding",
    "first wrong": "part where the first file's token is not the target's own",
    "second wrong": "part where the second file's token is not the target's own",
    "both wrong": "part where neither file's token is the target's own",
}


def page(result: AuditResult) -> str:
    """The whole audit as Markdown."""
    return "\n".join(_lines(result)) + "\n"


def _lines(result: AuditResult) -> Iterator[str]:
    yield "# Audit"
    yield ""
    yield f"Target: {result.target}, in {result.dtype}. Tolerance: {result.tolerance}."
    for one in result.files:
        yield ""
        yield f"## {one.file}"
        yield ""
        yield from _totals(one)
        yield from _shown("Not the target's own", one.violations)
        yield from _shown("Ties", [judged for judged in one.judged if judged.kind == TIE])
    if result.partings:
        yield ""
        yield "## The two files beside each other"
        yield ""
        found = result.meanings()
        for name in MEANINGS:
            if found[name]:
                yield f"- {found[name]} of {len(result.partings)}: {_WHY[name]}"
        parted = [one for one in result.partings if one.position is not None]
        yield from _rest([_parted(one) for one in parted[:_SHOWN]], len(parted))
    if result.unusable:
        yield ""
        yield f"## Not judged: {len(result.unusable)}"
        yield ""
        yield from _rest([f"- {one}" for one in result.unusable[:_SHOWN]], len(result.unusable))


def _totals(file: FileResult) -> Iterator[str]:
    figures = file.figures()
    yield "| outputs | identical | tie | violation | sampled | not judged | tokens |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    names = ("outputs", "identical", "ties", "violations", "sampled", "unusable", "tokens")
    yield f"| {' | '.join(str(figures[name]) for name in names)} |"
    yield ""
    if figures["prompts"]:
        low, high = figures["violation_rate_ci95"]
        yield (
            f"- violations: {figures['violation_rate']:.2%} of the outputs that were judged (95 %"
            f" interval {low:.2%} to {high:.2%}), {figures['violation_tokens']} tokens"
        )
    if figures["runner_up_pass_rate"] is not None:
        yield (
            "- what this can't see: at"
            f" {figures['runner_up_pass_rate']:.2%} of the positions the target's second choice"
            " would pass as a tie"
        )
    if file.fit:
        yield (
            f"- sampled tokens: {'BIASED, ' if file.biased else ''}p = {file.fit.p_value:.2g} over"
            f" {file.fit.tokens} tokens; smallest bias that would be seen:"
            f" {file.fit.smallest_bias:.2g}"
        )
    if figures["retokenised"]:
        yield (
            f"- {figures['retokenised']} outputs were given as text and retokenised: the engine may"
            " have generated other tokens for the same text"
        )
    if figures["ends_unknown"]:
        yield f"- {figures['ends_unknown']} outputs do not tell why they end, which was not judged"
    applied = sorted({one.text.applied.describe() for one in file.judged} - {""})
    if applied:
        yield f"- applied to the scores: {'; '.join(applied[:_SHOWN])}"


def _shown(title: str, judged: list[JudgedOutput]) -> Iterator[str]:
    if not judged:
        return
    yield ""
    yield f"{title}:"
    yield ""
    yield from _rest([_told(one) for one in judged[:_SHOWN]], len(judged))


def _told(one: JudgedOutput) -> str:
    row = one.text.row
    name = f" ({row.name})" if row.name else ""
    more = len(one.violations or one.ties) - 1
    rest = f"; {more} more" if more > 0 else ""
    return f"- line {row.place.line}{name}: {one.why}{rest}"


def _parted(one: Parting) -> str:
    name = f" ({one.name})" if one.name else ""
    tokens = " and ".join("its end" if token is None else str(token) for token in one.tokens)
    return (
        f"- lines {one.places[0].line} and {one.places[1].line}{name}: at position {one.position}"
        f" tokens {tokens}, {' and '.join(one.found)}"
    )


def _rest(lines: list[str], count: int) -> Iterator[str]:
    yield from lines
    if count > len(lines):
        yield f"- and {count - len(lines)} more, in audit.json"
