"""Speedups over speed ratio and acceptance rate: measured points over a predicted surface."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from pearl_eval.figures.palette import INK, styled

#: Values of c and of α at which a surface is computed.
STEPS = 60
#: The least c at which theory says anything of PEARL without a barrier.
LOWEST = 2.0


@styled
def draw_heatmap(
    predicted: Mapping[str, Callable[[float, float], float]],
    measured: Mapping[str, Sequence[tuple[float, float, float]]],
    subtitle: str,
    steps: int = STEPS,
    lowest: float = LOWEST,
) -> Figure:
    """A panel a decoder. ``predicted`` gives its speedup at (c, α); ``measured`` are (c, α,
    speedup), drawn in the colours of the surface: a point that can be seen is off it. A surface is
    computed at ``steps`` values of each, from c = ``lowest`` on, and interpolated."""
    points = [point for own in measured.values() for point in own]
    ratios = np.linspace(lowest, max(12.0, *(p[0] for p in points)) if points else 12.0, steps)
    rates = np.linspace(min(0.5, *(p[1] for p in points)) if points else 0.5, 0.99, steps)
    surfaces = {
        name: np.array([[speedup(c, rate) for rate in rates] for c in ratios])
        for name, speedup in predicted.items()
    }
    top = max(surface.max() for surface in surfaces.values())
    levels = [level for level in (1, 1.5, 2, 3, 4, 6, 8, 10) if level < top]
    figure = Figure(figsize=(3.6 * len(surfaces) + 0.8, 3.9), layout="constrained")
    panels = figure.subplots(1, len(surfaces), sharey=True, squeeze=False)[0]
    look = {"cmap": "cividis", "vmin": 0.5, "vmax": top}
    image = None
    for axes, (name, surface) in zip(panels, surfaces.items(), strict=True):
        image = axes.pcolormesh(rates, ratios, surface, shading="gouraud", rasterized=True, **look)
        lines = axes.contour(rates, ratios, surface, levels, colors="white", linewidths=0.7)
        axes.clabel(lines, fmt="%g×", fontsize=7)
        own = measured.get(name, ())
        if own:
            c, rate, speedup = np.array(own).T
            # A ring that is seen on light and on dark.
            axes.scatter(rate, c, c="white", s=80, edgecolors=INK, linewidths=0.6)
            axes.scatter(rate, c, c=speedup, s=44, linewidths=0, **look)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("acceptance rate α")
    panels[0].set_ylabel("speed ratio c")
    if image is not None:
        figure.colorbar(image, ax=panels, label="speed ÷ autoregressive")
    figure.suptitle(f"Speedup at the best draft length\n{subtitle}", fontsize=10)
    return figure
