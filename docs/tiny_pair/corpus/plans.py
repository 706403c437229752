"""The computations that generated functions perform: over lists, strings and integers."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import prod
from typing import Any

from tiny_pair.corpus.functions import (
    INT_NAMES,
    LIST_NAMES,
    STRING_NAMES,
    FunctionPlan,
    integers,
    phrase,
)

# Each entry: key, phrase, code over `x`, and the same written as a closure of (x, k).
Rule = tuple[str, str, Callable[[int, int], Any]]
CONDITIONS: tuple[Rule, ...] = (
    ("even", "x % 2 == 0", lambda x, k: x & 1 == 0),
    ("odd", "x % 2 == 1", lambda x, k: x & 1 == 1),
    ("positive", "x > 0", lambda x, k: x >= 1),
    ("negative", "x < 0", lambda x, k: x <= -1),
    ("greater than {k}", "x > {k}", lambda x, k: x - k > 0),
    ("less than {k}", "x < {k}", lambda x, k: k - x > 0),
    ("at least {k}", "x >= {k}", lambda x, k: not x < k),
    ("at most {k}", "x <= {k}", lambda x, k: not x > k),
    ("divisible by {k}", "x % {k} == 0", lambda x, k: x == k * (x // k)),
    ("not equal to {k}", "x != {k}", lambda x, k: abs(x - k) > 0),
)
CHANGES: tuple[Rule, ...] = (
    ("doubled", "x * 2", lambda x, k: x + x),
    ("squared", "x * x", lambda x, k: x**2),
    ("cubed", "x * x * x", lambda x, k: x**3),
    ("negated", "-x", lambda x, k: 0 - x),
    ("increased by {k}", "x + {k}", lambda x, k: x - (-k)),
    ("decreased by {k}", "x - {k}", lambda x, k: -(k - x)),
    ("multiplied by {k}", "x * {k}", lambda x, k: sum([x] * k)),
)
LETTERS: tuple[tuple[str, str, Callable[[str, str], bool]], ...] = (
    ("vowels", 'c.lower() in "aeiou"', lambda c, a: c in set("aeiouAEIOU")),
    ("uppercase letters", "c.isupper()", lambda c, a: c != c.lower()),
    ("lowercase letters", "c.islower()", lambda c, a: c != c.upper()),
    ("spaces", 'c == " "', lambda c, a: ord(c) == 32),
    ("letters {a}", 'c == "{a}"', lambda c, a: ord(c) == ord(a)),
    ("letters after {a}", 'c > "{a}"', lambda c, a: ord(c) > ord(a)),
)
WORD_RULES: tuple[tuple[str, str, Callable[[str, int, str], bool]], ...] = (
    ("longer than {k} letters", "len(w) > {k}", lambda w, k, a: len(w[k:]) > 0),
    ("shorter than {k} letters", "len(w) < {k}", lambda w, k, a: not w[k - 1 :]),
    ("with exactly {k} letters", "len(w) == {k}", lambda w, k, a: sum(1 for _ in w) == k),
    ("starting with {a}", 'w.startswith("{a}")', lambda w, k, a: w[:1] == a),
    ("ending with {a}", 'w.endswith("{a}")', lambda w, k, a: w[-1:] == a),
    ("containing {a}", '"{a}" in w', lambda w, k, a: w.find(a) >= 0),
)
WORD_CHANGES: tuple[tuple[str, str, Callable[[str], str]], ...] = (
    ("", "w", lambda w: w),
    (" in uppercase", "w.upper()", lambda w: "".join(c.upper() for c in w)),
    (" in lowercase", "w.lower()", lambda w: "".join(c.lower() for c in w)),
    (" reversed", "w[::-1]", lambda w: "".join(reversed(w))),
)


def draw_plan(rng: random.Random) -> FunctionPlan:
    """One computation, chosen by ``rng``."""
    family = rng.choices(FAMILIES, weights=FAMILY_WEIGHTS)[0]
    return family(rng)


def _condition(rng: random.Random) -> tuple[str, str, Callable[[int], bool]]:
    words, code, test = rng.choice(CONDITIONS)
    k = rng.randint(2, 9)
    return words.format(k=k), code.format(k=k), lambda x: test(x, k)


def _change(rng: random.Random) -> tuple[str, str, Callable[[int], int]]:
    words, code, apply = rng.choice(CHANGES)
    k = rng.randint(2, 9)
    return words.format(k=k), code.format(k=k), lambda x: apply(x, k)


def list_pipeline(rng: random.Random) -> FunctionPlan:
    """Keep some numbers, change each, and collect, order or reduce them."""
    name = rng.choice(LIST_NAMES)
    condition, test_code, test = _condition(rng)
    change, change_code, apply = _change(rng)
    if rng.random() < 0.3:
        change, change_code, apply = "", "x", lambda x: x
    each = f", each {change}" if change else ""
    source = f"{change_code} for x in {name} if {test_code}"
    shape = rng.choice(("list", "loop", "sorted", "reversed", "sum", "count", "largest", "each"))

    def kept(values: list[int]) -> list[int]:
        return [apply(x) for x in values if test(x)]

    returns = "List[int]"
    reference: Callable[[list[int]], Any] = kept
    if shape == "list":
        text = f"Return the numbers that are {condition}{each}."
        body = [f"return [{source}]"]
    elif shape == "loop":
        text = f"Collect in a list the numbers that are {condition}{each}."
        body = [
            "result = []", f"for x in {name}:", f"    if {test_code}:",
            f"        result.append({change_code})", "return result",
        ]  # fmt: skip
    elif shape == "sorted":
        text = f"Return the numbers that are {condition}{each}, in ascending order."
        body = [f"return sorted({source})"]
        reference = lambda values: sorted(kept(values))  # noqa: E731
    elif shape == "reversed":
        text = f"Return the numbers that are {condition}{each}, in descending order."
        body = [f"return sorted(({source}), reverse=True)"]
        reference = lambda values: sorted(kept(values))[::-1]  # noqa: E731
    elif shape == "sum":
        text = f"Return the sum of the numbers that are {condition}{each}."
        body, returns = [f"return sum({source})"], "int"
        reference = lambda values: sum(kept(values))  # noqa: E731
    elif shape == "count":
        change, text = "", f"Count the numbers that are {condition}."
        body, returns = [f"return len([x for x in {name} if {test_code}])"], "int"
        reference = lambda values: len(kept(values))  # noqa: E731
    elif shape == "largest":
        text = f"Return the largest of the numbers that are {condition}{each}, or 0 if none are."
        body, returns = [f"return max(({source}), default=0)"], "int"
        reference = lambda values: max(kept(values) or [0])  # noqa: E731
    else:
        change, change_code, apply = _change(rng)
        text = f"Return the list with the numbers that are {condition} {change}, others unchanged."
        body = [f"return [{change_code} if {test_code} else x for x in {name}]"]
        reference = lambda values: [apply(x) if test(x) else x for x in values]  # noqa: E731
    return FunctionPlan(
        f"list|{shape}|{condition}|{change}",
        ((name, "List[int]"),), returns, text, tuple(body), reference,
        lambda r: (integers(r),),
    )  # fmt: skip


def list_check(rng: random.Random) -> FunctionPlan:
    """Whether all, any or none of the numbers meet one condition or two."""
    name = rng.choice(LIST_NAMES)
    one, code_one, test_one = _condition(rng)
    two, code_two, test_two = _condition(rng)
    joint = rng.choice(("", "and", "or"))
    words = f"{one} {joint} {two}" if joint else one
    code = f"{code_one} {joint} {code_two}" if joint else code_one

    def test(x: int) -> bool:
        if joint == "and":
            return test_one(x) and test_two(x)
        return test_one(x) or (joint == "or" and test_two(x))

    shape = rng.choice(("all", "any", "first"))
    returns = "bool"
    reference: Callable[[list[int]], Any]
    if shape == "all":
        text = f"Check if all numbers in the list are {words}."
        body = [f"return all({code} for x in {name})"]
        reference = lambda values: not [x for x in values if not test(x)]  # noqa: E731
    elif shape == "any":
        text = f"Check if any number in the list is {words}."
        body = [f"for x in {name}:", f"    if {code}:", "        return True", "return False"]
        reference = lambda values: bool([x for x in values if test(x)])  # noqa: E731
    else:
        text = f"Return the index of the first number that is {words}, or -1 if there is none."
        body = [
            f"for i, x in enumerate({name}):", f"    if {code}:", "        return i", "return -1",
        ]  # fmt: skip
        returns = "int"
        reference = lambda values: ([i for i, x in enumerate(values) if test(x)] + [-1])[0]  # noqa: E731
    return FunctionPlan(
        f"check|{shape}|{words}",
        ((name, "List[int]"),), returns, text, tuple(body), reference,
        lambda r: (integers(r),),
    )  # fmt: skip


def two_lists(rng: random.Random) -> FunctionPlan:
    """Combine two lists element by element."""
    first, second = rng.choice((("a", "b"), ("xs", "ys"), ("left", "right"), ("first", "second")))
    word, code, apply = rng.choice((
        ("sums", "x + y", lambda x, y: sum((x, y))),
        ("differences", "x - y", lambda x, y: -(y - x)),
        ("products", "x * y", lambda x, y: prod((x, y))),
        ("maxima", "max(x, y)", lambda x, y: x if x > y else y),
        ("minima", "min(x, y)", lambda x, y: x if x < y else y),
    ))  # fmt: skip
    change, change_code, change_apply = _change(rng)
    if rng.random() < 0.4:
        change, change_code, change_apply = "", "x", lambda x: x
    code = change_code.replace(
        "x", f"({code})" if "max" not in code and "min" not in code else code
    )
    code = code[1:-1] if not change and code.startswith("(") else code
    each = f", each {change}" if change else ""
    return FunctionPlan(
        f"two|{word}|{change}",
        ((first, "List[int]"), (second, "List[int]")), "List[int]",
        f"Return the element by element {word} of the two lists{each}.",
        (f"return [{code} for x, y in zip({first}, {second})]",),
        lambda a, b: [change_apply(apply(x, y)) for x, y in zip(a, b, strict=False)],
        lambda r: (integers(r, 0, 9)[:3], integers(r, 0, 9)[:3]),
    )  # fmt: skip


def list_threshold(rng: random.Random) -> FunctionPlan:
    """Keep or count numbers against a second argument."""
    name = rng.choice(LIST_NAMES)
    bound = rng.choice(("threshold", "limit", "k", "n", "bound", "t"))
    words, code, test = rng.choice((
        ("greater than", ">", lambda x, k: x - k > 0), ("less than", "<", lambda x, k: k - x > 0),
        ("at least", ">=", lambda x, k: not x < k), ("at most", "<=", lambda x, k: not x > k),
    ))  # fmt: skip
    change, change_code, apply = _change(rng)
    count = rng.random() < 0.4
    if count:
        text = f"Count the numbers that are {words} {bound}."
        body = f"return len([x for x in {name} if x {code} {bound}])"
    else:
        text = f"Return the numbers that are {words} {bound}, each {change}."
        body = f"return [{change_code} for x in {name} if x {code} {bound}]"

    def reference(values: list[int], k: int) -> Any:
        kept = [apply(x) for x in values if test(x, k)]
        return len(kept) if count else kept

    return FunctionPlan(
        f"threshold|{words}|{count or change}",
        ((name, "List[int]"), (bound, "int")), "int" if count else "List[int]", text, (body,),
        reference, lambda r: (integers(r), r.randint(0, 9)),
    )  # fmt: skip


def letters(rng: random.Random) -> FunctionPlan:
    """Count, keep, remove or replace characters of a string."""
    name = rng.choice(STRING_NAMES)
    words, code, test = rng.choice(LETTERS)
    a, b = rng.choice("abdeilmnorst"), rng.choice("*-_.#x")
    words, code = words.format(a=a), code.format(a=a)
    shape = rng.choice(("count", "keep", "remove", "replace"))
    reference: Callable[[str], Any]
    if shape == "count":
        text, returns = f"Count the {words} in the given string.", "int"
        body = [
            "count = 0", f"for c in {name}:", f"    if {code}:", "        count += 1",
            "return count",
        ]  # fmt: skip
        reference = lambda s: len([c for c in s if test(c, a)])  # noqa: E731
    elif shape == "keep":
        text, returns = f"Return only the {words} of the given string.", "str"
        body = [f'return "".join(c for c in {name} if {code})']
        reference = lambda s: "".join(filter(lambda c: test(c, a), s))  # noqa: E731
    elif shape == "remove":
        text, returns = f"Remove the {words} from the given string.", "str"
        body = [f'return "".join(c for c in {name} if not {code})']
        reference = lambda s: "".join(filter(lambda c: not test(c, a), s))  # noqa: E731
    else:
        text, returns = f"Replace the {words} of the given string with {b}.", "str"
        body = [f'return "".join("{b}" if {code} else c for c in {name})']
        reference = lambda s: "".join([c, b][test(c, a)] for c in s)  # noqa: E731
    return FunctionPlan(
        f"letters|{shape}|{words}|{b if shape == 'replace' else ''}",
        ((name, "str"),), returns, text, tuple(body), reference, lambda r: (phrase(r),),
    )  # fmt: skip


def word_list(rng: random.Random) -> FunctionPlan:
    """List, count or join the words of a sentence."""
    name = rng.choice(STRING_NAMES)
    words, code, test = rng.choice(WORD_RULES)
    k, a = rng.randint(3, 6), rng.choice("abdeilmnorst")
    words, code = words.format(k=k, a=a), code.format(k=k, a=a)
    change, change_code, apply = rng.choice(WORD_CHANGES)
    shape = rng.choice(("list", "join", "count"))
    source = f"{change_code} for w in {name}.split() if {code}"

    def kept(s: str) -> list[str]:
        return [apply(w) for w in s.split(" ") if test(w, k, a)]

    reference: Callable[[str], Any] = kept
    if shape == "list":
        text, returns = f"Return a list of the words {words}{change}.", "List[str]"
        body = f"return [{source}]"
    elif shape == "join":
        mark = rng.choice(("-", "_", ", ", " ", "+"))
        text, returns = f"Join the words {words}{change} with {mark!r}.", "str"
        body = f"return {mark!r}.join({source})"
        reference = lambda s: mark.join(kept(s))  # noqa: E731
    else:
        change, text, returns = "", f"Count the words {words}.", "int"
        body = f"return len([w for w in {name}.split() if {code}])"
        reference = lambda s: len(kept(s))  # noqa: E731
    return FunctionPlan(
        f"words|{shape}|{words}|{change}",
        ((name, "str"),), returns, text, (body,), reference, lambda r: (phrase(r),),
    )  # fmt: skip


def number_range(rng: random.Random) -> FunctionPlan:
    """Sum, list or count the numbers from 1 to n."""
    name = rng.choice(INT_NAMES)
    if name == "x":
        name = "n"
    condition, test_code, test = _condition(rng)
    change, change_code, apply = _change(rng)
    shape = rng.choice(("sum", "list", "loop"))
    source = f"for x in range(1, {name} + 1) if {test_code}"

    def kept(n: int) -> list[int]:
        return [apply(x) for x in range(n + 1) if x and test(x)]

    reference: Callable[[int], Any] = kept
    if shape == "list":
        text, returns = (
            f"List the numbers from 1 to {name} that are {condition}, each {change}.",
            "List[int]",
        )
        body = [f"return [{change_code} {source}]"]
    elif shape == "sum":
        text, returns = (
            f"Sum the numbers from 1 to {name} that are {condition}, each {change}.",
            "int",
        )
        body = [f"return sum({change_code} {source})"]
        reference = lambda n: sum(kept(n))  # noqa: E731
    else:
        text, returns = (
            f"Add up the numbers from 1 to {name} that are {condition}, each {change}.",
            "int",
        )
        body = [
            "total = 0", f"for x in range(1, {name} + 1):", f"    if {test_code}:",
            f"        total += {change_code}", "return total",
        ]  # fmt: skip
        reference = lambda n: sum(kept(n))  # noqa: E731
    return FunctionPlan(
        f"range|{shape}|{condition}|{change}",
        ((name, "int"),), returns, text, tuple(body), reference, lambda r: (r.randint(1, 14),),
    )  # fmt: skip


def recurrence(rng: random.Random) -> FunctionPlan:
    """A sequence given by its first two terms and a rule."""
    a, b, p, q = rng.randint(0, 5), rng.randint(1, 5), rng.randint(1, 3), rng.randint(1, 3)
    one = "SELF(n - 1)" if p == 1 else f"{p} * SELF(n - 1)"
    two = "SELF(n - 2)" if q == 1 else f"{q} * SELF(n - 2)"

    def reference(n: int) -> int:
        terms = [a, b]
        while len(terms) <= n:
            terms.append(p * terms[-1] + q * terms[-2])
        return terms[n]

    text = f"The sequence f starts with f(0) = {a} and f(1) = {b}, then f(n) = {one} + {two}."
    return FunctionPlan(
        f"recurrence|{a}|{b}|{p}|{q}",
        (("n", "int"),), "int", text.replace("SELF", "f"),
        ("if n == 0:", f"    return {a}", "if n == 1:", f"    return {b}", f"return {one} + {two}"),
        reference, lambda r: (r.randint(0, 8),),
    )  # fmt: skip


def branches(rng: random.Random) -> FunctionPlan:
    """One of two formulas, by a condition on the argument."""
    name = rng.choice(("n", "num", "value", "number"))
    condition, test_code, test = _condition(rng)
    yes, yes_code, yes_apply = _change(rng)
    no, no_code, no_apply = _change(rng)
    code = [
        f"if {test_code}:", f"    return {yes_code}", f"return {no_code}",
    ]  # fmt: skip
    return FunctionPlan(
        f"branch|{condition}|{yes}|{no}",
        ((name, "int"),), "int",
        f"Return {name} {yes} if {name} is {condition}, otherwise {name} {no}.",
        tuple(line.replace("x", name) for line in code),
        lambda n: yes_apply(n) if test(n) else no_apply(n),
        lambda r: (r.randint(-9, 20),),
    )  # fmt: skip


def digits(rng: random.Random) -> FunctionPlan:
    """Sum, count or list the digits of a number that meet a condition."""
    name = rng.choice(("n", "num", "number", "value"))
    condition, test_code, test = _condition(rng)
    shape = rng.choice(("sum", "count", "list"))
    source = f"x for x in map(int, str({name})) if {test_code}"

    def kept(n: int) -> list[int]:
        found: list[int] = []
        while n:
            n, last = divmod(n, 10)
            found = [last, *found]
        return [x for x in found if test(x)]

    text, returns, body, reference = {
        "sum": ("Return the sum of", "int", f"return sum({source})", lambda n: sum(kept(n))),
        "count": ("Count", "int", f"return len([{source}])", lambda n: len(kept(n))),
        "list": ("Return a list of", "List[int]", f"return [{source}]", kept),
    }[shape]
    return FunctionPlan(
        f"digits|{shape}|{condition}",
        ((name, "int"),), returns, f"{text} the digits of {name} that are {condition}.", (body,),
        reference, lambda r: (r.randint(1, 99999),),
    )  # fmt: skip


FAMILIES = (
    list_pipeline, list_check, two_lists, list_threshold, letters, word_list, number_range,
    recurrence, branches, digits,
)  # fmt: skip
FAMILY_WEIGHTS = (6, 3, 1, 1, 2, 2, 2, 1, 1, 1)
