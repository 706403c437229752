"""PEARL's settings inside vLLM."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from small_pair import SmallPair

from decoders.vllm import engine
from decoders.vllm.settings import PearlSettings, SettingsError


def of(given: Any, most: int = 12) -> PearlSettings:
    speculative = SimpleNamespace(num_speculative_tokens=most)
    config: Any = SimpleNamespace(additional_config=given, speculative_config=speculative)
    return PearlSettings.of(config)


def test_only_the_draft_model_must_be_given() -> None:
    settings = of({"pearl": {"draft_model": "some/model"}, "other": 1})
    assert settings == PearlSettings("some/model")
    assert (settings.wait, settings.gamma, settings.ahead, settings.cores) == (
        "auto",
        None,
        32,
        None,
    )
    assert settings.location == "some/model"


def test_settings_are_taken(
    small_pair: SmallPair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = small_pair.folder / "draft"
    monkeypatch.chdir(folder.parent)
    given = {"draft_model": "./draft", "cores": [0], "wait": 12, "gamma": 13, "dtype": "float16"}
    settings = of({"pearl": given})
    assert settings.location == str(folder)
    assert (settings.cores, settings.wait, settings.gamma) == ((0,), 12, 13)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("draft_model", 3, "expected a folder or hub id, got 3"),
        ("draft_model", "/no/such/folder", "expected the folder of a model, with a config.json"),
        ("revision", "", "expected a revision or null, got ''"),
        ("device", "gpu", "expected auto, cpu, cuda or cuda:N, got 'gpu'"),
        ("device", "cuda:x", "expected auto, cpu, cuda or cuda:N"),
        ("device", "cpu:0", "expected auto, cpu, cuda or cuda:N"),
        ("dtype", "int8", "expected one of float32, float16, bfloat16, got 'int8'"),
        ("cores", [], "expected a list of some of the cores 0 to"),
        ("cores", [100_000], "expected a list of some of the cores 0 to"),
        ("cores", 0, "expected a list of some of the cores 0 to"),
        ("threads", 0, "expected a whole number of at least 1, got 0"),
        ("nice", -1, "expected a whole number from 0 to 19, got -1"),
        ("nice", 20, "expected a whole number from 0 to 19, got 20"),
        ("threads", True, "expected a whole number of at least 1, got True"),
        ("ahead", 0, "expected a whole number of at least 1, got 0"),
        ("wait", -1, "expected auto or a whole number from 0 to 12"),
        ("wait", 13, "expected auto or a whole number from 0 to 12"),
        ("wait", "never", "expected auto or a whole number from 0 to 12"),
        ("gamma", 0, "expected null or a whole number from 1 to 13"),
        ("gamma", 14, "expected null or a whole number from 1 to 13"),
        ("texts", 0, "expected null or a whole number of at least 1"),
        ("start_timeout", 0, "expected a number of seconds above 0"),
        ("answer_timeout", "1", "expected a number of seconds above 0"),
    ],
)
def test_a_wrong_one_is_named(name: str, value: Any, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        of({"pearl": {"draft_model": "some/model", name: value}})
    assert str(caught.value).startswith(f"additional_config.pearl.{name}: {expected}")
    assert "\n" not in str(caught.value)


def test_a_step_can_not_wait_for_more_than_runs_ahead() -> None:
    with pytest.raises(SettingsError, match="from 0 to 4"):
        of({"pearl": {"draft_model": "some/model", "wait": 5, "ahead": 4}})


@pytest.mark.parametrize("given", [{}, {"pearl": None}, {"pearl": "model"}, None])
def test_without_any_it_says_how_they_are_given(given: Any) -> None:
    with pytest.raises(SettingsError, match=r"additional_config\.pearl: expected PEARL's settings"):
        of(given)


def test_an_unknown_one_is_named_with_those_there_are() -> None:
    with pytest.raises(
        SettingsError, match=r"pearl\.waits: no such setting; .*draft_model, .*wait"
    ):
        of({"pearl": {"draft_model": "some/model", "waits": 3}})


def test_a_draft_model_is_asked_for() -> None:
    with pytest.raises(SettingsError, match=r"pearl\.draft_model: .* it is missing"):
        of({"pearl": {"wait": 3}})


@dataclass
class Arguments:
    """Stands for those of vLLM's engine."""

    block_size: int = 16
    enforce_eager: bool = False


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, None),
        ({"block_size": 8}, None),
        (
            {"blok_size": 8},
            "engine.blok_size: vLLM's engine has no such argument (did you mean block_size?)",
        ),
        ({"block_size": 8, "zzz": 8}, "engine.zzz: vLLM's engine has no such argument"),
        (
            {"model": "x"},
            "engine.model follows from the run's pair, decoder and runtime: leave it out",
        ),
    ],
)
def test_arguments_that_the_engine_does_not_take_are_refused(
    settings: dict[str, Any], told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("vllm", "vllm.engine", "vllm.engine.arg_utils"):
        module: Any = ModuleType(name)
        module.EngineArgs = Arguments
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(engine, "vllm_versions", lambda: {"vllm": "1"})
    if told is None:
        engine.check(settings)
        return
    with pytest.raises(ValueError) as refused:
        engine.check(settings)
    assert str(refused.value) == told


def test_without_vllm_it_is_told_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "vllm_versions", lambda: {})
    with pytest.raises(ValueError, match=r"which is not installed: pip install 'pearl-eval\[vllm-"):
        engine.check_installed()
