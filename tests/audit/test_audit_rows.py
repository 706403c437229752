"""What outputs look like in files of each form, and what is said of rows that can't be judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pearl_eval.audit.forms import Outputs, read_outputs
from pearl_eval.audit.rows import AuditRow, Messages, Recorded
from pearl_eval.errors import UserError

USER = {"role": "user", "content": "Hi"}


def read(tmp_path: Path, *objects: Any, requests: list[Any] | None = None) -> Outputs:
    file, asked = tmp_path / "outputs.jsonl", tmp_path / "requests.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in objects))
    if requests is not None:
        asked.write_text("".join(json.dumps(one) + "\n" for one in requests))
    return read_outputs(file, asked if requests is not None else None)


def row(tmp_path: Path, content: Any, requests: list[Any] | None = None) -> AuditRow:
    found = read(tmp_path, content, requests=requests)
    assert not found.unusable, found.unusable
    (one,) = found.rows
    return one


def reason(tmp_path: Path, content: Any) -> str:
    (one,) = read(tmp_path, content).unusable
    assert one.place.line == 1
    return one.reason


def test_ours_has_tokens_or_text_and_what_was_applied(tmp_path: Path) -> None:
    content = {"id": 7, "prompt": [1, 2], "output": [3], "top_k": 4, "category": "x", "top_p": None}
    found = row(tmp_path, content | {"sampling": {"temperature": 0.5}})
    assert (found.name, found.prompt, found.output, found.text) == ("7", [1, 2], [3], None)
    assert found.settings == {"top_k": 4, "temperature": 0.5}
    found = row(tmp_path, {"prompt": "a", "output": "b", "finish_reason": "stop"})
    assert (found.prompt, found.output, found.text, found.finish_reason) == ("a", None, "b", "stop")
    assert found.special_tokens and not found.own_run
    both = {"prompt": "a", "prompt_token_ids": [1], "output_token_ids": [2], "text": "b"}
    found = row(tmp_path, both | {"add_special_tokens": False})
    assert (found.prompt, found.prompt_text, found.output, found.text) == ([1], "a", [2], "b")
    assert not found.special_tokens
    assert row(tmp_path, {"messages": [USER], "output": []}).prompt == Messages([USER])


def test_the_first_name_that_a_row_has_is_its_own(tmp_path: Path) -> None:
    one = {"prompt": "a", "output": "b"}
    names = {"custom_id": "", "task_id": None, "request_id": "r", "id": 1, "doc_id": 2}
    assert row(tmp_path, one | names).name == "r"
    for name in ("custom_id", "task_id"):
        assert row(tmp_path, one | names | {name: 5}).name == "5"
    assert row(tmp_path, one | {"id": 1, "doc_id": 2}).name == "1"
    assert row(tmp_path, one | {"doc_id": 0}).name == "0"
    assert row(tmp_path, one).name == ""


def test_the_first_prompt_and_the_first_output_that_are_there_count(tmp_path: Path) -> None:
    prompts = {"prompt_token_ids": [1], "prompt_ids": [2], "prompt": "a", "messages": [USER]}
    outputs = {
        "output_token_ids": [3], "output_ids": [4], "token_ids": [5], "output": "c",
        "completion": "d", "text": "e",
    }  # fmt: skip
    found = []
    while prompts:
        one = row(tmp_path, {**prompts, "output": "c"})
        found.append((one.prompt, one.prompt_text))
        prompts.pop(next(iter(prompts)))
    assert found == [([1], "a"), ([2], "a"), ("a", None), (Messages([USER]), None)]
    made = []
    while outputs:
        one = row(tmp_path, {"prompt": "a", **outputs})
        made.append((one.output, one.text))
        outputs.pop(next(iter(outputs)))
    assert made == [
        ([3], "e"), ([4], "e"), ([5], "e"), (None, "c"), (None, "d"), (None, "e"),
    ]  # fmt: skip


def test_messages_may_have_parts_of_text_or_no_content_at_all(tmp_path: Path) -> None:
    """As those of an assistant that called a tool have none."""
    text = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}
    picture = {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url"}]}
    for called in ({"role": "assistant", "content": None}, {"role": "assistant"}):
        messages = [USER, called, text]
        assert row(tmp_path, {"messages": messages, "output": [1]}).prompt == Messages(messages)
        told = reason(tmp_path, {"messages": [called, text, picture], "output": [1]})
        assert "parts that are no text" in told


def test_a_template_is_told_what_the_request_told_it(tmp_path: Path) -> None:
    told = {"documents": [1], "chat_template": "x", "continue_final_message": True}
    content = {"messages": [USER], "output": [1], "seed": 3, "tools": [], **told}
    content["chat_template_kwargs"] = {"thinking": False, "chat_template": "y"}
    expected = {**told, "thinking": False, "chat_template": "y"}
    assert row(tmp_path, content).prompt == Messages([USER], expected)


def test_a_servers_response_has_one_row_for_each_choice(tmp_path: Path) -> None:
    choices = [
        {"text": "b", "token_ids": [4, 0], "prompt_token_ids": [1], "finish_reason": "stop"},
        {"text": "c", "token_ids": [5], "prompt_token_ids": [1], "finish_reason": "length"},
    ]
    found = read(tmp_path, {"id": "cmpl", "model": "m", "choices": choices})
    first, second = found.rows
    assert (first.name, second.name) == ("cmpl, output 0", "cmpl, output 1")
    assert (first.prompt, first.output, first.text) == ([1], [4, 0], "b")
    assert (second.output, second.finish_reason, second.model) == ([5], "length", "m")
    assert found.lines == 1


def test_a_chat_is_read_with_its_token_ids_and_without(tmp_path: Path) -> None:
    message = {"role": "assistant", "content": "b"}
    with_ids = {
        "prompt_token_ids": [1, 2],
        "choices": [{"message": message, "token_ids": [3], "stop_reason": 3}],
    }
    found = row(tmp_path, with_ids)
    assert (found.prompt, found.output, found.text) == ([1, 2], [3], "b")
    assert found.stop_reason == 3
    request = {"messages": [USER], "temperature": 0.25, "tools": [{}], "user": "me"}
    without = {"request": request, "response": {"choices": [{"message": message}]}}
    found = row(tmp_path, without)
    assert found.prompt == Messages([USER], {"tools": [{}]})
    assert (found.output, found.text, found.settings) == (None, "b", {"temperature": 0.25})


def test_a_batchs_response_is_joined_with_its_request(tmp_path: Path) -> None:
    body = {"choices": [{"text": "b", "finish_reason": "stop"}], "model": "m"}
    response = {"custom_id": "r2", "response": {"status_code": 200, "body": body}}
    asked = [
        {"custom_id": "r1", "body": {"prompt": "no"}},
        {"custom_id": "r2", "body": {"prompt": "a", "max_tokens": 9}},
    ]
    found = row(tmp_path, response, requests=asked)
    assert (found.name, found.prompt, found.settings) == ("r2", "a", {"max_tokens": 9})
    response["response"] = {"status_code": 500, "body": {}}
    assert "status 500" in reason(tmp_path, response)
    for wrong in ({"body": {}}, {"custom_id": "r"}, {"custom_id": "r", "body": "x"}):
        with pytest.raises(UserError, match=r"requests\.jsonl, line 1: expected a batch's request"):
            read(tmp_path, response, requests=[wrong])


def test_what_was_asked_beside_a_response_counts_before_its_request_and_the_batchs(
    tmp_path: Path,
) -> None:
    body = {"choices": [{"text": "b"}]}
    request = {"body": {"temperature": 0.2, "top_k": 2, "add_special_tokens": False}}
    content = {"custom_id": "r", "temperature": 0.3, "request": request, "response": {"body": body}}
    asked = {"prompt": [1, 2], "temperature": 0.1, "top_k": 1, "top_p": 0.5}
    found = row(tmp_path, content, requests=[{"custom_id": "r", "body": asked}])
    assert found.settings == {"temperature": 0.3, "top_k": 2, "top_p": 0.5}
    assert (found.prompt, found.special_tokens) == ([1, 2], False)


def test_the_text_of_a_prompt_is_known_beside_its_tokens(tmp_path: Path) -> None:
    choice = {"text": "b", "token_ids": [3], "prompt_token_ids": [1]}
    found = row(tmp_path, {"prompt": "a", "choices": [choice]})
    assert (found.prompt, found.prompt_text, found.special_tokens) == ([1], "a", True)
    assert row(tmp_path, {"prompt": [1], "choices": [choice]}).prompt_text is None


@pytest.mark.parametrize("part", ["tool_calls", "reasoning", "reasoning_content"])
def test_what_a_server_parsed_out_of_a_text_is_known_by_tokens_alone(
    tmp_path: Path, part: str
) -> None:
    message = {"content": "b", part: ["x"]}
    choice = {"message": message, "token_ids": [3], "prompt_token_ids": [1]}
    found = row(tmp_path, {"choices": [choice]})
    assert (found.output, found.text) == ([3], None)
    told = reason(tmp_path, {"messages": [USER], "choices": [{"message": message}]})
    assert told.startswith(f"its message has {part}, which the server parsed out of the text")


def test_several_outputs_of_one_prompt_are_numbered(tmp_path: Path) -> None:
    outputs = [{"token_ids": [3], "text": "b"}, {"token_ids": [4]}]
    found = read(tmp_path, {"request_id": "9", "prompt": "a", "outputs": outputs}).rows
    assert [one.name for one in found] == ["9, output 0", "9, output 1"]
    assert [(one.prompt, one.prompt_text) for one in found] == [("a", None)] * 2
    assert [(one.output, one.text) for one in found] == [([3], "b"), ([4], None)]
    options = {"temperature": 0.0, "do_sample": True}
    arguments = {
        "gen_args_0": {"arg_1": options, "arg_0": "a"},
        "gen_args_1": {"arg_0": ["c"], "arg_1": {}},
    }
    found = read(tmp_path, {"doc_id": 0, "arguments": arguments, "resps": [["b", "d"], ["e"]]}).rows
    assert [one.name for one in found] == [f"0, output {n}" for n in range(3)]
    assert [(one.prompt, one.text) for one in found] == [("a", "b"), ("a", "d"), ("c", "e")]
    assert [one.settings for one in found] == [options, options, {"do_sample": False}]


def test_what_vllm_generates_offline(tmp_path: Path) -> None:
    output = {"token_ids": [3, 4], "text": "b", "finish_reason": "length", "stop_reason": None}
    found = row(
        tmp_path,
        {
            "request_id": "9",
            "prompt": "a",
            "prompt_token_ids": [1],
            "outputs": [output],
            "sampling_params": {"temperature": 0.0, "max_tokens": 2},
        },
    )
    assert (found.name, found.prompt, found.prompt_text) == ("9", [1], "a")
    assert (found.output, found.text, found.finish_reason) == ([3, 4], "b", "length")
    assert found.settings == {"temperature": 0.0, "max_tokens": 2}


@pytest.mark.parametrize("old", [True, False])
def test_a_sample_of_the_harness(tmp_path: Path, old: bool) -> None:
    options = {"until": ["\n\n"], "max_gen_toks": 8, "temperature": 0.0}
    arguments: Any = [["a", options]] if old else {"gen_args_0": {"arg_0": "a", "arg_1": options}}
    found = row(tmp_path, {"doc_id": 3, "arguments": arguments, "resps": [["b"]]})
    assert (found.name, found.prompt, found.text) == ("3", "a", "b")
    assert found.settings == {
        "stop": ["\n\n"],
        "max_tokens": 8,
        "temperature": 0.0,
        "do_sample": False,
    }
    assert not found.special_tokens
    choice = {"doc_id": 3, "arguments": [["a", " b"]], "resps": [[[-1.0, False]]]}
    assert "no generation" in reason(tmp_path, choice)


@pytest.mark.parametrize(
    ("arguments", "responses", "said"),
    [
        (None, [["b"]], "its arguments are no list with one entry a request"),
        ("a", [["b"]], "its arguments are no list with one entry a request"),
        ([["a", {}]], "b", "its resps are no list with one entry a request"),
        ([["a", {}]], None, "its resps are no list with one entry a request"),
        ([3], [["b"]], "not all of its arguments are lists of a prompt and options"),
        ({"gen_args_0": "a"}, [["b"]], "not all of its arguments are lists of a prompt"),
        ([[]], [["b"]], "its request is no generation"),
        ([["a", {}]], [], "it has no requests"),
        ([[3, {}]], [["b"]], "its arguments is neither a text nor a list of token ids"),
    ],
)
def test_a_damaged_sample_of_the_harness(
    tmp_path: Path, arguments: Any, responses: Any, said: str
) -> None:
    assert said in reason(tmp_path, {"arguments": arguments, "resps": responses})


def test_the_harness_writes_messages_of_servers_as_text(tmp_path: Path) -> None:
    arguments = {"gen_args_0": {"arg_0": [json.dumps([USER])], "arg_1": {"temperature": 0.5}}}
    found = row(tmp_path, {"arguments": arguments, "resps": [["b"]]})
    assert found.prompt == Messages([USER])
    assert found.settings == {"temperature": 0.5, "do_sample": True}


def record(turn: int, **more: Any) -> dict[str, Any]:
    return {
        "format_version": 1,
        "task_id": "T/1",
        "sample": 0,
        "turn": turn,
        "output_ids": [5, turn],
        "reference_output_ids": [6, turn],
        "finish_reason": "stop",
        **more,
    }


def test_a_runs_records_have_the_references_earlier_answers(tmp_path: Path) -> None:
    found = read(tmp_path, record(1), record(2), record(3))
    assert [one.output for one in found.rows] == [[5, 1], [5, 2], [5, 3]]
    assert [one.prompt for one in found.rows] == [
        Recorded(tmp_path, "T/1", []),
        Recorded(tmp_path, "T/1", [[6, 1]]),
        Recorded(tmp_path, "T/1", [[6, 1], [6, 2]]),
    ]
    assert all(one.own_run for one in found.rows)
    assert "not all turns before" in read(tmp_path, record(2)).unusable[0].reason
    assert "synthetic" in reason(tmp_path, record(0, synthetic=True))


def test_samples_of_a_problem_have_answers_of_their_own(tmp_path: Path) -> None:
    records = [record(1), record(1, sample=1, reference_output_ids=[7]), record(2, sample=1)]
    found = read(tmp_path, *records, record(0, task_id="T/2", finish_reason=None)).rows
    assert [one.name for one in found] == [
        "T/1, turn 1", "T/1, turn 1, sample 1", "T/1, turn 2, sample 1", "T/2",
    ]  # fmt: skip
    assert found[2].prompt == Recorded(tmp_path, "T/1", [[7]])
    assert found[3].prompt == Recorded(tmp_path, "T/2", ())
    assert [one.finish_reason for one in found] == ["stop"] * 3 + [""]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"prompt": "a"}, "it has no output; expected"),
        ({"output": "b"}, "it has no prompt; expected"),
        ({"prompt": "a", "output": [1, "2"]}, "its output is neither a text nor a list of token"),
        ({"prompt": "a", "output": [True]}, "its output is neither"),
        ({"messages": "a", "output": "b"}, "its messages are no list"),
        ({"messages": [], "output": "b"}, "its messages are no list"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}], "output": "b"},
            "parts that are no text",
        ),
        ({"prompt": "a", "output": "b", "sampling": 3}, "its sampling is no object"),
        ({"choices": []}, "no choices"),
        ({"choices": [{"text": "b"}]}, "it has no prompt: a response alone does not"),
        ({"prompt": ["a", "b"], "choices": [{"text": "b"}]}, "several prompts"),
        ({"prompt": "a", "echo": True, "request": {"echo": True}, "choices": [{}]}, "echo"),
        (
            {"messages": [USER], "choices": [{"message": {"tool_calls": [1]}}]},
            "its message has tool_calls",
        ),
        ({"outputs": []}, "its outputs are empty"),
        ([1], "expected a JSON object, got a list"),
    ],
)
def test_a_row_that_cannot_be_judged_says_why(tmp_path: Path, content: Any, told: str) -> None:
    # A list alone would be a file of rows.
    found = read(tmp_path, content, {"prompt": "a", "output": "b"})
    (one,) = found.unusable
    assert told in one.reason
    assert str(one).startswith(f"{tmp_path}/outputs.jsonl, line 1: ")
    assert len(found.rows) == 1


def test_one_file_is_of_one_model(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "output": "b", "model": name} for name in ("m", "", "n", "m")]
    found = read(tmp_path, *rows)
    assert [one.place.line for one in found.rows] == [1, 2, 4]
    (other,) = found.unusable
    assert other.place.line == 3
    assert "output of 'n', and that in line 1 of 'm'" in other.reason


def test_lines_are_counted_in_lists_and_past_what_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "list.json"
    rows = [{"prompt": "a", "output": name} for name in "xyz"]
    file.write_text("\n" + json.dumps(rows, indent=1))
    found = read_outputs(file)
    assert [(one.place.line, one.text) for one in found.rows] == [(3, "x"), (7, "y"), (11, "z")]
    file.write_text(json.dumps(rows[0], indent=1))
    assert [one.place.line for one in read_outputs(file).rows] == [1]
    file.write_text(f"{json.dumps(rows[0])}\n\n{{torn\n{json.dumps(rows[1])}\n")
    found = read_outputs(file)
    assert [one.place.line for one in found.rows] == [1, 4]
    assert [one.place.line for one in found.unusable] == [3]
    assert "a damaged line" in found.unusable[0].reason


def test_a_byte_order_mark_and_half_a_character_are_read(tmp_path: Path) -> None:
    file = tmp_path / "outputs.jsonl"
    content = json.dumps({"prompt": "a", "output": "\ud83d"}, ensure_ascii=False)
    file.write_bytes(b"\xef\xbb\xbf" + content.encode("utf-8", "surrogatepass"))
    (found,) = read_outputs(file).rows
    assert (found.prompt, found.text, found.place.line) == ("a", "\ud83d", 1)


def test_a_damaged_file_of_requests_is_told(tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text("{torn\n")
    with pytest.raises(
        UserError, match=r"requests\.jsonl, line 1: .*named as the file of requests"
    ):
        read_outputs(tmp_path / "outputs.jsonl", tmp_path / "requests.jsonl")


def test_no_file_and_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it can't be read"):
        read_outputs(tmp_path / "none")
    (tmp_path / "empty").write_text(" \n")
    with pytest.raises(UserError, match="empty: it is empty; expected JSON"):
        read_outputs(tmp_path / "empty")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="it is no text"):
        read_outputs(tmp_path / "bytes")
