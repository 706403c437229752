"""How fast rules would be that know more, or less, than ``pearl_adaptive`` does.

Each is a :class:`~decoders.adaptive.policy.Policy` to run a :class:`Simulation` of an ``Adaptive``
schedule with, on the same texts.
"""

from __future__ import annotations

import numpy as np

from decoders.adaptive.calibration import LEAST, SUREST
from decoders.adaptive.drafts import NEVER, Situation
from decoders.adaptive.policy import Decision, Policy
from pearl_eval.simulation.acceptance import Acceptance, FixedText, Text
from pearl_eval.simulation.forerunner import rank_of

#: Of a token that is not among the draft model's choices that may be prepared for.
_NO_PLACE = 1 << 30


class Informed(Policy):
    """Need not learn chances: those of a text's tokens are their confidences.

    ``typical`` is the chance of one that is yet to be drafted.
    """

    def __init__(self, typical: float) -> None:
        super().__init__()
        self._typical = typical

    def chance(self, confidence: float, place: int) -> float:
        return confidence

    def unseen(self, before: float | None, place: int) -> float:
        return self._typical


class Dials(Policy):
    """Learns nothing: waits until ``least`` drafted tokens are at hand, and judges ``most``."""

    def __init__(self, least: int, most: int) -> None:
        super().__init__()
        self._least, self._most = least, most

    def decide(self, now: Situation) -> Decision:
        held = len(now.confidences)
        if held < self._least and now.arrival < NEVER:
            return Decision(0, self._least - held)
        return Decision(min(held, self._most), 0)


class Outcomes:
    """Texts of which it is known what will become of each token, and so are the confidences."""

    def __init__(self, texts: Acceptance) -> None:
        self._texts = texts
        self.of = texts.of

    def text(self, index: int, length: int, rng: np.random.Generator) -> Text:
        text = self._texts.text(index, length, rng)
        right = [text.accepted(position, 1) == 1 for position in range(length)]
        ranks = [rank_of(text, position) for position in range(length)]
        places = np.array([_NO_PLACE if rank is None else rank + 2 for rank in ranks])
        # As near to certain as chances are taken to be.
        sure = [SUREST if one else LEAST for one in right]
        return FixedText(np.array(right), sure, places)
