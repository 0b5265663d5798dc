"""State what was found about a model as sections: sentences, tables and the names of figures."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..inference.calibration import Calibration
from .calibration import measure_brier, measure_calibration_error
from .facts import Findings
from .metrics import tabulate_labels
from .slices import MIN_ROWS, SliceResult

METRICS = {
    "accuracy": "accuracy",
    "f1_weighted": "F1, weighted by reviews",
    "f1_macro": "F1, mean of the classes",
    "roc_auc": "ROC-AUC",
    "mean_absolute_error": "mean absolute error",
    "ece": "calibration error (ECE)",
    "brier": "Brier score",
    "unsure_share": "share of unsure reviews",
}
# Accuracies for which the report states how many reviews the model can decide.
TARGETS = (0.8, 0.85, 0.9, 0.95, 0.97, 0.98, 0.99)
_NONE = "-"


@dataclass(frozen=True)
class Table:
    """Hold a table; its first `texts` columns are text, the others numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: int = 1


@dataclass(frozen=True)
class Section:
    """Hold a section; `figure` is the name of its figure in `figures.draw_figures`."""

    title: str
    sentences: tuple[str, ...] = ()
    table: Table | None = None
    figure: str | None = None


def describe_metrics(findings: Findings) -> Section:
    """State the metrics with their intervals."""
    evaluation = findings.evaluation
    n_rejects = int(findings.facts.judged.is_rejected.sum())
    rejects = (
        f"{n_rejects:,} of them were rejected and count as wrong." if n_rejects else "None was rejected."
    )
    held_out = (
        "The run that made the model did not train on them."
        if findings.facts.are_held_out
        else "It is not known if the model was trained on some of them."
    )
    sentences = [f"Measured on {evaluation.rows:,} test reviews. {held_out} {rejects}"]
    if evaluation.roc_auc is None:
        sentences.append("ROC-AUC is missing because a class has no test review.")
    if evaluation.mean_absolute_error is not None:
        sentences.append("The mean absolute error is that of the expected label, in units of the labels.")
    return Section("Metrics", tuple(sentences), tabulate_metrics(findings))


def tabulate_metrics(findings: Findings) -> Table:
    """Return the metrics, and their 95 % intervals where they were computed."""
    rows = []
    for name, title in METRICS.items():
        value = getattr(findings.evaluation, name)
        if value is not None:
            found = findings.intervals.get(name)
            bounds = _show_bounds(found.low, found.high) if found else _NONE
            rows.append((title, f"{value:.3f}", bounds))
    return Table(("metric", "value", "95 % interval"), tuple(rows))


def describe_labels(findings: Findings) -> Section:
    """State precision, recall and F1 of each label, and its confusion with the others."""
    by_label = tabulate_labels(findings.evaluation)
    rows = tuple(
        (str(label), f"{row.precision:.3f}", f"{row.recall:.3f}", f"{row.f1:.3f}", f"{int(row.reviews):,}")
        for label, row in by_label.iterrows()
    )
    scored = by_label.loc[by_label["reviews"] > 0, "f1"]
    if scored.empty:
        sentences: tuple[str, ...] = ("No review has a label.",)
    else:
        sentences = (f"The label with the lowest F1 is {scored.idxmin()}: {scored.min():.3f}.",)
    if findings.evaluation.rejected_share:
        sentences += ("Rejected reviews lower recall and F1 of their label; the matrix leaves them out.",)
    table = Table(("label", "precision", "recall", "F1", "reviews"), rows)
    return Section("Labels", sentences, table, "confusion_matrix")


def describe_calibration(findings: Findings) -> Section:
    """State how far scores are from accuracy, before and after calibration."""
    facts, evaluation = findings.facts, findings.evaluation
    sentences = ["Of the reviews with a score of 0.9, nine in ten should be right."]
    rows = [("the model", f"{evaluation.ece:.3f}", f"{evaluation.brier:.3f}")]
    if facts.uncalibrated is None:
        sentences.append(
            facts.missing.get("uncalibrated", "The probabilities before calibration were not kept.")
        )
    else:
        truth, is_scored = facts.judged.truth, ~facts.judged.is_rejected
        error = measure_calibration_error(facts.uncalibrated[is_scored], truth[is_scored])
        brier = measure_brier(facts.uncalibrated, truth)
        rows = [
            ("before calibration", f"{error:.3f}", f"{brier:.3f}"),
            ("calibrated", *rows[0][1:]),
        ]
        sentences.append(
            f"{_describe_map(facts.calibration)} It changes the calibration error from {error:.3f} to "
            f"{evaluation.ece:.3f}, and no label."
        )
    table = Table(("probabilities", "ECE", "Brier"), tuple(rows))
    return Section("Calibration", tuple(sentences), table, "reliability")


