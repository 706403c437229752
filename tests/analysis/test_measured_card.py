"""The paper's pairs on a card whose forwards were timed: what is read of them, and predicted."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import measured_card
import paper_pairs
from analysis.paper.pairs import PAIRS
from measured_card import MeasuredCard, fitted, speedups_table, times_table
from pearl_eval.simulation import Hardware, Slowdown
from pearl_eval.sizes.model_shapes import ModelShape, model_shape

#: 1,000 weights a layer and head alike are multiplied, 8 values of a token are cached: by hand
#: 2 layers × 5 × (4 × 5 + 3 × 10) + 100 × 5.
SMALL = ModelShape(5, 10, 2, 1, 1, 100, 64)
#: 4 × 10 × (4 × 10 + 3 × 20) + 100 × 10; 2 × 4 × 10 values of a token.
LARGE = ModelShape(10, 20, 4, 1, 1, 100, 64)
SHAPES = {"target": LARGE, "draft": SMALL}
COMPARED = ("pearl", "speculative", "pearl_async")
CARD = {"name": "NVIDIA X", "reading": 4e12, "with_vector": 3e12, "flops": 9e14}


def content(target: float = 30.0, draft: float = 7.0) -> dict[str, Any]:
    """A file in which a target forward takes so long, and 3 times as long beside the draft model,
    which takes 1.5 times as long meanwhile."""

    def timing(model: str, window: int, together: bool, seconds: float) -> dict[str, Any]:
        return {
            "model": model,
            "window": window,
            "context": 9,
            "together": together,
            "median": seconds,
            "quartiles": [seconds, seconds],
        }

    return {
        "pair": "x",
        "rehearsed": False,
        "bytes_per_value": 2,
        "card": CARD,
        "shapes": {role: asdict(shape) for role, shape in SHAPES.items()},
        "timings": [
            *(timing("target", window, False, target) for window in (1, 32)),
            *(timing("draft", window, False, draft) for window in (1, 64)),
            timing("target", 1, True, 3 * target),
            timing("draft", 1, True, 1.5 * draft),
        ],
    }


def test_the_model_that_reads_fastest_tells_the_bandwidth_and_the_other_what_layers_take() -> None:
    assert (LARGE.multiplied, SMALL.multiplied) == (5000, 1000)
    roofline = Hardware(4e12, 9e14)
    # 2 × (5000 + 80 × 10) bytes in 29 s; 2 × (1000 + 20 × 10) would take 6 s at that rate.
    found = fitted(roofline, SHAPES, {"target": 29.0, "draft": 7.0}, context=9)
    assert found == Hardware(bandwidth=400.0, flops=9e14, layer_seconds=3.5)
    assert found.forward_seconds(LARGE, 1, 9) == 29.0 and found.forward_seconds(SMALL, 1, 9) == 7.0
    # The other way round: 2400 bytes in 6 s, and 4 layers that take 40 s.
    found = fitted(roofline, SHAPES, {"target": 40.0, "draft": 6.0}, context=9)
    assert found == Hardware(bandwidth=400.0, flops=9e14, layer_seconds=10.0)
    alike = fitted(roofline, SHAPES, {"target": 29.0, "draft": 6.0}, context=9)
    assert alike == Hardware(bandwidth=400.0, flops=9e14, layer_seconds=0.0)


def test_a_card_is_what_its_file_says() -> None:
    card = MeasuredCard.of(content(29.0, 7.0))
    assert card.name == "NVIDIA X" and not card.rehearsed
    assert card.roofline == Hardware(4e12, 9e14, bytes_per_value=2)
    assert card.measured == Hardware(400.0, 9e14, 3.5, 2)
    # The draft model was done long before the target: for 10.5 s both computed, in which the target
    # did all but the 87 − 10.5 s after that, that is nothing.
    assert card.slowdown == Slowdown(target=1.0, draft=1.5)
    better = content() | {"card": CARD | {"with_vector": 5e12}}
    assert MeasuredCard.of(better).roofline.bandwidth == 5e12


def test_times_are_predicted_by_both() -> None:
    times = times_table(MeasuredCard.of(content(29.0, 7.0))).frame
    pair = PAIRS["llama31_8b_70b"]
    target, draft = model_shape(pair.target), model_shape(pair.draft)
    rows = {by: times.loc[("", pair.name, by)] for by in ("bandwidth", "forwards")}
    read = 2 * (target.multiplied + target.cached)
    assert rows["bandwidth"]["t_target"] == pytest.approx(1e3 * read / 4e12)
    assert rows["forwards"]["t_target"] == pytest.approx(1e3 * read / 400)
    own = 2 * (draft.multiplied + draft.cached)
    assert rows["bandwidth"]["c"] == pytest.approx(read / own)


def test_speedups_are_predicted_by_both_and_with_one_card_for_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measured_card, "_TOKENS", 1024)
    card = MeasuredCard.of(content(29.0, 7.0))
    card = MeasuredCard(card.name, card.roofline, card.measured, Slowdown(2.0, 2.0), False)
    frame = speedups_table(card).frame
    pair = PAIRS["llama31_8b_70b"].name
    apart, shared = (
        frame.loc[("", pair, decoder, "forwards")] for decoder in ("pearl", "pearl, one card")
    )
    for rate in ("α = 0.7", "α = 0.8", "α = 0.9"):
        assert shared[rate] < 0.7 * apart[rate]
    assert apart["α = 0.7"] < apart["α = 0.8"] < apart["α = 0.9"]
    both = [(name, by) for name in COMPARED for by in ("bandwidth", "forwards")]
    rows = {row[2:] for row in frame.index if row[1] == pair}
    assert rows == {*both, ("pearl, one card", "forwards")}


def test_the_command_says_what_it_is_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measured_card, "_TOKENS", 1024)
    path = tmp_path / "forwards.json"
    path.write_text(json.dumps(content() | {"rehearsed": True}))
    monkeypatch.setattr("sys.argv", ["paper_pairs.py", "--forwards", str(path)])
    paper_pairs.main()
    out = capsys.readouterr().out
    assert "Forward times on NVIDIA X (a rehearsal: no GPU), predicted" in out
    assert "bandwidth: 4000 GB/s, as a large read alone" in out
    assert "the target takes 1.00 times as long, the draft model 1.50 times" in out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no such file; give one of the files forwards_"),
        ("{", "is damaged (Expecting"),
        ('{"timings": []}', "is damaged (it lacks 'card')"),
        (json.dumps(content() | {"shapes": {"target": {"size": 1}}}), "is damaged (TypeError("),
        (json.dumps(content() | {"timings": []}), "is damaged (KeyError(('target'"),
    ],
)
def test_another_file_is_refused_in_a_line(
    tmp_path: Path,
    text: str | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "forwards.json"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr("sys.argv", ["paper_pairs.py", "--forwards", str(path)])
    with pytest.raises(SystemExit, match="2"):
        paper_pairs.main()
    err = " ".join(capsys.readouterr().err.split())
    assert said in err and "make gpu-check leaves" in err
