"""The command as a user runs it: files, table, exit codes, errors."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import psutil
import pytest
from decoder_cases import ALL_NAMES, NAMES
from program import PROGRAM
from small_pair import SmallPair, make_model, make_tokenizer

from pearl_eval.results.table import Row
from pearl_eval.shell.console import print_table

Run = Callable[..., tuple[int, str, str]]
SHORT = ("task.limit=3", "task.max_new_tokens=16")
CONF = f"--config-dir={Path(__file__).parents[1] / 'conf'}"
SUMMARY_KEYS = """
    tokens_per_second reference_tokens_per_second speedup speedup_ci95 mean_accepted_tokens
    acceptance_rate tokens_per_target_forward target_forwards draft_forwards wait_fraction_draft
    wait_fraction_target prompts new_tokens exact_match_rate ties violations accuracy
    pass_at_k isolation accuracy_name peak_memory_bytes decoder pair task seed environment
    reference traces by_category mean_prompt_tokens_per_second
    reference_mean_prompt_tokens_per_second
"""
FIGURES = """
    prompts tokens_per_second speedup speedup_ci95 mean_accepted_tokens acceptance_rate accuracy
"""
RECORD_KEYS = """
    task_id sample turn category prompt_tokens output_ids text new_tokens seconds seconds_prefill
    reference_seconds reference_output_ids speedup target_forwards draft_forwards accepted_runs
    judged accepted wait_draft_seconds wait_target_seconds
    exact_match first_divergence verdict correct result finish_reason
