"""The tiny pair's decoders side by side: by ``pearl-eval bench`` where its libraries are there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from gpu_check.libraries import BENCH, missing
from gpu_check.rows import folder, rehearsed, tell

_DECODERS = ("autoregressive", "speculative", "pearl", "pearl_async")
_GAMMA = 9


def main() -> int:
    lacking = missing(BENCH)
    if lacking:
        tell(
            "pearl-eval bench",
            "skipped",
            f"this Python has no {', '.join(lacking)}; by turns instead",
        )
        _by_turns()
        return 0
    prompts, tokens, repeats = (2, 16, 1) if rehearsed() else (4, 96, 1)
    directory = Path(tempfile.mkdtemp()) / "bench"
    code = subprocess.run(
        [
            *(
                sys.executable,
                "-c",
                "from pearl_eval.commands.program import main; main()",
                "bench",
            ),
            f"hydra.run.dir={directory}",
            f"decoders=[{','.join(_DECODERS)}]",
            f"gammas=[{_GAMMA}]",
            *(f"prompts={prompts}", f"repeats={repeats}", "forward_repeats=3"),
            *(f"task.max_new_tokens={tokens}", "runtime=cuda_graphs", "runtime.share_devices=true"),
        ]
    ).returncode
    written = directory / "bench.json"
    if written.exists():
        shutil.copy(written, folder() / "bench.json")
        _tell_bench(json.loads(written.read_text()))
    return code


def _tell_bench(content: dict[str, Any]) -> None:
    from pearl_eval.figures.benchmark import REFERENCE
    from pearl_eval.results.speed import Ratio

    contest = content["contest"]
    for row in contest["rows"] if contest else ():
        ratio = Ratio(**row["ratios"][REFERENCE])
        tell(
            row["contender"],
            f"{row['tokens_per_second']:.0f} tokens/s",
            f"{ratio} the reference; {row['equivalence']}",
        )


def _by_turns() -> None:
    from gpu_check.decoding import by_turns, tell_speeds
    from gpu_check.setups import prompts_of, tiny

    setup = tiny("float32", "cuda_graphs")
    target = setup.load_target()
    models = setup.models(target)
    tell_speeds(
        by_turns(setup, models, prompts_of(setup, 3), 16 if rehearsed() else 96, _GAMMA, _GAMMA)
    )


if __name__ == "__main__":
    raise SystemExit(main())
