"""Reference runs that are measured once and read by others."""

from __future__ import annotations

import fcntl
import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from decoders.speculative import Speculative
from pearl_eval.errors import UserError
from pearl_eval.evaluation.comparison import Comparison
from pearl_eval.evaluation.identity import differences, reference_key
from pearl_eval.evaluation.plan import Prompt
from pearl_eval.evaluation.reference import ReferenceCache, ReferenceRun
from pearl_eval.pairs.setup import Setup
from tasks.task import Problem

Run = Callable[..., tuple[int, str, str]]
SHORT = ("task.limit=3", "task.max_new_tokens=12", "reference=cached")


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prompts that a reference was measured for, as it is measured."""
    prompts: list[str] = []
    measure = Comparison.measure_reference

    def counted(self: Comparison, prompt: Any) -> Any:
        prompts.append(prompt.problem.task_id)
        return measure(self, prompt)

    monkeypatch.setattr(Comparison, "measure_reference", counted)
    return prompts


def test_a_sweep_measures_its_reference_once(
    run_cli: Run, tmp_path: Path, measured: list[str]
) -> None:
    code, out, err = run_cli(
        "-m", "decoder=autoregressive,speculative,pearl", *SHORT, "hydra.sweep.dir=sweep"
    )
    assert code == 0, err
    assert out.count("identical 3/3") == 3 and "against a cached reference" in out
    # The first is measured twice, once to warm up.
    assert measured == [f"HumanEval/{i}" for i in (0, 0, 1, 2)]
    (file,) = (tmp_path / "sweep" / "reference").glob("*/reference.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    stored = {line["task_id"]: (line["output_ids"], line["seconds"]) for line in lines[1:]}
    for number in range(3):
        assert summary(tmp_path / "sweep" / str(number))["reference"] == "cached"
        path = tmp_path / "sweep" / str(number) / "records.jsonl"
        for record in map(json.loads, path.read_text().splitlines()):
            reference = record["reference_output_ids"], record["reference_seconds"]
            assert stored[record["task_id"]] == reference


@pytest.mark.parametrize("changed", ["task.max_new_tokens=13", "pair.dtype=bfloat16", "seed=1"])
def test_what_it_depends_on_has_another_reference(
    run_cli: Run, tmp_path: Path, measured: list[str], changed: str
) -> None:
    command = ("decoder=speculative", *SHORT, "reference.folder=references")
    assert run_cli(*command)[0] == 0
    code, _, err = run_cli(*command, changed, "hydra.run.dir=other")
    assert code == 2 and "holds references of another run, which differ in" in err
    name, value = changed.replace("pair.dtype", "dtype").split("=")
    assert f"{name} (" in err and f", {value} here)" in err
    assert len(measured) == 4


def test_a_sweep_over_seeds_has_a_reference_for_each(
    run_cli: Run, tmp_path: Path, measured: list[str]
) -> None:
    seeds = ("-m", "decoder=autoregressive", "seed=1,2", "sampling=temperature")
    code, _, err = run_cli(*seeds, *SHORT, "task.limit=1", "hydra.sweep.dir=sweep")
    assert code == 0, err
    assert len(measured) == 4
    assert len(list((tmp_path / "sweep" / "reference").iterdir())) == 2


def test_the_draft_has_no_part_in_it(run_cli: Run, measured: list[str]) -> None:
    command = (*SHORT, "reference.folder=references")
    assert run_cli("decoder=speculative", *command)[0] == 0
    more = ("decoder=pearl", "decoder.gamma=3", "hydra.run.dir=other")
    assert run_cli(*more, *command)[0] == 0
    assert len(measured) == 4


def test_how_drafted_tokens_are_judged_has_no_part_in_it() -> None:
    source: Any = SimpleNamespace(target_settings=dict)

    def key(**sampling: Any) -> str:
        return reference_key({"sampling": sampling}, source, Speculative())

    assert key(temperature=1.0, verification="block") == key(temperature=1.0)
    assert key(temperature=0.5) != key(temperature=1.0)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({"output_ids": "x", "seconds": 1.0, "joules": None}, "expected a list of token ids and"),
        ({"output_ids": [1], "seconds": 1, "joules": None}, r"got \[1\], 1\)"),
        ({"output_ids": [1], "seconds": 1.0}, "'joules'"),
        ({"output_ids": [1], "joules": None}, "'seconds'"),
        ({"output_ids": [1], "seconds": 1.0, "joules": None, "sample": "x"}, "invalid literal"),
    ],
)
def test_a_reference_that_says_something_else_is_refused(
    tmp_path: Path, line: dict[str, Any], told: str
) -> None:
    first = {"format_version": 1, "identity": {}}
    whole = {"task_id": "T/0", "sample": 0, "turn": 0} | line
    path = tmp_path / "reference.jsonl"
    path.write_text(f"{json.dumps(first)}\n{json.dumps(whole)}\n")
    nothing: Any = SimpleNamespace(prompts=(), turns=0)
    with pytest.raises(UserError, match=rf"reference\.jsonl is damaged \(.*{told}") as refused:
        ReferenceCache(tmp_path, {}, 1.0).complete(nothing, pytest.fail)
    assert str(refused.value).endswith(": move the folder away, and it is measured anew")


def test_a_reference_is_measured_once_and_read_from_then_on(tmp_path: Path) -> None:
    """The first twice, to warm up; a dialogue's second turn after the answer to its first."""
    problems = [Problem("T/0", "a"), Problem("T/1", turns=("?", "?"))]
    prompts = [Prompt(one, [1, 2], 0, sample=4) for one in problems]

    def next_turn(prompt: Prompt, answer: str) -> Prompt | None:
        if prompt.turn != 1:
            return None
        return Prompt(prompt.problem, [3], 0, 4, (answer,))

    plan: Any = SimpleNamespace(
        prompts=prompts,
        turns=3,
        next_turn=next_turn,
        pair=SimpleNamespace(answer=lambda ids: f"answer {ids}"),
    )
    measured: list[Prompt] = []
    told: list[str] = []

    def measure(prompt: Prompt) -> ReferenceRun:
        measured.append(prompt)
        return ReferenceRun([len(measured)], 0.5 * len(measured), None if prompt.turn else 2.5)

    made = ReferenceCache(tmp_path, {"seed": 1}, 1.0)
    made.complete(plan, measure, told.append)
    assert [one.key for one in measured] == [
        ("T/0", 4, 0), ("T/0", 4, 0), ("T/1", 4, 1), ("T/1", 4, 2),
    ]  # fmt: skip
    assert measured[-1].answers == ("answer [3]",)
    assert told == [f"measuring the reference: {done} of 3" for done in range(3)]
    again = ReferenceCache(tmp_path, {"seed": 1}, 1.0)
    again.complete(plan, pytest.fail)
    for cache in (made, again):
        assert cache.run(prompts[0]) == ReferenceRun([2], 1.0, 2.5)
        assert cache.run(prompts[1]) == ReferenceRun([3], 1.5, None)
        assert cache.run(measured[-1]) == ReferenceRun([4], 2.0, None)


