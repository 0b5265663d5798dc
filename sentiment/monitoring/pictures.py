"""Draw the figures of the nightly report from the tables of `history`."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from ..evaluation.figures import BLUE, GREY, ORANGE, RED, start_figure
from .history import NIGHT

_HEIGHT = 3.4
# The report shows so many nights; the tables have all.
SHOWN_NIGHTS = 90
_SHADES = (BLUE, ORANGE, GREY, RED, "#4aa564", "#8d68c9")


def draw_pictures(nights: pd.DataFrame, figures: pd.DataFrame) -> dict[str, Figure]:
    """Return the pictures that the tables allow, by name; `nights` has at least one row."""
    shown = nights.tail(SHOWN_NIGHTS)
    drawn = {"volume": draw_volume(shown)}
    if shown["labels"].map(bool).any():
        drawn["labels"] = draw_shares(shown)
    if shown["estimated_accuracy"].notna().any():
        drawn["accuracy"] = draw_accuracy(shown)
    recent = figures[figures[NIGHT] >= shown[NIGHT].min()]
    if len(recent):
        drawn["drift"] = draw_drift(recent)
    return drawn


def draw_volume(nights: pd.DataFrame) -> Figure:
    """Draw the new rows of each night, and those that were expected."""
    figure, axes = start_figure(_HEIGHT)
    axes.bar(nights[NIGHT], nights["input_rows"], color=BLUE, label="new rows", width=0.8)
    axes.step(nights[NIGHT], nights["expected_rows"], where="mid", color=ORANGE, label="expected")
    axes.set_ylabel("rows")
    return _finish(figure, axes)


def draw_shares(nights: pd.DataFrame) -> Figure:
    """Draw the share of each label among the scored rows of each night."""
    figure, axes = start_figure(_HEIGHT)
    mix = pd.DataFrame(nights["labels"].tolist(), index=nights[NIGHT]).fillna(0)
    shares = mix.div(mix.sum(axis=1), axis=0)
    for i, label in enumerate(sorted(shares.columns)):
        name = str(label).replace("$", r"\$")
        axes.plot(shares.index, shares[label], ".-", color=_SHADES[i % len(_SHADES)], label=name)
    axes.set_ylabel("share of labels")
    axes.set_ylim(0, 1)
    return _finish(figure, axes)


def draw_accuracy(nights: pd.DataFrame) -> Figure:
    """Draw the estimated accuracy with its interval, and the realised one where labels have come in."""
    figure, axes = start_figure(_HEIGHT)
    days = nights[NIGHT]
    low, high = nights["estimated_low"], nights["estimated_high"]
    axes.fill_between(days, low.astype(float), high.astype(float), color=BLUE, alpha=0.2, linewidth=0)
    axes.plot(days, nights["estimated_accuracy"], ".-", color=BLUE, label="estimated, 95 % interval")
    known = nights[nights["realised_accuracy"].notna()]
    if len(known):
        least, value, most = known[["realised_low", "realised_accuracy", "realised_high"]].to_numpy().T
        reach, at = [value - least, most - value], known[NIGHT].to_numpy()
        axes.errorbar(at, value, yerr=reach, fmt="s", color=ORANGE, markersize=4, label="realised")
    axes.set_ylabel("accuracy")
    return _finish(figure, axes)


def draw_drift(figures: pd.DataFrame) -> Figure:
    """Draw the largest differences of the figures that drifted most; dots mark nights of drift."""
    figure, axes = start_figure(_HEIGHT)
    worst = figures.groupby("figure")["effect"].max().nlargest(len(_SHADES)).index
    for shade, name in zip(_SHADES, worst, strict=False):
        nightly = figures[figures["figure"] == name].groupby(NIGHT)[["effect", "is_drifted"]].max()
        axes.plot(nightly.index, nightly["effect"].astype(float), color=shade, label=name)
        drifted = nightly[nightly["is_drifted"].astype(bool)]
        axes.plot(drifted.index, drifted["effect"].astype(float), "o", color=shade, markersize=5)
    axes.set_ylabel("largest difference of shares")
    axes.set_ylim(bottom=0)
    return _finish(figure, axes)


def _finish(figure: Figure, axes: Axes) -> Figure:
    locator = AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure
