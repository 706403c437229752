"""The tests are tested: bugs outside the decoders are seen, by those that docs/checks.md names."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from source_bugs import SOURCE_BUGS, SourceBug

ROOT = Path(__file__).resolve().parents[2]
_ALL = """
    analysis conf decoders hydra_plugins pearl_eval tasks tests pyproject.toml
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, in which nothing else is changed."""
    folder = tmp_path_factory.mktemp("copy")
    for name in _ALL.split():
        whole = (ROOT / name).is_dir()
        (shutil.copytree if whole else shutil.copy)(ROOT / name, folder / name)
    return folder


def fails(copy: Path, test: str) -> bool:
    """Whether a test fails; all others that pytest can end with are errors here."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "", f"tests/{test}"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert "skipped" not in done.stdout
    return done.returncode == 1


@pytest.mark.nightly
@pytest.mark.parametrize("bug", SOURCE_BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_seen(bug: SourceBug, copy: Path) -> None:
    source = (copy / bug.file).read_text()
    (copy / bug.file).write_text(source.replace(bug.right, bug.wrong))
    try:
        assert fails(copy, bug.test)
    finally:
        (copy / bug.file).write_text(source)


@pytest.mark.nightly
def test_without_a_bug_nothing_is_seen(copy: Path) -> None:
    for test in dict.fromkeys(bug.test for bug in SOURCE_BUGS):
        assert not fails(copy, test), test


@pytest.mark.parametrize("bug", SOURCE_BUGS, ids=lambda bug: bug.name)
def test_each_has_its_place_and_its_test(bug: SourceBug) -> None:
    assert (ROOT / bug.file).read_text().count(bug.right) == 1
    file, _, name = bug.test.partition("::")
    assert f"def {name}(" in (ROOT / "tests" / file).read_text()


def test_the_page_tells_which_test_sees_what() -> None:
    page = (ROOT / "docs" / "checks.md").read_text()
    _, _, section = page.partition("## Bugs outside the decoders")
    rows = re.findall(r"^\| (.+?) \| `(.+?)` \|$", section, flags=re.MULTILINE)
    assert rows == [(bug.name, bug.test.replace("::", "` `")) for bug in SOURCE_BUGS]
