"""Dialogues of two turns: rows, the carried answer, the room they need, what is written."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from small_pair import SmallPair, load, make_tokenizer
from templates import PLAIN
from transformers import AutoTokenizer

from decoders.autoregressive import Autoregressive
from decoders.process.models import Models
from decoders.process.worker import WorkerOptions
from decoders.sampling.sampler import Greedy
from pearl_eval.config.paths import task_data
from pearl_eval.evaluation.plan import Plan, Prompt, _seed
from pearl_eval.pairs.chat import dialogue_ids
from pearl_eval.pairs.pair import Pair
from pearl_eval.sizes.model_size import ModelSize
from tasks.gsm8k import Gsm8k
from tasks.mt_bench import MtBench
from tasks.rows.rows import Hub
from tasks.task import Problem

Run = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).resolve().parents[2]
#: MT-bench's own questions, where they are at hand.
QUESTIONS = Path(
    os.environ.get(
        "MT_BENCH_QUESTIONS", ROOT.parent / "shared" / "data" / "mt_bench_question.jsonl"
    )
)
ROW = {"question_id": 7, "category": "math", "turns": ["What is 2 + 3?", "And twice that?"]}
CHAT = ("task=dialogue_mini", "task.limit=2", "task.max_new_tokens=16", "hydra.run.dir=run")


def write(path: Path, *rows: object) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.skipif(not QUESTIONS.exists(), reason="MT-bench's questions are not at hand")
def test_the_real_80_questions() -> None:
    problems = MtBench(data=str(QUESTIONS)).problems()
    assert len(problems) == 80
    assert len({problem.category for problem in problems}) == 8
    assert problems[0].task_id == "MT-bench/81"
    assert all(len(problem.turns) == 2 and not problem.prompt for problem in problems)


def test_the_projects_own_dialogues_have_the_same_categories() -> None:
    problems = MtBench(data=task_data("dialogue_mini.jsonl"), system_prompt="Be kind.").problems()
    categories = "writing roleplay reasoning math coding extraction stem humanities"
    assert {problem.category for problem in problems} == set(categories.split())
    assert {problem.system_prompt for problem in problems} == {"Be kind."}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question_id": 8, "category": "math"}, "line 2: no field 'turns'"),
        (
            ROW | {"question_id": 8, "turns": []},
            r"line 2: turns must be a list of messages, got \[\]",
        ),
        (ROW | {"question_id": 8, "turns": "??"}, "line 2: turns must be a list, got"),
        (ROW | {"question_id": 8, "turns": ["?", " "]}, "line 2: turns must be a list of messages"),
        (ROW | {"question_id": 8, "turns": ["?", 1]}, "line 2: turns must be a list of messages"),
        (ROW | {"question_id": 8.5}, "line 2: question_id must be a int or str, got 8.5"),
        (ROW | {"question_id": 8, "category": 1}, "line 2: category must be a str, got 1"),
        (ROW, "line 2: question_id 7 is already that of .*line 1"),
    ],
)
def test_bad_rows_are_named_by_file_and_line(tmp_path: Path, row: dict, message: str) -> None:
    path = write(tmp_path / "bad.jsonl", ROW, row)
    with pytest.raises(ValueError, match=message) as error:
        MtBench(data=path).problems()
    assert path in str(error.value)


def test_a_run_has_a_record_for_each_turn(run_chat: Run, tmp_path: Path) -> None:
    writing = read_lines(Path(task_data("dialogue_mini.jsonl")))[:2]
    data = write(tmp_path / "writing.jsonl", *writing)
    code, out, err = run_chat("decoder=pearl", *CHAT, f"task.data={data}")
    assert code == 0, err
    assert "identical 4/4" in out and "By category" in out and "writing" in out
    run = tmp_path / "run"
    records = read_lines(run / "records.jsonl")
    turns = [("MT-bench/1001", 1), ("MT-bench/1001", 2), ("MT-bench/1002", 1), ("MT-bench/1002", 2)]
    assert [(record["task_id"], record["turn"]) for record in records] == turns
    assert [record["warmup"] for record in records] == [True, False, False, False]
    rounds = pd.read_parquet(run / "rounds.parquet")
    assert list(rounds.groupby(["task_id", "turn"], sort=False).groups) == turns
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["prompts"], summary["accuracy"]) == (4, 1.0)
    assert summary["accuracy_name"] == "same answer"
    category = summary["by_category"]["writing"]
    assert category == {name: summary[name] for name in category}
    answers = read_lines(run / "model_answer.jsonl")
    assert [answer["question_id"] for answer in answers] == [1001, 1002]
    assert [text for answer in answers for text in answer["choices"][0]["turns"]] == [
        record["text"] for record in records
    ]
    assert {answer["model_id"] for answer in answers} == {"pearl-tiny"}


def test_the_second_turn_follows_the_references_first_answer(
    run_chat: Run, chat_pair: SmallPair, tmp_path: Path
) -> None:
    """With a decoder whose own first answer is another one."""
    code, _, err = run_chat("decoder=draft_only", *CHAT, "protocol=paper")
    assert code == 0, err
    tokenizer = AutoTokenizer.from_pretrained(chat_pair.folder / "target")
    reference = Autoregressive()
    target = load(chat_pair.folder / "target")
    reference = reference.start(Models(target, load, WorkerOptions(), ()), Greedy())
    problems = MtBench(
        data=task_data("dialogue_mini.jsonl"), system_prompt="You are a helpful assistant.", limit=2
    ).problems()
    records = read_lines(tmp_path / "run" / "records.jsonl")
    for problem, first, second in zip(problems, records[::2], records[1::2], strict=False):
        assert first["output_ids"] != first["reference_output_ids"]
        assert not first["correct"]
        ids = first["reference_output_ids"]
        answer = tokenizer.decode(ids[: ids.index(0) if 0 in ids else None]).strip()
        prompt = dialogue_ids(tokenizer, problem.system_prompt, problem.turns, [answer])
        assert second["prompt_tokens"] == len(prompt)
        assert second["reference_output_ids"] == reference.decode(prompt, 16, (), 0).output_ids


def test_both_answers_must_have_room_before_weights_are_loaded(
    run_chat: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pearl_eval.pairs.pretrained.load_model", pytest.fail)
    code, out, err = run_chat(*CHAT, "task.max_new_tokens=1000")
    assert code == 2 and not out
    assert len(err.splitlines()) == 1
    assert "tokens and 2 answers of task.max_new_tokens=1000 do not fit the target" in err
    assert "lower task.max_new_tokens to at most 9" in err


def make_plan(context: int, limit: int) -> tuple[Plan, Prompt]:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = PLAIN
    sizes = {
        role: ModelSize(0, 0, 0, 0, context + more) for role, more in (("target", 0), ("draft", 9))
    }
    pair = Pair(tokenizer, sizes, (0,), load, load)
    problem = Problem("MT-bench/7", turns=("Why?", "And how?"))
    prompt = Prompt(problem, pair.prompt(problem), _seed(3, problem.task_id, 0))
    config, setup = SimpleNamespace(seed=3), SimpleNamespace(pair=pair)
    task = SimpleNamespace(max_new_tokens=limit)
    return Plan(config, None, None, setup, task, (prompt,)), prompt


def test_an_answer_that_takes_more_tokens_again_is_cut_to_the_context() -> None:
    """Bytes that are no text come back as signs of three bytes each."""
    plan, prompt = make_plan(context=200, limit=50)
    pair = plan.pair
    answer = pair.answer(pair.tokenizer.convert_tokens_to_ids(["Ģ"] * 50))
    assert answer == "\ufffd" * 50
    second = plan.next_turn(prompt, answer)
    assert second is not None
    assert 147 < len(second.ids) <= 150
    assert second.answers == (answer[: len(second.answers[0])],)
    roomy, prompt = make_plan(context=2000, limit=50)
    whole = roomy.next_turn(prompt, answer)
    assert whole is not None and whole.answers == (answer,)


def test_turns_are_counted_and_draw_numbers_of_their_own() -> None:
    plan, first = make_plan(context=200, limit=50)
    second = plan.next_turn(first, "So.")
    assert second is not None
    assert (first.turn, second.turn, plan.turns) == (1, 2, 2)
    assert second.seed != first.seed
    assert plan.next_turn(second, "So.") is None
    alone = Prompt(Problem("Task/1", "prompt"), [1], 1)
    assert alone.turn == 0 and plan.next_turn(alone, "So.") is None


def test_an_answer_ends_with_its_turn() -> None:
    """Also under the paper's protocol, where tokens come after that."""
    pair = make_plan(context=200, limit=50)[0].pair
    assert pair.answer([*pair.encode(" So it is. "), 0, *pair.encode("<user>")]) == "So it is."
    assert pair.answer([0]) == ""


