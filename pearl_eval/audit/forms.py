"""The forms that outputs come in, and the rows that are made of each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pearl_eval.audit.lines import read_objects
from pearl_eval.audit.processors import CONTROLS
from pearl_eval.audit.rows import AuditRow, Messages, Place, Prompt, Recorded, UnfitRow, Unusable
from pearl_eval.errors import UserError
from pearl_eval.results.formats import current
from pearl_eval.results.version_0 import upgrade_record

#: What rows may be called, the most telling first.
_NAMES = ("custom_id", "task_id", "request_id", "id", "doc_id")
#: What the keys of a row of the simple form may be, the first that is there counts.
_PROMPTS = ("prompt_token_ids", "prompt_ids", "prompt", "messages")
_OUTPUTS = ("output_token_ids", "output_ids", "token_ids", "output", "completion", "text")
#: What a request tells a chat template.
_OF_TEMPLATES = ("tools", "documents", "chat_template", "continue_final_message")
#: Of a row of the simple form, an object of what was applied: there, no name is passed over.
SAMPLING = "sampling"

Object = Mapping[str, Any]


@dataclass
class Outputs:
    """The rows of a file, and what of it can't be judged. ``lines`` counts what was there."""

    file: str
    rows: list[AuditRow] = field(default_factory=list)
    unusable: list[Unusable] = field(default_factory=list)
    lines: int = 0


def read_outputs(path: Path, requests: Path | None = None) -> Outputs:
    """All outputs of a file; ``requests`` is that of a batch whose responses they are.

    Raises
    ------
    UserError
        There is no such file, or it is empty.
    """
    outputs = Outputs(str(path))
    asked = _requests(requests) if requests else {}
    reader = _Reader(path, asked)
    for one in read_objects(path):
        outputs.lines += 1
        if isinstance(one, Unusable):
            outputs.unusable.append(one)
            continue
        place, content = one
        try:
            # Before any is kept: one with a bad choice is unusable as a whole.
            found = list(reader.rows(place, content))
        except UnfitRow as error:
            outputs.unusable.append(Unusable(place, str(error)))
            continue
        for row in found:
            reason = reader.another_model(row)
            if reason:
                outputs.unusable.append(Unusable(place, reason))
            else:
                outputs.rows.append(row)
    return outputs


def _requests(path: Path) -> dict[str, Object]:
    """The bodies of a batch's requests, by ``custom_id``."""
    found = {}
    for one in read_objects(path):
        if isinstance(one, Unusable):
            raise UserError(f"{one}; it was named as the file of requests")
        place, content = one
        if not isinstance(content.get("body"), dict) or "custom_id" not in content:
            raise UserError(f"{place}: expected a batch's request, with custom_id and body")
        found[str(content["custom_id"])] = content["body"]
    return found


class _Reader:
    """Reads the rows of one file, whatever their form."""

    def __init__(self, path: Path, requests: Mapping[str, Object]) -> None:
        self._path = path
        self._requests = requests
        #: What the first row calls the model, and where that was.
        self._model: tuple[str, Place] | None = None
        #: Of our runs: the reference's answers, by problem and sample, in the order of turns.
        self._answers: dict[tuple[str, int], list[list[int]]] = {}

    def rows(self, place: Place, content: Object) -> Iterator[AuditRow]:
        """The rows of an object: more than one where a prompt was answered several times."""
        form: Callable[[Place, Object], Iterator[AuditRow]]
        if {"task_id", "output_ids", "reference_output_ids"} <= content.keys():
            form = self._recorded
        elif "arguments" in content and "resps" in content:
            form = _harness
        elif "choices" in content or ("response" in content and _is_response(content["response"])):
            form = self._served
        elif isinstance(content.get("outputs"), list):
            form = _offline
        else:
            form = _simple
        yield from form(place, content)

    def another_model(self, row: AuditRow) -> str:
        """Why a row is not of the model that the file's first is of; empty if it may be."""
        if not row.model:
            return ""
        if self._model is None:
            self._model = row.model, row.place
        name, place = self._model
        if row.model == name:
            return ""
        return (
            f"it is an output of {row.model!r}, and that in line {place.line} of {name!r}: an audit"
            " holds all to one model; put the others into a file of their own"
        )

    def _recorded(self, place: Place, content: Object) -> Iterator[AuditRow]:
        """A line of a run's ``records.jsonl``; its prompts are in the task that the run names."""
        record = current(dict(content), self._path, upgrade_record)
        if record.get("synthetic"):
            raise UnfitRow("it is of a synthetic pair, which makes its tokens up")
        key = str(record["task_id"]), int(record.get("sample", 0))
        turn = int(record.get("turn", 0))
        earlier = self._answers.setdefault(key, [])
        if turn and len(earlier) != turn - 1:
            raise UnfitRow(f"it is turn {turn}, and not all turns before it are above it")
        prompt = Recorded(self._path.parent, key[0], list(earlier) if turn else ())
        if turn:
            earlier.append(_ids("reference_output_ids", record["reference_output_ids"]))
        sample = f", sample {key[1]}" if key[1] else ""
        yield AuditRow(
            place,
            key[0] + (f", turn {turn}" if turn else "") + sample,
            prompt,
            _ids("output_ids", record["output_ids"]),
            finish_reason=str(record.get("finish_reason") or ""),
            own_run=True,
        )

    def _served(self, place: Place, content: Object) -> Iterator[AuditRow]:
        """A response of an OpenAI-compatible server, alone, beside its request, or in a batch."""
        response, request = content, content.get("request") or {}
        if "choices" not in content:
            response = content["response"]
        request = request.get("body", request) if isinstance(request, Mapping) else {}
        name = str(content.get("custom_id", ""))
        if "body" in response:
            if response.get("status_code", 200) != 200:
                raise UnfitRow(f"its request failed with status {response['status_code']}")
            response = response["body"]
        asked = {**self._requests.get(name, {}), **request, **_asked(content)}
        choices = response.get("choices")
        if not isinstance(choices, list) or not choices:
            raise UnfitRow("its response has no choices, so no output")
        for number, choice in enumerate(choices):
            one = choice if isinstance(choice, Mapping) else {}
            prompt, text = _prompt_of(one, response, asked)
            yield AuditRow(
                place,
                _numbered(name or _name(content), number, len(choices)),
                prompt,
                _optional_ids("token_ids", one.get("token_ids")),
                _text_of(one),
                text,
                _settings(asked),
                *_ending(one),
                special_tokens=bool(asked.get("add_special_tokens", True)),
                model=str(response.get("model") or ""),
            )


