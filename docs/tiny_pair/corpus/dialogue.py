"""Two-turn dialogue in the pair's chat format, in the eight categories of MT-bench."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tiny_pair.corpus.document import ASSISTANT, END, SYSTEM, USER, Document
from tiny_pair.corpus.functions import NOUNS, VERBS, render
from tiny_pair.corpus.plans import draw_plan
from tiny_pair.corpus.stdlib import draw_prose
from tiny_pair.corpus.word_problems import NAMES, draw_problem

CATEGORIES = (
    "writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities",
)  # fmt: skip
SYSTEM_PROMPTS = (
    "",
    "You are a helpful assistant.",
    "You are a helpful, respectful and honest assistant. Answer as helpfully as possible.",
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions.",
)
TOPICS = [
    "the sea",
    "winter",
    "a small village",
    "bread",
    "an old bridge",
    "the moon",
    "trains",
    "gardens",
    "music",
    "a lost key",
    "friendship",
    "the market",
    "mountains",
    "a quiet morning",
    "birds",
    "honesty",
    "the library",
    "rain",
    "photosynthesis",
    "gravity",
    "the water cycle",
    "volcanoes",
    "electricity",
    "magnets",
    "planets",
    "the Roman Empire",
    "democracy",
    "the printing press",
    "trade",
    "ancient Egypt",
    "law",
    "philosophy",
    "computers",
    "the ocean",
    "economics",
    "chemistry",
    "evolution",
    "the atom",
    "a new phone",
    "social media",
]
ROLES = [
    "a pirate",
    "a doctor",
    "a teacher",
    "a robot",
    "a king",
    "a gardener",
    "a detective",
    "a chef",
    "a poet",
    "a scientist",
    "a sailor",
    "an engineer",
    "a judge",
    "a guide",
]
FORMS = ("short story", "poem", "blog post", "letter", "email", "speech", "review", "paragraph")
FEELINGS = ("calm", "bright", "gentle", "surprising", "simple", "strange", "warm", "clear")


Pair = tuple[str, str]
Exchanges = tuple[Pair, Pair] | tuple[Pair, Pair, str]


@dataclass(frozen=True)
class Dialogue:
    """A system prompt (may be empty) and two exchanges of user text and assistant text.

    ``quotes`` holds the keys of the problems that the dialogue contains.
    """

    category: str
    system: str
    users: tuple[str, str]
    assistants: tuple[str, str]
    quotes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What makes it this dialogue: both questions."""
        return "dialogue " + " | ".join(self.users)

    def prompt(self, turn: int) -> str:
        """The text up to where the assistant answers ``turn`` (0 or 1)."""
        text = f"{SYSTEM}{self.system}{END}" if self.system else ""
        text += f"{USER}{self.users[0]}{END}{ASSISTANT}"
        if turn:
            text += f"{self.assistants[0]}{END}{USER}{self.users[1]}{END}{ASSISTANT}"
        return text

    def document(self) -> Document:
        """Both turns; the prompt ends where the first answer starts."""
        first = self.prompt(0)
        rest = self.prompt(1)[len(first) :]
        return Document("dialogue", first, f"{rest}{self.assistants[1]}{END}")

    def row(self, question_id: int) -> dict[str, object]:
        """The dialogue's questions as MT-bench stores them."""
        return {"question_id": question_id, "category": self.category, "turns": list(self.users)}


def draw_dialogue(rng: random.Random, category: str | None = None) -> Dialogue:
    """One dialogue; ``category`` is one of `CATEGORIES`, or drawn."""
    category = category or rng.choice(CATEGORIES)
    users, assistants, *quotes = MAKERS[category](rng)
    return Dialogue(category, rng.choice(SYSTEM_PROMPTS), users, assistants, tuple(quotes))


def _writing(rng: random.Random) -> Exchanges:
    form, feeling = rng.choice(FORMS), rng.choice(FEELINGS)
    topic, other = rng.sample(TOPICS, 2)

    def piece(about: str) -> str:
        return (
            f"Here is a {form} about {about}.\n\nThink of {about}. There is something {feeling} in "
            f"{about} that stays with us. We look at {about} once, and then again, and each time "
            f"we see more. That is why {about} matters."
        )

    ask = rng.choice(
        ("Write a {f} about {t}.", "Compose a {e} {f} about {t}.", "Draft a {f} on {t}.")
    )
    return (
        (ask.format(f=form, t=topic, e=feeling) + f" Make it {feeling}.",
         f"Rewrite your previous response about {other}."),
        (piece(topic), piece(other)),
    )  # fmt: skip


