from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest

from tasks import mgsm
from tasks.mgsm import LANGUAGES, Mgsm
from tasks.rows.rows import Hub, Rows, load_rows, read_rows
from tasks.scoring.answers import final_number
from tasks.scoring.numbers import find_number

Run = Callable[..., tuple[int, str, str]]
#: Real rows, where the checkout stands beside them.
REAL = Path(__file__).parents[3] / "shared" / "data" / "mgsm"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for language in LANGUAGES:
        rows = [f'Wie "viel" ist {i}+1? ({language})\t{i + 1}' for i in range(12)]
        (tmp_path / f"mgsm_{language}.tsv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_ten_of_each_language(folder: Path) -> None:
    problems = Mgsm(data=str(folder)).problems()
    assert [p.category for p in problems] == [x for x in LANGUAGES for _ in range(10)]
    assert problems[10].prompt == 'Question: Wie "viel" ist 0+1? (de)\n\nAnswer:'
    assert len({p.task_id for p in problems}) == 100


@pytest.mark.skipif(not REAL.is_dir(), reason="MGSM's files are not beside this checkout")
def test_the_real_files() -> None:
    problems = Mgsm(data=str(REAL), per_language=250).problems()
    assert len(problems) == 2500
    assert all(find_number(p.data["answer"]) is not None for p in problems)


@pytest.mark.parametrize(
    ("language", "text", "right"),
    [
        ("de", " Er zahlt 70.000 Euro.", True),
        ("fr", " Il reste 70 000 euros.", True),
        ("es", " En total son 70.000,00 dólares", True),
        ("th", " คำตอบคือ ๗๐๐๐๐", True),
        ("bn", " উত্তর হল ৭০,০০০।", True),
        ("ja", " 答えは７００００です。", True),
        ("zh", " 3+4=7，所以是70000。", True),
        ("zh", " 70000 - 1 = 69999", False),
        ("sw", " The answer is 70000.\nQuestion: Je? 5", True),
        ("sw", " Sijui.", False),
    ],
)
def test_answers_in_their_language(folder: Path, language: str, text: str, right: bool) -> None:
    (folder / f"mgsm_{language}.tsv").write_text("?\t70,000\n")
    task = Mgsm(data=str(folder), languages=[language], per_language=1)
    (problem,) = task.problems()
    assert task.score(problem, text).correct is right


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("so 3 + 4 = 7. #### 7", 7),
        ("\\boxed{1{,}234}", 1234),
        ("we get \\boxed{\\$12.50} in all", Fraction(25, 2)),
        ("The answer is -5. That is 3 less.", -5),
        ("first 3, then 9.", 9),
        ("Total:\n- 12", 12),
        ("Antwort - 18", 18),
        ("we owe -$ 5", -5),
        ("nothing", None),
    ],
)
def test_what_a_worked_answer_comes_to(text: str, number: int | None) -> None:
    assert final_number(text) == number


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("only one column\n", "line 1: 1 columns, not 2"),
        ("a\t1\nb\t2\tc\n", "line 2: 3 columns, not 2"),
        ("", "no problems in it"),
        ("what?\tmany\n", "the answer must be a number, got 'many'"),
    ],
)
def test_bad_rows_are_named(folder: Path, content: str, message: str) -> None:
    (folder / "mgsm_bn.tsv").write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        Mgsm(data=str(folder)).load()
    assert "mgsm_bn.tsv" in str(error.value)


def test_a_missing_file_and_bad_settings(folder: Path) -> None:
    (folder / "mgsm_th.tsv").unlink()
    with pytest.raises(OSError, match=r"mgsm_th\.tsv"):
        Mgsm(data=str(folder)).load()
    with pytest.raises(ValueError, match=r"task\.languages are some of"):
        Mgsm(languages=["xx"])
    with pytest.raises(ValueError, match=r"task\.per_language must be"):
        Mgsm(per_language=0)


def test_the_hub_gives_the_rows_of_the_file(folder: Path) -> None:
    """Through ``datasets``, from a file in the hub's place; no network is needed."""
    fields = {"question": str, "answer": str}
    path = folder / "mgsm_de.tsv"
    path.write_text('Wie "viel"?\t70,000\nUnd nun?\t3\n')
    from_hub = load_rows(None, Hub("csv", files=str(path)), fields, "task.data")
    assert list(from_hub) == list(read_rows(str(path), fields))
    assert from_hub.sha256 == read_rows(str(path), fields).sha256


