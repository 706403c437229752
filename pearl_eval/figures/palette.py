"""How pictures look: Okabe and Ito's colours, which stay apart for the colour-blind."""

from __future__ import annotations

import matplotlib

BLUE, SKY, GREEN = "#0072B2", "#56B4E9", "#009E73"
ORANGE, VERMILLION, PURPLE, YELLOW = "#E69F00", "#D55E00", "#CC79A7", "#F0E442"

#: The decoders that are compared most, in every picture; others are GREEN.
DECODERS = {"speculative": ORANGE, "pearl": BLUE, "pearl_async": SKY}
#: The two models, where they are beside each other.
DRAFT, TARGET = ORANGE, GREEN

#: Text and lines, what is idle, and coloured text: a page can give these colours of its own.
INK, IDLE, GREEN_INK, BLUE_INK = "#1A1A1B", "#DDDDDE", "#009E74", "#0072B3"

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
