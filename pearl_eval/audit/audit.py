"""An audit, from its files to what it leaves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig
from rich.markup import escape

from decoders.model.cached_model import CachedModel
from pearl_eval.audit.auditor import Auditor
from pearl_eval.audit.comparison import pair_up, part
from pearl_eval.audit.config import AuditConfig
from pearl_eval.audit.defaults import Defaults
from pearl_eval.audit.inputs import Input, Inputs
from pearl_eval.audit.page import page
from pearl_eval.audit.result import AuditResult, FileResult
from pearl_eval.audit.rows import Unusable
from pearl_eval.audit.texts import RowText
from pearl_eval.audit.verdicts import source
from pearl_eval.config.building import plain, section
from pearl_eval.config.schema import Names, RuntimeConfig, TrackingConfig
from pearl_eval.errors import EquivalenceViolation, UserError
from pearl_eval.evaluation.reservation import reserve
from pearl_eval.machine.placement import placed
from pearl_eval.pairs.model_config import model_name
from pearl_eval.pairs.setup import Setup
from pearl_eval.shell.console import console, print_note
from pearl_eval.tracking.tracker import TrackedRun
from pearl_eval.tracking.tracking import make_tracker

JSON, PAGE = "audit.json", "audit.md"
#: So many rows that can't be judged are told of on standard error; all are in the files.
_TOLD = 20


def audit(cfg: DictConfig, pair_name: str, directory: Path) -> None:
    """Judge files of outputs, tell what was found, and leave it in a folder.

    Raises
    ------
    EquivalenceViolation
        An output is not the target's own, or sampled ones are not distributed as the target's.
    UserError
        Nothing could be judged; or all that could be is the target's own, and some rows could not.
    """
    config = AuditConfig(**{name: cfg[name] for name in AuditConfig.__dataclass_fields__})
    if not 1 <= len(config.files) <= 2:
        raise UserError(
            "name a file of outputs, or two of the same prompts: pearl-eval audit FILE [FILE]"
            f" pair.target.path=MODEL; got {len(config.files)}"
        )
    runtime = section("runtime", RuntimeConfig, config.runtime)
    tracking = section("tracking", TrackingConfig, config.tracking)
    setup = Setup.make(config.pair, runtime, uses_draft=False)
    if setup.pair.synthetic:
        raise UserError("a synthetic pair makes its tokens up, so no output is its own")
    defaults = Defaults.of(setup.pair, config.generation_config)
    inputs = Inputs(config, setup.pair, defaults)
    read = [inputs.file(str(name)) for name in config.files]
    _tell([one for file in read for one in file.unusable])
    if not any(file.texts for file in read):
        raise UserError(f"none of {_counted(read)} could be judged")
    with reserve(setup) as setup, placed(setup.processes.target):
        target = setup.pair.load_target()
        result = _judged(target, setup, inputs, defaults, read)
    _leave(result, directory, plain(cfg), Names("audit", pair_name, "audit"), tracking)
    _conclude(result)


def _judged(
    target: CachedModel, setup: Setup, inputs: Inputs, defaults: Defaults, read: Sequence[Input]
) -> AuditResult:
    auditor = Auditor(target, setup.pair, inputs, defaults.ends)
    files = []
    for one in read:
        known, beyond = list[RowText](), list[RowText]()
        for text in one.texts:
            (beyond if max(text.ids) >= target.vocab_size else known).append(text)
        told = f"it has token ids that the target, of {target.vocab_size}, does not have"
        unusable = [Unusable(text.row.place, told) for text in beyond]
        _tell(unusable)
        judged = auditor.judge(known)
        files.append(FileResult(one.file, judged, [*one.unusable, *unusable]))
    result = AuditResult(
        files,
        source(target.model.dtype),
        model_name(setup.source.target_settings()),
        setup.source.dtype.value,
        environment=setup.describe(),
    )
    return result if len(files) < 2 else _beside(result)


def _beside(result: AuditResult) -> AuditResult:
    """With what the two files are beside each other."""
    first, second = (file.judged for file in result.files)
    pairs, alone = pair_up(first, second)
    return replace(
        result,
        partings=[part(*both) for both in pairs],
        alone=[
            Unusable(one.text.row.place, "the other file has no output for its prompt")
            for one in alone
        ],
    )


def _leave(
    result: AuditResult,
    directory: Path,
    config: dict[str, Any],
    names: Names,
    tracking: TrackingConfig,
) -> None:
    """Write and show what was found, and log it."""
    paths = [directory / JSON, directory / PAGE]
    content, text = result.content(), page(result)
    paths[0].write_text(json.dumps(content, indent=2, ensure_ascii=True) + "\n", encoding="utf-8")
    paths[1].write_text(text, encoding="utf-8", errors="backslashreplace")
    out = console(stderr=False)
    out.print(escape(text), soft_wrap=True)
    out.print(f"written: {directory}/{JSON}, {PAGE}", soft_wrap=True)
    run = TrackedRun(names, config, [], "", directory)
    tracker = make_tracker(tracking, run)
    failed = True
    try:
        tracker.finish_audit(_summary(content), _table(content["rows"]), paths)
        failed = False
    finally:
        tracker.close(failed)


def _summary(content: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of all files together, those of a single one under their own names."""
    files = content["files"]
    whole = dict(files[0]) | {"lossy": 0}
    for name in ("outputs", "prompts", "identical", "ties", "violations", "sampled", "unusable"):
        whole[name] = sum(one[name] for one in files)
    p_values = [one["sampling_p_value"] for one in files if one["sampling_p_value"] is not None]
    whole["sampling_p_value"] = min(p_values, default=None)
    return whole | {"meanings": content["meanings"], "by_file": files}


def _table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The rows without what a cell can't hold."""
    counted = [
        {**row, "ties": len(row["ties"]), "violations": len(row["violations"])} for row in rows
    ]
    return pd.DataFrame(counted)


def _conclude(result: AuditResult) -> None:
    """End by what was found: see the exit codes in docs/audit.md."""
    wrong = [one for file in result.files for one in file.violations]
    judged = sum(len(file.judged) for file in result.files)
    biased = [file for file in result.files if file.biased]
    if wrong:
        first = wrong[0]
        raise EquivalenceViolation(
            f"{len(wrong)} of {judged} outputs are not the target's own; the first is"
            f" {first.text.row.place}: {first.why}"
        )
    if biased:
        fit = biased[0].fit
        assert fit is not None
        raise EquivalenceViolation(
            f"{biased[0].file}: its {fit.tokens} sampled tokens are not distributed as the target's"
            f" (p = {fit.p_value:.1e})"
        )
    if result.unusable:
        raise UserError(
            f"{len(result.unusable)} rows could not be judged; all {judged} others are the target's"
            " own"
        )


def _tell(unusable: Sequence[Unusable]) -> None:
    for one in unusable[:_TOLD]:
        print_note(str(one))
    if len(unusable) > _TOLD:
        print_note(f"and {len(unusable) - _TOLD} more rows can't be judged")


def _counted(read: Sequence[Input]) -> str:
    count = sum(len(one.unusable) for one in read)
    return f"{count} rows of {' and '.join(one.file for one in read)}"
