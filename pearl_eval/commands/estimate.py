"""What the jobs of a command line would need and take, listed instead of run."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pearl_eval.commands import run
from pearl_eval.shell.command import composing

_CONFIG = "config"
_AS_JSON = "--json"


def main(arguments: Sequence[str]) -> None:
    """List the jobs that ``pearl-eval`` would run by these arguments; ``--json``: for programs."""
    words = [one for one in arguments if one != _AS_JSON]
    if {"-h", "--help"} & {*words}:
        run.main([*words, "hydra/help=pearl_eval_estimate"])
        return
    with composing(_CONFIG, words, logs=True) as rest:
        # Imported late: it brings torch and transformers, which a help page has no use for.
        from pearl_eval.estimate.table import Estimate, print_estimate

        estimate = Estimate.of(_CONFIG, rest)
        if _AS_JSON in arguments:
            print(json.dumps(estimate.describe(), indent=2))
        else:
            print_estimate(estimate)
