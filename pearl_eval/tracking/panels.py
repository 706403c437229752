"""The W&B workspace and report over runs, as code. Needs the extra ``dashboard``."""

from __future__ import annotations

import json
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr

from pearl_eval.results.records import PERCENTILES
from pearl_eval.tracking import metrics

_TASK, _DECODER, _PAIR = "choices.task", "choices.decoder", "choices.pair"
#: Columns beside the names of runs.
_COLUMNS = [
    "tokens_per_second",
    "speedup",
    "mean_accepted_tokens",
    "acceptance_length",
    "acceptance_rate",
    "ttft_seconds_p50",
    "tpot_seconds_p50",
    "itl_seconds_p99",
    "wait_fraction_draft",
    "wait_fraction_target",
    "violations",
    "accuracy",
    "reference_accuracy",
]
#: What runs say of decoders that go by PEARL's rounds, whichever parts of them are off.
_ROUNDS = ("decoder_about.schedule._target_", "decoders.schedule.Parallel")


def _bars(title: str, *names: str) -> wr.BarPlot:
    """Bars of figures of ``summary.json``: one for each run, or group of runs."""
    return wr.BarPlot(title=title, metrics=list(names), groupby_aggfunc="mean")


def _over_prompts(title: str, *names: str) -> wr.LinePlot:
    own: list[Any] = [f"{metrics.PROMPT}/{name}" for name in names]
    return wr.LinePlot(title=title, x=metrics.PROMPT, y=own, title_x="prompt")


def _speedup() -> wr.BarPlot:
    return _bars("Speedup over the paired autoregressive run", "speedup")


def _latency() -> list[wr.BarPlot]:
    titles = {
        "ttft": "Time to the first token, seconds",
        "tpot": "Time per output token, seconds",
        "itl": "Gaps between outputs, seconds",
    }
    return [
        _bars(title, *(f"{name}_seconds_p{which}" for which in PERCENTILES))
        for name, title in titles.items()
    ]


def _waiting() -> wr.BarPlot:
    title = "Share of decoding time that each model waited"
    return _bars(title, "wait_fraction_draft", "wait_fraction_target")


def _accuracy() -> wr.BarPlot:
    return _bars("Accuracy, beside the reference's", "accuracy", "reference_accuracy")


def _equivalence() -> list[Any]:
    """How many outputs are not the target's own: over all runs, and red in each run that has any.

    A scalar chart has no colours, so each run logs its own number as HTML.
    """
    total = wr.ScalarChart(
        title="Outputs that are not the target's own, all runs",
        metric="violations",
        groupby_aggfunc="sum",
        font_size="large",
    )
    each = wr.MediaBrowser(
        title="Outputs that are not the target's own, by run (red: some)",
        media_keys=[metrics.EQUIVALENCE],
        gallery_axis="run",
    )
    return [total, each]


def workspace(entity: str, project: str) -> ws.Workspace:
    """Speedup by task and decoder, acceptance, waiting, equivalence, accuracy; then every prompt.

    Runs are grouped by task and decoder, and so are all charts.
    """
    results: list[Any] = [
        _speedup(),
        *_equivalence(),
        _bars("Acceptance rate", "acceptance_rate"),
        _bars("Mean accepted tokens", "mean_accepted_tokens"),
        _bars("Acceptance length", "acceptance_length"),
        _bars("Tokens per target forward", "tokens_per_target_forward"),
        _waiting(),
        _accuracy(),
        _bars("Tokens per second", "tokens_per_second", "reference_tokens_per_second"),
        *_latency(),
        _bars("Speedup over the target alone on equal hardware", "equal_hardware_speedup"),
    ]
    prompts: list[Any] = [
        _over_prompts("Speedup", "speedup"),
        _over_prompts("Acceptance rate", "acceptance_rate"),
        _over_prompts("Mean accepted tokens", "mean_accepted_tokens"),
        _over_prompts("Acceptance length", "acceptance_length"),
        _over_prompts("Time to the first token, seconds", "ttft_seconds"),
        _over_prompts("Time per output token, seconds", "tpot_seconds"),
        _over_prompts("Waiting", "wait_fraction_draft", "wait_fraction_target"),
        _over_prompts("Outputs that are not the target's own", "violation"),
        wr.WeavePanelSummaryTable(table_name=metrics.WORST_TABLE),
    ]
    rounds: list[Any] = [
        wr.LinePlot(title="Runs of accepted tokens", y=[metrics.RUNS_HISTOGRAM]),
        wr.WeavePanelSummaryTable(table_name=metrics.ROUNDS_TABLE),
        wr.MediaBrowser(
            title="Timelines", media_keys=[metrics.TIMELINES], num_columns=1, gallery_axis="run"
        ),
    ]
    return ws.Workspace(
        entity=entity,
        project=project,
        name="Speculative decoding",
        sections=[
            ws.Section(name="Results", panels=results, is_open=True, pinned=True),
            ws.Section(name="Prompts", panels=prompts, is_open=True),
            ws.Section(name="Rounds", panels=rounds, is_open=True),
        ],
        runset_settings=ws.RunsetSettings(
            groupby=[expr.Config(_TASK), expr.Config(_DECODER)],
            pinned_columns=[f"summary:{name}" for name in _COLUMNS],
        ),
    )