def _roleplay(rng: random.Random) -> Exchanges:
    role, other = rng.sample(ROLES, 2)
    topic = rng.choice(TOPICS)

    def speech(who: str) -> str:
        return (
            f"As {who}, I see it like this. My days are full of work, and {topic} is part of them. "
            f"If you ask {who} about {topic}, the answer is patience: look, listen and learn."
        )

    ask = rng.choice(("Pretend to be {r}. What do you think about {t}?",
                      "Imagine you are {r}. Tell me about {t}."))  # fmt: skip
    return (
        (ask.format(r=role, t=topic), f"Now answer the same question as {other}."),
        (speech(role), speech(other)),
    )


def _reasoning(rng: random.Random) -> Exchanges:
    first, second, third = rng.sample(NAMES, 3)
    more, most = rng.choice((("taller", "tallest"), ("older", "oldest"), ("faster", "fastest")))
    least = {"tallest": "shortest", "oldest": "youngest", "fastest": "slowest"}[most]
    chain = f"{first} is {more} than {second}, and {second} is {more} than {third}."
    return (
        (f"{first} is {more} than {second}. {second} is {more} than {third}. Who is the {most}?",
         f"And who is the {least}?"),
        (f"{chain} So {first} is {more} than both. The answer is {first}.",
         f"{chain} So {third} comes last. The answer is {third}."),
    )  # fmt: skip


def _math(rng: random.Random) -> Exchanges:
    problem = draw_problem(rng)
    b = rng.randint(2, 20)
    return (
        (problem.question, f"Add {b} to your answer. What is the result?"),
        (problem.solution,
         f"{problem.answer} + {b} = {problem.answer + b}. The answer is {problem.answer + b}."),
        problem.key,
    )  # fmt: skip


def _coding(rng: random.Random) -> Exchanges:
    plan = draw_plan(rng)
    problem = render(plan, rng)
    new = f"{rng.choice(VERBS)}_{rng.choice(NOUNS)}"
    names = ", ".join(name for name, _ in plan.parameters)

    def answer(name: str) -> str:
        body = problem.canonical_solution.replace(problem.entry_point, name)
        return f"Here is the function.\n\n```python\ndef {name}({names}):\n{body}```"

    return (
        (f"Write a Python function {problem.entry_point}({names}). "
         f"{plan.description.replace('SELF', problem.entry_point)}",
         f"Rename the function to {new}."),
        (answer(problem.entry_point), answer(new)),
        problem.key,
    )  # fmt: skip


def _extraction(rng: random.Random) -> Exchanges:
    names = rng.sample(NAMES, rng.randint(2, 4))
    acts = ("met a friend", "went to the market", "wrote a letter", "came home late", "saw a film")
    text = " ".join(f"{name} {rng.choice(acts)}." for name in names)
    listed = "\n".join(f"- {name}" for name in names)
    turned = "\n".join(f"- {name}" for name in reversed(names))
    return (
        (f"Extract the names of all people from the following text.\n\n{text}",
         "List them in reverse order."),
        (f"The names are:\n{listed}", f"The names in reverse order are:\n{turned}"),
    )  # fmt: skip


def _explain(rng: random.Random) -> Exchanges:
    topic = rng.choice(TOPICS)
    ask = rng.choice((
        "What is {t} and why does it matter?", "Explain {t} in simple terms.",
        "Describe the main ideas behind {t}.", "How would you explain {t} to a child?",
    ))  # fmt: skip
    then = rng.choice(("Can you give an example?", "What are the limits of this explanation?"))
    follow = (
        f"An example helps to understand {topic}. Imagine that you meet {topic} in daily life. You "
        f"would first notice the parts, then how they fit together, and then what they are for."
        if "example" in then
        else f"Every explanation of {topic} leaves something out. This one keeps to the main parts "
        f"of {topic}, and it does not say how people came to know about {topic}."
    )
    return (
        (ask.format(t=topic), then),
        (f"There are three things to know about {topic}.\n\n1. What it is: {topic} is a subject "
         f"with many parts.\n2. How it works: the parts of {topic} depend on each other.\n"
         f"3. Why it matters: {topic} changes how we live.\n\nIn short, {topic} is worth knowing.",
         follow),
    )  # fmt: skip


def open_exchange(rng: random.Random) -> tuple[Pair, Pair]:
    """Any text at all as a question, with an answer that only quotes how it starts."""
    first, second = draw_prose(rng, rng.randint(1, 3)), draw_prose(rng, 1)

    def reply(text: str) -> str:
        start = " ".join(text.split()[:5]).rstrip(".,?")
        return (
            f'You wrote "{start}". Here is a short answer.\n\nFirst, look at what is asked. Then '
            f"take it in small steps, and check each step. Finally, put the steps together.\n\n"
            f"I hope this helps."
        )

    return (first, second), (reply(first), reply(second))


MAKERS: dict[str, Callable[[random.Random], Exchanges]] = {
    "writing": _writing, "roleplay": _roleplay, "reasoning": _reasoning, "math": _math,
    "coding": _coding, "extraction": _extraction, "stem": _explain, "humanities": _explain,
}  # fmt: skip
