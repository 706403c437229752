"""Messages of a user that the draft model of ``pair=smollm2`` is distilled on:
``python messages.py FILE``.

Each is a request about a subject, of the kinds that benchmarks of chat models ask for: to write, to
play a role, to reason, to reckon, to program, to take facts from a text, to explain science,
history or society. Requests and subjects (``messages.yaml``) are put together by chance; none is
from a benchmark. What is to be summed up or read for facts is the docstring of an installed
package's module.
"""

from __future__ import annotations

import argparse
import ast
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from prompts import parsed, sources, write_rows

#: Characters of a text that is to be read, at least and at most.
_TEXT = 200, 1200


def docstrings() -> Iterator[str]:
    """What modules of Python's library and of installed packages say of themselves."""
    for path in sources():
        source = parsed(path)
        text = ast.get_docstring(source[1]) if source else None
        if text and _TEXT[0] <= len(text) <= _TEXT[1]:
            yield text


def messages(count: int, seed: int) -> list[str]:
    """Distinct messages, as many of each kind."""
    rng = random.Random(seed)
    words: Any = OmegaConf.to_container(OmegaConf.load(Path(__file__).with_suffix(".yaml")))
    subjects = words["subjects"] | {"text": list(docstrings())}
    kinds = list(words["requests"].values())
    found: dict[str, None] = {}
    while len(found) < count:
        request = rng.choice(kinds[len(found) % len(kinds)])
        drawn = {name: rng.sample(some, min(3, len(some))) for name, some in subjects.items()}
        numbered = {
            f"{name}{place or ''}": word
            for name, words in drawn.items()
            for place, word in zip(("", 2, 3), words, strict=False)
        }
        found[request.format(**numbered)] = None
    return list(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--count", type=int, default=3600)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    write_rows(given.file, messages(given.count, given.seed))


if __name__ == "__main__":
    main()
