"""Texts of every kind as prompts: what they become, and that only tokens are compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_pair import EOS, SmallPair, make_tokenizer
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from tokenizers.decoders import Replace
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from pearl_eval.errors import UserError
from pearl_eval.pairs import chat
from pearl_eval.pairs.pair import Pair
from tasks.rows.rows import read_rows
from tasks.task import Problem

Run = Callable[..., tuple[int, str, str]]

LOOK_ALIKES = ["<|endoftext|>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "[INST]", EOS]
#: Of many scripts and planes, from right to left, combining, of no width; line ends of every kind.
STRANGE = [
    "שלום",
    "e\u0301\u0302",
    "👩‍👩‍👧",
    "\u202e",
    "\u2028",
    "\x85",
    "\0",
    "\r\n",
    "𝔘",
    "\ufeff",
]
TEXTS = st.lists(st.sampled_from(LOOK_ALIKES + STRANGE) | st.text(max_size=8), max_size=8).map(
    "".join
)
#: What transformers marks texts by itself; it drops them from messages.
MARKS = "\U000f0000\U000f0001"
MESSAGES = st.builds(lambda text: text.translate(dict.fromkeys(map(ord, MARKS))), TEXTS)
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
some_texts = settings(max_examples=60, derandomize=True, deadline=None, database=None)


def of_bytes() -> PreTrainedTokenizerBase:
    """As those of GPT-2, Llama 3 and Qwen."""
    tokenizer = make_tokenizer(LOOK_ALIKES[:-1])
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def of_pieces() -> PreTrainedTokenizerBase:
    """As Llama 2's: bytes only for what has no piece, a first token, and spaces as signs."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "s", "<"]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    fast.chat_template = "{% for m in messages %}<s>[INST] {{ m.content }} [/INST]</s>{% endfor %}"
    return fast


TOKENIZERS = {"bytes": of_bytes(), "pieces": of_pieces()}


def pair_of(tokenizer: PreTrainedTokenizerBase) -> Pair:
    def load(**where: Any) -> Any:
        raise AssertionError("no weights are needed")

    return Pair(tokenizer, {}, (0,), load, load)


def control_tokens(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[int]:
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return [token for token in ids if token in special]


@pytest.mark.parametrize("kind", TOKENIZERS)
@some_texts
@given(text=TEXTS)
def test_a_prompt_has_no_control_tokens_but_the_first(kind: str, text: str) -> None:
    tokenizer = TOKENIZERS[kind]
    ids = pair_of(tokenizer).encode(text)
    first = [tokenizer.bos_token_id] if tokenizer.bos_token else []
    assert control_tokens(tokenizer, ids) == first
    if kind == "bytes":
        assert tokenizer.decode(ids) == text


reads_as_text = pytest.mark.skipif(not chat._SANITIZES, reason="needs transformers 5.20")


@reads_as_text
@pytest.mark.parametrize("kind", TOKENIZERS)
@some_texts
@given(turns=st.tuples(MESSAGES, MESSAGES), answer=MESSAGES)
def test_a_dialogue_has_the_templates_control_tokens_alone(
    kind: str, turns: tuple[str, str], answer: str
) -> None:
    tokenizer = TOKENIZERS[kind]
    pair = pair_of(tokenizer)
    ids = pair.prompt(Problem("Task/1", turns=turns), [answer])
    plain = pair.prompt(Problem("Task/1", turns=("a", "b")), ["c"])
    assert control_tokens(tokenizer, ids) == control_tokens(tokenizer, plain)
    if kind == "bytes":
        said = [("user", turns[0]), ("assistant", answer), ("user", turns[1])]
        written = "".join(f"<|im_start|>{who}\n{what}<|im_end|>\n" for who, what in said)
        assert tokenizer.decode(ids) == f"{written}<|im_start|>assistant\n"


def test_before_transformers_5_20_such_a_dialogue_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chat, "_SANITIZES", False)
    pair = pair_of(TOKENIZERS["bytes"])
    assert pair.prompt(Problem("Task/1", turns=("plain",)))
    with pytest.raises(UserError, match=r"a message has '<\|im_end\|>'.* take transformers 5.20"):
        pair.prompt(Problem("Task/1", turns=("x<|im_end|>",)))


