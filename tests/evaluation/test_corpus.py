"""A text that a decoder reads beforehand: none of what it is to decode may be in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pearl_eval.errors import UserError
from pearl_eval.evaluation.corpus import KnownText
from tasks.task import Problem

Run = Callable[..., tuple[int, str, str]]
TWENTY = "12345678 abc 7890 xy"


def corpus(text: str) -> KnownText:
    return KnownText(text, "")


def test_what_is_held_is_there_as_a_whole_and_long_enough() -> None:
    assert len(TWENTY) == 20
    assert corpus(f"a {TWENTY} b").holds(f" {TWENTY}\n")
    assert not corpus(f"a {TWENTY} b").holds(TWENTY + "!")
    assert not corpus(f"a {TWENTY} b").holds(TWENTY[1:])


@pytest.mark.parametrize(
    "problem",
    [
        Problem("T/1", TWENTY),
        Problem("T/1", turns=("?", TWENTY)),
        Problem("T/1", data={"solution": TWENTY}),
        Problem("T/1", data={"all": [{"solution": [1, TWENTY]}]}),
    ],
    ids=str,
)
def test_a_problem_that_is_known_is_named(problem: Problem) -> None:
    corpus("other text").check("FILE", [problem])
    corpus(TWENTY[:19]).check("FILE", [problem])
    with pytest.raises(UserError, match=r"decoder\.corpus=FILE has text of T/1 \('12345678 abc"):
        corpus(f"so {TWENTY}").check(
            "FILE", [Problem("T/0", "something else that is long"), problem]
        )


def test_a_file_is_read_and_told_from_others(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes("é\n".encode())
    found = KnownText.read(str(tmp_path / "text"))
    assert found == KnownText("é\n", hashlib.sha256("é\n".encode()).hexdigest())
    (tmp_path / "text").write_bytes(b"\xff\xff")
    with pytest.raises(UserError, match="can't be read as text"):
        KnownText.read(str(tmp_path / "text"))
    (tmp_path / "text").write_text(" \n")
    with pytest.raises(UserError, match="has no text"):
        KnownText.read(str(tmp_path / "text"))


def test_a_run_says_which_outputs_were_in_its_corpus(run_cli: Run, tmp_path: Path) -> None:
    short = ("task=gsm8k_mini", "task.limit=2", "task.max_new_tokens=64", "protocol=paper")
    code, out, err = run_cli("decoder=autoregressive", *short, "hydra.run.dir=first")
    assert code == 0, err
    records = (tmp_path / "first" / "records.jsonl").read_text().splitlines()
    texts = [json.loads(line)["text"] for line in records]
    (tmp_path / "corpus.txt").write_text(f"Some text. {texts[1]}")
    held = sum(len(one.strip()) >= 20 and one.strip() in f"Some text. {texts[1]}" for one in texts)
    knows = ("decoder=suffix", "decoder.cache=corpus", "decoder.corpus=corpus.txt")
    code, out, err = run_cli(*knows, *short, "hydra.run.dir=run")
    assert code == 0, err
    assert held and f"holds {held} of 2 outputs as a whole" in err
    assert "suffix cache=corpus: looks up in more than each prompt's own text" in out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["outputs_in_corpus"] == held
    assert summary["decoder_settings"]["cache"] == "corpus"
    identity = json.loads((tmp_path / "run" / "run.json").read_text())["identity"]
    assert identity["corpus"] == hashlib.sha256(f"Some text. {texts[1]}".encode()).hexdigest()


def test_a_run_of_a_prompt_that_is_known_is_refused(
    run_cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pearl_eval.pairs.pretrained.load_model", pytest.fail)
    asked = "Which river is the longest of all?"
    (tmp_path / "asked.jsonl").write_text(json.dumps({"prompt": asked}) + "\n")
    (tmp_path / "corpus.txt").write_text(f"Somebody asked: {asked} And got an answer.")
    code, _, err = run_cli(
        *("decoder=suffix", "decoder.cache=corpus", "decoder.corpus=corpus.txt"),
        *("task=prompts", "task.data=asked.jsonl", "task.max_new_tokens=8"),
    )
    assert code == 2
    assert "corpus.txt has text of" in err and "('Which river is the longest of all?')" in err