def _table(name: str, *columns: str, only: tuple[str, str] | None = None) -> wr.Runset:
    """A table of runs by pair, task and decoder; ``only`` those whose summary says so."""
    return wr.Runset(
        name=name,
        groupby=[f"config.{key}" for key in (_PAIR, _TASK, _DECODER)],
        filters=[expr.Summary(only[0]) == only[1]] if only else [],
        pinned_columns=["run:displayName", *(f"summary:{column}" for column in columns)],
    )


def report(entity: str, project: str) -> wr.Report:
    """The paper's tables: speed, accepted tokens, ablations, draft lengths, waiting, equality."""
    gamma = wr.ScatterPlot(
        title="Speedup by draft length",
        x=wr.SummaryMetric("decoder_settings.gamma"),
        y=wr.SummaryMetric("speedup"),
    )
    speeds = ("tokens_per_second", "reference_tokens_per_second", "speedup", "speedup_ci95")
    accepted = (
        "mean_accepted_tokens",
        "acceptance_length",
        "acceptance_rate",
        "tokens_per_target_forward",
    )
    latency = tuple(
        f"{name}_seconds_{which}" for name in ("ttft", "tpot", "itl") for which in ("p50", "p99")
    )
    waited = ("wait_fraction_draft", "wait_fraction_target")
    lossless = ("violations", "ties", "exact_match_rate", "accuracy", "reference_accuracy")
    blocks: list[Any] = [
        wr.P(
            "Each run decodes every prompt twice: by the autoregressive reference and by the"
            " decoder under test. Speedups are ratios of the two; groups show means over runs."
        ),
        wr.H1("Speed"),
        wr.PanelGrid(runsets=[_table("Speed", *speeds)], panels=[_speedup()]),
        wr.H1("Mean accepted tokens"),
        wr.PanelGrid(
            runsets=[_table("Accepted tokens", *accepted)],
            panels=[
                _bars("Mean accepted tokens", "mean_accepted_tokens"),
                _bars("Acceptance length", "acceptance_length"),
            ],
        ),
        wr.H1("Latency"),
        wr.PanelGrid(runsets=[_table("Latency", *latency)], panels=[*_latency()]),
        wr.H1("Ablations: without pre-verify, without post-verify"),
        wr.PanelGrid(runsets=[_table("Ablations", *speeds, only=_ROUNDS)], panels=[_speedup()]),
        wr.H1("Draft length"),
        wr.PanelGrid(
            runsets=[
                wr.Runset(
                    name="Draft length",
                    pinned_columns=["summary:decoder_settings.gamma", "summary:speedup"],
                )
            ],
            panels=[gamma],
        ),
        wr.H1("Waiting"),
        wr.PanelGrid(runsets=[_table("Waiting", *waited)], panels=[_waiting()]),
        wr.H1("Losslessness and accuracy"),
        wr.PanelGrid(
            runsets=[_table("Losslessness", *lossless)], panels=[*_equivalence(), _accuracy()]
        ),
    ]
    return wr.Report(
        entity=entity,
        project=project,
        title="Speculative decoding",
        description="Speed, acceptance and losslessness of decoders, by pair and task",
        blocks=blocks,
        width="fluid",
    )


def spec(entity: str, project: str) -> dict[str, Any]:
    """Workspace and report as W&B would store them. Asks no server."""
    views: dict[str, Any] = {
        "workspace": workspace(entity, project),
        "report": report(entity, project),
    }
    # The library has no public way to a spec; so its version is pinned.
    models = {name: view._to_model() for name, view in views.items()}
    return {
        name: json.loads(model.model_dump_json(by_alias=True, exclude_none=True))
        for name, model in models.items()
    }