def _is_response(response: Any) -> bool:
    return isinstance(response, Mapping) and ("choices" in response or "body" in response)


def _asked(content: Object) -> dict[str, Any]:
    """What stands beside a response of what was asked for: it may have been merged with it."""
    names = {"prompt", "messages", "add_special_tokens", *CONTROLS, *_OF_TEMPLATES}
    return {name: value for name, value in content.items() if name in names}


def _prompt_of(choice: Object, response: Object, asked: Object) -> tuple[Prompt, str | None]:
    """What a choice continues, and its text where that is known beside its tokens."""
    ids = choice.get("prompt_token_ids") or response.get("prompt_token_ids")
    text = asked.get("prompt")
    if ids:
        return _ids("prompt_token_ids", ids), text if isinstance(text, str) else None
    if asked.get("echo"):
        raise UnfitRow(
            "its text begins with the prompt (echo), and no token ids tell where that ends"
        )
    if asked.get("messages"):
        return _messages(asked["messages"], asked), None
    if text is None:
        raise UnfitRow(
            "it has no prompt: a response alone does not; ask the server for return_token_ids, or"
            " put the request beside it (docs/audit.md)"
        )
    if isinstance(text, list) and text and not isinstance(text[0], int):
        raise UnfitRow("its request has several prompts, and which one it is of is not told")
    return _prompt("prompt", text, asked), None


def _text_of(choice: Object) -> str | None:
    """The text of a completion or of a chat's message."""
    if isinstance(choice.get("text"), str):
        return str(choice["text"])
    message = choice.get("message")
    if not isinstance(message, Mapping):
        return None
    if not choice.get("token_ids"):
        for part in ("tool_calls", "reasoning", "reasoning_content"):
            if message.get(part):
                raise UnfitRow(
                    f"its message has {part}, which the server parsed out of the text; ask it for"
                    " return_token_ids"
                )
    elif any(message.get(part) for part in ("tool_calls", "reasoning", "reasoning_content")):
        return None
    content = message.get("content")
    return content if isinstance(content, str) else None


def _offline(place: Place, content: Object) -> Iterator[AuditRow]:
    """What vLLM's ``LLM.generate`` returns, written out."""
    outputs = content["outputs"]
    if not outputs:
        raise UnfitRow("its outputs are empty")
    for number, output in enumerate(outputs):
        one = output if isinstance(output, Mapping) else {}
        ids = content.get("prompt_token_ids")
        text = content.get("prompt")
        prompt: Prompt = _ids("prompt_token_ids", ids) if ids else _prompt("prompt", text, content)
        yield AuditRow(
            place,
            _numbered(_name(content), number, len(outputs)),
            prompt,
            _optional_ids("token_ids", one.get("token_ids")),
            _string(one.get("text")),
            _string(text) if ids else None,
            _settings(content),
            *_ending(one),
        )


