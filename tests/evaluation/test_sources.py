"""What of the code makes a run another run, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from decoders.autoregressive import Autoregressive
from decoders.lookahead import Lookahead
from decoders.pearl import Pearl
from decoders.sampling.sampler import Greedy
from pearl_eval.evaluation import sources
from pearl_eval.evaluation.identity import reference_code, run_code
from pearl_eval.evaluation.sources import ROOT, code_digest
from pearl_eval.pairs.pretrained import Pretrained
from tasks.gsm8k import Gsm8k
from tasks.humaneval import HumanEval

FILES = {
    "decoders/__init__.py": "",
    "decoders/one.py": '''"""One."""
from decoders.two import LIMIT


class One:
    """Decodes."""

    limit: int = LIMIT
    """The limit."""

    def decode(self):
        """Give a token."""
        from tasks.sandbox.inside import wire
        return wire.VALUE + 1  # and one
''',
    "decoders/two.py": "LIMIT = 2\n",
    "decoders/other.py": "OTHER = 3\n",
    "tasks/__init__.py": "",
    "tasks/sandbox/__init__.py": "",
    "tasks/sandbox/inside/__init__.py": "",
    "tasks/sandbox/inside/wire.py": "VALUE = 1\n",
    "tasks/sandbox/inside/judge.py": "RIGHT = True\n",
}


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The digest of ``decoders.one`` after a change of one file."""
    monkeypatch.setattr(sources, "_parsed", sources._parsed.__wrapped__)

    def digest(name: str = "", before: str = "", after: str = "", **more: Any) -> str:
        for path, text in FILES.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            changed = text.replace(before, after) if path == name else text
            assert path != name or changed != text or not before
            (tmp_path / path).write_text(changed or after if path == name else text)
        return code_digest(["decoders.one"], root=tmp_path, **more)

    return digest


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("decoders/one.py", "  # and one", "  # and another"),
        ("decoders/one.py", '"""One."""', '"""The first."""'),
        ("decoders/one.py", '    """Decodes."""\n', ""),
        ("decoders/one.py", '"""Give a token."""', '"""Give\n        two."""'),
        ("decoders/one.py", '    """The limit."""\n', ""),
        ("decoders/one.py", "wire.VALUE + 1", "(\n            wire.VALUE + 1\n        )"),
        ("decoders/two.py", "LIMIT = 2", "\n\nLIMIT  =  2"),
        ("decoders/other.py", "3", "4"),
    ],
)
def test_what_changes_nothing(
    edited: Callable[..., str], name: str, before: str, after: str
) -> None:
    assert edited(name, before, after) == edited()


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("decoders/one.py", "wire.VALUE + 1", "wire.VALUE + 2"),
        ("decoders/one.py", "limit: int = LIMIT", "limit: int = 3"),
        ("decoders/two.py", "2", "3"),
        ("decoders/__init__.py", "", "import os\n"),
        # Imported late, and a program beside it that nothing imports.
        ("tasks/sandbox/inside/wire.py", "1", "2"),
        ("tasks/sandbox/inside/judge.py", "True", "False"),
    ],
)
def test_what_changes_the_code(
    edited: Callable[..., str], name: str, before: str, after: str
) -> None:
    assert edited(name, before, after) != edited()


def test_what_is_skipped_counts_for_nothing(edited: Callable[..., str]) -> None:
    skip = ["tasks"]
    assert edited("tasks/sandbox/inside/wire.py", "1", "2", skip=skip) == edited(skip=skip)
    assert edited("decoders/two.py", "2", "3", skip=skip) != edited(skip=skip)
    # Only a package of that very name.
    assert edited("decoders/two.py", "2", "3", skip=["decoders.tw"]) != edited(skip=["decoders.tw"])


