"""Draw the figures of an evaluation: for MLflow as pictures, and for the report as SVG that is part of it."""

import io
import re
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..inference.calibration import CoveragePoint
from .calibration import list_bins, measure_calibration_error
from .facts import CascadeResult, Findings, LengthPoint
from .metrics import Evaluation
from .slices import SliceResult

# Inches. In the report a figure is as wide as a phone, on which its letters must not shrink.
_WIDTH = 4.6
# Colours that are readable on white and on black.
BLUE, ORANGE, RED, GREY = "#3b82d6", "#d97d1f", "#d6455c", "#8a8f98"
# With more classes the cells have no room for numbers.
_MAX_NUMBERED_LABELS = 8
# Numbers stay readable on a cell of this opacity, black ones and white ones.
_DARKEST = 0.85
_MAX_LABEL_CHARS = 14
_MIN_COVERAGE = 0.05
# The accuracy of a bin with fewer reviews is mostly chance.
_MIN_BIN_ROWS = 10


def draw_figures(findings: Findings) -> dict[str, Figure]:
    """Return the figures that the facts allow, by name, in the order of the report."""
    facts, judged = findings.facts, findings.facts.judged
    # A reject has no score.
    scored = judged.at(np.flatnonzero(~judged.is_rejected))
    before = None if facts.uncalibrated is None else facts.uncalibrated[~judged.is_rejected]
    drawn = {
        "confusion_matrix": draw_confusion_matrix(findings.evaluation),
        "reliability": draw_reliability(scored.probabilities, scored.truth, before),
        "coverage": draw_coverage(findings.coverage),
    }
    if findings.slice_results:
        drawn["slices"] = draw_slices(findings.slice_results, findings.evaluation.accuracy)
    if facts.lengths:
        drawn["length_accuracy_cost"] = draw_length_curve(facts.lengths, facts.max_length)
    if facts.cascade is not None and facts.cascade.curve:
        drawn["cascade"] = draw_cascade_curve(facts.cascade)
    return drawn


def draw_confusion_matrix(evaluation: Evaluation) -> Figure:
    """Draw true against predicted labels: counts as text, shares of the true label as shades."""
    k = len(evaluation.labels)
    figure, axes = start_figure(height=min(6.5, 2.4 + 0.45 * k))
    counts = np.array(evaluation.confusion)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    for i, j in np.ndindex(k, k):
        shade = matplotlib.patches.Rectangle(
            (j - 0.5, i - 0.5), 1, 1, facecolor=(*matplotlib.colors.to_rgb(BLUE), _DARKEST * shares[i, j])
        )
        axes.add_patch(shade)
        if k <= _MAX_NUMBERED_LABELS:
            text = f"{counts[i, j]:,}\n{shares[i, j]:.0%}"
            axes.text(j, i, text, ha="center", va="center", fontsize=11 if k < 5 else 9)
    names = [_escape(label, _MAX_LABEL_CHARS) for label in evaluation.labels]
    axes.set_xticks(range(k), names, rotation=0 if k * max(map(len, names)) < 40 else 45)
    axes.set_yticks(range(k), names)
    axes.set(xlim=(-0.5, k - 0.5), ylim=(k - 0.5, -0.5), xlabel="predicted", ylabel="true")
    axes.grid(visible=False)
    return figure


def draw_reliability(
    probabilities: np.ndarray, truth: np.ndarray, uncalibrated: np.ndarray | None = None
) -> Figure:
    """Draw accuracy against score in bins, for the model and for its probabilities before calibration."""
    figure, axes = start_figure(height=3.9)
    lowest = 1.0
    for name, scores, style, color in (
        ("before", uncalibrated, "s--", ORANGE),
        ("calibrated" if uncalibrated is not None else "the model", probabilities, "o-", BLUE),
    ):
        if scores is not None and len(scores):
            bins = list_bins(scores, truth)
            error = measure_calibration_error(scores, truth)
            large = [found for found in bins if found.share * len(truth) >= _MIN_BIN_ROWS] or bins
            points = np.array([(found.score, found.accuracy) for found in large])
            label = f"{name}: error {error:.3f}"
            axes.plot(*points.T, style, color=color, label=label, markersize=5)
            lowest = min(lowest, points.min())
    start = np.floor(10 * lowest) / 10
    axes.plot([start, 1], [start, 1], color=GREY, linestyle=":", label="as accurate as the score says")
    axes.set(xlabel="score", ylabel="share that is right")
    figure.legend(loc="outside lower center", ncols=1, frameon=False)
    return figure


