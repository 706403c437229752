"""What a command of ``pearl-eval`` is: a line in the list of them, a command line, a function."""

from __future__ import annotations

import argparse
import pkgutil
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pearl_eval.errors import UserError
from pearl_eval.shell.manners import manners

#: Columns of a help page.
_WIDTH = 96

#: An argument of a command line: what :meth:`argparse.ArgumentParser.add_argument` is given.
Argument = tuple[tuple[str, ...], dict[str, Any]]


def argument(*names: str, **how: Any) -> Argument:
    """An argument, as :meth:`argparse.ArgumentParser.add_argument` takes it."""
    return names, how


DIRECTORY = argument("directory", type=Path, help="a sweep's directory, or a run's")


def output(default: str, what: str = "FILE") -> Argument:
    """``-o FILE``, the same for every command that writes one."""
    return argument("-o", "--output", type=Path, metavar=what, help=f"default: {default}")


def count(least: int) -> Callable[[str], int]:
    """The type of an argument that is a number of tokens, of at least so many."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a number of at least {least}, got {text!r}")
        return int(text)

    return read


@dataclass(frozen=True)
class Command:
    """A command, as an entry point of the group ``pearl_eval.commands`` names it.

    Parameters
    ----------
    summary
        What it does, in a line.
    run
        ``module:function``, imported when it is to run, so that a list of commands and a help page
        import nothing of it. It is called with the options that were given, by their names, or,
        without ``arguments``, with the command line. An error of :mod:`pearl_eval.errors` ends the
        command in one line.
    arguments
        Its options. Without them, the function reads its command line itself.
    description
        What its help page says beside ``summary``.
    examples
        Lines of a shell.
    """

    summary: str
    run: str
    arguments: Sequence[Argument] | None = None
    description: str = ""
    examples: str = ""

    def main(self, name: str, words: Sequence[str]) -> None:
        """Run the command, which was called ``name``, with the rest of the command line."""
        with manners():
            if self.arguments is None:
                pkgutil.resolve_name(self.run)(words)
            else:
                options = vars(self._parser(name).parse_args(words))
                pkgutil.resolve_name(self.run)(**options)

    def _parser(self, name: str) -> argparse.ArgumentParser:
        parser = _Parser(
            prog=f"pearl-eval {name}",
            description=textwrap.fill(f"{self.summary}. {self.description}", _WIDTH),
            epilog=f"examples:\n{textwrap.indent(self.examples, '  ')}" if self.examples else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            # What is not given is left to the function's own defaults.
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
        )
        for names, how in self.arguments or ():
            parser.add_argument(*names, **how)
        return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; {self.prog} --help shows what it takes")
