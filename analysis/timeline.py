"""The ``pearl-eval-timeline`` command: what each model did when, drawn from real rounds."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pearl_eval.errors import UserError
from pearl_eval.figures.saving import check_format, save_figure
from pearl_eval.figures.timelines import find_runs, timeline
from pearl_eval.results.stretch import TOKENS
from pearl_eval.shell.console import print_error
from pearl_eval.shell.streams import standard_streams

#: It is written in these formats.
_SUFFIXES = (".png", ".svg")
_EPILOG = """
examples:
  pearl-eval-timeline multirun/DATE/TIME
      of a sweep the fastest decoder whose models work at the same time, the fastest whose
      models take turns, and the target alone, one above the other
  pearl-eval-timeline outputs/DATE/TIME-pearl --prompt HumanEval/3 --from 20 --tokens 10
      one run; the ten tokens that follow the first twenty of this problem's output
"""


@standard_streams()
def main() -> None:
    """Entry point of ``pearl-eval-timeline``."""
    parser = argparse.ArgumentParser(
        prog="pearl-eval-timeline",
        description="Draw what the draft model and the target did when, for a stretch of one"
        " prompt: drafting, verifying, waiting, and what became of each drafted token.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("directory", type=Path, nargs="+", help="a sweep's directory, or runs', the first on top")
    add("--prompt", metavar="TASK_ID", help="which prompt (default: that of the median speedup)")
    add("--from", dest="token", type=_count, metavar="N", help="begin after N tokens of output")
    add("--tokens", type=_some, default=TOKENS, metavar="N", help=f"default: {TOKENS}")
    add("--seconds", type=float, help="length of the stretch, instead of --tokens")
    add("-o", "--output", type=Path, help="default: timeline in the first DIRECTORY (.png, .svg)")
    arguments = parser.parse_args()
    output = arguments.output or arguments.directory[0] / "timeline"
    try:
        check_format(output)
        output = output if output.suffix in _SUFFIXES else output.with_name(f"{output.name}.png")
        if arguments.seconds is not None and arguments.seconds <= 0:
            raise UserError(f"--seconds must be more than 0, got {arguments.seconds}")
        figure = timeline(
            find_runs(arguments.directory),
            arguments.prompt,
            arguments.token,
            arguments.tokens,
            arguments.seconds,
        )
        for suffix in _SUFFIXES:
            print(save_figure(figure, output.with_suffix(suffix)))
    except (UserError, OSError) as error:
        print_error(str(error))
        sys.exit(2)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of tokens")
    return int(text)


def _some(text: str) -> int:
    if not (tokens := _count(text)):
        raise argparse.ArgumentTypeError("a stretch has at least one token")
    return tokens


if __name__ == "__main__":
    main()
