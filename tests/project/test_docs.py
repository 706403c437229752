"""What the docs show works."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def code_blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize(
    ("page", "group", "name", "expected"),
    [
        ("add-a-decoder.md", "decoder", "lucky", "lucky"),
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


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
