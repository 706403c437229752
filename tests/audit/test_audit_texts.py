"""Prompts and outputs as tokens, and what counts for each, before any model is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from small_pair import make_tokenizer
from templates import PLAIN
from tokenizers.processors import TemplateProcessing
from transformers import GenerationConfig, PreTrainedTokenizerFast

from decoders.process.models import Checkpoint
from pearl_eval.audit import defaults as defaults_module
from pearl_eval.audit import inputs, own_runs
from pearl_eval.audit.auditor import Auditor
from pearl_eval.audit.config import AuditConfig
from pearl_eval.audit.defaults import Defaults
from pearl_eval.audit.ends import EndKind, Ends, OutputEnd
from pearl_eval.audit.inputs import Input, Inputs
from pearl_eval.audit.own_runs import OwnRuns, run_settings
from pearl_eval.audit.processors import CONTROLS, Applied
from pearl_eval.audit.rows import AuditRow, Messages, Place, Recorded, UnfitRow
from pearl_eval.audit.texts import RowText, TextReading
from pearl_eval.audit.verdicts import JudgedOutput
from pearl_eval.checks.divergence import Divergence
from pearl_eval.config.paths import config_dir
from pearl_eval.errors import UserError
from pearl_eval.pairs.pair import Pair
from pearl_eval.sizes.model_size import ModelSize
from tasks.task import Problem

CONTEXT = 40
#: 0 ends a text, 7 fills up.
ENDS = Ends([0], [0], 7, CONTEXT)
USER = {"role": "user", "content": "Hi"}


def tokenizer_of(template: str | None = None, begins: bool = False) -> PreTrainedTokenizerFast:
    """``begins``: it puts its token 0 before a text."""
    made = make_tokenizer()
    made.chat_template = template
    if begins:
        made.backend_tokenizer.post_processor = TemplateProcessing(
            single="<|eos|> $A", special_tokens=[("<|eos|>", 0)]
        )
    return made


def pair_of(tokenizer: PreTrainedTokenizerFast | None = None, **more: Any) -> Pair:
    sizes = {"target": ModelSize(0, 0, 0, 0, CONTEXT)}
    own = tokenizer or tokenizer_of()
    return Pair(own, sizes, (0, 5), pytest.fail, pytest.fail, **more)


def plain(text: str) -> list[int]:
    return list(make_tokenizer()(text).input_ids)


def row(prompt: Any, output: list[int] | None, **more: Any) -> AuditRow:
    return AuditRow(Place("f", 1), "", prompt, output, **more)


def read(one: AuditRow, pair: Pair | None = None, **told: Any) -> RowText:
    special = told.pop("special", None)
    return TextReading(pair or pair_of(), special).text(one, Applied.of(told, {}), ENDS)


@pytest.mark.parametrize(
    ("own", "asked", "added"),
    [
        (True, None, True),
        (False, None, False),
        (True, False, False),
        (False, True, True),
    ],
)
def test_a_prompt_of_text_begins_as_its_row_or_the_command_says(
    own: bool, asked: bool | None, added: bool
) -> None:
    pair = pair_of(tokenizer_of(begins=True))
    found = read(row("def f", [9], special_tokens=own), pair, special=asked)
    assert found.prompt == [0] * added + plain("def f")
    assert (found.ids, found.begin) == ([*found.prompt, 9], len(found.prompt))
    # Tokens are as they are.
    assert read(row([9, 8], [7]), pair, special=True).prompt == [9, 8]


def test_dialogues_are_written_by_the_template() -> None:
    pair = pair_of(tokenizer_of(PLAIN))

    def written(*messages: dict[str, str], **options: Any) -> str:
        prompt = read(row(Messages(messages, options), [9]), pair).prompt
        return str(pair.tokenizer.decode(prompt))

    assert written(USER) == "<user>Hi</><assistant>"
    begun = {"role": "assistant", "content": "So it"}
    on = written(USER, begun, continue_final_message=True)
    assert on == "<user>Hi</><assistant>So it"
    other = written(USER, chat_template="[{{ messages[0].content }}{{ mood }}]", mood="!")
    assert other == "[Hi!]"
    with pytest.raises(UnfitRow, match="the target's chat template can't write its messages: "):
        read(row(Messages([USER], {"chat_template": "{% if %}"}), [9]), pair)


def test_what_fills_an_output_up_is_left_out_unless_the_end_of_text_is_ignored() -> None:
    assert read(row([9], [8, 0, 7, 7])).output == [8, 0]
    assert read(row([9], [8, 0, 7, 7]), ignore_eos=True).output == [8, 0, 7, 7]


def test_an_output_of_text_is_read_as_it_goes_on() -> None:
    prompt = plain("def f")
    found = read(row("def f", None, text="(x): return"))
    assert found.retokenised and found.prompt == prompt
    assert pair_of().decode(prompt, found.output) == "(x): return"
    assert read(row("def f", None, text="")).output == []
    assert not read(row("def f", [9], text=None)).retokenised
    with pytest.raises(UnfitRow, match="neither token ids nor text"):
        read(row("def f", None))
    with pytest.raises(UnfitRow, match="its text is not what its tokens are decoded to"):
        read(row("def f", None, text="a<|eos|>"))


def test_the_same_text_in_other_tokens() -> None:
    """Two letters that the tokenizer has one token for, and a third."""
    tokenizer = make_tokenizer()
    joined = next(
        token
        for token in reversed(range(len(tokenizer)))
        if len(tokenizer.decode([token])) == 2 and tokenizer.decode([token]).isalpha()
    )
    said = str(tokenizer.decode([joined]))
    letters = [plain(one)[0] for one in said]
    reading = TextReading(pair_of())

    def otherwise(text: str, output: list[int], position: int, token: int) -> list[int] | None:
        made = RowText(row([9], None, text=text), [9], output, Applied.of({}, {}), True)
        found = reading.otherwise(made, position, token)
        return None if found is None else found.output

    assert otherwise(said, letters, 0, joined) == [joined]
    assert otherwise(said, [joined], 0, letters[0]) == letters
    space = plain(" ")[0]
    assert otherwise(f"{said} ", [joined, space], 0, letters[0]) == [*letters, space]
    assert otherwise(f" {said}", [space, joined], 1, letters[0]) == [space, *letters]
    # What it is already, what says something else, and what says nothing.
    assert otherwise(said, letters, 0, letters[0]) is None
    assert otherwise(said, [joined], 0, letters[1]) is None
    assert otherwise(said, [joined], 0, 0) is None


def test_prompt_and_output_must_fit_the_context() -> None:
    assert len(read(row([9] * 20, [8] * 20)).ids) == CONTEXT
    with pytest.raises(UnfitRow) as error:
        read(row([9] * 20, [8] * 21))
    assert str(error.value) == (
        "its prompt of 20 tokens and output of 21 do not fit the target's context of 40"
    )
    with pytest.raises(UnfitRow, match="its prompt is empty"):
        read(row([], [8]))


def test_tokens_must_be_of_the_vocabulary() -> None:
    assert read(row([0, 299], [299])).ids == [0, 299, 299]
    for prompt, output, said in (
        ([9, 300], [8], "token 300 at position 1 of its prompt is beyond the target's vocabulary"),
        ([9], [8, 7, -1], "token -1 at position 2 of its output is beyond .* vocabulary of 300: "),
    ):
        with pytest.raises(UnfitRow, match=f"^{said}"):
            read(row(prompt, output))


def test_tokens_must_be_those_of_the_text_beside_them() -> None:
    ids = plain("def f")
    for text in ("def f", " def f\n", "ef", "def f\ufffd", "", None):
        assert read(row(ids, ids, text=text, prompt_text=text)).output == ids
    assert read(row(ids, [*ids, 0], text="def f<|eos|>")).output == [*ids, 0]
    for more, what in (({"text": "def g"}, "output"), ({"prompt_text": "def g"}, "prompt")):
        with pytest.raises(UnfitRow) as error:
            read(row(ids, ids, **more))
        assert str(error.value) == (
            f"its {what}'s token ids read 'def f' by the target's tokenizer, and its text 'def g':"
            " ids of another tokenizer?"
        )


def of_config(
    monkeypatch: pytest.MonkeyPatch, config: GenerationConfig | None, padding: bool, counts: bool
) -> Defaults:
    monkeypatch.setattr(defaults_module, "read_generation_config", lambda checkpoint: config)
    tokenizer = tokenizer_of()
    if padding:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(9)
    pair = pair_of(tokenizer, checkpoints={"target": Checkpoint("/m")})
    return Defaults.of(pair, counts)


def test_what_a_model_says_of_itself_counts_but_for_lengths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = GenerationConfig(
        do_sample=True, temperature=0.5, repetition_penalty=1.25, eos_token_id=[4, 6],
        pad_token_id=0, max_new_tokens=8, max_length=20, min_length=3,
    )  # fmt: skip
    found = of_config(monkeypatch, config, padding=True, counts=True)
    own = {name: found.settings[name] for name in ("do_sample", "temperature")}
    assert own == {"do_sample": True, "temperature": 0.5}
    assert found.settings["repetition_penalty"] == 1.25
    assert found.settings.keys() <= CONTROLS - {"max_new_tokens", "max_length", "min_length"}
    assert found.ends == Ends([4, 6], (0, 5), 0, CONTEXT)
    without = of_config(monkeypatch, config, padding=True, counts=False)
    assert (without.settings, without.ends) == ({}, found.ends)


def test_without_a_config_of_its_own_the_tokenizer_says_where_texts_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for config in (None, GenerationConfig()):
        for padding in (False, True):
            found = of_config(monkeypatch, config, padding, counts=True)
            assert found.ends == Ends([0], (0, 5), 9 if padding else None, CONTEXT)
    assert Defaults.of(pair_of()) == Defaults({}, Ends([0], (0, 5), None, CONTEXT))
    tokenizer = tokenizer_of()
    tokenizer.eos_token = None
    assert Defaults.of(pair_of(tokenizer)).ends.certain == []


def test_a_config_that_can_not_be_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(checkpoint: Checkpoint) -> None:
        raise ValueError("no good")

    monkeypatch.setattr(defaults_module, "read_generation_config", fail)
    with pytest.raises(UserError, match=r"^/m: its generation config can't be read \(.*no good"):
        Defaults.of(pair_of(checkpoints={"target": Checkpoint("/m")}))


GREEDY = {"sampling._target_": "decoders.sampling.sampler.Greedy", "protocol": "standard"}
DRAWN = {
    "sampling._target_": "decoders.sampling.temperature.Temperature",
    "sampling.temperature": 0.5,
    "sampling.top_k": 3,
    "sampling.top_p": 0.75,
    "protocol": "paper",
}


@pytest.mark.parametrize(
    ("identity", "settings"),
    [
        (GREEDY, {"do_sample": False, "ignore_eos": False}),
        (
            DRAWN,
            {"do_sample": True, "ignore_eos": True, "temperature": 0.5, "top_k": 3, "top_p": 0.75},
        ),
    ],
)
def test_what_a_run_of_ours_applied(
    identity: dict[str, Any], settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = identity | {"task.max_new_tokens": 6, "task.limit": 9, "decoder.gamma": 3}
    monkeypatch.setattr(own_runs, "read_identity", lambda folder: known)
    assert run_settings(Path("run")) == settings | {"max_tokens": 6}


def test_a_run_that_can_not_be_judged_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_runs, "read_identity", lambda folder: GREEDY)
    monkeypatch.setattr(own_runs, "build", lambda *given: SimpleNamespace(random=True))
    with pytest.raises(UnfitRow, match="the run's sampling, SimpleNamespace, can't be judged here"):
        run_settings(Path("run"))
    monkeypatch.setattr(own_runs, "read_identity", lambda folder: {})
    with pytest.raises(UserError, match=r"^run: there is no run\.json that says which task"):
        run_settings(Path("run"))


def test_prompts_of_a_run_are_made_again_from_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the answers that were given, each up to what ended it; the task is read once."""
    asked = []
    known = [Problem("T/1", "def f"), Problem("T/2", turns=("Why?", "How?"))]

    def problems(folder: Path) -> dict[str, Problem]:
        asked.append(folder)
        if folder.name == "lost":
            raise UserError("no such task")
        return {one.task_id: one for one in known}

    monkeypatch.setattr(own_runs, "_problems", problems)
    pair = pair_of(tokenizer_of(PLAIN))
    runs = OwnRuns(pair)
    run, lost = Path("run"), Path("lost")
    assert runs.prompt(Recorded(run, "T/1")) == plain("def f")
    second = runs.prompt(Recorded(run, "T/2", [[*plain(" So."), 5, *plain("no")]]))
    said = "<user>Why?</><assistant>So.</><user>How?</><assistant>"
    assert pair.tokenizer.decode(second) == said
    for recorded, told in (
        (Recorded(run, "T/3"), "the run's task has no problem 'T/3'"),
        (Recorded(lost, "T/1"), "no such task"),
        (Recorded(lost, "T/1"), "no such task"),
    ):
        with pytest.raises(UnfitRow, match=f"^{told}$"):
            runs.prompt(recorded)
    assert asked == [run, lost]
    assert read(row(Recorded(run, "T/1"), [9]), pair).prompt == plain("def f")