def test_what_differs_is_told_in_order_and_at_most_sixty_signs_of_it() -> None:
    """What the digest of other code says is passed over."""
    stored = {"b": 1, "a": "x" * 60, "c": "y" * 61, "same": 3, "gone": None}
    ours = {"b": 2, "a": 0, "c": 4, "same": 3, "new": 5}
    assert differences(stored, ours) == (
        f"a ({'x' * 60} there, 0 here), b (1 there, 2 here), c ({'y' * 57}... there, 4 here),"
        " new (None there, 5 here)"
    )
    assert differences(ours, ours) == ""
    code = {"code": "one", "code of the task": "two"}
    assert differences({"seed": 1}, code | {"seed": 1}).startswith("code (None there, one here)")
    assert differences({"code": "version 0: one", "seed": 1}, code | {"seed": 1}) == ""
    found = differences({"code": "version 0: one", "seed": 1}, code | {"seed": 2})
    assert found == "seed (1 there, 2 here)"


@pytest.mark.parametrize("fact", ["target_device", "driver", "version of torch", "code"])
def test_another_machine_or_version_is_refused(
    run_cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fact: str
) -> None:
    command = ("decoder=autoregressive", *SHORT, "reference.folder=references")
    assert run_cli(*command)[0] == 0
    path = tmp_path / "references" / "reference.jsonl"
    first, *others = path.read_text().splitlines(keepends=True)
    stored = json.loads(first)
    assert fact in stored["identity"]
    stored["identity"][fact] = "something else"
    path.write_text("".join([json.dumps(stored) + "\n", *others]))
    with monkeypatch.context() as patch:
        patch.setattr("pearl_eval.pairs.pretrained.load_model", pytest.fail)
        code, _, err = run_cli(*command, "hydra.run.dir=other")
    assert code == 2 and f"differ in {fact} (something else there, " in err
    # Nothing was begun there, so what the message proposes can be done in the same folder.
    code, out, err = run_cli(*command, "reference=inline", "hydra.run.dir=other")
    assert code == 0 and "reference.folder=references is not used" in " ".join((out + err).split())


