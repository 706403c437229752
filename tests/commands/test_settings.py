"""Settings: all that a class has can be set by name, and what nothing reads is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import hydra.utils
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from pearl_eval.config.paths import config_dir
from pearl_eval.config.registry import register
from pearl_eval.config.settings import check_settings, no_such_setting
from pearl_eval.errors import UserError

#: Parts that name a class, and all that may be chosen for each.
PARTS = {
    part: sorted(path.stem for path in (config_dir() / part).glob("*.yaml"))
    for part in ("decoder", "pair", "task", "sampling")
}
SECTIONS = {
    part: sorted(path.stem for path in (config_dir() / part).glob("*.yaml"))
    for part in ("runtime", "reference", "tracking")
}


@pytest.fixture(autouse=True)
def composing() -> Iterator[None]:
    register()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        yield


def settings_of(kind: Any, above: str) -> Iterator[str]:
    """The names of a class's settings, also of those that are classes themselves."""
    for one in fields(kind):
        inner = one.default_factory
        if is_dataclass(inner) and inner is not MISSING:
            yield from settings_of(inner, f"{above}.{one.name}")
        elif one.init:
            yield f"{above}.{one.name}"


@pytest.mark.parametrize(
    ("part", "choice"), [(part, one) for part, choices in PARTS.items() for one in choices]
)
def test_every_setting_of_a_class_can_be_set_without_a_plus(part: str, choice: str) -> None:
    cfg = compose("config", [f"{part}={choice}"])
    kind = hydra.utils.get_class(cfg[part]._target_)
    for name in settings_of(kind, part):
        # As a command line does, on a configuration that is closed.
        OmegaConf.update(cfg, name, "set", merge=True)
        assert OmegaConf.select(cfg, name) == "set"


@pytest.mark.parametrize(
    ("part", "choice"), [(part, one) for part, choices in SECTIONS.items() for one in choices]
)
def test_every_setting_of_a_section_is_there(part: str, choice: str) -> None:
    cfg = compose("config", [f"{part}={choice}"])
    kind: Any = OmegaConf.get_type(cfg[part])
    assert is_dataclass(kind) and {one.name for one in fields(kind)} == {*cfg[part]}


@pytest.mark.parametrize(
    "override",
    [
        "decoder=assisted_confidence decoder.gamma=3",
        "pair=controlled pair.context=512",
        "task=humaneval task.data=x.jsonl",
        "pair.draft.gpus=2",
        "task.stop_words=[a]",
    ],
)
def test_hydra_takes_them_as_they_are(override: str) -> None:
    *_, last = override.split()
    name, value = last.split("=")
    cfg = compose("config", override.split())
    assert str(OmegaConf.select(cfg, name)).replace("'", "") == value


REFUSED = {
    "+gamma=5": "there is no setting gamma: did you mean decoder.gamma?",
    "+foo.bar=1": "there is no setting foo: --cfg job shows all there are",
    "+limit=5": "there is no setting limit: did you mean task.limit?",
    "+path=x": "there is no setting path: did you mean pair.target.path or pair.draft.path?",
    "+max_tokens=5": "there is no setting max_tokens: did you mean task.max_new_tokens?",
    "+zzz=5": "there is no setting zzz: --cfg job shows all there are",
    "+decoder.gama=5": "decoder.gama: Key 'gama' not in 'Pearl' (its fields: gamma, pre_verify, ",
    "decoder.gama=5": "decoder.gama: Key 'gama' not in 'Pearl' (its fields: gamma, pre_verify, ",
}


@pytest.mark.parametrize(("override", "said"), REFUSED.items(), ids=list(REFUSED))
def test_what_nothing_reads_is_refused(override: str, said: str) -> None:
    cfg = compose("config", [override])
    with pytest.raises(UserError) as refused:
        check_settings(cfg)
    assert str(refused.value).startswith(said)


def test_a_name_that_a_setting_refers_to_is_read() -> None:
    check_settings(compose("config", ["+mine=5", "decoder.gamma=${mine}"]))
    with pytest.raises(UserError, match="there is no setting mine"):
        check_settings(compose("config", ["+mine=5", "+miner=6", "decoder.gamma=${miner}"]))


def test_what_may_have_been_meant_is_found_where_there_is_no_such_leaf() -> None:
    cfg = OmegaConf.create({"pair": {"gamma": {"pearl": 4}}, "task": {"limits": 3}})
    assert no_such_setting("gamma", cfg).endswith("did you mean pair.gamma.pearl?")
    assert no_such_setting("task.limit", cfg).endswith("did you mean task.limits?")


def test_every_configuration_of_ours_is_read_whole() -> None:
    check_settings(compose("config", []))
    for path in sorted((Path(config_dir()) / "experiment").glob("*.yaml")):
        check_settings(compose("config", [f"experiment={path.stem}"]))
