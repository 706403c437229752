"""The picture of a profile: forward times against the window, alone and both at once."""

from __future__ import annotations

from matplotlib.figure import Figure

from pearl_eval.profile.profile import Profile

# Okabe and Ito's colours, which stay apart for the colour-blind and in grey.
_DRAFT, _TARGET = "#E69F00", "#009E73"


def draw_profile(profile: Profile, pair: str) -> Figure:
    """One panel a context: t_target(window) and γ · t_draft cross at PEARL's balanced γ."""
    contexts, windows = profile.contexts(), profile.windows()
    figure = Figure(figsize=(1.0 + 4.2 * len(contexts), 3.8), layout="constrained")
    panels = figure.subplots(1, len(contexts), sharey=True, squeeze=False)[0]
    for axes, context in zip(panels, contexts, strict=True):
        for together, style in ((False, ":"), (True, "-")):
            how = "both at once" if together else "alone"
            target = [1e3 * profile.median("target", w, context, together) for w in windows]
            draft = [1e3 * w * profile.median("draft", 1, context, together) for w in windows]
            axes.plot(windows, target, style, color=_TARGET, label=f"target, {how}")
            axes.plot(windows, draft, style, color=_DRAFT, label=f"γ · draft, {how}")
        gamma = profile.pearl_gamma(context)
        axes.axvline(gamma, color="black", linewidth=0.8, linestyle="--")
        axes.annotate(f" γ = {gamma}", (gamma, 0), va="bottom")
        axes.set_title(f"{context} tokens of context", fontsize=10)
        axes.set_xlabel("tokens: target's window, draft length γ")
        axes.set_ylim(bottom=0)
    panels[0].set_ylabel("milliseconds")
    panels[-1].legend(fontsize=8)
    figure.suptitle(f"{pair}: c = {profile.speed_ratio(contexts[0]):.1f}", fontsize=11)
    return figure
