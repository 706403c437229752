"""Short names for runs, in every table and picture: what tells each from the others."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

#: Longest value that a name says in full.
_LONGEST = 40
#: What a name says in any case, but where it is as usual: a decoder that knows more than its prompt
#: is never to be taken for one that doesn't.
_ALWAYS = {"cache": "cold"}


def labels(
    runs: Sequence[Mapping[str, Any]],
    groups: Sequence[Hashable] | None = None,
) -> list[str]:
    """A name for each run: its decoder's, and what tells it from others of that name.

    Parameters
    ----------
    runs
        What is known of each run: its ``decoder``, and whatever else may tell it apart, in the
        order in which it is said, as in ``pearl γ5 seed=1``.
    groups
        Runs of different groups need not be told apart. All are of one by default.
    """
    names = [str(run["decoder"]) for run in runs]
    within: Sequence[Hashable] = groups or [()] * len(runs)
    facts = dict.fromkeys(name for run in runs for name in run if name != "decoder")
    # Whatever settings others have, a seed is said after them.
    for fact in sorted(facts, key=lambda fact: fact == "seed"):
        values: dict[tuple[str, Any, Hashable], set[str]] = {}
        for run, name, group in zip(runs, names, within, strict=True):
            values.setdefault((name, run["decoder"], group), set()).add(repr(run.get(fact)))
        varied = {decoder for (_, decoder, _), own in values.items() if len(own) > 1}
        names = [
            f"{name} {_said(fact, run[fact])}"
            if (run["decoder"] in varied and run.get(fact) is not None) or _unusual(fact, run)
            else name
            for run, name in zip(runs, names, strict=True)
        ]
    return names


def placed(names: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """Names that are there more than once with what tells their folders apart: ``pearl (3)``."""
    places = {
        name: _places([one for one, own in zip(folders, names, strict=True) if own == name])
        for name in names
        if names.count(name) > 1
    }
    return [
        f"{name} ({places[name][folder]})" if name in places else name
        for name, folder in zip(names, folders, strict=True)
    ]


def of_run(decoder: str, settings: Mapping[str, Any] | None, seed: Any) -> dict[str, Any]:
    """What a finished run may be named by, beside others of its pair and task."""
    return {"decoder": decoder, "gamma": None, **(settings or {}), "seed": seed}


def of_overrides(
    overrides: Iterable[str], decoder: str, settings: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Likewise of a run that may not have begun; ``decoder`` is its name if they don't say it.

    Of its ``settings`` only what a name says in any case is taken.
    """
    asked = {name: value for name, _, value in (one.partition("=") for one in overrides)}
    asked = {name.removeprefix("decoder."): value for name, value in asked.items()}
    always = {name: settings[name] for name in _ALWAYS if settings and name in settings}
    return {"decoder": decoder, "gamma": None} | always | asked


def knows_more(settings: Mapping[str, Any]) -> bool:
    """Whether a decoder's settings let it know more than each prompt's own text."""
    return any(_unusual(name, settings) for name in _ALWAYS)


def _unusual(fact: str, run: Mapping[str, Any]) -> bool:
    return fact in _ALWAYS and run.get(fact) not in (None, _ALWAYS[fact])


def _said(fact: str, value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value)
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    return f"γ{text}" if fact == "gamma" else f"{fact}={text}"


def _places(folders: Iterable[Path]) -> dict[Path, str]:
    """Folders by what of their paths tells them apart."""
    wholes = {folder: folder.absolute() for folder in folders}
    common = os.path.commonpath([whole.parent for whole in wholes.values()])
    return {folder: str(whole.relative_to(common)) for folder, whole in wholes.items()}