def test_each_language_has_a_file_of_its_own_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []

    def load(data: None, hub: Hub, *rest: object, **more: object) -> Rows:
        asked.append(hub.files)
        return Rows([{"question": "?", "answer": "1"}] * 3, "")

    monkeypatch.setattr(mgsm, "load_rows", load)
    task = Mgsm(hub=Hub("csv", files="a/{language}.tsv"), languages=["de", "fr"], per_language=2)
    assert [one.task_id for one in task.problems()] == [
        "MGSM/de/0", "MGSM/de/1", "MGSM/fr/0", "MGSM/fr/1",
    ]  # fmt: skip
    assert asked == ["a/de.tsv", "a/fr.tsv"]
    # What there is is known without it.
    assert (task.size(), Mgsm(limit=7).size(), Mgsm(limit=700).size()) == (4, 7, 100)


def test_a_tables_answer_is_its_number_where_it_has_no_other() -> None:
    both = {"answer": "#### 5", "answer_number": 6}
    assert mgsm._with_answer(both) == both
    assert mgsm._with_answer({"answer": None, "answer_number": 0})["answer"] == "0"
    assert mgsm._with_answer({"answer_number": None}) == {"answer_number": None}


def test_what_the_hub_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a data set a split at a commit; of a file all rows, and where it has tabs, that it has."""
    asked: list[Any] = []

    def load_dataset(path: str, name: str | None, **options: Any) -> list[dict[str, str]]:
        asked.append((path, name, options))
        return [{"question": "?", "answer": "1"}] * 2

    fake = SimpleNamespace(load_dataset=load_dataset, disable_progress_bars=lambda: None)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    fields = {"question": str, "answer": str}
    found = [
        load_rows(None, hub, fields, "task.data")
        for hub in (
            Hub("some/set", "main", "train", "abc"),
            Hub("some/set"),
            Hub("json", files="hf://x.jsonl"),
            Hub("csv", files="hf://x.tsv"),
        )
    ]
    files = {"split": "train", "data_files": "hf://x.tsv"}
    tabs = {"delimiter": "\t", "column_names": ["question", "answer"], "quoting": csv.QUOTE_NONE}
    assert asked == [
        ("some/set", "main", {"split": "train", "revision": "abc"}),
        ("some/set", None, {"split": "test", "revision": None}),
        ("json", None, files | {"data_files": "hf://x.jsonl"}),
        ("csv", None, files | tabs),
    ]
    assert [(one.source, one.where(1)) for one in found] == [
        ("some/set@abc", "some/set@abc, row 1"),
        ("some/set@main", "some/set@main, row 1"),
        ("hf://x.jsonl", "hf://x.jsonl, row 1"),
        ("hf://x.tsv", "hf://x.tsv, row 1"),
    ]


def test_what_can_not_be_fetched_is_told_with_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*where: Any, **options: Any) -> Any:
        raise OSError("no\n  network")

    fake = SimpleNamespace(load_dataset=load_dataset, disable_progress_bars=lambda: None)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    for hub, name in (
        (Hub("some/set"), "some/set@main can't be loaded from the Hugging Face hub"),
        (Hub("json", files="https://x.org/y"), "https://x.org/y can't be loaded"),
    ):
        with pytest.raises(ValueError, match="can't be loaded") as error:
            load_rows(None, hub, {}, "task.shots_data")
        assert str(error.value) == (
            f"{name} (OSError: no network); get on a network that reaches it, or give a local file:"
            " task.shots_data=PATH"
        )


def test_a_data_set_of_the_hub(tmp_path: Path) -> None:
    rows = [{"question": "?", "answer": "#### 1"}, {"question": "!", "answer": "#### 2"}]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "test.parquet")
    loaded = load_rows(None, Hub(str(tmp_path)), {"question": str, "answer": str}, "task.data")
    assert list(loaded) == rows


def test_without_a_network_both_ways_are_named(
    run_cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, _, err = run_cli("task=mgsm")
    assert code == 2 and len(err.splitlines()) == 1
    assert "Hugging Face hub" in err and "task.data=PATH" in err
