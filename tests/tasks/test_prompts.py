"""Prompts of the user's own: every form and format, answers, categories, and what is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from small_pair import SmallPair
from test_data_files import FORMATS
from test_mt_bench import write
from transformers import AutoTokenizer

from pearl_eval.pairs.pair import Pair
from pearl_eval.sizes.model_size import ModelSize
from tasks.prompts import Match, Prompts
from tasks.rows.messages import Conversation, read_messages
from tasks.task import Problem

Run = Callable[..., tuple[int, str, str]]

SYSTEM = {"role": "system", "content": "Be kind."}


def user(text: object) -> dict:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict:
    return {"role": "assistant", "content": text}


def problems(path: Path, *rows: dict, **settings: object) -> list[Problem]:
    return Prompts(data=write(path / "d.jsonl", *rows), **settings).problems()  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FORMATS)
def test_rows_of_every_format(tmp_path: Path, name: str) -> None:
    rows = [
        {"id": "a", "prompt": 'Say "hi",\nplease: ', "answer": "hi", "category": "talk"},
        {"id": "b", "prompt": "2+3=", "answer": "", "category": ""},
    ]
    (tmp_path / name).write_bytes(FORMATS[name](rows))
    task = Prompts(data=str(tmp_path / name))
    first, second = task.problems()
    assert (first.task_id, first.prompt, first.category, first.turns) == (
        "prompts/a",
        'Say "hi",\nplease: ',
        "talk",
        (),
    )
    assert (second.task_id, second.prompt, second.category) == ("prompts/b", "2+3=", "")
    assert task.score(first, "oh hi").correct is True
    assert task.score(second, "5").correct is None


def test_a_text_file_has_a_prompt_in_each_line(tmp_path: Path) -> None:
    text = "\ufeff  one two \r\n\r\nthree\u2028four\n"
    (tmp_path / "d.txt").write_bytes(text.encode())
    (tmp_path / "d.txt.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("d.txt", "d.txt.gz"):
        found = Prompts(data=str(tmp_path / name)).problems()
        assert [(one.task_id, one.prompt) for one in found] == [
            ("prompts/1", "  one two "),
            ("prompts/3", "three\u2028four"),
        ]


def test_lines_of_a_text_end_as_any_machine_ends_them(tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_bytes(b"one\rtwo\r\nthree\nfour")
    found = Prompts(data=str(tmp_path / "d.txt")).problems()
    assert [one.prompt for one in found] == ["one", "two", "three", "four"]


def test_each_text_file_of_a_folder_is_a_prompt(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("def f(x):\n\n    return\n\n")
    (tmp_path / "a.TXT").write_text("Why?")
    (tmp_path / "notes.md").write_text("no prompt")
    (tmp_path / "sub.txt").mkdir()
    found = Prompts(data=str(tmp_path)).problems()
    assert [(one.task_id, one.prompt) for one in found] == [
        ("prompts/a.TXT", "Why?"),
        ("prompts/b.txt", "def f(x):\n\n    return\n"),
    ]


def test_names_are_ids_or_where_rows_are(tmp_path: Path) -> None:
    rows = [
        {"prompt": "a"},
        {"prompt": "b", "question_id": 81, "task_id": "x"},
        {"prompt": "c", "task_id": "HumanEval/0"},
        {"prompt": "d", "id": "", "question_id": "q"},
    ]
    ids = ["1", "81", "HumanEval/0", "q"]
    assert [one.task_id for one in problems(tmp_path, *rows)] == [f"prompts/{id}" for id in ids]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    assert Prompts(data=str(tmp_path / "d.json")).problems()[0].task_id == "prompts/0"


def test_ids_may_be_counted_from_0(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "id": 0}, {"prompt": "b", "id": 1}, {"prompt": "c", "doc": 0}]
    assert [one.task_id for one in problems(tmp_path, *rows)] == [
        "prompts/0", "prompts/1", "prompts/3",
    ]  # fmt: skip


def test_chat_makes_a_prompt_the_users_message(tmp_path: Path) -> None:
    row = {"prompt": "Why?"}
    (plain,) = problems(tmp_path, row, system_prompt="Be kind.")
    assert (plain.prompt, plain.turns, plain.system_prompt) == ("Why?", (), "")
    (chat,) = problems(tmp_path, row, system_prompt="Be kind.", chat=True)
    assert (chat.prompt, chat.turns, chat.system_prompt) == ("", ("Why?",), "Be kind.")


def test_turns_and_messages_are_dialogues(tmp_path: Path) -> None:
    turns, messages = problems(
        tmp_path,
        {"turns": ["Why?", "How?"]},
        {"messages": [SYSTEM, user("Why?"), assistant("So."), user("How?")]},
        system_prompt="Be brief.",
    )
    assert (turns.turns, turns.earlier, turns.system_prompt) == (("Why?", "How?"), (), "Be brief.")
    assert messages.turns == ("How?",)
    assert (messages.earlier, messages.system_prompt) == ((("Why?", "So."),), "Be kind.")


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([user("Why?")], Conversation(("Why?",))),
        ([user("Why?"), assistant("So.")], Conversation(("Why?",))),
        ([user("Why?"), user("How?")], Conversation(("Why?", "How?"))),
        (
            [user("Why?"), assistant("So."), user("How?"), user("Where?"), assistant("There.")],
            Conversation(("How?", "Where?"), (("Why?", "So."),)),
        ),
        (
            [{"role": "developer", "content": "Be kind."}, user("Why?")],
            Conversation(("Why?",), (), "Be kind."),
        ),
        (
            [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "Why"}, {"type": "text", "text": "?"}],
                }
            ],
            Conversation(("Why?",)),
        ),
    ],
)
def test_what_a_list_of_messages_is(messages: list[dict], expected: Conversation) -> None:
    assert read_messages(messages) == expected


def test_earlier_answers_are_read_and_not_given_again(chat_pair: SmallPair) -> None:
    tokenizer = AutoTokenizer.from_pretrained(chat_pair.folder / "target")
    pair = Pair(tokenizer, {"target": ModelSize(0, 0, 0, 0, 99)}, (0,), pytest.fail, pytest.fail)
    problem = Problem(
        "p", turns=("c?", "d?"), system_prompt="s", earlier=(("a?", "A."), ("b?", "B."))
    )
    begun = "<system>s</><user>a?</><assistant>A.</><user>b?</><assistant>B.</><user>c?</>"
    assert tokenizer.decode(pair.prompt(problem)) == f"{begun}<assistant>"
    second = tokenizer.decode(pair.prompt(problem, ["C."]))
    assert second == f"{begun}<assistant>C.</><user>d?</><assistant>"


def test_answers_are_contained_or_exact(tmp_path: Path) -> None:
    assert Match.contains.right("It is  42\nof course", "is 42 of")
    assert not Match.contains.right("It is 43", "42")
    assert not Match.contains.right("It is Paris", "paris")
    assert Match.exact.right("<think>41? 42.</think> 42\n", "42")
    assert not Match.exact.right("42.", "42")
    assert not Match.contains.right("<think>42", "42")
    (row,) = problems(tmp_path, {"prompt": "6·7=", "answer": " 42\n"})
    assert Prompts(match=Match.exact).score(row, " 42").correct is True
    assert Prompts(match=Match.exact).score(row, "4 2").correct is False
    (blank,) = problems(tmp_path, {"prompt": "6·7=", "answer": " \n"})
    assert Prompts().score(blank, "anything").correct is None


def test_a_dialogue_of_one_answer_may_be_held_to_one(tmp_path: Path) -> None:
    row = {"messages": [user("6·7?"), assistant("Well."), user("So?")], "answer": "42"}
    (problem,) = problems(tmp_path, row)
    assert Prompts().score(problem, "It is 42.").correct is True
    assert Prompts().score(problem, "It is 41.").correct is False


def test_a_limit_takes_as_many_of_each_category(tmp_path: Path) -> None:
    rows = [{"prompt": c, "category": c[0]} for c in ("a1", "a2", "a3", "b1", "b2", "c1")]
    taken = [[one.prompt for one in problems(tmp_path, *rows, limit=n)] for n in (2, 4, 5)]
    assert taken == [["a1", "b1"], ["a1", "a2", "b1", "c1"], ["a1", "a2", "b1", "b2", "c1"]]
    plain = [{"prompt": c} for c in "xyz"]
    assert [one.prompt for one in problems(tmp_path, *plain, limit=2)] == ["x", "y"]


def test_problems_are_spread_by_halves(tmp_path: Path) -> None:
    """Of six, the places 0, 4, 2, 1, 5, 3: three binary digits read backwards, without 6 and 7."""
    plain = [{"prompt": c} for c in "abcdef"]

    def taken(count: int, *rows: dict) -> str:
        return "".join(one.prompt[0] for one in problems(tmp_path, *rows, limit=count, spread=True))

    assert [taken(n, *plain) for n in range(1, 7)] == ["a", "ae", "ace", "abce", "abcef", "abcdef"]
    assert taken(9, *plain) == "abcdef"
    assert taken(1, {"prompt": "x"}) == "x"
    kinds = [{"prompt": c, "category": "two" if c in "de" else "one"} for c in "abcdef"]
    assert [taken(n, *kinds) for n in (1, 2, 3, 4)] == ["a", "ae", "ace", "acde"]


def test_texts_are_counted_by_turn(tmp_path: Path) -> None:
    data = write(tmp_path / "d.jsonl", {"prompt": "a"}, {"turns": ["b", "c", "d"]})
    assert (Prompts(data=data).size(), Prompts(data=data).texts()) == (2, 4)


GOOD = {"id": 1, "prompt": "Why?"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (GOOD, "line 2: its id '1' is already that of .*line 1"),
        ({"id": "1", "prompt": "?"}, "line 2: its id '1' is already that of .*line 1"),
        ({"id": True, "prompt": "?"}, "line 2: id must be a int or str, got True"),
        ({"id": 1.5, "prompt": "?"}, r"line 2: id must be a int or str, got 1\.5"),
        ({"prompt": " \n"}, "line 2: the prompt is empty"),
        ({"prompt": 7}, "line 2: prompt must be a str .*, got 7"),
        ({"text": "?"}, r"line 2: a row must have one of prompt, messages, turns, got 0 .*'text'"),
        ({"prompt": "?", "turns": ["?"]}, "line 2: a row must have one of .*, got 2"),
        ("?", "line 2: a row must have one of prompt, messages, turns, got 0 .*none"),
        ({"turns": []}, r"line 2: turns must be a list of messages, got \[\]"),
        ({"turns": "?"}, "line 2: turns must be a list of messages, got"),
        ({"prompt": "?", "category": 3}, "line 2: category must be a str, got 3"),
        ({"prompt": "?", "answer": 42}, "line 2: answer must be a str, got 42"),
        (
            {"turns": ["?", "!"], "answer": "42"},
            "line 2: an answer is that of one .* 2 turns",
        ),
        ({"messages": "?"}, "line 2: messages must be a list, got '?'"),
        ({"messages": ["?"]}, "line 2: messages must be objects with role and content, got '?'"),
        ({"messages": []}, "line 2: messages: there is no message of the user"),
        ({"messages": [SYSTEM]}, "line 2: messages: there is no message of the user"),
        ({"messages": [assistant("!")]}, "no message of the us"),
        ({"messages": [user("?"), SYSTEM]}, "line 2: messages: the system message must be the fir"),
        ({"messages": [assistant("!"), user("?")]}, "'!' follows none"),
        ({"messages": [user("?"), user("?"), assistant("!"), user("?")]}, "'!' follows 2"),
        ({"messages": [user(" ")]}, "line 2: messages: a content must be a text, got"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "line 2: messages: a content must be a text, got .*image_url",
        ),
        (
            {"messages": [user([{"type": "text", "text": "?"}, {"type": "text"}])]},
            "line 2: messages: a content must be a text, got",
        ),
        ({"messages": [{"role": "tool", "content": "?"}]}, "line 2: messages are those of a syst"),
        (
            {"messages": [user("?"), assistant("!") | {"tool_calls": [1]}, user("?")]},
            "line 2: messages are those of a system, a user and an assistant, without tools",
        ),
    ],
)
def test_bad_rows_are_named_by_file_and_line(tmp_path: Path, row: object, message: str) -> None:
    path = write(tmp_path / "bad.jsonl", GOOD, row)
    with pytest.raises(ValueError, match=message) as error:
        Prompts(data=path).problems()
    assert path in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.txt", b"\n \n", r"d\.txt: no problems in it"),
        ("d.txt", b"\xff", r"d\.txt: not UTF-8 text"),
        ("d.txt.gz", b"?", r"d\.txt\.gz: not gzip"),
        ("d.tsv", b"?\t!\n", r"d\.tsv: \.tsv has no names of columns; give \.csv"),
        ("D.TSV.GZ", b"", r"D\.TSV\.GZ: \.tsv has no names of columns; give \.csv"),
        ("d.csv", b"prompt,answer\n\n?,!\n,!\n", r"d\.csv, line 4: the prompt is empty"),
        ("d.jsonl", b"Why?\n", r"d\.jsonl, line 1: not JSON"),
        ("other/notes.md", b"", r"/other: no \.txt file in it"),
        ("other/a.txt", b"\n", r"a\.txt: the prompt is empty"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    data = path.parent if path.parent != tmp_path else path
    with pytest.raises(ValueError, match=message):
        Prompts(data=str(data)).problems()


def test_without_data_it_says_what_to_give() -> None:
    with pytest.raises(ValueError, match=r"task\.data is missing: give a file of prompts"):
        Prompts().problems()


def test_a_run_of_prompts_of_every_kind(run_chat: Run, tmp_path: Path) -> None:
    """A row without an answer is not scored; accuracy is of the others alone."""
    data = write(
        tmp_path / "d.jsonl",
        {"prompt": "def f(x):", "category": "code", "answer": "no such text"},
        {"messages": [user("Why?"), assistant("So."), user("And?")], "category": "talk"},
        {"turns": ["Who?", "Where?"], "category": "talk"},
    )
    code, out, err = run_chat(
        "task=prompts", f"task.data={data}", "task.max_new_tokens=8", "hydra.run.dir=run"
    )
    assert code == 0, err
    assert "identical 4/4" in out and "talk" in out
    records = [json.loads(line) for line in (tmp_path / "run" / "records.jsonl").open()]
    assert [
        (one["task_id"], one["turn"], one["correct"], one["reference_correct"]) for one in records
    ] == [
        ("prompts/1", 0, False, False),
        ("prompts/2", 1, None, None),
        ("prompts/3", 1, None, None),
        ("prompts/3", 2, None, None),
    ]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["accuracy"], summary["reference_accuracy"]) == (0.0, 0.0)
    assert summary["by_category"]["talk"]["accuracy"] is None
    assert {name: own["prompts"] for name, own in summary["by_category"].items()} == {
        "code": 1,
        "talk": 3,
    }


def test_a_prompt_that_does_not_fit_is_named(run_chat: Run, tmp_path: Path) -> None:
    data = write(tmp_path / "d.jsonl", {"prompt": "a"}, {"id": "long", "prompt": "ab " * 2000})
    code, out, err = run_chat("task=prompts", f"task.data={data}", "task.max_new_tokens=8")
    assert code == 2 and not out and len(err.splitlines()) == 1
    assert "prompts/long: a prompt of" in err and "take a model with a longer context" in err