def draw_coverage(points: Sequence[CoveragePoint]) -> Figure:
    """Draw the accuracy of the reviews that are kept, if only the highest scores are."""
    figure, axes = start_figure(height=3.6)
    # The bound of the few reviews with the very highest scores would squeeze the rest of the curve.
    shown = [point for point in points if point.coverage >= _MIN_COVERAGE]
    coverage = [point.coverage for point in shown]
    axes.plot(coverage, [point.accuracy for point in shown], color=BLUE, label="accuracy")
    low = [point.accuracy_low for point in shown]
    axes.plot(coverage, low, color=BLUE, linestyle=":", label="lower bound, 95 %")
    axes.set(xlim=(0, 1.02), xlabel="share of reviews with a high enough score", ylabel="accuracy")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def draw_slices(results: Sequence[SliceResult], accuracy: float) -> Figure:
    """Draw the accuracy of each slice with its interval, and that of all reviews as a line."""
    figure, axes = start_figure(height=1.1 + 0.24 * len(results))
    places = range(len(results))
    middle = np.array([result.accuracy for result in results])
    reach = [middle - [result.low for result in results], [result.high for result in results] - middle]
    axes.errorbar(middle, places, xerr=np.maximum(reach, 0), fmt="o", color=BLUE, markersize=4)
    axes.axvline(accuracy, color=ORANGE, linestyle="--", label=f"all reviews: {accuracy:.3f}")
    axes.set_yticks(places, [f"{result.name} {_escape(result.value, 22)}" for result in results])
    axes.set(xlabel="accuracy, 95 % interval", ylim=(len(results) - 0.5, -0.5))
    figure.legend(loc="outside lower center", frameon=False)
    return figure


def draw_length_curve(points: Sequence[LengthPoint], max_length: int | None = None) -> Figure:
    """Draw accuracy against time relative to the slowest point, for each length and truncation."""
    figure, axes = start_figure(height=3.8)
    slowest = max(point.seconds for point in points)
    # The numbers of one line are below it and those of the other above, as the lines are often close.
    styles = (("o-", BLUE, (6, -12)), ("s--", ORANGE, (-6, 8)))
    truncations = sorted({point.truncation for point in points})
    for truncation, (style, color, offset) in zip(truncations, styles, strict=False):
        chosen = [point for point in points if point.truncation == truncation]
        times = [point.seconds / slowest for point in chosen]
        axes.plot(times, [point.accuracy for point in chosen], style, color=color, label=truncation)
        for time, point in zip(times, chosen, strict=True):
            place = (time, point.accuracy)
            axes.annotate(str(point.max_length), place, xytext=offset, textcoords="offset points")
    tuned = "" if max_length is None else f"; tuned with {max_length}"
    axes.set(xlim=(0, 1.15), xlabel="time (slowest = 1)", ylabel="accuracy on validation reviews")
    axes.set_title(f"max_length in tokens{tuned}", fontsize=10)
    axes.margins(y=0.15)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def draw_cascade_curve(choice: CascadeResult) -> Figure:
    """Draw by threshold the accuracy of both stages together, and the share of the linear stage."""
    figure, axes = start_figure(height=4.2)
    shares = axes.twinx()
    shares.spines[["top", "left"]].set_visible(False)
    thresholds = [point.threshold for point in choice.curve]
    axes.plot(thresholds, [p.accuracy for p in choice.curve], color=BLUE, label="accuracy")
    axes.axhline(choice.accuracy_pooled, color=BLUE, linestyle=":", label="accuracy, no early decision")
    early = [point.share_early for point in choice.curve]
    shares.plot(thresholds, early, color=ORANGE, linestyle="--", label="share of the linear stage")
    if choice.threshold is not None:
        axes.axvline(choice.threshold, color=RED, label=f"chosen: {choice.threshold:g}")
    axes.set(xlabel="threshold", ylabel="accuracy on validation reviews")
    shares.set(ylabel="share of reviews", ylim=(0, 1))
    figure.legend(loc="outside lower center", ncols=1, frameon=False)
    return figure


def as_svg(figure: Figure, name: str) -> str:
    """Return an SVG element whose letters stay text and whose black is the colour of the page's text.

    All ids begin with `name`, so that several figures can be in one page.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'(<svg [^>]*?) width="[^"]*"', r"\1", svg, count=1, flags=re.S)
    svg = re.sub(r'(<svg [^>]*?) height="[^"]*"', r"\1", svg, count=1, flags=re.S)
    svg = re.sub(r' id="', f' id="{name}-', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", svg)
    return svg.replace("#000000", "currentColor")


def start_figure(height: float) -> tuple[Figure, Axes]:
    """Return an empty figure in the style of the reports, `height` inches high."""
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes: Axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color=GREY, alpha=0.25, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _escape(text: str, most: int) -> str:
    """Return at most so many characters; a dollar would else begin a formula."""
    return (text if len(text) <= most else text[: most - 1] + "…").replace("$", r"\$")