def test_answers_are_left_as_fastchat_reads_them(tmp_path: Path) -> None:
    task = MtBench(data=write(tmp_path / "d.jsonl", ROW))
    (problem,) = task.problems()
    lines = [task.lines(problem, ["5", "10"], "pearl-tiny") for _ in range(2)]
    line, other = (by_file["model_answer.jsonl"] for by_file in lines)
    assert line["question_id"] == 7
    assert line["choices"] == [{"index": 0, "turns": ["5", "10"]}]
    assert line["model_id"] == "pearl-tiny"
    assert set(line) == {"question_id", "answer_id", "model_id", "choices", "tstamp"}
    assert line["answer_id"] != other["answer_id"]
    assert line["tstamp"] == pytest.approx(time.time(), abs=60)


def test_how_many_dialogues_there_are_is_told_of_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", *({"question_id": n, "turns": ["?"]} for n in range(3)))
    assert (MtBench(data=path).size(), MtBench(data=path, limit=2).texts()) == (3, 4)
    assert (MtBench().size(), MtBench(limit=5).size()) == (None, 5)


def test_missing_data_is_told() -> None:
    with pytest.raises(ValueError, match=r"task\.data is missing"):
        MtBench().problems()


def test_a_synthetic_pair_answers_too(run_cli: Run, tmp_path: Path) -> None:
    """Its second prompts are as long as real ones, and no answers are left for a judge."""
    shape = "hidden_size=32 intermediate_size=64 num_hidden_layers=1"
    shapes = [f"pair.{role}.{one}" for role in ("target", "draft") for one in shape.split()]
    code, _, err = run_cli(
        "pair=synthetic", *CHAT, *shapes, "decoder=speculative", small_pair=False
    )
    assert code == 0, err
    first, second, *_ = read_lines(tmp_path / "run" / "records.jsonl")
    assert second["prompt_tokens"] > first["prompt_tokens"] + 16
    assert not (tmp_path / "run" / "model_answer.jsonl").exists()


