"""``pearl-eval --dry-run``, and the ``pearl-eval-estimate`` command, which is the same."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from pearl_eval.commands import run as cli
from pearl_eval.estimate.config import EstimateConfig
from pearl_eval.estimate.job import estimate_job
from pearl_eval.estimate.jobs import compose_jobs
from pearl_eval.estimate.known import Knowledge
from pearl_eval.estimate.table import Estimate, print_estimate


def list_jobs(config_name: str, arguments: Sequence[str], as_json: bool) -> None:
    """List the jobs of a command line with what they would need and take.

    Raises :class:`UserError`, or an error of Hydra's, for the first that can't be run.
    """
    config, rest = EstimateConfig.split(arguments)
    knowledge = Knowledge(config)
    jobs = compose_jobs(config_name, rest)
    estimate = Estimate([estimate_job(job, config, knowledge) for job in jobs], config)
    if as_json:
        print(json.dumps(estimate.describe(), indent=2))
    else:
        print_estimate(estimate)


def main() -> None:
    """Entry point of ``pearl-eval-estimate``: ``pearl-eval --dry-run`` by a name of its own."""
    if {"-h", "--help"} & {*sys.argv}:
        sys.argv.append("hydra/help=pearl_eval_estimate")
    elif not any(argument.startswith("--dry-run") for argument in sys.argv):
        sys.argv.insert(1, "--dry-run")
    cli.main()


if __name__ == "__main__":
    main()
