"""What draft models distilled on the same texts foresee: ``python trials.py FIRST OTHER…``.

Of each folder of ``pearl-eval distill``, how much of each kind of text that was held out is
accepted, and by how much more than of the first, with the 95 % interval of that. Texts are what is
independent: the tokens of one text are alike.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

#: Tokens accepted and judged, of each text of a kind.
Accepted = dict[str, list[list[int]]]


def difference(own: list[list[int]], first: list[list[int]]) -> tuple[float, float]:
    """By how much more of the same texts is accepted, and half of the width of its interval.

    The standard error is that of a ratio of sums over texts.
    """
    (right, count), (before, same) = np.array(own).T, np.array(first).T
    if not np.array_equal(count, same):
        raise SystemExit("these draft models were not measured on the same texts")
    more = right - before
    by = more.sum() / count.sum()
    apart = more - by * count
    texts = len(count)
    error = np.sqrt(texts / max(1, texts - 1) * (apart**2).sum()) / count.sum()
    return float(by), float(1.96 * error)


def row(name: str, own: Accepted, first: Accepted | None) -> str:
    """A row of the table: each kind of text, then all of them."""
    cells = [name]
    for kind in [*own, None]:
        # All kinds together, each text for itself.
        mine = own[kind] if kind else [text for texts in own.values() for text in texts]
        right, count = np.array(mine).sum(0)
        cell = f"{right / count:.1%}"
        if first:
            other = first[kind] if kind else [text for texts in first.values() for text in texts]
            by, half = difference(mine, other)
            cell += f" ({100 * by:+.1f} ± {100 * half:.1f})"
        cells.append(cell)
    return f"| {' | '.join(cells)} |"


def _accepted(folder: Path) -> Accepted:
    try:
        results = json.loads((folder / "distillation.json").read_text("utf-8"))
        accepted: Accepted = results["held_out"]
    except (OSError, ValueError, KeyError) as error:
        raise SystemExit(
            f"{folder}: expected what pearl-eval distill has finished ({error!r})"
        ) from error
    return accepted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    found = {folder.name: _accepted(folder) for folder in parser.parse_args().folders}
    first = next(iter(found.values()))
    kinds = [f"{kind}: {len(texts)} texts" for kind, texts in first.items()]
    print(f"| trial | {' | '.join(kinds)} | all |")
    print("| --- |" + " --- |" * (len(kinds) + 1))
    for name, accepted in found.items():
        print(row(name, accepted, None if accepted is first else first))


if __name__ == "__main__":
    main()