def of_file(folder: Path, *lines: Any, **applied: Any) -> Input:
    path = folder / "outputs.jsonl"
    path.write_text(
        "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines)
    )
    config = AuditConfig(files=[str(path)], applied=applied)
    defaults = Defaults({"repetition_penalty": 1.5}, ENDS)
    return Inputs(config, pair_of(), defaults).file(str(path))


def test_rows_count_before_the_command_and_that_before_the_models_own(tmp_path: Path) -> None:
    one = {"prompt": [9], "output": [8]}
    found = of_file(
        tmp_path, one, one | {"temperature": 0}, one | {"repetition_penalty": 1.0}, temperature=0.5
    )
    assert [text.applied.describe() for text in found.texts] == [
        "sampled: temperature=0.5, repetition_penalty=1.5",
        "repetition_penalty=1.5",
        "sampled: temperature=0.5",
    ]


def test_a_minimal_length_forbids_what_ends_a_text_for_every_engine(tmp_path: Path) -> None:
    """And what the row says ends it, but not what fills up or may end a turn."""
    (text,) = of_file(tmp_path, {"prompt": [9], "output": [8], "min_tokens": 1}).texts
    (other,) = of_file(
        tmp_path, {"prompt": [9], "output": [8], "min_tokens": 1, "stop_token_ids": [6]}
    ).texts
    made = Inputs(AuditConfig(), pair_of(), Defaults({}, ENDS))
    for one, forbidden in ((text, [0]), (other, [0, 6])):
        scores = made.processed(one).scores(torch.zeros(1, 300), one.begin)
        assert scores[0].isneginf().nonzero()[:, 0].tolist() == forbidden