def test_which_of_equal_gpus_it_was_measured_on_is_no_matter(
    run_cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of a sweep at once are each moved to GPUs that are free."""
    command = ("decoder=speculative", *SHORT, "reference.folder=references")
    on = ["cuda:0 (A)", "cuda:1 (A) + cuda:2 (A)"]
    described = Setup.describe

    def describe(setup: Setup) -> dict[str, Any]:
        return described(setup) | dict(zip(("draft_device", "target_device"), on, strict=True))

    monkeypatch.setattr(Setup, "describe", describe)
    assert run_cli(*command, "hydra.run.dir=run")[0] == 0
    on[:] = ["cuda:3 (A)", "cuda:4 (A) + cuda:5 (A)"]
    code, _, err = run_cli(*command, "hydra.run.dir=moved")
    assert code == 0, err
    # A run goes on there as well, but not where the two models share a GPU.
    assert run_cli(*command, "hydra.run.dir=run")[0] == 0
    on[0] = "cuda:4 (A)"
    code, _, err = run_cli(*command, "hydra.run.dir=run")
    assert code == 2 and "target_device (cuda:1 (A) + cuda:2 (A) there, cuda:0 (A) + cuda:1" in err
    on[1] = "cuda:4 (B) + cuda:5 (B)"
    code, _, err = run_cli(*command, "hydra.run.dir=other")
    assert code == 2 and "differ in target_device (cuda:0 (A) + cuda:1 (A) there, " in err


def test_one_that_was_cut_short_is_completed(
    run_cli: Run, tmp_path: Path, measured: list[str]
) -> None:
    command = ("decoder=autoregressive", *SHORT, "reference.folder=references")
    assert run_cli(*command)[0] == 0
    path = tmp_path / "references" / "reference.jsonl"
    whole = path.read_text()
    path.write_text(whole[: whole.rindex('"output_ids"')])
    assert run_cli(*command, "hydra.run.dir=other")[0] == 0
    assert measured[4:] == ["HumanEval/2"] * 2
    assert len(path.read_text().splitlines()) == 4


def test_others_wait_for_who_measures_it(
    run_cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("decoder=autoregressive", *SHORT, "reference.folder=references")
    (tmp_path / "references").mkdir()
    with (tmp_path / "references" / "reference.jsonl").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code, _, err = run_cli(*command, "reference.wait_timeout=0")
        assert code == 2 and "another run still measures the reference after" in err
        told = threading.Timer(0.5, lambda: fcntl.flock(file, fcntl.LOCK_UN))
        told.start()
        code, *_ = run_cli(*command, "hydra.run.dir=waited")
        assert code == 0
