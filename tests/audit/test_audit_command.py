"""``pearl-eval audit`` from the command line: files in, verdicts, exit codes, files out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_pair import SmallPair, make_tokenizer
from tracked import logged_summary, offline_runs
from transformers import LlamaForCausalLM

Run = Callable[..., tuple[int, str, str]]
PROMPTS = [[20, 21, 22], [30, 31, 32, 33], [40]]
NEW = 12
TOKENIZER = make_tokenizer()


@pytest.fixture(scope="module")
def outputs(small_pair: SmallPair) -> list[list[int]]:
    """What the target makes of the prompts, by transformers' ``generate``."""
    model = LlamaForCausalLM.from_pretrained(small_pair.folder / "target", dtype=torch.float32)
    found = []
    for prompt in PROMPTS:
        ids = torch.tensor([prompt])
        made = model.generate(ids, max_new_tokens=NEW, do_sample=False, eos_token_id=299)
        found.append(made[0, len(prompt) :].tolist())
    assert not any(299 in one for one in found)
    return found


@pytest.fixture
def run_audit(run_command: Run, small_pair: SmallPair, tmp_path: Path) -> Run:
    target = f"pair.target.path={small_pair.folder / 'target'}"
    own = [target, "pair.dtype=float32", f"hydra.run.dir={tmp_path / 'out'}"]
    return lambda *words: run_command("audit", *words, *own, "runtime.share_devices=true")


def rows_of(outputs: list[list[int]], **more: Any) -> list[dict[str, Any]]:
    told = {"max_tokens": NEW, "ignore_eos": True, **more}
    return [
        {"id": f"p{i}", "prompt": prompt, "output": output, **told}
        for i, (prompt, output) in enumerate(zip(PROMPTS, outputs, strict=True))
    ]


