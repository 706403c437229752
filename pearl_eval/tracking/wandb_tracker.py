"""Logging a run to Weights & Biases, by its own habits; offline by default."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import secrets
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from PIL import Image

from pearl_eval.config.schema import TrackingConfig
from pearl_eval.errors import reason
from pearl_eval.results.journal import replacing
from pearl_eval.results.records import Record
from pearl_eval.tracking import metrics
from pearl_eval.tracking.tracker import PROJECT, TrackedRun, Tracker, quieten_wandb
from pearl_eval.tracking.wandb_environment import (
    WandbEnvironment,
    asked,
    asked_tags,
    folder,
    short_name,
    short_tag,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

#: Seconds after which what was logged is on disk, for a run that is killed.
_FLUSH_INTERVAL = 1.0
#: So many seconds more than W&B itself waits, its service is waited for.
_MARGIN = 10.0
#: Set once the server failed: later runs of this process are kept offline at once.
_unreachable = threading.Event()


def run_id(directory: Path) -> str:
    """The id of a run in W&B: made once, then kept with W&B's files in its output directory.

    So a run that is continued is one run there, also from a folder that was moved, and another one
    in a folder of the same name, or on another machine, is not mistaken for it.
    """
    path = directory / "wandb" / "run_id"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with replacing(path) as unfinished:
            unfinished.write_text(secrets.token_hex(4))
    return path.read_text().strip()


class WandbTracker(Tracker):
    """Logs to Weights & Biases; after its first failure warns once and logs nothing more.

    Per prompt, metrics ``prompt/…`` over the number of the prompt. At the end, the figures of
    ``summary.json`` as W&B's summary under their own names, tables of the rounds and the worst
    prompts, a histogram, pictures, and an artifact of the run's files.
    """

    def __init__(self, config: TrackingConfig, run: TrackedRun, mode: str) -> None:
        self._config = config
        self._directory = run.directory
        self._run: Any = None
        self._failed = False
        quieten_wandb()
        self._environment = WandbEnvironment(run.directory.absolute() / "wandb")
        if mode == "online" and _unreachable.is_set():
            log.info("W&B did not answer before: this run is kept offline too")
            mode = "offline"
        self._online = mode == "online"
        try:
            self._start(mode, run)
        except Exception as error:
            if not self._online:
                self._give_up("start", error)
                return
            self._online = False
            _unreachable.set()
            self._keep_offline(run, error)

    def _keep_offline(self, run: TrackedRun, error: Exception) -> None:
        """Log offline what could not be online, and say so."""
        try:
            self._start("offline", run)
        except Exception as second:
            self._give_up("start", second)
            return
        log.warning(
            "W&B start failed, this run is kept offline (`wandb sync` uploads it later): %s",
            reason(error),
        )

    def _start(self, mode: str, run: TrackedRun) -> None:
        import wandb

        config = self._config
        parts = [run.names.decoder, run.names.pair, run.names.task]
        tags = (*parts, *run.tags, *config.tags, *asked_tags())
        settings = wandb.Settings(
            console="off",
            silent=True,
            init_timeout=config.start_timeout,
            finish_timeout=config.finish_timeout,
            finish_timeout_raises=True,
            x_disable_stats=not config.system_metrics,
            x_transaction_log_flush_interval=_FLUSH_INTERVAL,
        )
        arguments: dict[str, Any] = {
            "project": config.project or asked("PROJECT") or PROJECT,
            "entity": config.entity or asked("ENTITY"),
            "group": short_name(config.group or asked("RUN_GROUP") or run.group, "group"),
            "name": short_name(asked("NAME") or "-".join(parts), "name"),
            "job_type": asked("JOB_TYPE") or "evaluation",
            "tags": list(dict.fromkeys(short_tag(tag) for tag in tags if tag)),
            "config": run.config | {"choices": asdict(run.names)},
            "dir": str(folder(run.directory)),
            "id": run_id(run.directory),
            "resume": "allow",
            "mode": mode,
        }
        try:
            self._run = wandb.init(settings=settings, **arguments)
        except Exception:
            # Nothing of a failed start may be left for the next one to trip over.
            _tear_down()
            raise
        self._run.define_metric(metrics.PROMPT, hidden=True, summary="none")
        # Not in the summary: there a prompt's figures would pass for the run's.
        self._run.define_metric(
            f"{metrics.PROMPT}/*", step_metric=metrics.PROMPT, step_sync=False, summary="none"
        )

    def log_prompt(self, record: Record, step: int) -> None:
        def log_metrics() -> None:
            self._run.log(
                {metrics.PROMPT: step} | metrics.prompt_metrics(record), step=step, commit=True
            )

        self._guard("log", lambda: self._limited(log_metrics))

    def finish(
        self,
        summary: dict[str, Any],
        records: Sequence[Record],
        rounds: pd.DataFrame,
        files: Sequence[Path],
    ) -> None:
        def log_all() -> None:
            self._run.summary.update(summary)
            self._log_media(summary, records, _drawn(self._directory), step=len(records))
            # Last, as these ask the server, and W&B waits for up to 19 s for an answer.
            self._log_tables(records, rounds, step=len(records))
            self._log_files(files)

        self._guard("summary", lambda: _within(self._config.finish_timeout, log_all))

    def finish_audit(
        self, summary: dict[str, Any], rows: pd.DataFrame, files: Sequence[Path]
    ) -> None:
        import wandb

        def log_all() -> None:
            self._run.summary.update(summary)
            html = metrics.equivalence_html(summary)
            self._run.log(
                {
                    metrics.EQUIVALENCE: wandb.Html(html, inject=False),
                    metrics.AUDIT_TABLE: _table(rows.head(self._config.table_rows)),
                }
            )
            self._log_files(files)

        self._guard("summary", lambda: _within(self._config.finish_timeout, log_all))

    def _log_media(
        self,
        summary: dict[str, Any],
        records: Sequence[Record],
        images: Mapping[str, Figure],
        step: int,
    ) -> None:
        import wandb

        html = metrics.equivalence_html(summary)
        media: dict[str, Any] = {metrics.EQUIVALENCE: wandb.Html(html, inject=False)}
        histogram = metrics.run_length_histogram(records)
        if histogram:
            media[metrics.RUNS_HISTOGRAM] = wandb.Histogram(np_histogram=histogram)
        if images:
            media[metrics.TIMELINES] = [
                wandb.Image(_picture(image), caption=caption) for caption, image in images.items()
            ]
        self._run.log(media, step=step)

    def _log_tables(self, records: Sequence[Record], rounds: pd.DataFrame, step: int) -> None:
        kept = metrics.sampled_rounds(rounds, self._config.table_rows)
        worst = metrics.worst_prompts(records, self._config.worst_prompts)
        self._run.summary.update({"rounds_in_table": len(kept), "rounds_total": len(rounds)})
        if len(kept) < len(rounds):
            log.info(
                "W&B's table has %d of the %d rounds, of whole prompts", len(kept), len(rounds)
            )
        tables = {metrics.ROUNDS_TABLE: _table(kept), metrics.WORST_TABLE: _table(worst)}
        self._run.log(tables, step=step)

    def _log_files(self, files: Sequence[Path]) -> None:
        """Log the run's files and Hydra's, from where they are, as one artifact."""
        import wandb

        artifact = wandb.Artifact(f"evaluation-{self._run.id}", type="evaluation")
        for path in (*files, *sorted(self._directory.glob(".hydra/*.yaml"))):
            name = str(path.relative_to(self._directory))
            artifact.add_file(str(path), name, policy="immutable")
        self._run.log_artifact(artifact)

    def close(self, failed: bool) -> None:
        if self._run is not None:
            run, self._run = self._run, None
            warned, self._failed = self._failed, False
            self._guard(
                "finish", lambda: self._limited(lambda: run.finish(exit_code=int(failed))), warned
            )
        self._environment.restore()

    def _limited(self, action: Callable[[], object]) -> None:
        """Do what W&B's service, a process of its own, has to take part in.

        W&B keeps ``finish_timeout`` where a server does not answer, but would wait for ever for a
        service that hangs, at the end of this process, too. So that one is killed.
        """
        try:
            _within(self._config.finish_timeout + _MARGIN, action)
        except TimeoutError:
            _kill_service()
            raise

    def _guard(self, what: str, action: Callable[[], object], warned: bool = False) -> None:
        """Do ``action``, unless an earlier one failed."""
        if self._failed:
            return
        try:
            action()
        except Exception as error:
            self._give_up(what, error, warned)

    def _give_up(self, what: str, error: Exception, warned: bool = False) -> None:
        """Log nothing more, and warn unless that was done."""
        self._failed = True
        if self._online:
            _unreachable.set()
        message = "W&B %s failed, the run's files are complete without it: %s"
        log.log(logging.INFO if warned else logging.WARNING, message, what, reason(error))


def timelines(directory: Path) -> dict[str, Figure]:
    """Pictures of what each model did when, by their captions, from the files of a run."""
    # Imported late: it brings matplotlib, which no other tracker has use for.
    from pearl_eval.figures.timeline import find_runs, timeline

    return {"the prompt with the median speedup": timeline(find_runs([directory]))}


def _drawn(directory: Path) -> Mapping[str, Figure]:
    """The pictures; none where they can't be drawn, which keeps nothing else from being logged."""
    try:
        return timelines(directory)
    except Exception as error:
        log.info("no pictures for W&B: %s", reason(error))
        return {}


