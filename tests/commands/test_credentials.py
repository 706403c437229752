"""Credentials in a configuration: refused before anything is written, and not repeated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pearl_eval.shell.credentials import refuse_credentials

Run = Callable[..., tuple[int, str, str]]

SECRET = "planted0123456789"
URL = f"https://me:{SECRET}@example.org/x"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", SECRET)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([f"reference.folder={URL}"], "reference.folder has a URL with credentials"),
        ([f"pair.target.path=https://{SECRET}@example.org"], "pair.target.path has a URL with"),
        ([f"pair.target.path='hf://x?sig=1&token={SECRET}1'"], "pair.target.path has a secret"),
        ([f"+hydra.job.env_set.MY_TOKEN={SECRET}"], "hydra.job.env_set.MY_TOKEN has a secret"),
        (["tracking.group=${oc.env:SOME_API_KEY}"], "tracking.group has the value of SOME_API_KEY"),
        ([f"tracking.tags=[a,{SECRET}]"], "tracking.tags[1] has the value of SOME_API_KEY"),
        (["-m", f"reference.folder=null,{URL}"], "reference.folder has a URL with credentials"),
        (["-m", "experiment=mine", "task.limit=1,2"], "tracking.group has a URL with credentials"),
    ],
)
def test_a_credential_is_refused_and_nowhere_written(
    run_cli: Run, tmp_path: Path, arguments: list[str], message: str
) -> None:
    mine = tmp_path / "conf" / "experiment" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text(f"# @package _global_\ntracking:\n  group: {URL}\n")
    folders = (f"--config-dir={mine.parent.parent}", "hydra.run.dir=run", "hydra.sweep.dir=sweep")
    code, out, err = run_cli(*folders, *arguments)
    mine.unlink()
    assert code in (1, 2)
    assert message in out + err
    texts = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    assert SECRET not in "".join([out, err, *texts])


@pytest.mark.parametrize(
    "value",
    [
        "hf://datasets/openai/gsm8k@cc7b047b6e5bb11b/main.parquet",
        "export HF_TOKEN=$(cat ~/.token)",
        'export HF_TOKEN="${HF_TOKEN}"',
        "max_new_tokens=123456789",
        "https://example.org/a@b",
    ],
)
def test_what_only_looks_like_one_is_taken(value: str) -> None:
    refuse_credentials(OmegaConf.create({"a": {"b": ["c", value.replace("$", "\\$")]}}))


def test_names_that_say_so_are_enough() -> None:
    with pytest.raises(Exception, match=r"^a.hf_token has a secret"):
        refuse_credentials(OmegaConf.create({"a": {"hf_token": "x", "tokens": "y"}}))
    refuse_credentials(OmegaConf.create({"a": {"hf_token": None, "token": 3, "api_key": ""}}))
