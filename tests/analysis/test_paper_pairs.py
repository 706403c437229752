"""The paper's pairs, predicted: their inputs, and what inverts what."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from analysis.paper import pairs
from analysis.paper.pairs import A100, H100, PAIRS, PaperPair
from analysis.paper.reported import REPORTED
from paper_pairs import reported_table, shared_table, times_table
from pearl_eval.config.paths import config_dir
from pearl_eval.simulation import Ahead, Alone, Parallel, Sequential
from pearl_eval.sizes.model_shapes import model_shape

LIMIT = 256
LLAMA = PAIRS["llama31_8b_70b"]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few simulated tokens: rough, and fast."""
    monkeypatch.setattr(pairs, "_TOKENS", 1024)


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_is_that_of_its_configuration(name: str) -> None:
    node = OmegaConf.load(config_dir() / "pair" / f"{name}.yaml")
    pair = PAIRS[name]
    assert (pair.draft, pair.target) == (node.draft.path, node.target.path)
    gamma = {"pearl": pair.pearl_gamma, "speculative": pair.speculative_gamma}
    assert gamma == node.gamma


def test_figures_are_reported_of_known_pairs() -> None:
    assert all(one.pair in PAIRS for one in REPORTED if one.pair)


def test_the_reported_waiting_is_what_forwards_are_predicted_to_take() -> None:
    """Of 10 draft forwards by construction, of a target forward within a tenth."""
    times = PAIRS["codellama_7b_70b"].forwards()
    assert 10 * times.draft(1, 0) == pytest.approx(0.14)
    assert times.target(1, 0) == pytest.approx(0.07, rel=0.1)
    frame = times_table().frame.loc[("", "CodeLlama 7B & 70B")]
    assert frame["t_target"] == pytest.approx(1e3 * times.target(1, 0))
    assert frame["c"] == pytest.approx(times.target(1, 0) / times.draft(1, 0))


def test_an_h100_reads_and_computes_as_much_faster_as_its_data_sheet_says() -> None:
    """3.35 over 2.039 TB/s, 989 over 312 Tflop/s; and its host bounds no forward."""
    on_a100, on_h100 = (LLAMA.forwards(one) for one in (A100, H100))
    assert on_a100.target(1, 0) / on_h100.target(1, 0) == pytest.approx(3.35 / 2.039)
    assert on_a100.target(2048, 0) / on_h100.target(2048, 0) == pytest.approx(989 / 312)
    shape = model_shape(LLAMA.draft)
    assert on_h100.draft(1, 0) == pytest.approx(
        2 * (shape.multiplied + shape.cached) / (0.9 * 3.35e12)
    )
    assert on_h100.draft(2048, 0) == pytest.approx(2 * 2048 * shape.multiplied / (0.6 * 989e12))


def test_a_draft_length_is_the_decoders_own(short: None) -> None:
    assert LLAMA.pearl == Parallel(5)
    assert LLAMA.compared == {"speculative": Sequential(10), "pearl_async": Ahead(96)}
    assert LLAMA.speedup(Sequential(10), 0.8, LIMIT) < LLAMA.speedup(Parallel(5), 0.8, LIMIT)
    assert LLAMA.speedup(Alone(), 0.8, LIMIT) == 1


def test_the_implied_rate_gives_the_speedup_back(short: None) -> None:
    rate = LLAMA.implied_rate(2.5, LIMIT)
    assert rate is not None and 0.7 < rate < 0.95
    assert LLAMA.speedup(LLAMA.pearl, rate, LIMIT) == pytest.approx(2.5, rel=0.03)
    assert LLAMA.implied_rate(50.0, LIMIT) is None and LLAMA.implied_rate(0.1, LIMIT) is None


def test_the_tables_tell_reported_from_predicted(
    short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PaperPair, "implied_rate", lambda self, speedup, max_new_tokens: 0.8)
    for table in (reported_table(), shared_table()):
        for cell in table.cells:
            assert ("predicted" in cell.column) != ("reported" in cell.column)
        assert "arXiv 2408.11850" in table.markdown()
    row = reported_table().frame.loc[("", LLAMA.name, "mt_bench")]
    assert row["pearl, reported"] == 3.59
    speculative = row["speculative at that α, predicted"]
    assert speculative == pytest.approx(LLAMA.speedup(Sequential(10), 0.8, LIMIT))
    row = shared_table().frame.loc[("", LLAMA.name, "mt_bench")]
    assert row["shared ÷ apart, reported"] == pytest.approx(30.78 / 32.14)
    assert row["shared ÷ apart, predicted"] == pytest.approx(1.0)


def test_what_no_rate_gives_is_left_out(short: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here that of GSM8K."""
    monkeypatch.setattr(
        PaperPair,
        "implied_rate",
        lambda self, speedup, max_new_tokens: None if speedup == 3.81 else 0.8,
    )
    text = reported_table().markdown()
    assert text.count("| – |") == 2 and "| gsm8k | 3.81× | – | – | – |" in text