"""


def read_records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("decoder", NAMES)
def test_a_run_leaves_its_files_and_prints_its_table(
    run_cli: Run, tmp_path: Path, decoder: str
) -> None:
    # Three timed problems are the fewest that give an interval.
    code, out, _ = run_cli(f"decoder={decoder}", *SHORT, "task.limit=4", "hydra.run.dir=run")
    assert code == 0
    assert decoder in out and "identical 4/4" in out and "pass@1" in out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert set(SUMMARY_KEYS.split()) <= set(summary)
    assert (summary["prompts"], summary["violations"], summary["decoder"]) == (4, 0, decoder)
    assert summary["speedup_ci95"][0] <= summary["speedup"] <= summary["speedup_ci95"][1]
    records = read_records(tmp_path / "run")
    assert all(set(RECORD_KEYS.split()) <= set(record) for record in records)
    assert [record["warmup"] for record in records] == [True, False, False, False]
    rounds = pd.read_parquet(tmp_path / "run" / "rounds.parquet")
    assert list(rounds["task_id"].unique()) == [record["task_id"] for record in records]
    lengths = rounds.groupby("task_id", sort=False)["verified_length"].last()
    assert list(lengths) == [record["new_tokens"] for record in records]
    traces = summary["traces"]
    assert traces["rounds"] == len(rounds)
    by_block = traces["by_block_position"] or []
    assert sum(one["judged"] for one in by_block) == sum(rounds["judged"])


def test_on_equal_hardware_there_are_two_references(run_cli: Run, tmp_path: Path) -> None:
    both = ("decoder=autoregressive,speculative,pearl", "reference.hardware=all")
    code, out, err = run_cli("-m", *both, *SHORT, "task.limit=4", "hydra.sweep.dir=sweep")
    assert code == 0, err
    assert "÷ AR on equal" in out and "Latency" in out
    for number, devices in enumerate((1, 2, 2)):
        summary = json.loads((tmp_path / "sweep" / str(number) / "summary.json").read_text())
        cores = len(summary["devices"]["decoder"])
        # Both models share a core where there is one alone.
        assert cores == min(devices, len(os.sched_getaffinity(0)))
        assert (summary["devices"]["rule"], summary["violations"]) == ("all", 0)
        speed, reference = summary["tokens_per_second"], summary["equal_hardware_tokens_per_second"]
        assert summary["equal_hardware_speedup"] == pytest.approx(speed / reference)
        assert summary["tokens_per_second_per_device"] == pytest.approx(speed / cores)
        if cores == 1:
            assert summary["equal_hardware_speedup"] == summary["speedup"]
        for record in read_records(tmp_path / "sweep" / str(number)):
            assert record["equal_hardware_seconds"] > 0
            assert record["equal_hardware_new_tokens"] == record["new_tokens"]
            assert 0 < record["ttft_seconds"] < record["seconds"]


def test_vllm_has_no_other_hardware(run_cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("decoders.vllm.engine.check_installed", lambda: None)
    code, out, err = run_cli("decoder=vllm", "reference.hardware=all", *SHORT)
    assert code == 2 and not out
    assert "reference.hardware=all: a decoder that runs in vLLM is measured against vLLM" in err
    assert len(err.splitlines()) == 1


def test_a_lossy_decoder_is_no_violation(run_cli: Run, tmp_path: Path) -> None:
    code, out, _ = run_cli("decoder=draft_only", *SHORT, "hydra.run.dir=run")
    assert code == 0 and "lossy, identical" in out
    verdicts = {record["verdict"] for record in read_records(tmp_path / "run")}
    assert "lossy" in verdicts and verdicts <= {"lossy", "identical"}


def test_blocks_are_judged_and_that_is_told(run_cli: Run, tmp_path: Path) -> None:
    asked = ("sampling=temperature", "sampling.verification=block", "task.max_new_tokens=40")
    code, out, err = run_cli("decoder=pearl", *asked, "task.limit=2", "hydra.run.dir=run")
    assert code == 0, err
    assert "pearl: drafted tokens judged as blocks (sampling.verification=block)" in out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["verification"] == "block" and summary["sampling_p_value"] > 1e-4
    about = json.loads((tmp_path / "run" / "run.json").read_text())["identity"]
    assert about["sampling.verification"] == "block"


def test_samples_of_a_problem_differ_and_are_counted(run_cli: Run, tmp_path: Path) -> None:
    samples = ("task.samples_per_task=3", "task.k=[1,3]", "task.limit=2", "task.max_new_tokens=8")
    code, _, err = run_cli("sampling=temperature", *samples, "hydra.run.dir=run")
    assert code == 0, err
    records = read_records(tmp_path / "run")
    assert [(r["task_id"][-2:], r["sample"]) for r in records] == [
        (task, sample) for task in ("/0", "/1") for sample in range(3)
    ]
    assert len({tuple(r["output_ids"]) for r in records}) == 6
    assert all(r["result"].startswith("failed: ") for r in records)
    lines = (tmp_path / "run" / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["task_id"] for line in lines] == [r["task_id"] for r in records]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["pass_at_k"] == {"1": 0.0, "3": 0.0}
    assert summary["isolation"] in ("bubblewrap", "namespaces")
    rounds = pd.read_parquet(tmp_path / "run" / "rounds.parquet")
    assert sorted(rounds["sample"].unique()) == [0, 1, 2]


def test_a_sweep_ends_in_one_table_and_shares_a_folder(run_cli: Run, tmp_path: Path) -> None:
    code, out, _ = run_cli(
        "-m", "decoder=speculative,pearl", "decoder.gamma=2,3", *SHORT, "hydra.sweep.dir=sweep"
    )
    assert code == 0
    for label in ("speculative γ2", "speculative γ3", "pearl γ2", "pearl γ3"):
        assert label in out
    assert len(list((tmp_path / "sweep").glob("*/summary.json"))) == 4


def test_quickstart_is_a_sweep_of_three_decoders(run_cli: Run, tmp_path: Path) -> None:
    code, out, err = run_cli("experiment=quickstart", *SHORT, "hydra.sweep.dir=sweep")
    assert code == 0, err
    summaries = [json.loads(p.read_text()) for p in sorted(tmp_path.glob("sweep/*/summary.json"))]
    assert [s["decoder"] for s in summaries] == ["autoregressive", "speculative", "pearl"]
    assert out.count("identical 3/3") == 3


def test_paper_protocol_generates_to_the_limit(run_cli: Run, tmp_path: Path) -> None:
    code, *_ = run_cli(
        "protocol=paper", "task.limit=2", "task.max_new_tokens=60", "hydra.run.dir=r"
    )
    assert code == 0
    assert {r["finish_reason"] for r in read_records(tmp_path / "r")} == {"length"}
    assert {r["new_tokens"] for r in read_records(tmp_path / "r")} == {60}


def test_a_run_says_how_many_processes_compute_its_target(
    run_cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []
    for ranks in (1, 2):
        monkeypatch.setattr("decoders.autoregressive.Autoregressive.ranks", ranks)
        code, _, err = run_cli("decoder=autoregressive", *SHORT, f"hydra.run.dir={ranks}")
        assert code == 0, err
        summary = json.loads((tmp_path / str(ranks) / "summary.json").read_text())
        said.append(summary["environment"]["target_parallel"])
    assert said == [None, {"by": "tensor", "ranks": 2}]


IN_VLLM = "Several processes compute a target in vLLM: decoder=vllm engine.tensor_parallel_size=2"
BAD_INPUT = {
    "seed=-1": "seed must be from 0 to 2^63 - 1, got -1",
    f"seed={10**20}": "seed must be from 0 to 2^63 - 1, got 1",
    "runtime.target_device=cuda:x": "no such device: cuda:x",
    "hydra/launcher=joblib": "hydra/launcher=joblib is for sweeps, and without -m the run would",
    "decoder.gamma=0": "decoder.gamma is the draft length and must be at least 1, got 0",
    "decoder.gamma=x": "decoder.gamma is the draft length, a whole number or auto, got 'x'",
    "decoder.gama=3": "decoder.gama: Key 'gama' not in 'Pearl' (its fields: gamma, pre_verify, ",
    "gamma=5": "error: there is no setting gamma: did you mean decoder.gamma?",
    "+gamma=5": "error: there is no setting gamma: did you mean decoder.gamma?",
    "runtime.gpu=[0]": "no setting runtime.gpu: did you mean runtime.gpus?",
    "max_new_tokens=5": "no setting max_new_tokens: did you mean task.max_new_tokens?",
    "zzz=5": "error: there is no setting zzz: --cfg job shows all there are",
    "+decoder.gama=3": "decoder.gama: Key 'gama' not in 'Pearl' (its fields: gamma, pre_verify, ",
    "decoder=assisted_heuristic decoder.schedule=x": "decoder.schedule is one of constant, heur",
    "decoder=assisted_constant decoder.gamma=0": "decoder.gamma is the draft length and must be",
    "decoder=prompt_lookup decoder.max_matching_ngram_size=0": "must be at least 1 token, got 0",
    "decoder=prompt_lookup sampling=coupled": "sampling.coupled: transformers' generate draws",
    "sampling.verification=block": "under greedy decoding a block is accepted up to the first tok",
    "sampling=temperature sampling.verification=x": "sampling.verification is token or block, got",
    "sampling=coupled sampling.verification=block": "with sampling.coupled a token is accepted iff",
    "decoder=pearl_async sampling=temperature sampling.verification=block": "PearlAsync draws both",
    "decoder=assisted_constant sampling=temperature sampling.verification=block": "Assisted takes",
    "decoder=assisted_constant sampling=temperature sampling.draft_top_k=5": "draft_top_k: transf",
    "decoder=suffix decoder.cache=hot": "value 'hot', expected one of [cold, warm, corpus, ",
    "decoder=suffix decoder.cache=corpus": "decoder.cache=corpus and decoder.corpus=FILE go toge",
    "decoder=suffix decoder.cache=corpus decoder.corpus=/no": "decoder.corpus=/no can't be read as",
    "decoder=suffix decoder.cache=oracle sampling=temperature": "decoder.cache=oracle decodes each",
    "decoder=suffix decoder.least=2": "decoder.least is the least share of a guessed token and",
    "decoder=pearl_retrieval decoder.guesses=0": "decoder.guesses is the longest guess that a forw",
    "decoder=nope": f"Available options in 'decoder': {' '.join(ALL_NAMES)}",
    "task=nope": "Available options in 'task': dialogue_mini gsm8k gsm8k_mini humaneval ",
    "task=mgsm_mini task.languages=[de,es,de] task.limit=null": "the task has MGSM/de/0 twice",
    "task=mgsm task.languages=[xx]": "task.languages are some of bn, de",
    "task=mt_bench task.data=/no/file": "No such file or directory: '/no/file'",
    "task=dialogue_mini": "its tokenizer has no chat template, which a task of dialogues needs",
    "task=gsm8k_mini task.data=/no/file": "No such file or directory: '/no/file'",
    "pair=nope": "Available options in 'pair': ",
    "task.limit=0": "task.limit is the number of problems and must be at least 1, got 0",
    "task.max_new_tokens=0": "task.max_new_tokens is the longest generation",
    "task.max_new_tokens=2048": "lower task.max_new_tokens to at most",
    "pair.target.path=/no/where": "pair.target.path=/no/where: there is no such folder",
    "pair.draft.path=/usr": "pair.draft.path=/usr: no config.json there",
    "pair.dtype=int9": "pair.dtype: Invalid value 'int9', expected one of [float32, bfloat16, ",
    "runtime.target_cores=[9999]": "runtime.target_cores=[9999]: this process may use the cores",
    "runtime.draft_threads=0": "runtime.draft_threads must be at least 1 and at most 4096, got 0",
    "runtime.target_threads=99999999999999999999": "must be at least 1 and at most 4096, got 9999",
    "runtime.draft_cores=${seed}": "runtime.draft_cores: Invalid value assigned",
    "reference.tolerance_factor=${protocol}": "error: reference.tolerance_factor: While",
    "runtime.tensor_parallel=2": f"did you mean engine.tensor_parallel_size? {IN_VLLM}",
    "+runtime.tensor_parallel=2": IN_VLLM,
    "runtime.target_device=cuda:77": "device cuda:77",
    "runtime.target_device=abacus": "no such device: abacus",
    "tracking.mode=sometimes": "expected one of [online, offline, disabled]",
    "tracking.finish_timeout=0": "must be more than 0 and at most 1e+06 s, got 0",
    "tracking.table_rows=20000": "from 1 to 10000, got 20000: W&B cuts longer tables",
    "hydra.run.dir=/proc/nowhere": "hydra.run.dir=/proc/nowhere can't be written: No such file",
    "runtime.cores=[]": "runtime.cores lists no core",
    "runtime.draft_cores=[]": "runtime.draft_cores lists no core",
    "runtime.devices_timeout=nan": "runtime.devices_timeout must be at least 0",
    "task.check_seconds=0": "must be more than 0 and at most 3600",
    "task.samples_per_task=99999999999999999999": "at most 10000",
    "task.check_memory_mb=1": "can't check generated code here",
    "task.isolation=maybe": "expected one of [auto, bubblewrap, namespaces, none]",
    "task.samples_per_task=0": "task.samples_per_task is how often each problem is decoded",
    "task.samples_per_task=2": "without sampling all samples are the same; choose sampling=temp",
    "task.k=[1,2]": "task.k must list numbers from 1 to task.samples_per_task=1, got [1, 2]",
    "task.k=[]": "task.k must list numbers from 1 to task.samples_per_task=1, got []",
    "seed=x": "could not be converted to Integer",
}


@pytest.mark.parametrize(("argument", "message"), BAD_INPUT.items(), ids=list(BAD_INPUT))
def test_bad_input_is_one_clear_line_before_weights_are_loaded(
    run_cli: Run, monkeypatch: pytest.MonkeyPatch, argument: str, message: str
) -> None:
    monkeypatch.setattr("pearl_eval.pairs.pretrained.load_model", pytest.fail)
    code, out, err = run_cli(
        *argument.split(), *(a for a in SHORT if a.split("=")[0] not in argument)
    )
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1 and not out


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("hydra.run.dir", "it differs in task.max_new_tokens (4 there, 8 here)"),
        ("hydra.sweep.dir", "holds a sweep already, of decoder=autoregressive"),
    ],
)
def test_a_directory_of_another_run_is_refused_and_left_as_it_is(
    run_cli: Run, tmp_path: Path, flag: str, message: str
) -> None:
    sweep = ["-m"] if "sweep" in flag else []
    command = [*sweep, "decoder=autoregressive", "task.limit=2", f"{flag}=used"]
    assert run_cli(*command, "task.max_new_tokens=4")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "used").rglob("*") if path.is_file()}
    code, out, err = run_cli(*command, "task.max_new_tokens=8")
    assert code == 2 and message in err and not out
    after = {path: path.read_bytes() for path in (tmp_path / "used").rglob("*") if path.is_file()}
    assert after == before


def test_by_the_papers_protocol_the_text_ends_where_the_model_ended_it(
    run_cli: Run, small_pair: SmallPair, tmp_path: Path
) -> None:
    """Decoding goes on; what is scored is cut afterwards."""
    command = (*SHORT, "decoder=autoregressive", "task=gsm8k_mini", "protocol=paper")
    assert run_cli(*command, "hydra.run.dir=whole")[0] == 0
    whole = read_records(tmp_path / "whole")[0]
    folder = shutil.copytree(small_pair.folder / "target", tmp_path / "target")
    stop = whole["output_ids"][3]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": stop}))
    assert run_cli(*command, f"pair.target.path={folder}", "hydra.run.dir=cut")[0] == 0
    cut = read_records(tmp_path / "cut")[0]
    assert cut["output_ids"] == whole["output_ids"]
    assert whole["text"].startswith(cut["text"]) and cut["text"] != whole["text"]


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_table_never_hides_the_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("pearl_eval.shell.console._PLAIN_WIDTH", width)
    category = dict.fromkeys(FIGURES.split(), 0.1) | {"speedup_ci95": None}
    summary = dict.fromkeys(SUMMARY_KEYS.split(), 0.123) | {
        "speedup_ci95": [2.1, 2.9],
        "prompts": 12,
        "ties": 0,
        "violations": 0,
        "lossy": 0,
        "exact_match_rate": 1.0,
        "accuracy_name": "pass@1",
        "reference": "cached",
        "sampled_tokens": None,
        "by_category": {"[reasoning]": category},
        "decoder_about": {},
        "traces": {},
        "synthetic": False,
    }
    print_table("[title]", [Row("pearl tags=[a] and a long label of many words", "dir", summary)])
    out = capsys.readouterr().out
    assert "[reasoning]" in out
    assert "cached reference" in out
    assert "identical 12/12" in out and "pass@1" in out and "[a]" in out and "[title]" in out


def test_different_vocabularies_are_refused_naming_the_first_difference(
    run_cli: Run, tmp_path: Path
) -> None:
    other = make_tokenizer(extra=["<|other|>"])
    other.save_pretrained(tmp_path / "draft")
    make_model(len(other), layers=1, seed=0).save_pretrained(tmp_path / "draft")
    code, _, err = run_cli(*SHORT, f"pair.draft.path={tmp_path / 'draft'}")
    assert code == 2
    assert "token 1 is '!' for the target, '<|other|>' for the draft" in err
    assert len(err.splitlines()) == 1


def test_a_violation_ends_non_zero_after_all_records_are_safe(run_cli: Run, tmp_path: Path) -> None:
    code, _, err = run_cli(CONF, "decoder=liar", *SHORT, "hydra.run.dir=run")
    assert code == 1
    assert "3 of 3 outputs are not the target's own; the first: HumanEval/0, position 9" in err
    assert [r["verdict"] for r in read_records(tmp_path / "run")] == ["violation"] * 3
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["violations"] == 3


def test_a_failed_run_of_a_sweep_leaves_the_others_alone(run_cli: Run, tmp_path: Path) -> None:
    code, out, err = run_cli(
        CONF, "-m", "decoder=slow_death,liar,pearl", *SHORT, "hydra.sweep.dir=sweep"
    )
    assert code == 1
    assert "failed: the draft process" in out and "was killed by SIGKILL" in out
    assert "VIOLATION 3/3" in out and "identical 3/3" in out
    assert "Traceback" not in err


def test_draft_process_killed_in_the_middle(run_cli: Run, tmp_path: Path) -> None:
    code, _, err = run_cli(CONF, "decoder=slow_death", *SHORT, "hydra.run.dir=run")
    assert code == 2
    assert "was killed by SIGKILL" in err and "Traceback" not in err
    assert len(read_records(tmp_path / "run")) == 2
    assert "SIGKILL" in (tmp_path / "run" / "error.txt").read_text()


def test_help_teaches_and_cfg_shows(run_cli: Run) -> None:
    code, out, _ = run_cli("--help")
    assert code == 0
    assert "experiment=quickstart" in out and "decoder.gamma=5" in out
    assert f"decoder: {', '.join(ALL_NAMES)}" in out
    code, out, _ = run_cli("--cfg=job", "decoder=speculative")
    assert code == 0
    assert "_target_: decoders.speculative.Speculative" in out


def test_output_that_no_one_reads_to_its_end_is_no_error(tmp_path: Path) -> None:
    """As of ``pearl-eval --help | head``."""
    read, write = os.pipe()
    os.close(read)
    command = [PROGRAM, "--help"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((CONF, "decoder=autoregressive"), 141),
        ((CONF, "decoder=liar"), 1),
        ((CONF, "-m", "decoder=autoregressive"), 141),
        ((CONF, "-m", "decoder=liar"), 1),
    ],
)
def test_a_run_whose_table_nobody_reads_ends_as_it_would(
    run_cli: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as unread:
        monkeypatch.setattr(sys, "stdout", unread)
        own = (*SHORT, "hydra.run.dir=run/0", "hydra.sweep.dir=run")
        ended, _, err = run_cli(*arguments, *own)
    assert ended == code and "Traceback" not in err and "pipe" not in err
    assert len(read_records(tmp_path / "run" / "0")) == 3
    assert (tmp_path / "run" / "0" / "error.txt").exists() == (code == 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "tracking"),
    [
        (signal.SIGINT, "none"),
        (signal.SIGTERM, "wandb"),
        pytest.param(signal.SIGINT, "wandb", marks=pytest.mark.nightly),
    ],
)
def test_interrupting_leaves_no_process_and_every_finished_prompt(
    tmp_path: Path, small_pair: SmallPair, how: signal.Signals, tracking: str
) -> None:
    run = tmp_path / "run"
    command = [PROGRAM, *small_pair.overrides]
    command.append(f"tracking={tracking}")
    process = subprocess.Popen(
        [*command, "task.max_new_tokens=100", f"hydra.run.dir={run}"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=tmp_path,
        # What runs the tests may ignore it, as a shell's background jobs do.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (run / "records.jsonl").exists() and len(read_records(run)) >= 3:
            break
        time.sleep(0.05)
    started = psutil.Process(process.pid).children(recursive=True)
    assert started
    os.killpg(process.pid, how)
    _, err = process.communicate(timeout=30)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[how]
    assert "Traceback" not in err
    said = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[how]
    assert f"pearl-eval: error: {said}; finished prompts are on disk" in err
    assert len(read_records(run)) >= 3
    assert not pd.read_parquet(run / "rounds.parquet").empty
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive


def test_v_says_more_while_it_runs(run_cli: Run) -> None:
    code, _, err = run_cli("-v", "decoder=speculative", *SHORT, "hydra.run.dir=run")
    assert code == 0
    lines = [line for line in err.splitlines() if "INFO" in line]
    assert "target on cpu" in lines[0] and "draft on cpu" in lines[1]
    assert len(lines) == 5 and "HumanEval/2" in lines[4] and "identical" in lines[4]


@pytest.mark.parametrize("forward", ["transformers", "fused", "cuda_graphs"])
def test_both_models_compute_as_the_runtime_says(
    run_cli: Run, tmp_path: Path, forward: str
) -> None:
    code, out, _ = run_cli(
        "decoder=pearl", f"runtime.forward={forward}", *SHORT, "hydra.run.dir=run"
    )
    assert code == 0 and "identical 3/3" in out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["environment"]["forward"] == forward
    assert summary["environment"]["target_parallel"] is None


@pytest.mark.parametrize("old", ["runtime=compiled", "runtime.forward=compiled"])
@pytest.mark.parametrize("command", [["-m"], []])
def test_an_old_name_is_refused_with_the_new_one(
    run_cli: Run, command: list[str], old: str
) -> None:
    code, _, err = run_cli(*command, old)
    assert code == 2 and len(err.splitlines()) == 1
    assert err.endswith(f"; it is called {old.replace('compiled', 'cuda_graphs')} now\n")


def test_a_model_that_cannot_be_fused_is_refused_in_one_line(
    run_cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only if that was asked for: by itself it computes as transformers does."""
    monkeypatch.setattr("decoders.model.fused.FUSIBLE", ("mistral",))
    code, _, err = run_cli("decoder=autoregressive", "runtime.forward=fused", *SHORT)
    assert code == 2
    assert "runtime.forward=fused: a llama model; only mistral can be" in err
    assert "choose runtime=eager" in err
    code, _, _ = run_cli("decoder=autoregressive", *SHORT, "hydra.run.dir=run")
    assert code == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["environment"]["forward"] == "transformers"
