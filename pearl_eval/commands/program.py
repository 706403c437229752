"""The program ``pearl-eval``: a command where the first word names one, else a run by Hydra.

Commands are entry points of the group ``pearl_eval.commands``: those of this package, those of
``analysis``, and whatever another package that is installed adds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

from pearl_eval import __version__
from pearl_eval.commands.command import Command
from pearl_eval.config.groups import group_names, meant
from pearl_eval.errors import UserError
from pearl_eval.shell.manners import manners

GROUP = "pearl_eval.commands"
#: What a command line without a command is given to.
RUN = Command("One run, or a sweep with -m", "pearl_eval.commands.run:main")
#: Whether PyTorch asks the system for huge pages, in which weights are read a tenth faster.
#: It looks when it first takes memory, so this comes before all else.
_HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
_HELP = ("-h", "--help")
#: Short for the command.
_DRY_RUN, _ESTIMATE = "--dry-run", "estimate"


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of ``pearl-eval``."""
    os.environ.setdefault(_HUGE_PAGES, "1")
    words = list(sys.argv[1:] if arguments is None else arguments)
    first = words[0] if words else ""
    if first == "--version":
        print(f"pearl-eval {__version__}")
        return
    with manners():
        commands = {one.name: one for one in entry_points(group=GROUP)}
        if first in commands:
            name, words = first, words[1:]
        elif _DRY_RUN in words:
            name, words = _ESTIMATE, [one for one in words if one != _DRY_RUN]
        else:
            name = ""
            if first and "=" not in first and not first.startswith(("-", "~")):
                raise UserError(_neither(first, commands))
            if {*_HELP} & {*words}:
                print(_listed(commands))
        command = _loaded(commands[name]) if name else RUN
    command.main(name, words)


def _loaded(found: EntryPoint) -> Command:
    try:
        command = found.load()
    except Exception as error:  # of any kind, out of somebody's package
        raise UserError(
            f"the command {found.name} ({found.value}) can't be had: {error}"
        ) from error
    if not isinstance(command, Command):
        raise UserError(
            f"the command {found.name} ({found.value}) is {command!r:.60}, expected a"
            f" {Command.__name__}"
        )
    return command


def _neither(word: str, commands: dict[str, EntryPoint]) -> str:
    return (
        f"{word} is neither a command nor a setting{meant(word, commands)}; commands:"
        f" {', '.join(sorted(commands))}; settings: NAME=VALUE, or GROUP=OPTION of the groups"
        f" {', '.join(group_names())}"
    )


def _listed(commands: dict[str, EntryPoint]) -> str:
    """The first lines of ``pearl-eval --help``, with every command there is."""
    width = max(map(len, commands), default=0)
    lines = [f"  {name:{width}}  {_summary(commands[name])}" for name in sorted(commands)]
    return "\n".join(
        [
            "pearl-eval evaluates speculative decoding of large language models: is a decoder's"
            " output the\ntarget model's own, is it correct, how fast is it, and why.\n",
            "Commands (pearl-eval COMMAND --help says more):\n",
            *lines,
            "\nWithout a command it is a run, or with -m a sweep:\n",
        ]
    )


def _summary(found: EntryPoint) -> str:
    """One that is broken does not hide the others."""
    try:
        return _loaded(found).summary
    except UserError as error:
        return f"({error})"
