"""The record of one finished prompt, and the names of the files a run leaves behind."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pearl_eval.errors import UserError, reason
from pearl_eval.results.formats import current, taken_version
from pearl_eval.results.version_0 import upgrade_identity, upgrade_record, upgrade_summary

RECORDS = "records.jsonl"
ROUNDS = "rounds.parquet"
SUMMARY = "summary.json"
#: What a run is, so that it can be continued.
RUN = "run.json"
#: What Hydra leaves in the folder of a sweep, and below that of a run.
SWEEP = "multirun.yaml"
OVERRIDES = ".hydra/overrides.yaml"
#: What a benchmark leaves in its folder, beside those of its runs.
BENCH = "bench.json"
#: Why a run failed; a sweep's other runs go on, so the error must be found in the run's folder.
ERROR = "error.txt"

#: Sampled tokens whose p-value is below this are not distributed as the target's, and the run is
#: refused: one in a million of those without any fault, too.
SIGNIFICANCE = 1e-6

#: What everything asks of a summary, by its kind.
_OF_SUMMARIES: dict[str, type] = {name: str for name in ("decoder", "pair", "task")}
_OF_SUMMARIES |= {name: int for name in ("prompts", "violations", "ties")} | {"environment": dict}

#: What is told of many times.
PERCENTILES = (50, 95, 99)
#: Figures that runs of before lack: of a run and each of its categories, and of a run alone.
_ADDED_FIGURES = (
    "acceptance_length",
    "speedup_of_mean_speeds",
    "equal_hardware_tokens_per_second",
    "equal_hardware_speedup",
    "equal_hardware_speedup_ci95",
)
_ADDED = (
    *_ADDED_FIGURES,
    *(f"{name}_seconds_p{which}" for name in ("ttft", "tpot", "itl") for which in PERCENTILES),
    *(f"{whose}tokens_per_second_per_device" for whose in ("", "reference_", "equal_hardware_")),
    "devices",
    "verification",
)
#: And of its traces.
ADDED_TRACES = ("verifications", "accepted_per_verification", "acceptance_by_position")

#: A prompt of a run: ``task_id``, ``sample``, ``turn``.
Key = tuple[str, int, int]
KEY_FIELDS = ("task_id", "sample", "turn")


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file. :class:`UserError` for a line that is none."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield json.loads(line.decode("utf-8", "surrogatepass"))
            except ValueError as error:
                raise UserError(f"{path}, line {number}, is damaged ({error})") from None


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a ``records.jsonl``. :class:`UserError` for one that is damaged."""
    for number, record in enumerate(read_lines(path), start=1):
        if not isinstance(record, dict):
            raise UserError(f"{path}, line {number}, is damaged (it holds no JSON object)")
        yield current(record, path, upgrade_record)


def biased(summary: Mapping[str, Any]) -> bool:
    """Whether sampled tokens are not distributed as the target's."""
    p_value = summary["sampling_p_value"]
    return p_value is not None and p_value < SIGNIFICANCE


class FileObject(dict[str, Any]):
    """A JSON object of a file, which is named where something is asked for that it lacks."""

    path: Path | None = None
    advice = ""

    def __missing__(self, name: str) -> Any:
        raise UserError(f"{self.path} is damaged (it lacks {name!r}): {self.advice}")


def read_json(path: Path, advice: str = "move it away and make it anew") -> FileObject:
    """The JSON object that a file holds. :class:`UserError` where it is damaged.

    So is what is asked of it later, also of an object in it, and is not there. ``advice`` is what
    to do about it.
    """

    def named(content: dict[str, Any]) -> FileObject:
        found = FileObject(content)
        found.path, found.advice = path, advice
        return found

    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_hook=named)
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): {advice}") from None
    if not isinstance(content, FileObject):
        raise UserError(f"{path} is damaged (it holds no JSON object): {advice}")
    return content


def read_bench(directory: Path) -> FileObject:
    """What ``bench.json`` of a benchmark's directory holds.

    :class:`UserError` where it is damaged, or there is none.
    """
    path = directory / BENCH
    try:
        return read_json(path)
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; give a directory that pearl-eval bench wrote into"
        ) from None


def read_yaml(path: Path) -> Any:
    """What Hydra left in a YAML file. :class:`UserError` where it is damaged."""
    try:
        return OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except Exception as error:  # whatever is thrown over a file that is not ours
        raise UserError(f"{path} is damaged: {reason(error)}") from error


