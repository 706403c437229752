"""Worked word problems: small compositional stories that end in "The answer is N."."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tiny_pair.corpus.document import Document
from tiny_pair.corpus.languages import LANGUAGES

NAMES = [
    "Tom",
    "Anna",
    "Ben",
    "Maria",
    "Sam",
    "Lucy",
    "James",
    "Emma",
    "Jack",
    "Olivia",
    "Janet",
    "Josh",
    "Carla",
    "Toula",
    "Kylar",
    "Jill",
    "Eliza",
    "Wendi",
    "John",
    "Claire",
    "Marissa",
    "Melanie",
    "Raymond",
    "Gretchen",
    "Henry",
    "Artie",
    "Tim",
    "Jerry",
    "Jasmine",
    "Grace",
]
THINGS = [
    "apples",
    "books",
    "pens",
    "eggs",
    "coins",
    "cards",
    "marbles",
    "stickers",
    "cookies",
    "flowers",
    "balls",
    "pencils",
    "shells",
    "toys",
    "stamps",
    "oranges",
    "muffins",
    "candles",
    "ribbons",
    "bottles",
]
GAINS = (
    ("{n} buys {b} more {t}.", "After buying more"),
    ("{n} finds {b} {t}.", "After finding some"),
    ("A friend gives {n} {b} {t}.", "After the gift"),
    ("{n} makes another {b} {t}.", "After making more"),
)
LOSSES = (
    ("{n} gives away {b} {t}.", "After giving some away"),
    ("{n} loses {b} {t}.", "After losing some"),
    ("{n} sells {b} {t}.", "After the sale"),
    ("{n} gives {b} {t} to a neighbor.", "After helping a neighbor"),
)
JOBS = ("walks {a} miles", "reads {a} pages", "writes {a} letters", "bakes {a} cakes", "earns ${a}")


@dataclass(frozen=True)
class WordProblem:
    """A question, its worked steps and its answer (an integer)."""

    key: str
    language: str
    question: str
    steps: str
    answer: int

    @property
    def solution(self) -> str:
        """The steps and the closing answer line, on one line."""
        return f"{self.steps} The answer is {self.answer}."

    def row(self) -> dict[str, str]:
        """The problem as GSM8K stores it."""
        return {"question": self.question, "answer": f"{self.steps}\n#### {self.answer}"}


def draw_problem(rng: random.Random, language: str = "en") -> WordProblem:
    """One problem in ``language`` (an MGSM language code)."""
    if language != "en":
        return translated_story(rng, language)
    return rng.choices((story, price, rate, comparison, remainder), weights=(5, 2, 2, 2, 1))[0](rng)


def story(rng: random.Random) -> WordProblem:
    """Things owned, through one to three events."""
    n, t = rng.choice(NAMES), rng.choice(THINGS)
    if rng.random() < 0.3:
        a, b = rng.randint(2, 9), rng.randint(2, 12)
        total = a * b
        key = f"boxes {a} {b}"
        asked = [f"{n} has {a} boxes with {b} {t} each."]
        steps = [f"The boxes hold {a} * {b} = {total} {t}."]
    else:
        total = rng.randint(5, 60)
        key = f"have {total}"
        asked, steps = [f"{n} has {total} {t}."], []
    events = rng.randint(0 if steps else 1, 3)
    for _ in range(events):
        kind = rng.choice(("gain", "lose", "double"))
        if kind == "lose" and total > 8:
            b = rng.randint(2, min(total - 2, 30))
            sentence, after = rng.choice(LOSSES)
            steps.append(f"{after}, {n} has {total} - {b} = {total - b} {t}.")
            total -= b
        elif kind == "double" and total <= 40:
            b, after = 2, "After that"
            sentence = "Then {n} doubles the number of {t}."
            steps.append(f"{after}, {n} has {total} * 2 = {total * 2} {t}.")
            total *= 2
        else:
            kind, b = "gain", rng.randint(2, 30)
            sentence, after = rng.choice(GAINS)
            steps.append(f"{after}, {n} has {total} + {b} = {total + b} {t}.")
            total += b
        asked.append(sentence.format(n=n, t=t, b=b))
        key += f" {kind} {b}"
    friends = [d for d in range(2, 10) if total % d == 0 and total // d > 1]
    if friends and rng.random() < 0.35:
        b = rng.choice(friends)
        asked.append(f"{n} shares all the {t} equally among {b} friends.")
        asked.append(f"How many {t} does each friend get?")
        steps.append(f"Each friend gets {total} / {b} = {total // b} {t}.")
        total //= b
        key += f" share {b}"
    else:
        asked.append(f"How many {t} does {n} have now?")
    return WordProblem(f"story {key}", "en", " ".join(asked), " ".join(steps), total)


def price(rng: random.Random) -> WordProblem:
    """Things bought at a price, sometimes with change given back."""
    n, t = rng.choice(NAMES), rng.choice(THINGS)
    a, b = rng.randint(2, 12), rng.randint(2, 12)
    cost = a * b
    question = f"{n} buys {a} {t} that cost ${b} each."
    steps = f"The {t} cost {a} * {b} = {cost} dollars."
    if rng.random() < 0.5:
        paid = rng.choice([p for p in (20, 50, 100, 150, 200) if p > cost])
        question += f" {n} pays with ${paid}. How much change in dollars does {n} get?"
        steps += f" The change is {paid} - {cost} = {paid - cost} dollars."
        return WordProblem(f"change {a} {b} {paid}", "en", question, steps, paid - cost)
    extra = rng.randint(2, 20)
    u = rng.choice([x for x in THINGS if x != t])
    question += f" {n} also spends ${extra} on {u}. How much does {n} spend in total?"
    steps += f" In total, {n} spends {cost} + {extra} = {cost + extra} dollars."
    return WordProblem(f"spend {a} {b} {extra}", "en", question, steps, cost + extra)


def rate(rng: random.Random) -> WordProblem:
    """So much a day, for so many days, sometimes with some done before."""
    n, a, days = rng.choice(NAMES), rng.randint(2, 12), rng.randint(2, 9)
    job = rng.choice(JOBS)
    verb, unit = job.split(" ")[0], job.format(a="").split(" ")[-1]
    dollars = unit == "$"
    unit = "dollars" if dollars else unit
    done = a * days
    question = f"{n} {job.format(a=a)} every day for {days} days."
    steps = f"In {days} days, {n} {verb} {a} * {days} = {done} {unit}."
    if rng.random() < 0.5:
        more = rng.randint(2, 30)
        question += f" Then {n} {job.format(a=more)} more. How many {unit} is that in total?"
        steps += f" In total, that is {done} + {more} = {done + more} {unit}."
        return WordProblem(f"rate {a} {days} {more}", "en", question, steps, done + more)
    question += f" How many {unit} is that in total?"
    return WordProblem(f"rate {a} {days}", "en", question, steps, done)


def comparison(rng: random.Random) -> WordProblem:
    """Two people, one with more, fewer or a multiple; sometimes both together."""
    n, m = rng.sample(NAMES, 2)
    t, a = rng.choice(THINGS), rng.randint(4, 40)
    kind = rng.choice(("more", "fewer", "times"))
    if kind == "more":
        b = rng.randint(2, 30)
        c, work, than = a + b, f"{a} + {b}", f"{b} more {t} than"
    elif kind == "fewer":
        b = rng.randint(2, a - 2)
        c, work, than = a - b, f"{a} - {b}", f"{b} fewer {t} than"
    else:
        b = rng.randint(2, 4)
        a = rng.randint(2, 20)
        c, work = a * b, f"{a} * {b}"
        than = f"{('two', 'three', 'four')[b - 2]} times as many {t} as"
    question = f"{n} has {a} {t}. {m} has {than} {n}."
    steps = f"{m} has {work} = {c} {t}."
    if rng.random() < 0.6:
        question += f" How many {t} do they have together?"
        steps += f" Together they have {a} + {c} = {a + c} {t}."
        return WordProblem(f"both {kind} {a} {b}", "en", question, steps, a + c)
    question += f" How many {t} does {m} have?"
    return WordProblem(f"other {kind} {a} {b}", "en", question, steps, c)


def remainder(rng: random.Random) -> WordProblem:
    """Some used every morning and some in the evening, the rest sold."""
    n, t = rng.choice(NAMES), rng.choice(THINGS)
    a = rng.randint(15, 60)
    b, c, p = rng.randint(2, 6), rng.randint(2, 6), rng.randint(2, 5)
    left = a - b - c
    question = (
        f"{n} gets {a} {t} a day. {n} uses {b} in the morning and {c} in the evening, and sells "
        f"the rest for ${p} each. How many dollars does {n} make a day?"
    )
    steps = (
        f"{n} uses {b} + {c} = {b + c} {t}. That leaves {a} - {b + c} = {left} {t}. "
        f"{n} makes {left} * {p} = {left * p} dollars."
    )
    return WordProblem(f"rest {a} {b} {c} {p}", "en", question, steps, left * p)


def translated_story(rng: random.Random, language: str) -> WordProblem:
    """A story of one or two events in any language of `LANGUAGES`."""
    words = LANGUAGES[language]
    n, t = rng.choice(words.names), rng.choice(words.things)

    def say(sentence: str, a: int = 0, b: int = 0, c: int = 0) -> str:
        return sentence.format(n=n, t=t, a=a, b=b, c=c)

    steps: list[str] = []
    if rng.random() < 0.4:
        a, b = rng.randint(2, 9), rng.randint(2, 12)
        total, key = a * b, f"boxes {a} {b}"
        asked = [say(words.boxes, a, b)]
        steps = [say(words.boxed, a, b, total)]
    else:
        total = rng.randint(5, 60)
        key, asked = f"have {total}", [say(words.have, total)]
    for _ in range(rng.randint(0 if steps else 1, 2)):
        if rng.random() < 0.5 and total > 8:
            b = rng.randint(2, min(total - 2, 30))
            asked.append(say(words.lose, total, b))
            steps.append(say(words.lost, total, b, total - b))
            total, key = total - b, f"{key} lose {b}"
        else:
            b = rng.randint(2, 30)
            asked.append(say(words.gain, total, b))
            steps.append(say(words.gained, total, b, total + b))
            total, key = total + b, f"{key} gain {b}"
    friends = [d for d in range(2, 10) if total % d == 0 and total // d > 1]
    if friends and rng.random() < 0.3:
        b = rng.choice(friends)
        asked += [say(words.share, total, b), say(words.ask_share)]
        steps.append(say(words.shared, total, b, total // b))
        total, key = total // b, f"{key} share {b}"
    else:
        asked.append(say(words.ask))
    space = "" if language in ("zh", "ja") else " "
    return WordProblem(f"{language} {key}", language, space.join(asked), space.join(steps), total)


def document(problem: WordProblem, shots: list[WordProblem], layout: str) -> Document:
    """The problem as a task lays it out.

    Parameters
    ----------
    problem : WordProblem
    shots : list of WordProblem
        Worked examples put before it.
    layout : {"qa", "question"}
        ``"Q: ...\\nA:"`` or ``"Question: ...\\n\\nAnswer:"``.
    """
    ask, reply = ("Q: ", "\nA:") if layout == "qa" else ("Question: ", "\n\nAnswer:")
    before = "".join(f"{ask}{shot.question}{reply} {shot.solution}\n\n" for shot in shots)
    return Document(
        "word_problem", f"{before}{ask}{problem.question}{reply}", f" {problem.solution}"
    )
