"""The groups of configurations, and the options of each, that come with the project."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pearl_eval.config.paths import config_dir


def group_names() -> list[str]:
    """The groups, as ``decoder``, by name, without Hydra's own."""
    return sorted(
        one.name for one in config_dir().iterdir() if one.is_dir() and one.name != "hydra"
    )


def meant(word: str, others: Iterable[str] = ()) -> str:
    """What may have been meant by a word that is no setting, as a question in brackets, if any.

    ``others`` are names beside those of groups that it may have been.
    """
    options = [
        f"{group}={word}"
        for group in group_names()
        if (config_dir() / group / f"{word}.yaml").is_file()
    ]
    alike = options or difflib.get_close_matches(word, [*others, *group_names()], cutoff=0.7)
    return f" (did you mean {' or '.join(alike)}?)" if alike else ""