def write(file: Path, rows: list[Any]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file.name


def result(tmp_path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((tmp_path / "out" / "audit.json").read_text())
    return content


def with_fault(outputs: list[list[int]], row: int, position: int) -> list[list[int]]:
    """Another token at a position, after which the rest stays."""
    wrong = [list(one) for one in outputs]
    wrong[row][position] = (wrong[row][position] + 100) % 290
    return wrong


def test_the_targets_own_outputs(run_audit: Run, tmp_path: Path, outputs: list[list[int]]) -> None:
    name = write(tmp_path / "a=b.jsonl", rows_of(outputs))
    code, out, err = run_audit(name)
    assert (code, err) == (0, "")
    assert "| 3 | 3 | 0 | 0 | 0 | 0 | 36 |" in out
    found = result(tmp_path)
    (file,) = found["files"]
    assert (file["identical"], file["violations"], file["tokens"]) == (3, 0, 36)
    assert file["violation_rate_ci95"][1] == pytest.approx(0.5615, abs=1e-4)  # 0 of 3, Wilson
    assert found["dtype"] == "float32"
    assert [row["verdict"] for row in found["rows"]] == ["identical"] * 3
    assert (tmp_path / "out" / "audit.md").read_text().startswith("# Audit\n")


def test_a_violation_is_exit_code_1_also_beside_rows_that_cannot_be_judged(
    run_audit: Run, tmp_path: Path, outputs: list[list[int]]
) -> None:
    rows = rows_of(with_fault(outputs, 1, 5))
    rows.insert(0, {"prompt": [1]})
    code, out, err = run_audit(write(tmp_path / "f.jsonl", rows))
    assert code == 1
    lines = err.splitlines()
    assert lines[0].startswith("pearl-eval: f.jsonl, line 1: it has no output")
    assert lines[-1].startswith(
        "pearl-eval: error: 1 of 3 outputs are not the target's own; the first is f.jsonl, line 3:"
        " position 5: token"
    )
    assert "| 4 | 2 | 0 | 1 | 0 | 1 | 36 |" in out
    (row,) = [row for row in result(tmp_path)["rows"] if row["verdict"] == "violation"]
    assert (row["line"], row["name"], row["position"]) == (3, "p1", 5)
    assert row["violations"][0]["expected"] == outputs[1][5]
    assert row["violations"][0]["gap"] > row["violations"][0]["tolerance"] > 0


def test_rows_that_cannot_be_judged_are_exit_code_2_and_lose_no_other(
    run_audit: Run, tmp_path: Path, outputs: list[list[int]]
) -> None:
    rows = rows_of(outputs)
    rows[0]["output"] = [300]
    rows.append({"prompt": [1] * 2040, "output": [2] * 9})
    rows.append({"prompt": "", "output": [2]})
    rows.append({"prompt": [1], "output": [45, 46], "text": "something else"})
    rows.append({"prompt": [1], "output": [2], "grammar": "x"})
    rows.append({"messages": [{"role": "user", "content": "x"}], "output": [2]})
    code, out, err = run_audit(write(tmp_path / "f.jsonl", rows))
    assert code == 2
    told = [line.removeprefix("pearl-eval: ") for line in err.splitlines()]
    assert told[0].startswith("f.jsonl, line 1: token 300 at position 0 of its output is beyond")
    assert told[1].startswith("f.jsonl, line 4: its prompt of 2040 tokens and output of 9 do not")
    assert told[2].startswith("f.jsonl, line 5: its prompt is empty")
    assert told[3].startswith("f.jsonl, line 6: its output's token ids read")
    assert told[4].startswith("f.jsonl, line 7: grammar='x' was applied, which no processor")
    assert told[5].startswith("f.jsonl, line 8: the target's chat template can't write its")
    assert told[6].startswith("error: 6 rows could not be judged; all 2 others are the target's")
    assert len(told) == 7
    assert "| 8 | 2 | 0 | 0 | 0 | 6 | 24 |" in out
    assert len(result(tmp_path)["unusable"]) == 6


def test_nothing_is_loaded_where_nothing_can_be_judged(
    run_audit: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LlamaForCausalLM, "from_pretrained", None)
    code, _, err = run_audit(write(tmp_path / "f.jsonl", [{"prompt": "x"}]))
    assert code == 2
    assert err.splitlines()[-1] == "pearl-eval: error: none of 1 rows of f.jsonl could be judged"
    for words, told in (
        ([], "name a file of outputs, or two of the same prompts"),
        (["f.jsonl"] * 3, "got 3"),
        (["none.jsonl"], "none.jsonl: it can't be read"),
    ):
        code, _, err = run_audit(*words)
        assert code == 2 and told in err and len(err.splitlines()) == 1


def test_two_files_are_held_beside_each_other(
    run_audit: Run, tmp_path: Path, outputs: list[list[int]]
) -> None:
    plain = write(tmp_path / "plain.jsonl", rows_of(outputs))
    rows = rows_of(with_fault(outputs, 2, 3))[::-1]
    rows.append({"id": "p9", "prompt": [9], "output": outputs[0]})
    rows[1]["prompt"] = [1, 2]  # another prompt by the same name
    other = write(tmp_path / "other.jsonl", rows[:2])
    code, out, _ = run_audit(plain, other)
    assert code == 1
    found = result(tmp_path)
    (parting,) = found["partings"]
    assert (parting["name"], parting["lines"], parting["position"]) == ("p2", [3, 1], 3)
    assert parting["tokens"] == [outputs[2][3], rows[0]["output"][3]]
    assert parting["found"] == ["own", "violation"]
    assert found["meanings"] == {"second wrong": 1}
    alone = [one for one in found["unusable"] if "no output for its prompt" in one["reason"]]
    assert [(one["file"], one["line"]) for one in alone] == [
        ("plain.jsonl", 1),
        ("plain.jsonl", 2),
        ("other.jsonl", 2),
    ]
    assert "1 of 1: part where the second file's token is not the target's own" in out


def test_sampled_outputs_are_tested_together(
    run_audit: Run, small_pair: SmallPair, tmp_path: Path
) -> None:
    model = LlamaForCausalLM.from_pretrained(small_pair.folder / "target", dtype=torch.float32)
    torch.manual_seed(0)
    ids = torch.tensor([[20, 21]] * 40)
    options: dict[str, Any] = {"do_sample": True, "top_k": 0, "eos_token_id": 299}
    made = model.generate(ids, max_new_tokens=40, temperature=0.5, **options)[:, 2:].tolist()
    rows = [
        {"prompt": [20, 21], "output": one, "max_tokens": 40}
        for one in made
        if not {0, 299} & {*one}
    ]
    assert len(rows) > 20
    name = write(tmp_path / "f.jsonl", rows)
    code, out, err = run_audit(name, "applied.temperature=0.5", "applied.ignore_eos=true")
    assert (code, err) == (0, "")
    figures = result(tmp_path)["files"][0]
    assert (figures["sampled"], figures["sampled_tokens"]) == (len(rows), 40 * len(rows))
    assert figures["sampling_p_value"] > 1e-6
    code, out, err = run_audit(name, "applied.temperature=1", "applied.ignore_eos=true")
    assert code == 1
    assert "sampled tokens are not distributed as the target's (p = " in err
    assert "BIASED" in out


def test_the_models_own_defaults_count(
    run_command: Run, small_pair: SmallPair, tmp_path: Path, outputs: list[list[int]]
) -> None:
    model = LlamaForCausalLM.from_pretrained(small_pair.folder / "target", dtype=torch.float32)
    model.generation_config.repetition_penalty = 1.5
    model.save_pretrained(tmp_path / "penalised")
    TOKENIZER.save_pretrained(tmp_path / "penalised")
    made = [
        model.generate(torch.tensor([prompt]), max_new_tokens=NEW, eos_token_id=299)[0]
        for prompt in PROMPTS
    ]
    penalised = [one[len(p) :].tolist() for one, p in zip(made, PROMPTS, strict=True)]
    assert penalised != outputs
    own = [f"pair.target.path={tmp_path / 'penalised'}", "pair.dtype=float32"]
    own += [f"hydra.run.dir={tmp_path / 'out'}", "runtime.share_devices=true"]
    name = write(tmp_path / "f.jsonl", rows_of(penalised))
    code, out, err = run_command("audit", name, *own)
    assert code == 0, err
    assert "- applied to the scores: repetition_penalty=1.5" in out
    assert run_command("audit", name, *own, "generation_config=false")[0] == 1
    rows = rows_of(outputs, repetition_penalty=1.0)
    assert run_command("audit", write(tmp_path / "g.jsonl", rows), *own)[0] == 0


def test_a_run_of_ours(run_audit: Run, run_cli: Run, tmp_path: Path) -> None:
    """Its prompts, limits and sampling are in the run's folder."""
    common = ["task=gsm8k_mini", "task.limit=3", "task.max_new_tokens=6"]
    code, _, err = run_cli("decoder=autoregressive", *common, f"hydra.run.dir={tmp_path / 'run'}")
    assert code == 0, err
    code, _, err = run_audit("run/records.jsonl")
    assert (code, err) == (0, "")
    assert result(tmp_path)["files"][0]["identical"] == 3
    (tmp_path / "run" / "run.json").unlink()
    code, _, err = run_audit("run/records.jsonl")
    assert code == 2
    assert "there is no run.json that says which task its records are of" in err


def test_tracking(run_audit: Run, tmp_path: Path, outputs: list[list[int]]) -> None:
    name = write(tmp_path / "f.jsonl", rows_of(outputs))
    code, _, err = run_audit(name, "tracking=wandb", "tracking.mode=offline")
    assert (code, err) == (0, "")
    (run,) = offline_runs(tmp_path / "out")
    logged = logged_summary(run)["summary"]
    assert (logged["identical"], logged["violations"], logged["tokens"]) == (3, 0, 36)
    assert logged["audit"]["nrows"] == 3
    assert logged["equivalence"]["_type"] == "html-file"


def test_help(run_command: Run) -> None:
    code, out, _ = run_command("audit", "--help")
    assert code == 0
    assert "pearl-eval audit judges outputs of any engine token by token" in out