def _harness(place: Place, content: Object) -> Iterator[AuditRow]:
    """A sample of lm-evaluation-harness, as ``--log_samples`` leaves it."""
    made = [
        (request, text)
        for request, answers in zip(*_harness_lists(content), strict=False)
        for text in (answers if isinstance(answers, list) else [answers])
    ]
    if not made:
        raise UnfitRow("it has no requests")
    for number, (request, text) in enumerate(made):
        options = request[1] if len(request) > 1 else None
        if not isinstance(options, Mapping) or not isinstance(text, str):
            raise UnfitRow(
                "its request is no generation (a choice is scored, nothing is generated); take"
                " samples of a task whose output_type is generate_until"
            )
        settings = dict(options)
        stops = settings.pop("until", None)
        limit = settings.pop("max_gen_toks", None)
        settings |= {"stop": stops} if stops else {}
        settings |= {"max_tokens": limit} if limit else {}
        settings.setdefault("do_sample", bool(settings.get("temperature")))
        yield AuditRow(
            place,
            _numbered(_name(content), number, len(made)),
            _harness_prompt(request[0]),
            None,
            text,
            settings=_settings(settings),
            # As it reads prompts for models that are no encoders, unless told otherwise.
            special_tokens=False,
        )


def _harness_lists(content: Object) -> tuple[list[list[Any]], list[Any]]:
    """The arguments of each request, and its responses."""
    requests, responses = content["arguments"], content["resps"]
    if isinstance(requests, Mapping):
        # Newer versions name them: gen_args_0 has arg_0, the prompt, and arg_1, the options.
        requests = [
            [one[name] for name in sorted(one)] if isinstance(one, Mapping) else one
            for one in requests.values()
        ]
    for name, value in ("arguments", requests), ("resps", responses):
        if not isinstance(value, list):
            raise UnfitRow(f"its {name} are no list with one entry a request")
    if not all(isinstance(one, list) for one in requests):
        raise UnfitRow("not all of its arguments are lists of a prompt and options")
    return requests, responses


def _harness_prompt(given: Any) -> Prompt:
    """A text, or for servers of chats the messages as JSON, alone in a list."""
    if isinstance(given, list) and len(given) == 1 and isinstance(given[0], str):
        try:
            return _messages(json.loads(given[0]), {})
        except ValueError:
            given = given[0]
    return _prompt("arguments", given, {})


def _simple(place: Place, content: Object) -> Iterator[AuditRow]:
    """Ours: a prompt and an output, each as text or as token ids."""
    asked = next((name for name in _PROMPTS if content.get(name) is not None), None)
    made = next((name for name in _OUTPUTS if content.get(name) is not None), None)
    if made is None:
        raise UnfitRow(f"it has no output; expected token ids or text as {' or '.join(_OUTPUTS)}")
    if asked is None:
        raise UnfitRow(f"it has no prompt; expected {' or '.join(_PROMPTS)}")
    output = content[made]
    is_text = isinstance(output, str)
    other = content.get("text") if not is_text else None
    prompt_text = content.get("prompt")
    yield AuditRow(
        place,
        _name(content),
        _prompt(asked, content[asked], content),
        None if is_text else _ids(made, output),
        output if is_text else _string(other),
        _string(prompt_text) if asked != "prompt" else None,
        _settings(content),
        *_ending(content),
        special_tokens=bool(content.get("add_special_tokens", True)),
        model=str(content.get("model") or ""),
    )


def _prompt(name: str, given: Any, options: Object) -> Prompt:
    if name == "messages":
        return _messages(given, options)
    if isinstance(given, str):
        return given
    return _ids(name, given)


def _messages(given: Any, options: Object) -> Messages:
    fits = isinstance(given, list) and all(
        isinstance(one, Mapping) and isinstance(one.get("role"), str) for one in given
    )
    if not fits or not given:
        raise UnfitRow("its messages are no list of objects with a role and a content each")
    parts = [
        part for one in given if isinstance(one.get("content"), list) for part in one["content"]
    ]
    if any(not isinstance(part, Mapping) or part.get("type") != "text" for part in parts):
        raise UnfitRow("its messages have parts that are no text, which a text model can't read")
    kept = {name: options[name] for name in _OF_TEMPLATES if options.get(name)}
    return Messages(given, kept | dict(options.get("chat_template_kwargs") or {}))


def _settings(content: Object) -> dict[str, Any]:
    """What a row says was applied. Names beside it are its own matter, if they are not engines'."""
    told = {name: value for name, value in content.items() if name in CONTROLS}
    inner = content.get(SAMPLING) or content.get("sampling_params") or {}
    if not isinstance(inner, Mapping):
        raise UnfitRow(f"its {SAMPLING} is no object of names and values")
    return {name: value for name, value in {**told, **inner}.items() if value is not None}


def _ending(content: Object) -> tuple[str, str | int | None]:
    reason, stopped = content.get("finish_reason"), content.get("stop_reason")
    return str(reason or ""), stopped if isinstance(stopped, str | int) else None


def _name(content: Object) -> str:
    found = next((content[name] for name in _NAMES if content.get(name) not in (None, "")), "")
    return str(found)


def _numbered(name: str, number: int, count: int) -> str:
    return f"{name}, output {number}" if count > 1 else name


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _optional_ids(name: str, value: Any) -> list[int] | None:
    return None if value is None else _ids(name, value)


def _ids(name: str, value: Any) -> list[int]:
    if not isinstance(value, Sequence) or not all(type(one) is int for one in value):
        raise UnfitRow(f"its {name} is neither a text nor a list of token ids")
    return list(value)