@reads_as_text
def test_a_tokenizer_that_makes_control_tokens_in_any_case_is_refused_such_texts() -> None:
    """Its model knows them as words of their own."""
    words = {"<unk>": 0, "<s>": 1, "yes": 2}
    inner = Tokenizer(models.WordLevel(words, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", unk_token="<unk>", chat_template=TEMPLATE
    )
    pair = pair_of(tokenizer)
    assert pair.encode("yes no") == [2, 0]
    with pytest.raises(UserError, match="Task/7: it has '<s>', of which the pair's tokenizer"):
        pair.prompt(Problem("Task/7", prompt="yes <s> yes"))
    with pytest.raises(UserError, match="can't read a dialogue: Can't sanitize '<s>'"):
        pair.prompt(Problem("Task/7", turns=("yes <s> yes",)))


def write(path: Path, questions: list[str]) -> str:
    rows = [{"question": text, "answer": "#### 1"} for text in questions]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(lines, encoding="utf-8", newline="")
    return str(path)


def run_of(run_cli: Run, file: str, *arguments: str) -> tuple[int, str, str]:
    task = ("task=gsm8k", f"task.data={file}", "task.shots=0", "task.max_new_tokens=8")
    return run_cli(*task, "hydra.run.dir=run", *arguments)


def test_strange_prompts_are_decoded_as_they_are(run_cli: Run, tmp_path: Path) -> None:
    texts = ["".join(STRANGE), "".join(LOOK_ALIKES), "\u2028", EOS]
    code, out, err = run_of(run_cli, write(tmp_path / "data.jsonl", texts), "decoder=speculative")
    assert code == 0, err
    assert f"identical {len(texts)}/{len(texts)}" in out
    records = [json.loads(line) for line in (tmp_path / "run" / "records.jsonl").open()]
    lengths = [len(make_tokenizer()(f"Q: {t}\nA:", split_special_tokens=True)["input_ids"])
               for t in texts]  # fmt: skip
    assert [record["prompt_tokens"] for record in records] == lengths


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("x" * 1_000_000, "do not fit the target model's context of 2048 tokens"),
        ("half \ud83d of it", "line 1: '\\ud83d' is half of a character, so no Unicode text"),
    ],
)
def test_prompts_that_can_not_be_are_refused_in_one_line(
    run_cli: Run, tmp_path: Path, question: str, message: str
) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text(json.dumps({"question": question, "answer": "#### 1"}) + "\n")
    code, out, err = run_of(run_cli, str(file))
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1 and message in err


def test_an_empty_prompt_is_refused_in_one_line(run_cli: Run, tmp_path: Path) -> None:
    row = {"task_id": "Empty/1", "prompt": " \n", "entry_point": "f", "test": ""}
    (tmp_path / "data.jsonl").write_text(json.dumps(row))
    code, out, err = run_cli("task=humaneval_mini", f"task.data={tmp_path / 'data.jsonl'}")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "Empty/1: its prompt is empty" in err


@some_texts
@given(texts=st.lists(TEXTS.filter(str.strip), min_size=1, max_size=4))
def test_rows_keep_their_texts(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("rows")
    rows = read_rows(write(folder / "data.jsonl", texts), {"question": str})
    assert [row["question"] for row in rows] == texts


def test_a_table_may_have_a_very_long_text(tmp_path: Path) -> None:
    (tmp_path / "data.tsv").write_text(f"{'x' * 200_000}\t7\n\u2028\t8\n", encoding="utf-8")
    rows = read_rows(str(tmp_path / "data.tsv"), {"question": str, "answer": str})
    assert [len(row["question"]) for row in rows] == [200_000, 1]


def test_tokens_are_compared_not_texts(run_cli: Run, small_pair: SmallPair, tmp_path: Path) -> None:
    """To a tokenizer that writes every text the same, wrong tokens are still wrong."""
    shutil.copytree(small_pair.folder, tmp_path / "pair")
    inner = make_tokenizer()._tokenizer
    inner.decoder = Replace(Regex("(?m).+"), "x")
    for role in ("target", "draft"):
        folder = tmp_path / "pair" / role
        PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=EOS).save_pretrained(folder)
    lossy = AutoTokenizer.from_pretrained(tmp_path / "pair" / "target")
    assert lossy.decode([40]) == lossy.decode([41])
    file = write(tmp_path / "data.jsonl", ["1 + 1?"])
    conf = Path(__file__).parents[1] / "conf"
    arguments = (*SmallPair(tmp_path / "pair").overrides, f"--config-dir={conf}")
    code, _, err = run_of(
        run_cli, file, *arguments, "decoder=liar", "decoder.every=3", "protocol=paper"
    )
    assert code == 1 and "outputs are not the target's own" in err
    (record,) = [json.loads(line) for line in (tmp_path / "run" / "records.jsonl").open()]
    assert record["output_ids"] != record["reference_output_ids"]
    assert set(record["text"]) == {"x"}
