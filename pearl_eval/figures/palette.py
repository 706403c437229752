"""How pictures look: Okabe and Ito's colours, which stay apart for the colour-blind."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle

import matplotlib

BLUE, SKY, GREEN = "#0072B2", "#56B4E9", "#009E73"
ORANGE, VERMILLION, PURPLE, YELLOW = "#E69F00", "#D55E00", "#CC79A7", "#F0E442"
#: Where theirs would be black, which is that of text.
GREY = "#999999"

#: What tells decoders apart, in the order in which they get it.
_COLOURS = (BLUE, ORANGE, SKY, VERMILLION, GREEN, PURPLE, YELLOW, GREY)
_MARKERS = "osD^vP*Xh"
#: The two models, where they are beside each other.
DRAFT, TARGET = ORANGE, GREEN

#: Text and lines, what is idle, and coloured text: a page can give these colours of its own.
INK, IDLE, GREEN_INK, BLUE_INK = "#1A1A1B", "#DDDDDE", "#009E74", "#0072B3"


def looks(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """A colour and a marker for each decoder of a picture, whichever order they come in.

    Of more decoders than there are colours some share one, but not the marker.
    """
    pairs = zip(cycle(_COLOURS), cycle(_MARKERS), strict=False)
    return dict(zip(sorted(set(names)), pairs, strict=False))


#: Makes a function draw with all text as it is, and with text and lines in INK.
styled = matplotlib.rc_context(
    {
        "text.color": INK,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        # Tokens and labels may have dollar signs.
        "text.parse_math": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)
