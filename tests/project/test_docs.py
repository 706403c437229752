"""What the docs show works."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from small_pair import SmallPair

from pearl_eval.results.records import read_summary
from pearl_eval.results.traces import Traces

ROOT = Path(__file__).resolve().parents[2]


def code_blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize(
    ("page", "group", "name", "expected"),
    [
        ("tasks.md", "task", "copying", "copied"),
    ],
)
def test_the_example_is_one_file_and_one_yaml(
    run_cli: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    page: str,
    group: str,
    name: str,
    expected: str,
) -> None:
    (source,) = code_blocks(page, "python")
    (config,) = code_blocks(page, "yaml")
    folder = tmp_path / "my_conf" / group
    folder.mkdir(parents=True)
    (folder / f"{name}.yaml").write_text(config.replace(f"{group}s.{name}", name))
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    code, out, err = run_cli(
        "--config-dir=my_conf", f"{group}={name}", "task.limit=2", "task.max_new_tokens=20"
    )
    assert code == 0, err
    assert expected in out and "identical 2/2" in out


def test_the_decoder_of_the_example_is_known_to_every_command(
    run_cli: Callable[..., tuple[int, str, str]],
    run_command: Callable[..., tuple[int, str, str]],
    small_pair: SmallPair,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As it stands there, from outside the checkout."""
    (source,) = code_blocks("add-a-decoder.md", "python")
    (config,) = code_blocks("add-a-decoder.md", "yaml")
    (tmp_path / "my_conf" / "decoder").mkdir(parents=True)
    (tmp_path / "my_conf" / "decoder" / "lucky.yaml").write_text(config)
    (tmp_path / "lucky.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    mine, short = "--config-dir=my_conf", ("task.limit=2", "task.max_new_tokens=20")

    code, out, err = run_cli(
        "-m", mine, "decoder=autoregressive,lucky", *short, "hydra.sweep.dir=sweep"
    )
    assert code == 0, err
    assert out.count("identical 2/2") == 2
    # The record is complete: what a decoder of ours leaves, this one does as well.
    first, second = (Traces.read(tmp_path / "sweep" / number) for number in "01")
    assert list(second.rounds) == list(first.rounds)
    rounds, records = second.rounds, second.records
    assert set(rounds["mode"]) == {"gamble"}
    assert (rounds["drafted"] == 2).any() and set(rounds["fates"].map(len)) <= {0, 1, 2}
    accepted = sum(list(fates).count("accepted") for fates in rounds["fates"])
    assert accepted == rounds["accepted"].sum() == records["accepted"].sum()
    assert accepted + rounds["own_tokens"].sum() == records["new_tokens"].sum()
    assert (rounds["busy_seconds"] == rounds["target_seconds"]).all()
    assert (rounds["target_seconds"] > 0).all() and (rounds["target_tokens"] > 0).all()
    summary = read_summary(tmp_path / "sweep" / "1")
    assert summary["decoder_settings"] == {"repeats": 2, "gamma": 2}
    assert summary["cost"]["target_wasted_flops_per_token"] > 0
    assert summary["traces"]["mode_shares"] == {"gamble": 1.0}

    for name, said in (("table", "lucky"), ("timeline", "timeline.png"), ("report", "report.html")):
        code, out, err = run_command(name, "sweep")
        assert code == 0, err
        assert said in out
    drawn = (tmp_path / "sweep" / "timeline.svg").read_text()
    assert "the last token is guessed to repeat" in drawn

    bench = ("decoders=[lucky]", "gammas=[2]", "prompts=2", "repeats=1", "hydra.run.dir=bench")
    code, out, err = run_command("bench", mine, *small_pair.overrides, *bench, *short[1:])
    assert code == 0, err
    assert "lucky" in out and "identical 2/2" in out

    own = (*small_pair.overrides, "decoder=lucky", *short)
    code, out, err = run_command("estimate", mine, *own)
    assert code == 0, err
    assert "lucky" in out


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
