"""The command lines that README and docs show: each is of a command there is, with its options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from pearl_eval.commands import audit, bench, profile  # noqa: F401 (they make their schemas known)
from pearl_eval.commands.command import Command
from pearl_eval.commands.program import GROUP
from pearl_eval.config.registry import register
from pearl_eval.config.settings import check_settings
from pearl_eval.estimate.config import EstimateConfig
from pearl_eval.shell.jobs import compose_jobs, whole_configuration
from pearl_eval.shell.resume import parted

ROOT = Path(__file__).resolve().parents[2]
#: The changelog has names that are gone.
PAGES = [
    ROOT / "README.md",
    *sorted({*(ROOT / "docs").glob("*.md")} - {ROOT / "docs/changelog.md"}),
    *sorted((ROOT / "docs").glob("*/README.md")),
]
COMMANDS: dict[str, Command] = {one.name: one.load() for one in entry_points(group=GROUP)}
#: What stands for something of the reader's own.
PLACEHOLDER = re.compile(r"…|\bNAME\b|\bCOMMAND\b|my_conf|copying|lucky|slowest")
#: Flags that print instead of run.
SHOWN = {"--help", "--cfg", "job", "all", "--dry-run", "--json"}


def shown(text: str) -> Iterator[list[str]]:
    """The command lines of a page, without ``pearl-eval``."""
    text = text.replace("\\\n", " ")
    lines = re.findall(r"^ *(?:\.venv/bin/)?pearl-eval +(.*)$", text, re.MULTILINE)
    inline = re.findall(r"`(?:\.venv/bin/)?pearl-eval\s([^`]+)`", text)
    for line in dict.fromkeys([*lines, *inline]):
        words = re.split(r"\s{3,}|\s\| |\s#\s", " ".join(line.split("\n")))[0]
        if words and not PLACEHOLDER.search(line):
            yield shlex.split(words)


EVERY = [(page.name, words) for page in PAGES for words in shown(page.read_text())]


def test_each_command_there_is_and_takes_what_it_is_given() -> None:
    seen = set()
    for page, (first, *rest) in EVERY:
        if first in COMMANDS:
            seen.add(first)
            command = COMMANDS[first]
            if command.arguments is not None and rest:
                command._parser(first).parse_args(rest)
        else:
            assert "=" in first or first.startswith("-"), f"{page}: {first} is no command"
    assert seen == {*COMMANDS}


@pytest.mark.nightly
@pytest.mark.parametrize("page", [page.name for page in PAGES])
def test_each_setting_there_is(page: str) -> None:
    register()
    for own, (first, *rest) in EVERY:
        words = rest if first in COMMANDS else [first, *rest]
        if own != page or COMMANDS.get(first, COMMANDS["bench"]).arguments is not None:
            continue
        if any(word.startswith("resume=") for word in words):
            continue
        _, words = EstimateConfig.split([word for word in words if word not in SHOWN])
        flags, overrides = parted(words)
        if first == "audit":
            overrides = [word for word in overrides if "=" in word]  # the others are files
        if first in ("audit", "bench", "profile"):
            check_settings(whole_configuration(first, [*flags, *overrides]))
        else:
            compose_jobs("config", [*flags, *overrides])  # which checks the settings of each
