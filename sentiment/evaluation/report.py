"""Write the evaluation report: one HTML file that needs nothing else. It quotes reviews only on request."""

from collections.abc import Sequence
from pathlib import Path

from .choices import (
    describe_baselines,
    describe_cascade,
    describe_champion,
    describe_engines,
    describe_lengths,
    describe_test_labels,
    describe_train_labels,
    explain_unchecked,
)
from .facts import Findings, ReportFacts
from .figures import as_svg, draw_figures
from .page import render_page
from .sections import (
    Section,
    describe_calibration,
    describe_coverage,
    describe_labels,
    describe_metrics,
    describe_slices,
    describe_worst,
    show_slice,
    tabulate_facts,
)

# Title of each section, and the reason if it is missing and `ReportFacts.missing` has no other reason.
SECTIONS = {
    "metrics": ("Metrics", ""),
    "champion": ("Champion", "There is no champion, or it did not score these reviews."),
    "baselines": ("Baselines", "No baseline was measured."),
    "labels": ("Labels", ""),
    "slices": ("Slices", "No slice has enough reviews to be judged."),
    "calibration": ("Calibration", ""),
    "coverage": ("Coverage and accuracy", ""),
    "test_labels": ("Doubtful test labels", ""),
    "train_labels": ("Doubtful training labels", ""),
    "lengths": ("Length, accuracy and cost", "No other length was tried."),
    "engines": ("Engine gate", "No engine was compared with the reference engine."),
    "cascade": ("Cascade", "The model has no cascade: it was switched off, or its training did not try one."),
    "data": ("Data", "Nothing is known about the data."),
    "recipe": ("Recipe", "Nothing is known about the training."),
}


def write_report(findings: Findings, path: Path, texts: Sequence[str] | None = None) -> None:
    """Write the report. With `texts`, one per test review, it quotes those of doubtful labels."""
    path.write_text(render_report(findings, texts), encoding="utf-8")


def render_report(findings: Findings, texts: Sequence[str] | None = None) -> str:
    """Return the report as HTML (see `write_report`)."""
    facts, sections = findings.facts, build_sections(findings, texts)
    return render_page(
        title=f"Evaluation of {facts.model}",
        lead=_describe_model(facts),
        headlines=list_headlines(findings),
        summary=describe_worst(findings),
        sections={name: section for name, section in sections.items() if isinstance(section, Section)},
        missing={SECTIONS[name][0]: why for name, why in sections.items() if isinstance(why, str)},
        figures={name: as_svg(figure, name) for name, figure in draw_figures(findings).items()},
    )


def _describe_model(facts: ReportFacts) -> str:
    origin = (
        (f"{facts.created}.", facts.created),
        (f"Fine-tuned from {facts.base_model}.", facts.base_model),
        (f"Licence: {facts.licence}.", facts.licence),
        (f"Labels: {', '.join(facts.judged.labels)}.", True),
    )
    return " ".join(sentence for sentence, is_known in origin if is_known)


def build_sections(findings: Findings, texts: Sequence[str] | None = None) -> dict[str, Section | str]:
    """Return each section by name, in order; the reason, one sentence, for a section that is missing."""
    facts = findings.facts
    built = {
        "metrics": describe_metrics(findings),
        "champion": describe_champion(findings),
        "baselines": describe_baselines(findings),
        "labels": describe_labels(findings),
        "slices": describe_slices(findings),
        "calibration": describe_calibration(findings),
        "coverage": describe_coverage(findings),
        "test_labels": describe_test_labels(findings, texts),
        "train_labels": describe_train_labels(findings),
        "lengths": describe_lengths(findings),
        "engines": describe_engines(findings),
        "cascade": describe_cascade(findings),
        "data": Section("Data", table=tabulate_facts(facts.data)) if facts.data else None,
        "recipe": Section("Recipe", table=tabulate_facts(facts.recipe)) if facts.recipe else None,
    }
    return {name: section or _explain_missing(name, facts) for name, section in built.items()}


def list_headlines(findings: Findings) -> list[tuple[str, str, str]]:
    """Return the figures at the top of the report: title, value, and a note."""
    evaluation, intervals = findings.evaluation, findings.intervals
    names = {"accuracy": "accuracy", "f1_weighted": "weighted F1", "ece": "calibration error"}
    if evaluation.mean_absolute_error is not None:
        names["mean_absolute_error"] = "mean absolute error"
    headlines = []
    for name, title in names.items():
        found = intervals[name]
        headlines.append((title, f"{found.value:.3f}", f"{found.low:.3f} to {found.high:.3f}"))
    if findings.worst is not None:
        headlines.append(("worst slice", f"{findings.worst.accuracy:.3f}", show_slice(findings.worst)))
    return headlines


def _explain_missing(name: str, facts: ReportFacts) -> str:
    usual = explain_unchecked() if name.endswith("_labels") else SECTIONS[name][1]
    return facts.missing.get(name, usual)
