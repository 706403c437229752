"""The figures of the page on a real model, of runs whose figures are known."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from written_run import OUTPUT, autoregressive, pearl, write_run

from smollm2.shown import TABLES, by_share, main, tasks


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A warm-up and a timed text by two decoders: eleven times token 7, of which the last repeats
    ten, and 20, the only one of these that the draft model's head has."""
    write_run(tmp_path / "0", "autoregressive", autoregressive(), draft_forwards=0, speedup=1.0)
    waits = {"wait_fraction_draft": 0.1, "wait_fraction_target": 0.2}
    write_run(tmp_path / "1", "pearl", pearl(), **waits)
    for name in "01":
        path = tmp_path / name / "records.jsonl"
        path.write_text(path.read_text().replace(json.dumps(OUTPUT), json.dumps([*[7] * 11, 20])))
    return tmp_path


def test_figures_of_a_task(runs: Path) -> None:
    (task,) = tasks([str(runs)])
    assert task.name == "humaneval"
    found = {name: column(task) for name, column in TABLES.items()}
    assert found["Speedup"] == {
        "autoregressive": "1.00× (2.70–3.20)",
        "pearl": "3.00× (2.70–3.20)",
    }
    # Of 15 drafted tokens in each text 11 were accepted.
    (waiting,) = found["Waiting of draft model / target, drafts thrown away"].items()
    assert waiting == ("pearl", f"10.0% / 20.0%, {4 / 15:.1%}")
    assert found["Texts"] == {
        "texts": "2",
        "tokens": "24",
        "ended by the model": "0",
        "tokens that repeat": "8.3%",
        "tokens outside the head": "91.7%",
    }
    # Runs of 3 and of 2, each ended by a rejection, in both texts: 10 of 14 went on.
    assert found["The next token is accepted after … in a row"] == {
        "α": "0.71",
        "runs": "4",
        "0": "1.00 (0.51–1.00), n = 4",
        "1": "1.00 (0.51–1.00), n = 4",
        "2 or 3": "0.33 (0.10–0.70), n = 6",
        "8 or more (geometric)": "0.0% (6.8%)",
        "16 or more (geometric)": "0.0% (0.5%)",
        "longest": "3",
    }
    # 11 of 12 judged tokens.
    assert found["α of PEARL along the text"] == {"0": "0.92"}
    assert found["Chances foreseen, accepted"] == {}
    # 90 ms for three tokens.
    assert found["Forwards, ms"]["draft model, a token, beside the target"] == "30.00"
    assert found["Forwards, ms"]["draft model, a token, alone"] == "–"
    # Records say that 5 of 8 judged tokens were accepted.
    each = found["Each text: tokens, outside the head, α of PEARL"]
    assert each == {f"Task/{n}, turn 0": "12, 91.7%, 0.62" for n in range(2)}
    assert list(by_share([task])) == [
        ["autoregressive", "2.00×, n = 1", "–", "–"],
        ["pearl", "2.00×, n = 1", "–", "–"],
    ]


def test_it_prints_a_table_of_each(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["shown.py", str(runs)])
    main()
    printed = capsys.readouterr().out
    assert printed.startswith("4 outputs of 48 tokens: 4 identical\n")
    assert all(f"\n{title}\n\n|  | humaneval |\n" in printed for title in TABLES)
    assert "\nSpeedup by what repeats\n\n|  | less than 10 % |" in printed
