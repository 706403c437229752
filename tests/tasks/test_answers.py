"""Numbers and answers in generated text: what counts, in every way of reading; nothing raises."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.gsm8k import is_right
from tasks.humaneval import HumanEval
from tasks.mgsm import LANGUAGES, Mgsm
from tasks.scoring.answers import AnswerRule, final_number, marked_number, said
from tasks.scoring.numbers import all_numbers, find_number
from tasks.scoring.score import Score
from tasks.task import Problem

#: Real rows, where the checkout stands beside them.
REAL = Path(__file__).parents[3] / "shared" / "data"

#: A text, its numbers as English has them, and, where they are others, as German has them.
NUMBERS = {
    # A comma before exactly three digits groups, unless nothing but zero is before it.
    "114,200": ("114200", None),
    "1,234,567": ("1234567", None),
    "2,76,000": ("276000", None),
    "0,125": ("1/8", None),
    "10,125": ("10125", None),
    "12,50": ("25/2", None),
    "12,5": ("25/2", None),
    "1,2345": ("2469/2000", None),
    "3,4,5": ("3 4 5", None),
    "3, 4": ("3 4", None),
    # A comma and dots: what comes last is before decimals.
    "1,234.50": ("2469/2", None),
    "$70,000.00": ("70000", None),
    "1.234,50": ("2469/2", None),
    "1.234.567,8": ("6172839/5", None),
    # Dots.
    "1.234": ("617/500", "1234"),
    "70.000": ("70", "70000"),
    "1.234.567": ("1234567", None),
    "0.125": ("1/8", None),
    "12.5": ("25/2", None),
    ".5": ("1/2", None),
    "3.": ("3", None),
    # Spaces and apostrophes.
    "70 000": ("70 0", "70000"),
    "70 000,00": ("70 0", "70000"),
    "1\u2009234": ("1234", None),
    "1\u202f234\u202f567": ("1234567", None),
    "70\u00a0000,5": ("140001/2", None),
    "1'234": ("1234", None),
    "1’234.50": ("2469/2", None),
    "1\u2007234": ("1234", None),
    "0 234": ("0 234", None),
    "12\\ 500": ("12500", None),
    "2023 100": ("2023 100", None),
    "5'10": ("5 10", None),
    "12\\,500": ("12500", None),
    "12,\\!500": ("12500", None),
    # Signs, ranges and subtractions.
    "-5": ("-5", None),
    "x=-5": ("-5", None),
    "(-5)": ("-5", None),
    "–5": ("-5", None),
    "答えは-5": ("-5", None),
    "10-12": ("10 12", None),
    "10–12": ("10 12", None),
    "10--12": ("10 12", None),
    "$10-$12": ("10 12", None),
    "5€-10€": ("5 10", None),
    "20%-30%": ("20 30", None),
    "COVID-19": ("19", None),
    "-$-3": ("-3", None),
    "-\\$5": ("-5", None),
    "-£3 -¥4 -₹5 -₽6 -฿7": ("-3 -4 -5 -6 -7", None),
    "\u22125 \uff0d6": ("-5 -6", None),
    "- 3": ("3", None),
    # Ten thousands.
    "3万": ("30000", None),
    "3万5000円": ("35000", None),
    "11.42万": ("114200", None),
    "2億3千万": ("230000000", None),
    "2兆": ("2000000000000", None),
    "1千克": ("1", None),
    "1千米 2千瓦 3千卡 4千赫 5千焦": ("1 2 3 4 5", None),
    "3萬 2亿": ("30000 200000000", None),
    "3万人 5": ("30000 5", None),
    "3万50000": ("30000 50000", None),
    "3万10000": ("30000 10000", None),
    "3万0": ("30000 0", None),
    # Other scripts.
    "７，０００": ("7000", None),
    "6，7": ("6 7", None),
    "٣٫٥": ("7/2", None),
    "٧٬٠٠٠": ("7000", None),
    "½": ("", None),
    # No number of an answer.
    "9" * 5000: ("", None),
    "1" * 1000: ("1" * 1000, None),
    "1" * 1001 + " 2": ("2", None),
}


@pytest.mark.parametrize("text", NUMBERS, ids=lambda text: text[:20])
def test_numbers(text: str) -> None:
    english, german = NUMBERS[text]
    expected = [[Fraction(n) for n in one.split()] for one in (english, german or english)]
    assert [list(all_numbers(text, comma)) for comma in (False, True)] == expected


@pytest.mark.skipif(not REAL.is_dir(), reason="the data sets are not beside this checkout")
@pytest.mark.parametrize("language", [*LANGUAGES, "en"])
def test_every_answer_of_the_data_is_right_as_the_data_write_it(language: str) -> None:
    for reading in (
        AnswerRule.default,
        AnswerRule.lenient,
        AnswerRule.flexible_extract,
    ):
        task = Mgsm(data=str(REAL / "mgsm"), languages=[language], per_language=250, answer=reading)
        for problem in task.problems():
            answer = problem.data["answer"]
            number = f"{int(answer.replace(',', '')):,}"
            for written in (answer, number):
                assert task.score(problem, f" 3 + 4, so {written}").correct, problem
            assert not task.score(problem, f" {written}7").correct


@pytest.mark.skipif(not REAL.is_dir(), reason="the data sets are not beside this checkout")
def test_every_worked_answer_of_gsm8k_is_right() -> None:
    import json

    for line in (REAL / "gsm8k_test.jsonl").read_text(encoding="utf-8").splitlines():
        answer = json.loads(line)["answer"]
        number = answer.rpartition("####")[2]
        assert is_right(answer, number, AnswerRule.hashes), answer
        assert is_right(answer, number, AnswerRule.lenient), answer
        assert is_right(f"The answer is{number}.", number), answer


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (" The answer is 5. The answer is 6.", 5),
        (" The answer is not clear. 3 are left. The answer is 5.", 5),
        (" The answer is not clear: 3 are left.", 3),
        (" The answer is\n\n**18**", 18),
        (" The answer is: $\\boxed{18}$.", 18),
        (" The answer is 3.5 litres.", Fraction(7, 2)),
        (" The answer is .5.", Fraction(1, 2)),
        (" The answer is.\n\nNext 7", None),
        (" The answer is unclear! 3 are left.", None),
        (" The answer is unclear? 3 are left.", None),
        (" The answer is unclear。3 are left.", None),
        (" The answer is yes\n7", None),
        (" the answer is 5", None),
        (" So 5.", None),
    ],
)
def test_the_first_mark_with_a_number_counts(text: str, number: int | None) -> None:
    assert marked_number(text) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("#### 8\n\nAnother question.\n#### 9", 8),
        ("####\nthe end. The answer is 5. No, 6.", 5),
        ("#### Step 1\nThree.\n#### $18 in all\n19", 18),
        ("#### 1. Find the cost\n3 + 4 = 7\n#### 2. Add\n9", 9),
        ("#### 1) Find\n8", 8),
        ("#### 1.5 hours\n8", Fraction(3, 2)),
        ("\\boxed{3} and \\boxed{4}, or \\boxed{x}", 4),
        ("\\boxed{1{,}234} 5", 1234),
        ("\\boxed{\\text{no}} 5", 5),
        # A box of 200 signs; one that is longer is read so far.
        (f"\\boxed{{{' ' * 199}5}} 3", 5),
        (f"\\boxed{{{' ' * 200}5}} 3", 3),
        # Up to 20 signs between a mark and its number.
        (f"####{'*' * 20}8\n9", 8),
        (f"####{'*' * 21}8\n9", 9),
        ("So the answer is 18. That is 3 more.", 18),
        ("The answer is 16 - 3 = 13 eggs.", 13),
        ("The answer is 13 = so. 5", 13),
        ("one 1, two 2", 2),
    ],
)
def test_what_a_worked_answer_comes_to(text: str, number: int) -> None:
    assert final_number(text) == number


@pytest.mark.parametrize(
    ("language", "text", "right"),
    [
        ("de", " Die Antwort ist 114,200. Das sind 3 mehr.", True),
        ("de", " die Antwort lautet 114.200 Euro, 3 mehr.", True),
        ("es", " La respuesta es $114,200.00, con 3 más.", True),
        ("ru", " Ответ — 114 200, это на 3 больше.", True),
        ("ja", " 答えは11万4200です。3", True),
        ("zh", " 答案是 114200。3", True),
        ("te", " సమాధానం 3, 114200", True),
        ("sw", " Jibu ni 114200, 3 zaidi.", True),
        ("th", " คำตอบคือ 114200 บาท 3", True),
        ("bn", " The answer is 114200, 3", True),
        ("fr", " La réponse est 3 fois 38 066, soit 114 200", False),
    ],
)
def test_a_language_has_marks_of_its_own(
    tmp_path: Path, language: str, text: str, right: bool
) -> None:
    (tmp_path / f"mgsm_{language}.tsv").write_text("?\t114,200\n")
    task = Mgsm(data=str(tmp_path), languages=[language])
    (problem,) = task.problems()
    assert task.score(problem, text).correct is right


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>The answer is 3?</think> The answer is 5.", " The answer is 5."),
        ("The answer is 3?</think>5", "5"),
        ("a</think>b</think>c", "c"),
        ("<think>The answer is 3", ""),
        ("none", "none"),
    ],
)
def test_thinking_is_no_answer(text: str, answer: str) -> None:
    assert said(text) == answer
    assert said(text, unfinished=True) == (answer or text)
    assert not is_right("<think>The answer is 5.", "5")


#: Of 18, as lm-evaluation-harness scores gsm8k_cot (and ``hashes``: gsm8k), worked out by hand
#: from its filters: strict_match, flexible_extract, hashes.
HARNESS = {
    "The answer is 18.": (True, True, False),
    # Its expression takes one more character, here a digit of the answer.
    "The answer is 18": (False, True, False),
    "The answer is $18.": (False, True, False),
    "the answer is 18.": (False, True, False),
    "The answer is 18.00.": (False, False, False),
    "The answer is 17. The answer is 18.": (False, True, False),
    "The answer is 18. The answer is 17.": (True, False, False),
    "The answer is x. The answer is 18.": (True, True, False),
    "18 eggs, 3": (False, False, False),
    "3 eggs, 18": (False, True, False),
    "18 eggs ...": (False, False, False),
    "#### 18\n#### 9": (False, False, True),
    "#### 9\n#### 18": (False, True, False),
    "#### $18": (False, True, False),
    "####18": (False, True, False),
    "#### 18.": (False, True, True),
    "#### -18": (False, False, False),
    "#### 18\n\nQ: And?\nA: 5": (False, True, True),
    "<think>The answer is 3. </think>The answer is 18.": (True, True, False),
    "<think>So 18": (False, True, False),
    "": (False, False, False),
}


@pytest.mark.parametrize("text", HARNESS)
def test_gsm8k_as_the_harness_scores_it(text: str) -> None:
    readings = (
        AnswerRule.strict_match,
        AnswerRule.flexible_extract,
        AnswerRule.hashes,
    )
    assert tuple(is_right(text, " 18", one) for one in readings) == HARNESS[text]


@pytest.mark.parametrize(
    ("language", "text", "right"),
    [
        ("de", "Die Antwort lautet 1.234.", True),
        ("de", "Die Antwort ist 1234.", False),
        ("de", "die Antwort lautet 1234.", False),
        ("ja", "答えは1234です。", True),
        ("ja", "答えは1234。", False),
        ("zh", "答案是 1234。", True),
        ("en", "The answer is 1,234", True),
        ("es", "La respuesta es 1234", True),
        ("es", "The answer is 1234", False),
        ("fr", "La réponse est 1234", True),
        ("ru", "Ответ — 1234", True),
        ("sw", "Jibu ni 1234", True),
        ("te", "సమాధానం 1234", True),
        ("th", "คำตอบคือ 1234", True),
        ("bn", "The answer is 1234. The answer is 5", True),
    ],
)
def test_mgsm_as_the_harness_scores_it(
    tmp_path: Path, language: str, text: str, right: bool
) -> None:
    """It leaves out all signs, so that 1.234 is 1234."""
    (tmp_path / f"mgsm_{language}.tsv").write_text("?\t1,234\n")
    task = Mgsm(data=str(tmp_path), languages=[language], answer=AnswerRule.strict_match)
    (problem,) = task.problems()
    assert task.score(problem, text).correct is right


MARKS = """
    #### \\boxed{ } { <think> </think> Q: Question: ``` def f inf nan 1e9 答えは
    The_answer_is the_answer_is Die_Antwort_lautet Ответ_—