def _describe_map(calibration: Calibration | None) -> str:
    if calibration is None:
        return "Calibration maps the log ratios of the classes."
    power = "" if calibration.power == 1 else f" and raises the quotient to the power {calibration.power:.2f}"
    return f"Calibration divides the log ratios of the classes by {calibration.temperature:.2f}{power}."


def describe_coverage(findings: Findings) -> Section:
    """State what share of the reviews can be decided at which accuracy."""
    whole = max((point.accuracy_low for point in findings.coverage if point.coverage == 1), default=0.0)
    rows = []
    for target in (target for target in TARGETS if target > whole):
        reached = [point for point in findings.coverage if point.accuracy_low >= target]
        best = min(reached, key=lambda point: point.min_score, default=None)
        if best is None:
            rows.append((f"{target:.0%} or more", "not reached", _NONE))
            break
        rows.append((f"{target:.0%}", f"{best.min_score:.3f}", f"{best.coverage:.1%}"))
    sentences = (
        "The higher the score, the likelier the label. If only scores above a limit count, the model is "
        "more accurate on fewer reviews; the others are unsure.",
        "The accuracy is the lower bound with 95 % confidence, on the test reviews.",
    )
    table = Table(("accuracy", "lowest score", "share of reviews"), tuple(rows)) if rows else None
    return Section("Coverage and accuracy", sentences, table, "coverage")


def describe_slices(findings: Findings) -> Section | None:
    """State the accuracy of each slice, and name the worst; None if no slice can be judged."""
    if findings.worst is None:
        return None
    rows = tuple(
        (f"{result.name} {result.value}", f"{result.rows:,}", f"{result.accuracy:.3f}", _show(result))
        for result in findings.slice_results
    )
    sentences = [describe_worst(findings)]
    small = [part for part in findings.slices if not part.is_judged]
    if small:
        reviews = sum(len(part.rows) for part in small)
        sentences.append(
            f"Slices of fewer than {MIN_ROWS} reviews are not judged: {len(small):,}, "
            f"with {reviews:,} reviews."
        )
    absent = _list_absent(findings)
    if absent:
        sentences.append(
            f"There is no slice by {', '.join(absent)}: the test reviews have no such column, or one value."
        )
    columns = ("slice", "reviews", "accuracy", "95 % interval")
    return Section("Slices", tuple(sentences), Table(columns, rows), "slices")


def describe_worst(findings: Findings) -> str:
    """Return a sentence that names the worst slice."""
    worst, accuracy = findings.worst, findings.evaluation.accuracy
    if worst is None:
        return f"No slice has {MIN_ROWS} reviews, which are needed to judge it."
    found = f"accuracy {worst.accuracy:.3f} ({_show(worst)}) on {worst.rows:,} reviews"
    if worst.high < accuracy:
        return f"The worst slice is {show_slice(worst)}: {found}, compared with {accuracy:.3f} on all."
    return f"No slice is surely worse than all reviews; the closest is {show_slice(worst)}: {found}."


def show_slice(result: SliceResult) -> str:
    """Return name and value of a slice, as `category = books`."""
    return f"{result.name} = {result.value}"


def describe_facts(title: str, facts: Mapping[str, object]) -> Section | None:
    """State names and values; None if there are none."""
    return Section(title, table=tabulate_facts(facts)) if facts else None


def tabulate_facts(facts: Mapping[str, object]) -> Table:
    """Return names and values as a table of texts; whole numbers have thousands separated."""
    rows = tuple(
        (name, f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value))
        for name, value in facts.items()
    )
    return Table(("fact", "value"), rows, texts=2)


def _list_absent(findings: Findings) -> list[str]:
    found = {part.name for part in findings.slices}
    found |= {"month"} if "year" in found else set()
    return [name for name in ("category", "stars", "month", "title") if name not in found]


def _show(result: SliceResult) -> str:
    return _show_bounds(result.low, result.high)


def _show_bounds(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}"
