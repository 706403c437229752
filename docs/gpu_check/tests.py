"""The tests that need a GPU, run by pytest; a row for each, as soon as it is known."""

from __future__ import annotations

import os
from typing import Any

import pytest

from gpu_check.libraries import ROOT
from gpu_check.rows import tell


class Teller:
    """A pytest plugin that tells what became of each test."""

    def pytest_runtest_logreport(self, report: Any) -> None:
        # Of setup and end only what went wrong there, or why it did not run.
        if report.when != "call" and report.outcome == "passed":
            return
        why = ""
        if report.outcome == "failed":
            lines = [line for line in report.longreprtext.splitlines() if line.startswith("E ")]
            why = lines[0].removeprefix("E").strip()[:160] if lines else "see log.txt"
        elif report.outcome == "skipped":
            why = str(report.longrepr[2]).removeprefix("Skipped: ")
        name = report.nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")
        tell(name, report.outcome, why or f"{report.duration:.0f} s")


def main() -> int:
    # Whatever else is installed there has no say in it.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    # Those of the whole suite's settings and helpers that need more libraries are left out.
    arguments = ["-m", "gpu", "--noconftest", "-o", "addopts=", "-p", "no:cacheprovider", "-q"]
    return int(pytest.main([*arguments, str(ROOT / "tests" / "gpu")], plugins=[Teller()]))


if __name__ == "__main__":
    raise SystemExit(main())
