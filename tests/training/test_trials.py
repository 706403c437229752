"""Draft models that were distilled on the same texts beside each other."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from smollm2.trials import difference, main


def test_more_is_accepted_by_so_much_within_an_interval_over_texts() -> None:
    """By hand: 1 of 6 tokens more; apart from that by 1/3 and −1/3, so √(2 × 2/9) ÷ 6 = 1/9."""
    by, half = difference([[3, 4], [1, 2]], [[2, 4], [1, 2]])
    assert by == pytest.approx(1 / 6)
    assert half == pytest.approx(1.96 / 9)
    with pytest.raises(SystemExit, match="not measured on the same texts"):
        difference([[3, 4]], [[3, 5]])


def test_the_first_is_what_others_are_compared_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, right in (("kl", 2), ("other", 3)):
        (tmp_path / name).mkdir()
        found = {"held_out": {"prompts": [[right, 4], [1, 2]], "messages": [[1, 2]]}}
        (tmp_path / name / "distillation.json").write_text(json.dumps(found))
    monkeypatch.setattr(sys, "argv", ["trials.py", str(tmp_path / "kl"), str(tmp_path / "other")])
    main()
    assert capsys.readouterr().out.splitlines() == [
        "| trial | prompts: 2 texts | messages: 1 texts | all |",
        "| --- | --- | --- | --- |",
        "| kl | 50.0% | 50.0% | 50.0% |",
        # All: 1 of 8; apart by 1/2, −1/4 and −1/4, so √(3/2 × 3/8) ÷ 8 = 0.09375.
        "| other | 66.7% (+16.7 ± 21.8) | 50.0% (+0.0 ± 0.0) | 62.5% (+12.5 ± 18.4) |",
    ]


def test_what_is_not_finished_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["trials.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="expected what pearl-eval distill has finished"):
        main()
