"""What an audit found: of each file, and of two together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from pearl_eval.audit.comparison import Parting
from pearl_eval.audit.ends import EndKind
from pearl_eval.audit.rows import Unusable
from pearl_eval.audit.verdicts import IDENTICAL, SAMPLED, TIE, VIOLATION, JudgedOutput, as_json
from pearl_eval.checks.distribution import Fit, SampledTokens
from pearl_eval.results.intervals import wilson

KINDS = (IDENTICAL, TIE, VIOLATION, SAMPLED)
#: Why two outputs of one prompt part.
MEANINGS = ("same", "rounding", "first wrong", "second wrong", "both wrong")


@dataclass(frozen=True)
class FileResult:
    """What was found of the outputs of one file."""

    file: str
    judged: Sequence[JudgedOutput]
    unusable: Sequence[Unusable]

    @cached_property
    def fit(self) -> Fit | None:
        """How well all tokens that were sampled fit the target's distribution, if any were."""
        return fit_of(self.judged)

    @property
    def kinds(self) -> Counter[str]:
        return Counter(one.kind for one in self.judged)

    @property
    def violations(self) -> list[JudgedOutput]:
        return [one for one in self.judged if one.kind == VIOLATION]

    @property
    def biased(self) -> bool:
        """Whether sampled tokens are not distributed as the target's."""
        return self.fit is not None and self.fit.refused

    def figures(self) -> dict[str, Any]:
        """The totals, by the names that are written."""
        judged, kinds = self.judged, self.kinds
        rate = kinds[VIOLATION] / len(judged) if judged else None
        chosen = sum(one.tokens for one in judged if not one.text.applied.random)
        return {
            "outputs": len(judged) + len(self.unusable),
            "prompts": len(judged),
            "identical": kinds[IDENTICAL],
            "ties": kinds[TIE],
            "violations": kinds[VIOLATION],
            "sampled": kinds[SAMPLED],
            "unusable": len(self.unusable),
            "violation_rate": rate,
            "violation_rate_ci95": wilson(rate, len(judged)) if rate is not None else None,
            "tokens": sum(one.tokens for one in judged),
            "tie_tokens": sum(len(one.ties) for one in judged),
            "violation_tokens": sum(len(one.violations) for one in judged),
            "runner_up_pass_rate": sum(one.near for one in judged) / chosen if chosen else None,
            "ends_unknown": sum(one.end.kind is EndKind.unknown for one in judged),
            "retokenised": sum(one.text.retokenised for one in judged),
            "sampled_tokens": self.fit.tokens if self.fit else None,
            "sampling_p_value": self.fit.p_value if self.fit else None,
            "sampling_smallest_bias": self.fit.smallest_bias if self.fit else None,
        }

    def rows(self) -> list[dict[str, Any]]:
        """Each output, as it is written."""
        return [
            {
                "file": one.text.row.place.file,
                "line": one.text.row.place.line,
                "name": one.text.row.name,
                "verdict": one.kind,
                "position": one.first,
                "why": one.why,
                "prompt_tokens": one.text.begin,
                "tokens": len(one.text.output),
                "retokenised": one.text.retokenised,
                "applied": one.text.applied.describe(),
                "end": one.end.kind.value,
                "allowed_for_experts": one.more,
                "ties": [as_json(tie) for tie in one.ties],
                "violations": [as_json(wrong) for wrong in one.violations],
            }
            for one in self.judged
        ]


def fit_of(judged: Iterable[JudgedOutput]) -> Fit | None:
    """How well the sampled tokens of some outputs fit the target's distribution, if any are."""
    sampled = SampledTokens()
    for one in judged:
        sampled.merge(one.sampled)
    return sampled.fit() if sampled.tokens else None


@dataclass(frozen=True)
class AuditResult:
    """What an audit found.

    ``tolerance`` says where tolerances come from. ``partings`` are of two files, and ``alone`` the
    rows of either whose prompt the other does not have.
    """

    files: Sequence[FileResult]
    tolerance: str
    target: str
    dtype: str
    partings: Sequence[Parting] = ()
    alone: Sequence[Unusable] = ()
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def unusable(self) -> list[Unusable]:
        return [*(one for file in self.files for one in file.unusable), *self.alone]

    def meanings(self) -> Counter[str]:
        """How many pairs of outputs part for which reason."""
        return Counter(one.meaning for one in self.partings)

    def content(self) -> dict[str, Any]:
        """As ``audit.json`` holds it."""
        return {
            "target": self.target,
            "dtype": self.dtype,
            "tolerance": self.tolerance,
            "files": [{"file": one.file, **one.figures()} for one in self.files],
            "rows": [row for one in self.files for row in one.rows()],
            "unusable": [_unusable(one) for one in self.unusable],
            "partings": [_parting(one) for one in self.partings],
            "meanings": dict(self.meanings()) if self.partings else None,
            "environment": self.environment,
        }


def _unusable(one: Unusable) -> dict[str, Any]:
    return {**asdict(one.place), "reason": one.reason}


def _parting(one: Parting) -> dict[str, Any]:
    return {
        "name": one.name,
        "lines": [place.line for place in one.places],
        "position": one.position,
        "tokens": list(one.tokens),
        "found": list(one.found),
        "meaning": one.meaning,
    }
