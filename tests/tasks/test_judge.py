"""Honest programs are judged as if program and tests shared an interpreter."""

from __future__ import annotations

import json
import math
import os
import socket
from collections import Counter, OrderedDict, deque
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.sandbox.inside import judge as judging
from tasks.sandbox.inside.wire import Nonsense, Unfit, pack, unpack
from tasks.sandbox.sandbox import Isolation
from tasks.scoring.checker import Checker

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
    assert list(unpack(json.loads(json.dumps(pack(x for x in "ab"))))) == ["a", "b"]
    assert unpack(json.loads(json.dumps(pack("\ud800")))) == "\ud800"


@pytest.mark.parametrize("value", [object(), len, {"key": object()}, (1).real.__class__])
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
        (RIGHT + "\n{}['k']\n", "failed: KeyError: 'k'"),
        (RIGHT + "\ndel f\n", "failed: it defines no f"),
        ("    return x /\n", "failed: SyntaxError: invalid syntax (<program>, line 9)"),
        ("    return object()\n", "failed: it returned a object"),
    ],
)
def test_verdicts(checker: Checker, completion: str, result: str) -> None:
    problem = {"task_id": "T", "prompt": PROMPT, "entry_point": "f", "test": TESTS}
    score = checker.check(problem, completion)
    assert (score.correct, score.result) == (result == "passed", result)


def test_prompts_without_a_docstring_and_tests_with_objects(checker: Checker) -> None:
    problem = {
        "prompt": "def f(x):\n",
        "entry_point": "f",
        "test": "def check(candidate):\n    assert candidate(1) == 1\n    candidate(object())\n",
    }
    score = checker.check(problem, "    return x\n")
    assert score.result == "failed: the tests pass a object, which is no plain data"


#: Types of the standard library, with what tells them from others that are equal.
KINDS = [
    range(1, 10, 3),
    deque([1, [2]], maxlen=5),
    {"a": 1, "b": 2}.keys(),
    {"a": 1}.items(),
    Counter("aab"),
    OrderedDict([("b", 1), ("a", 2)]),
    Fraction(-1, 3),
    Decimal("1.10"),
    date(2024, 2, 29),
    datetime(2024, 2, 29, 1, 2, 3, 4),
    datetime(2024, 2, 29, 1, 2, fold=1, tzinfo=timezone(timedelta(hours=-2))),
    time(1, 2, 3, 4),
    timedelta(days=-1, seconds=2, microseconds=3),
    bytearray(b"ab"),
]


@pytest.mark.parametrize("value", KINDS, ids=lambda value: type(value).__name__)
def test_types_of_the_standard_library_cross(value: object) -> None:
    crossed = unpack(json.loads(json.dumps(pack(value))))
    assert crossed == value and type(crossed) is type(value) and repr(crossed) == repr(value)


def test_views_and_numbers_of_numpy_cross() -> None:
    values = unpack(json.loads(json.dumps(pack({"a": 1, "b": [2]}.values()))))
    assert list(values) == [1, [2]] and type(values) is type({}.values())
    for number in (np.int64(3), np.float32(0.5)):
        crossed = unpack(json.loads(json.dumps(pack([number]))))
        assert crossed == [number] and type(crossed[0]) in (int, float)


@pytest.mark.parametrize(
    "packed", [{"fraction": [1, 0]}, {"decimal": ["x"]}, {"date": [1]}, {"range": [0, 1, 0]}]
)
def test_values_that_cannot_be_are_nonsense(packed: object) -> None:
    with pytest.raises(Nonsense):
        unpack(packed)


def verdict(checker: Checker, body: str, *tests: str) -> str:
    """Of a program ``f(*x)`` with this body, by lines of tests."""
    test = "def check(f):\n" + "".join(f"    {line}\n" for line in tests)
    problem = {"prompt": "def f(*x):\n", "entry_point": "f", "test": test}
    return checker.check(problem, f"    {body}\n").result


#: Right programs, and how their tests see that they are.
RIGHT_PROGRAMS = {
    "a range": ("return range(3)", "assert f() == range(3) != [0, 1, 2]"),
    "a deque": (
        "import collections; return collections.deque([1, 2])",
        "from collections import deque; assert f() == deque([1, 2])",
    ),
    "keys": ("return x[0].keys()", "assert f({'a': 1}) == {'a'}"),
    "a fraction": (
        "import fractions; return fractions.Fraction(1, 3)",
        "from fractions import Fraction; assert f() == Fraction(1, 3)",
    ),
    "a list sorted in place": (
        "x[0].sort()",
        "a = [2, 1]; assert f(a) is None; assert a == [1, 2]",
    ),
    "a list in a list": ("x[0][1].append(3)", "b = [2]; a = [1, b]; f(a); assert b == [2, 3]"),
    "a list in a tuple": ("x[0][0].pop()", "b = [2, 3]; f((b, 1)); assert b == [2]"),
    "a list cut": ("del x[0][1:]", "a = [1, 2, 3]; f(a); assert a == [1]"),
    "a dict": (
        "x[0].pop('a'); x[0]['b'].append(1)",
        "b = []; a = {'a': 1, 'b': b}; f(a); assert a == {'b': [1]} and b == [1]",
    ),
    "a set": ("x[0].add(2)", "a = {1}; f(a); assert a == {1, 2}"),
    "a deque rotated": (
        "x[0].rotate()",
        "from collections import deque; a = deque([1, 2, 3]); f(a); assert list(a) == [3, 1, 2]",
    ),
    "bytes in place": ("x[0][0] = 98", "a = bytearray(b'aa'); f(a); assert a == b'ba'"),
    "changed, then an error": (
        "x[0].append(1); raise KeyError('k')",
        "a = []",
        "try: f(a)",
        "except KeyError as error: assert a == [1] and error.args == ('k',)",
        "else: assert False",
    ),
    "a function": ("return [x[0](y) for y in x[1]]", "assert f(lambda y: y + 1, [1, 2]) == [2, 3]"),
    "a built-in function": ("return x[0](x[1])", "assert f(len, 'abc') == 3"),
    "a built-in function returned": ("return len", "assert f()('abc') == 3"),
    "a built-in type": ("return isinstance(x[1], x[0])", "assert f(int, 3) and not f(str, 3)"),
    "a function with a memory": (
        "x[0](1); x[0](2)",
        "seen = []; f(seen.append); assert seen == [1, 2]",
    ),
    "a function that fails": (
        "try: x[0]()\n    except ZeroDivisionError: return 'caught'",
        "assert f(lambda: 1 / 0) == 'caught'",
    ),
    "a function that calls back": (
        "return x[0](f) if x else 7",
        "assert f(lambda g: g() + 1) == 8",
    ),
    "two functions": (
        "return x[0](1), x[1](1), x[0](2)",
        "assert f(lambda y: y, lambda y: -y) == (1, -1, 2)",
    ),
    "the function itself": ("return x[0]", "g = lambda: 1; assert f(g) is g"),
    "a closure": ("return lambda y: x[0] + y", "assert f(2)(3) == 5"),
    "a function by name": (
        "return x[0](a=1, b=[2])",
        "assert f(lambda **k: k) == dict(a=1, b=[2])",
    ),
}


