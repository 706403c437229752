"""Honest programs are judged as if program and tests shared an interpreter."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.checker import Checker
from tasks.inside.wire import Nonsense, Unfit, pack, unpack
from tasks.sandbox import Isolation

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text(st.characters())
    | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.sets(st.integers() | st.text())
        | st.frozensets(st.integers())
        | st.dictionaries(st.integers() | st.text() | st.tuples(st.integers()), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(PLAIN)
def test_plain_data_crosses_unchanged(value: object) -> None:
    crossed = unpack(json.loads(json.dumps(pack(value))))
    assert crossed == value
    assert repr(crossed) == repr(value) or isinstance(value, (set, frozenset, list, dict, tuple))


def test_odd_plain_data_crosses() -> None:
    assert math.isnan(unpack(json.loads(json.dumps(pack(math.nan)))))
    assert unpack(json.loads(json.dumps(pack(10**10000)))) == 10**10000
    assert list(unpack(pack(x for x in "ab"))) == ["a", "b"]
    assert unpack(json.loads(json.dumps(pack("\ud800")))) == "\ud800"


@pytest.mark.parametrize("value", [object(), len, range(3), {"key": object()}])
def test_what_is_no_plain_data_does_not_cross(value: object) -> None:
    with pytest.raises(Unfit):
        pack(value)


@pytest.mark.parametrize(
    "packed",
    [{}, {"x": 1}, {"int": "g"}, {"set": [[[]]]}, {"a": 1, "b": 2}, {"bytes": 3}, {"dict": [[1]]}],
)
def test_nonsense_is_told_from_data(packed: object) -> None:
    with pytest.raises(Nonsense):
        unpack(packed)


PROMPT = '''
import math

def double(x):
    return 2 * x

def f(x, y=0):
    """Divide."""
'''
TESTS = """
def check(candidate):
    print("a test may write")
    assert candidate(6, 3) == 2 and candidate(6, y=2) == 3 == f(6, 2)
    assert candidate(double(3), 3) == 2 and math.isinf(candidate(math.inf, 1))
    try:
        candidate(1, 0)
        assert False
    except ZeroDivisionError as error:
        assert "division" in str(error)
    try:
        candidate("a", 1)
        assert False
    except TypeError:
        pass
"""
RIGHT = "    return x / y\n"
OWN_ERROR = """\
    class Own(ZeroDivisionError):
        pass
    if not y:
        raise Own("division")
"""


@pytest.fixture(scope="module")
def checker() -> Checker:
    return Checker.choose(Isolation.none, 5.0, 512)


@pytest.mark.parametrize(
    ("completion", "result"),
    [
        (RIGHT, "passed"),
        ("    print(x)\n" + RIGHT, "passed"),
        (RIGHT + "\ndef double(x):\n    return 0\n", "passed"),
        (OWN_ERROR + RIGHT, "passed"),
        ("    return x // y + 1\n", "failed: AssertionError"),
        ("    return None\n", "failed: AssertionError"),
        ("    if not y: raise KeyError('k')\n" + RIGHT, "failed: KeyError: 'k'"),
        ("    if not y: raise KeyboardInterrupt\n" + RIGHT, "failed: KeyboardInterrupt"),
        ("    return x /\n", "failed: SyntaxError: invalid syntax (<program>, line 9)"),
        ("    return range(3)\n", "failed: it returned a range"),
    ],
)
def test_verdicts(checker: Checker, completion: str, result: str) -> None:
    problem = {"task_id": "T", "prompt": PROMPT, "entry_point": "f", "test": TESTS}
    score = checker.check(problem, completion)
    assert (score.correct, score.result) == (result == "passed", result)


def test_prompts_without_a_docstring_and_tests_with_functions(checker: Checker) -> None:
    problem = {
        "prompt": "def f(x):\n",
        "entry_point": "f",
        "test": "def check(candidate):\n    assert candidate(1) == 1\n    candidate(len)\n",
    }
    score = checker.check(problem, "    return x\n")
    assert score.result.startswith("failed: the tests pass a builtin_function_or_method, which")