def test_a_file_from_anywhere_counts_with_what_it_imports(
    edited: Callable[..., str], tmp_path: Path
) -> None:
    own = tmp_path / "own.py"
    own.write_text("from decoders import other\n")
    alone = edited()
    with_own = edited(others=[own])
    assert with_own != alone
    assert edited("decoders/other.py", "3", "4", others=[own]) != with_own
    own.write_text("from decoders import other\n\nGAMMA = 3\n")
    assert edited(others=[own]) != with_own


RUN, BOTH, NONE = (True, False), (True, True), (False, False)
COUNTS = {
    "decoders/autoregressive.py": BOTH,
    "decoders/decoder.py": BOTH,
    "decoders/model/cached_model.py": BOTH,
    "decoders/sampling/sampler.py": BOTH,
    "decoders/process/placement.py": BOTH,
    "pearl_eval/config/schema.py": BOTH,
    "pearl_eval/machine/energy.py": BOTH,
    "pearl_eval/machine/placement.py": BOTH,
    "pearl_eval/pairs/pretrained.py": BOTH,
    "pearl_eval/evaluation/plan.py": BOTH,
    "decoders/pearl.py": RUN,
    "decoders/process/drafter.py": RUN,
    "tasks/humaneval.py": RUN,
    "tasks/scoring/checker.py": RUN,
    "tasks/sandbox/inside/warden.py": RUN,
    "pearl_eval/checks/equivalence.py": RUN,
    "pearl_eval/evaluation/comparison.py": RUN,
    "pearl_eval/evaluation/summary.py": RUN,
    "pearl_eval/results/intervals.py": RUN,
    "pearl_eval/results/records.py": RUN,
    "pearl_eval/results/traces.py": RUN,
    "pearl_eval/sizes/model_size.py": RUN,
    "decoders/lookahead.py": NONE,
    "tasks/gsm8k.py": NONE,
    "pearl_eval/figures/timeline.py": NONE,
    "pearl_eval/shell/console.py": NONE,
    "pearl_eval/tracking/wandb_tracker.py": NONE,
    "pearl_eval/results/table.py": NONE,
    "pearl_eval/results/stretch.py": NONE,
    "pearl_eval/bench/table.py": NONE,
    "pearl_eval/estimate/table.py": NONE,
    "pearl_eval/pairs/synthetic.py": NONE,
    "analysis/report.py": NONE,
}


@pytest.mark.parametrize("name", COUNTS)
def test_what_counts_for_a_run_and_for_its_reference(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PEARL on HumanEval with the tiny pair, greedy."""
    assert (ROOT / name).is_file()
    made = [object.__new__(one) for one in (Pearl, Greedy, Pretrained, HumanEval)]
    decoder, sampler, source, task = made
    plan: Any = SimpleNamespace(
        decoder=decoder,
        reference=Autoregressive(),
        sampler=sampler,
        setup=SimpleNamespace(source=source),
        task=task,
    )
    before = run_code(plan), reference_code(plan)
    parsed = sources._parsed

    def changed(path: Path) -> tuple[str, tuple[str, ...]]:
        digest, names = parsed(path)
        return ("changed" if path == ROOT / name else digest), names

    monkeypatch.setattr(sources, "_parsed", changed)
    after = run_code(plan), reference_code(plan)
    assert (before[0] != after[0], before[1] != after[1]) == COUNTS[name]


def test_runs_that_are_compared_share_their_code() -> None:
    """Other decoders, tasks and pairs have other parts, and the same code around them."""
    made = [object.__new__(one) for one in (Pearl, Lookahead, Greedy, Pretrained, HumanEval, Gsm8k)]
    pearl, lookahead, sampler, source, humaneval, gsm8k = made

    def code(decoder: object, task: object) -> dict[str, Any]:
        plan: Any = SimpleNamespace(
            decoder=decoder, sampler=sampler, setup=SimpleNamespace(source=source), task=task
        )
        return run_code(plan)

    one, other = code(pearl, humaneval), code(lookahead, gsm8k)
    assert {name for name in one if one[name] != other[name]} == {
        "code of the decoder",
        "code of the task",
    }
    assert len(set(one.values())) == 5
