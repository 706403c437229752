"""The checks are checked: planted bugs are seen, by the checks that docs/checks.md names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bugs import BUGS
from checks import CHECKS, CLOSE_DRAFT, Case, failures, upside_down
from exact import TARGET
from planting import Bug, planted
from small_pair import SmallPair
from tiers import kept

from decoders.lookahead import Lookahead
from decoders.pearl import Pearl
from decoders.pearl_adaptive import PearlAdaptive
from decoders.sampling.sampler import BLOCK
from decoders.sampling.temperature import Temperature
from decoders.speculative import Speculative
from decoders.ssd import Ssd

PAGE = Path(__file__).resolve().parents[2] / "docs" / "checks.md"
CASES = {
    "speculative": Case(lambda: Speculative(2)),
    "pearl": Case(lambda: Pearl(2)),
    "no_post_verify": Case(lambda: Pearl(2, post_verify=False)),
    "warped": Case(lambda: Speculative(2), Temperature(temperature=0.7, draft_temperature=1.4)),
    # The draft model has the target's tokens, with other chances: else ratios are seldom below 1
    # and then above, which is where the two rules differ.
    "block": Case(
        lambda: Speculative(3),
        Temperature(verification=BLOCK),
        length=4,
        draft=upside_down(TARGET),
        # Of how blocks are judged, greedy decoding runs nothing.
        letters="ED",
    ),
    "coupled": Case(lambda: Speculative(2), Temperature(coupled=True)),
    "adaptive": Case(PearlAdaptive, Temperature(coupled=True), letters="EDGA"),
    "lookahead": Case(lambda: Lookahead(2, 2, 3), length=5),
    "ssd": Case(lambda: Ssd(2, 2)),
    # Only what is drawn can be downscaled.
    "downscaled": Case(lambda: Ssd(2, 1, downscale=0.25), draft=CLOSE_DRAFT, letters="ED"),
}


@pytest.mark.parametrize("name", kept(CASES, ("pearl", "block", "adaptive", "downscaled")))
def test_without_a_bug_nothing_is_seen(name: str, small_pair: SmallPair) -> None:
    assert failures(CASES[name], small_pair, CASES[name].letters) == {}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_seen(bug: Bug, small_pair: SmallPair) -> None:
    with planted(bug):
        seen = failures(CASES[bug.case], small_pair, bug.seen_by)
    assert "".join(seen) == bug.seen_by


def test_where_noise_belongs_to_a_position_no_decision_changes_what_is_drawn(
    small_pair: SmallPair,
) -> None:
    """Not even one that depends on the target's draw."""
    (bug,) = [one for one in BUGS if one.besides]
    _, decision = bug.alone()
    with planted(decision):
        assert failures(CASES[decision.case], small_pair, "EDG") == {}


def test_the_page_tells_which_check_sees_what() -> None:
    rows = re.findall(r"^\| (.+?) \| (\w+) \|(.+)\|$", PAGE.read_text(), flags=re.MULTILINE)
    cells = {
        (name, case): [cell.strip() for cell in marks.split("|")] for name, case, marks in rows
    }
    assert cells.pop(("bug", "decoder")) == list(CHECKS)
    assert "".join(CHECKS) == Case(PearlAdaptive).letters
    for bug in BUGS:
        wanted = ["×" if letter in bug.seen_by else "" for letter in CHECKS]
        assert cells.pop((bug.name, bug.case)) == wanted, bug.name
    assert not cells
