"""The number that a generated text gives as its answer, read in several ways."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence
from enum import Enum
from fractions import Fraction

from tasks.scoring.numbers import all_numbers, find_number

#: What a worked answer of GSM8K's prompts ends in.
THE_ANSWER_IS = "The answer is"
#: Between a mark and its number there may be space and markup, but no end of a sentence.
_MARKUP = re.compile(r"[^\w.!?。！？]*")
_SENTENCE_END = re.compile(r"[.!?](?=\s)|[。！？\n]")
#: An item's number in a heading, as in "#### 1. Find the cost", is no answer.
_HEADING = re.compile(r"#{4}\s*\d+[.)][ \t]+[^\W\d_]")
_HASHES = re.compile(r"#{4}\s*(?=[^\w\n]{0,20}\d)")
_BOX = re.compile(r"\\boxed\s*\{")
#: No box with an answer is longer; a text may be all open boxes.
_BOX_SIZE = 200

# As lm-evaluation-harness finds an answer; see docs/tasks.md.
_HARNESS_NUMBER = r"-?[\d.,]+"
_HARNESS_LAST = re.compile(r"-?[\d$.,]{2,}|-?\d+", re.ASCII)
_HARNESS_HASHES = re.compile(f"#### ({_HARNESS_NUMBER})", re.ASCII)


class AnswerRule(Enum):
    """How the answer of a text is found; docs/tasks.md has the ways side by side.

    ``default``: as the task's own documentation says. ``strict_match``, ``flexible_extract``: as
    lm-evaluation-harness does under these names. ``hashes``: after ``####``, as GSM8K's own script
    and the harness's ``gsm8k``. ``lenient``: whatever looks like an answer.
    """

    default = "default"
    strict_match = "strict_match"
    flexible_extract = "flexible_extract"
    hashes = "hashes"
    lenient = "lenient"

    @property
    def harness(self) -> bool:
        """Whether it is one of lm-evaluation-harness, faults and all."""
        return self in (
            AnswerRule.strict_match,
            AnswerRule.flexible_extract,
            AnswerRule.hashes,
        )


def said(text: str, unfinished: bool = False) -> str:
    """A text without the thinking before it.

    One that ends before its thinking does says nothing, unless ``unfinished`` thinking is to count.
    """
    _, ended, answer = text.rpartition("</think>")
    return "" if not (ended or unfinished) and "<think>" in text else answer


def marked_number(
    text: str, phrases: Sequence[str] = (THE_ANSWER_IS,), decimal_comma: bool = False
) -> Fraction | None:
    """The first number in the sentence of the first of ``phrases`` that has one after it.

    ``None`` where none has. Parameters as of ``final_number``.
    """
    for sentence in _marked(text, phrases):
        number = find_number(sentence, decimal_comma)
        if number is not None:
            return number
    return None


def final_number(
    text: str, decimal_comma: bool = False, phrases: Sequence[str] = (THE_ANSWER_IS,)
) -> Fraction | None:
    """The number that a worked answer comes to; ``None`` where there is none.

    It is the first after ``####``, else that of the last ``\\boxed{}``, else the first after one of
    ``phrases`` (after the equals sign of its sentence, if it has one), else the last of the text. A
    mark without a number is none.

    Parameters
    ----------
    text
        A generated text.
    decimal_comma
        See :func:`tasks.scoring.numbers.find_number`.
    phrases
        What an answer is said with, in capitals or not.
    """
    for sentence in [*_hashed(text), *reversed(list(_boxed(text)))]:
        number = find_number(sentence, decimal_comma)
        if number is not None:
            return number
    for sentence in _marked(text, phrases, re.IGNORECASE):
        result = find_number(sentence.rpartition("=")[2], decimal_comma)
        number = find_number(sentence, decimal_comma) if result is None else result
        if number is not None:
            return number
    numbers = list(all_numbers(text, decimal_comma))
    return numbers[-1] if numbers else None


def same_as_in_harness(
    text: str, answer: str, rule: AnswerRule, strict: str, ignore_punctuation: bool
) -> bool:
    """Whether lm-evaluation-harness would call a text's answer right.

    It compares strings, so ``18.00`` is not ``18``.

    Parameters
    ----------
    text
        A generated text.
    answer
        The right answer, as the data have it.
    rule
        One of the harness's.
    strict
        What its ``strict-match`` looks for, with NUMBER for a number.
    ignore_punctuation
        Whether it leaves out all signs, as for MGSM, or only those that GSM8K's answers are written
        with.
    """
    if rule is AnswerRule.flexible_extract:
        found = [match.group() for match in _HARNESS_LAST.finditer(text)][-1:]
    elif rule is AnswerRule.hashes:
        found = _HARNESS_HASHES.findall(text)
    else:
        found = re.findall(strict.replace("NUMBER", f"({_HARNESS_NUMBER})"), text, re.ASCII)
    signs = string.punctuation if ignore_punctuation else ",$"
    plain = str.maketrans("", "", signs)

    def bare(number: str) -> str:
        return number.strip().translate(plain).removesuffix(".")

    return bool(found) and bare(found[0]) == bare(answer)


def _hashed(text: str) -> Iterator[str]:
    for mark in _HASHES.finditer(text):
        if not _HEADING.match(text, mark.start()):
            yield text[mark.end() :].partition("\n")[0]


def _boxed(text: str) -> Iterator[str]:
    for mark in _BOX.finditer(text):
        depth, end = 1, mark.end()
        while depth and end < min(len(text), mark.end() + _BOX_SIZE):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        yield text[mark.end() : end]


def _marked(text: str, phrases: Sequence[str], flags: int = 0) -> Iterator[str]:
    """What follows each phrase, up to the end of its sentence or the next phrase."""
    pattern = re.compile("|".join(map(re.escape, phrases)), flags)
    marks = list(pattern.finditer(text))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    for mark, last in zip(marks, ends, strict=False):
        rest = text[mark.end() : last]
        markup = _MARKUP.match(rest)
        start = markup.end() if markup else 0
        end = _SENTENCE_END.search(rest, start)
        yield rest[: end.start() if end else len(rest)]