"""
SIGNS = "- – − $ € . , ' % = ( ) ! ? 。 ， \\ / 万 億 千 0 1 9 000 १ ۵ ² ½"
PIECES = st.sampled_from([*MARKS.split(), *SIGNS.split(), "\n", " ", "\0", "\ud800"]).map(
    lambda piece: piece.replace("_", " ")
)
TEXTS = st.text() | st.lists(PIECES, max_size=30).map("".join) | st.lists(PIECES).map(" ".join)


@pytest.fixture(scope="module")
def scorers(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Mgsm, Problem]]:
    folder = tmp_path_factory.mktemp("mgsm")
    for language in LANGUAGES:
        (folder / f"mgsm_{language}.tsv").write_text("?\t70,000\n")
    tasks = [Mgsm(data=str(folder), answer=reading) for reading in AnswerRule]
    return [(task, problem) for task in tasks for problem in task.problems()]


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_any_text_has_a_score(scorers: list[tuple[Mgsm, Problem]], text: str) -> None:
    for task, problem in scorers:
        assert isinstance(task.score(problem, text), Score)
    for reading in AnswerRule:
        assert is_right(text, " 70,000", reading) in (True, False)
    row = {"prompt": "def f():\n", "entry_point": "f"}
    for chat in (False, True):
        assert isinstance(HumanEval(chat=chat).completion(Problem("x", data=row), text), str)


@pytest.mark.parametrize(
    "piece",
    ["####", "\\boxed{", "1,", "1.", "1 ", "$-", "The answer is ", "9", "万1", "1,000", " "],
)
def test_long_texts_are_read_in_time(piece: str) -> None:
    text = piece * (40_000 // len(piece))
    start = time.process_time()
    final_number(text, True)
    marked_number(text)
    find_number(text)
    assert time.process_time() - start < 5