def read_summary(folder: Path) -> FileObject:
    """What a run's ``summary.json`` holds. :class:`UserError` where it is damaged."""
    path, advice = folder / SUMMARY, "continue the run, or move its folder away"
    summary = read_json(path, advice)
    version = taken_version(summary, path)
    for name, kind in _OF_SUMMARIES.items():
        if not isinstance(summary[name], kind):
            raise UserError(f"{path} is damaged ({name!r} is {summary[name]!r:.40}): {advice}")
    if version == 0:
        upgrade_summary(summary)
    parts = [(summary, _ADDED), (summary["traces"], ADDED_TRACES)]
    parts += [(one, _ADDED_FIGURES) for one in (summary["by_category"] or {}).values()]
    for part, names in parts:
        for name in names:
            part.setdefault(name, None)
    return summary


def read_run(folder: Path) -> FileObject | None:
    """What a run's ``run.json`` holds; ``None`` where there is none.

    :class:`UserError` where it is damaged.
    """
    path, advice = folder / RUN, "move the folder away and run anew"
    try:
        return current(read_json(path, advice), path, upgrade_identity)
    except FileNotFoundError:
        return None


def read_identity(folder: Path) -> dict[str, Any]:
    """What a run is, by its ``run.json``; empty where that is not known."""
    about = read_run(folder)
    return {} if about is None else about.get("identity") or {}


def read_error(folder: Path) -> list[str] | None:
    """The lines of a run's ``error.txt``, the first says it all; ``None`` where there is none."""
    try:
        return (folder / ERROR).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None


@dataclass(frozen=True)
class Record:
    """One finished prompt, or turn of a dialogue.

    Times are seconds; ``judged`` and ``accepted`` count tokens, ``accepted_runs`` are lengths.

    ``violation`` says how the output is not the target's own; ``tie`` how near a tie is, and what
    it was held to; ``runner_up_pass_rate`` what share of the target's second choices would have
    passed as ties, where there is one. Energy is ``None`` where no device counts it, waiting where
    an engine does not tell it. ``sample`` counts the samples of one problem from 0. ``correct`` and
    ``reference_correct`` are ``None`` where there is nothing to hold a text to. They are, and
    ``text`` and ``result`` are empty, where the pair is synthetic. ``lost`` is what the decoder had
    to go on without, such as a draft process.

    ``verifications`` says how many tokens each target forward accepted that judged any. For times
    to tokens see :mod:`pearl_eval.results.latency`. ``equal_hardware_*`` are of the reference on
    all that the decoder under test computes on, where that was asked for. Runs of before lack what
    is ``None`` here by default.
    """

    task_id: str
    sample: int
    turn: int
    category: str
    synthetic: bool
    warmup: bool
    prompt_tokens: int
    output_ids: list[int]
    text: str
    new_tokens: int
    seconds: float
    seconds_prefill: float
    reference_seconds: float
    reference_output_ids: list[int]
    speedup: float
    target_forwards: int
    draft_forwards: int
    judged: int
    accepted: int
    wait_draft_seconds: float | None
    wait_target_seconds: float | None
    accepted_runs: list[int]
    exact_match: bool
    first_divergence: int | None
    verdict: str
    correct: bool | None
    reference_correct: bool | None
    result: str
    finish_reason: str
    violation: str
    joules: float | None
    reference_joules: float | None
    tie: str
    runner_up_pass_rate: float | None
    lost: str = ""
    verifications: list[int] | None = None
    ttft_seconds: float | None = None
    tpot_seconds: float | None = None
    itl_seconds_p50: float | None = None
    itl_seconds_p95: float | None = None
    itl_seconds_p99: float | None = None
    equal_hardware_seconds: float | None = None
    equal_hardware_new_tokens: int | None = None

    @property
    def key(self) -> Key:
        """What tells it from the other prompts of its run."""
        return self.task_id, self.sample, self.turn

    def line(self) -> str:
        """The record in a line for people."""
        where = f"{self.task_id}, turn {self.turn}" if self.turn else self.task_id
        share = f", {self.accepted}/{self.judged} accepted" if self.judged else ""
        right = "" if self.correct is None else f", {'right' if self.correct else 'wrong'}"
        warmup = ", warm-up" if self.warmup else ""
        return (
            f"{where}: {self.new_tokens} tokens in {self.seconds:.2f} s,"
            f" {self.speedup:.2f}×{share}, {self.verdict}{right}{warmup}"
        )