def test_what_can_not_be_judged_is_told_in_the_order_of_lines(tmp_path: Path) -> None:
    good = {"prompt": [9], "output": [8]}
    found = of_file(tmp_path, {"prompt": [300], "output": [8]}, "{", good | {"top_p": 1.5}, good,
                    temperature=1.0)  # fmt: skip
    assert [one.place.line for one in found.unusable] == [1, 2, 3]
    assert [one.row.place.line for one in found.texts] == [4]
    assert found.unusable[2].reason.startswith("top_p can't be applied with 1.5")


def test_to_a_run_of_ours_only_what_it_says_was_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def settings(folder: Path) -> dict[str, Any]:
        asked.append(folder)
        return {"do_sample": False, "max_tokens": 2, "ignore_eos": True}

    monkeypatch.setattr(inputs, "run_settings", settings)
    monkeypatch.setattr(own_runs, "_problems", lambda folder: {"T/1": Problem("T/1", "def")})
    record = {
        "format_version": 1, "task_id": "T/1", "output_ids": [8, 9], "reference_output_ids": [8],
    }  # fmt: skip
    found = of_file(tmp_path, record, record, temperature=0.5)
    assert [one.applied for one in found.texts] == [Applied(False, {}, {}, 2, ignore_eos=True)] * 2
    assert asked == [tmp_path]