def test_the_hub_gives_the_questions_of_the_file(tmp_path: Path) -> None:
    """Through ``datasets``, from a file in the hub's place; no network is needed."""
    path = write(tmp_path / "question.jsonl", ROW, ROW | {"question_id": 8})
    from_hub = MtBench(hub=Hub("json", files=path))
    from_file = MtBench(data=path)
    assert from_hub.load() == from_file.load()
    assert from_hub.sources["data"].sha256 == from_file.sources["data"].sha256


#: Dialogues as other collections have them.
OTHERS = [
    ROW,
    {"question_id": "b", "category": None, "turns": ["What is 5 + 8?"]},
    {"question_id": 9, "turns": ["Why?", "How?", "When?"]},
]


def test_dialogues_of_any_number_of_turns(run_chat: Run, tmp_path: Path) -> None:
    data = write(tmp_path / "others.jsonl", *OTHERS)
    code, _, err = run_chat(
        "task=mt_bench", f"task.data={data}", "task.max_new_tokens=8", "hydra.run.dir=run"
    )
    assert code == 0, err
    records = read_lines(tmp_path / "run" / "records.jsonl")
    assert [(record["task_id"], record["turn"], record["category"]) for record in records] == [
        ("MT-bench/7", 1, "math"),
        ("MT-bench/7", 2, "math"),
        ("MT-bench/b", 1, ""),
        ("MT-bench/9", 1, ""),
        ("MT-bench/9", 2, ""),
        ("MT-bench/9", 3, ""),
    ]
    answers = read_lines(tmp_path / "run" / "model_answer.jsonl")
    assert [answer["question_id"] for answer in answers] == [7, "b", 9]
    assert [len(answer["choices"][0]["turns"]) for answer in answers] == [2, 1, 3]


@pytest.mark.skipif(not QUESTIONS.exists(), reason="Spec-Bench's questions are not at hand")
def test_the_real_questions_of_spec_bench() -> None:
    problems = MtBench(data=str(QUESTIONS.with_name("spec_bench_question.jsonl"))).problems()
    assert [sum(len(p.turns) == n for p in problems) for n in (1, 2)] == [400, 80]


@pytest.mark.parametrize("task", ["humaneval_mini", "gsm8k_mini", "mgsm_mini"])
def test_other_tasks_through_the_chat_template(run_chat: Run, tmp_path: Path, task: str) -> None:
    code, _, err = run_chat(
        f"task={task}",
        "task.chat=true",
        "task.limit=2",
        "task.max_new_tokens=4",
        "hydra.run.dir=run",
    )
    assert code == 0, err
    records = read_lines(tmp_path / "run" / "records.jsonl")
    assert [record["turn"] for record in records] == [1, 1]
    assert all(record["correct"] is False for record in records)


def test_the_prompt_of_a_chat_is_the_message(chat_pair: SmallPair) -> None:
    task = Gsm8k(data=task_data("gsm8k_mini.jsonl"), shots=0, chat=True, limit=1)
    (problem,) = task.problems()
    question = problem.data["question"]
    tokenizer = AutoTokenizer.from_pretrained(chat_pair.folder / "target")
    ids = dialogue_ids(tokenizer, problem.system_prompt, problem.turns, [])
    assert tokenizer.decode(ids) == f"<user>Q: {question}\nA:</><assistant>"
    right = problem.data["answer"].rpartition("####")[2].strip()
    assert task.score(problem, f"The answer is {right}.").correct