@pytest.mark.parametrize("name", RIGHT_PROGRAMS)
def test_right_programs_pass(checker: Checker, name: str) -> None:
    assert verdict(checker, *RIGHT_PROGRAMS[name]) == "passed"


@pytest.mark.parametrize(
    ("body", "test", "result"),
    [
        ("x[0].append(object())", "a = []; f(a); assert a == []", "passed"),
        ("x[0].sort(reverse=True)", "a = [1, 2]; f(a); assert a == [1, 2]", "AssertionError"),
        ("return lambda: 1", "assert f() == 1", "AssertionError"),
        ("return x[0]()", "f(lambda: object())", "Exception: it returned a object"),
        ("return x[0]()", "f(lambda: 1 / 0)", "ZeroDivisionError: division by zero"),
    ],
)
def test_wrong_programs_fail(checker: Checker, body: str, test: str, result: str) -> None:
    assert verdict(checker, body, test).removeprefix("failed: ") == result


FORGED = """\
    import json, os
    def send(message):
        data = json.dumps(message).encode()
        os.write(3, len(data).to_bytes(4, "big") + data)
    send({message})
    return 42
"""


@pytest.mark.parametrize(
    "message",
    [
        {"call": {"function": 0, "given": [[], {"dict": []}]}},
        {"call": {"function": -1, "given": [[], {"dict": []}]}},
        {"call": None},
        {"call": {"function": 0}},
        {"returned": 42},
        {"returned": [{"builtin": "exec"}, None]},
        {"returned": [{"yours": 0}, None]},
        {"returned": [{"function": "x"}, None]},
        {"returned": [42, [[], {"dict": []}, 1]]},
        {"returned": [42, []], "raised": []},
        {"raised": [{"kinds": ["exec"]}, None]},
        [],
    ],
    ids=str,
)
def test_forged_messages_fail(checker: Checker, message: object) -> None:
    body = FORGED.replace("{message}", repr(message)).strip()
    result = verdict(checker, body, "assert f(21) == 42")
    harmless = message == {"returned": [42, [[], {"dict": []}, 1]]}
    if harmless:
        assert result == "passed"
    else:
        assert result.startswith(("failed: a ", "failed: an exception that is none"))


def test_a_function_of_the_tests_is_called_by_its_number_alone(checker: Checker) -> None:
    for number, expected in ((0, "passed"), (-1, "failed: a call that is none")):
        call = {"call": {"function": number, "given": [[], {"dict": []}]}}
        body = FORGED.replace("{message}", repr(call)).strip()
        assert verdict(checker, body, "assert f(lambda: 1) == 42") == expected


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (None, "it no longer answers"),
        (3 << 8, "it ended itself before the tests were done (exit code 3)"),
        (0, "it ended itself before the tests were done (exit code 0)"),
        (9, "it was ended by SIGKILL"),
    ],
)
def test_how_a_program_ended_is_told(
    status: int | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waitpid(pid: int, options: int) -> tuple[int, int]:
        assert (pid, options) == (77, os.WNOHANG)
        return (0, 0) if status is None else (77, status)

    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        candidate = judging.Candidate(ours.fileno(), 77)
        monkeypatch.setattr(os, "waitpid", waitpid)
        monkeypatch.setattr(judging, "_END_SECONDS", 0.01)
        for ask in (candidate, candidate.await_ready):
            with pytest.raises(judging.Failure) as failure:
                ask()
            assert str(failure.value) == told
        if status is None:
            candidate.check_alive()
        else:
            with pytest.raises(judging.Failure):
                candidate.check_alive()


def test_what_a_prompt_defines() -> None:
    """Beside what it asks for, whether that has a docstring or no body at all."""
    for body in ('    """Divide."""\n', ""):
        names = judging._defined_by(f"import math\n\nTWO = 2\n\ndef f(x):\n{body}")
        assert names["TWO"] == 2 and names["math"] is math and callable(names["f"])
    assert judging._defined_by("def f(:") == {}