def with_violations(output: list[int], *positions: int, **more: Any) -> JudgedOutput:
    """Of which each should have been ten times its position."""
    retokenised = more.pop("retokenised", True)
    text = RowText(row([9], output), [9], output, Applied.of(more, {}), retokenised)
    wrong = [Divergence(one, 1, 10 * one, 0.0, 1.0, 0.5) for one in positions]
    return JudgedOutput(text, OutputEnd(EndKind.proper), violations=wrong)


def test_an_output_of_text_is_tried_otherwise_at_its_first_violation() -> None:
    auditor: Any = Auditor.__new__(Auditor)
    reading = SimpleNamespace(otherwise=lambda text, *what: (text.output, *what))
    auditor._inputs = SimpleNamespace(reading=reading)
    output = [1, 2, 3]
    assert auditor._otherwise(with_violations(output, 2, 1)) == (output, 1, 10)
    assert auditor._otherwise(with_violations(output)) is None
    assert auditor._otherwise(with_violations(output, 3)) is None
    assert auditor._otherwise(with_violations(output, 1, retokenised=False)) is None
    assert auditor._otherwise(with_violations(output, 1, temperature=1.0)) is None


def test_outputs_of_text_are_tried_otherwise_eight_times() -> None:
    """Here each but those from 100 on has another, the next number."""
    auditor: Any = Auditor.__new__(Auditor)
    asked: list[list[int]] = []

    def once(texts: list[int]) -> list[int]:
        asked.append(list(texts))
        return list(texts)

    auditor._once = once
    auditor._otherwise = lambda one: one + 1 if one < 100 else None
    assert auditor.judge([0, 97, 200]) == [8, 100, 200]
    assert asked == [[0, 97, 200], [1, 98], [2, 99], [3, 100], *([n] for n in range(4, 9))]


def test_an_end_is_judged_by_what_its_row_says() -> None:
    asked = []
    auditor: Any = Auditor.__new__(Auditor)
    auditor._pair = SimpleNamespace(decode=lambda prompt, output: (prompt, output))
    auditor._ends = SimpleNamespace(judge=lambda *given, **told: asked.append((given, told)))
    applied = Applied.of({}, {})
    one = row([9, 8], None, finish_reason="stop", stop_reason=5)
    auditor._end(RowText(one, [9, 8], [7], applied, True))
    told = {"prompt_tokens": 2, "finish_reason": "stop", "stop_reason": 5, "retokenised": True}
    assert asked == [((applied, [7], ([9, 8], [7])), told)]


def test_what_an_audit_takes_for_granted_is_what_its_configuration_says() -> None:
    node: Any = OmegaConf.load(config_dir() / "audit.yaml")
    own = AuditConfig()
    for name in ("files", "applied", "generation_config", "requests", "special_tokens"):
        assert node[name] == getattr(own, name)