def _table(frame: pd.DataFrame) -> Any:
    """A frame as a table; W&B itself would read it cell by cell."""
    import wandb

    rows: list[Any] = frame.astype(object).to_numpy().tolist()
    return wandb.Table(columns=list(frame.columns), data=rows)


def _picture(image: Figure) -> Image.Image:
    """A figure as a picture. W&B takes figures only where pyplot was imported."""
    buffer = io.BytesIO()
    image.savefig(buffer, format="png")
    return Image.open(buffer)


def _kill_service() -> None:
    """Kill W&B's service; the next run of this process starts another."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = stat.read_text().rpartition(") ")
            if name.endswith("(wandb-core") and int(rest.split()[1]) == os.getpid():
                os.kill(int(stat.parent.name), signal.SIGKILL)
    _tear_down()


def _tear_down() -> None:
    """Forget W&B's service, which it otherwise would go on talking to."""
    import wandb

    # It ends this process with the code of a service that was killed, where it learns of that.
    with contextlib.suppress(Exception, SystemExit):
        _within(_MARGIN, wandb.teardown)


def _within(seconds: float, action: Callable[[], object]) -> None:
    """Do ``action``, but wait for it no longer than so many seconds.

    Raises
    ------
    TimeoutError
        It went on for longer, and is left to itself.
    """
    errors: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="wandb-artifact", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {seconds:g} s")
    if errors:
        raise errors[0]
