"""Write the evaluation report: one HTML file that needs nothing else. It quotes reviews only on request."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
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
from .page import Headline, render_page
from .sections import (
    Section,
    describe_calibration,
    describe_coverage,
    describe_facts,
    describe_labels,
    describe_metrics,
    describe_slices,
    describe_worst,
    show_slice,
)


@dataclass(frozen=True)
class ReportSection:
    """Describe a section: its title, its function, and the usual reason if the function returns None."""

    title: str
    describe: Callable[[Findings], Section | None]
    why_missing: str = ""


# `test_labels` and `train_labels` have a reason that depends on the installed packages, and
# `ReportFacts.missing` may have a better reason than any here.
SECTIONS = {
    "metrics": ReportSection("Metrics", describe_metrics),
    "champion": ReportSection(
        "Champion", describe_champion, "There is no champion, or it did not score these reviews."
    ),
    "baselines": ReportSection("Baselines", describe_baselines, "No baseline was measured."),
    "labels": ReportSection("Labels", describe_labels),
    "slices": ReportSection("Slices", describe_slices, "No slice has enough reviews to be judged."),
    "calibration": ReportSection("Calibration", describe_calibration),
    "coverage": ReportSection("Coverage and accuracy", describe_coverage),
    "test_labels": ReportSection("Doubtful test labels", describe_test_labels),
    "train_labels": ReportSection("Doubtful training labels", describe_train_labels),
    "lengths": ReportSection("Length, accuracy and cost", describe_lengths, "No other length was tried."),
    "engines": ReportSection(
        "Engine gate", describe_engines, "No engine was compared with the reference engine."
    ),
    "cascade": ReportSection(
        "Cascade",
        describe_cascade,
        "The model has no cascade: it was switched off, or its training did not try one.",
    ),
    "data": ReportSection(
        "Data", lambda found: describe_facts("Data", found.facts.data), "Nothing is known about the data."
    ),
    "recipe": ReportSection(
        "Recipe",
        lambda found: describe_facts("Recipe", found.facts.recipe),
        "Nothing is known about the training.",
    ),
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
        missing={SECTIONS[name].title: why for name, why in sections.items() if isinstance(why, str)},
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
    describe = {name: section.describe for name, section in SECTIONS.items()}
    describe["test_labels"] = partial(describe_test_labels, texts=texts)
    return {name: make(findings) or _explain_missing(name, findings.facts) for name, make in describe.items()}


def list_headlines(findings: Findings) -> list[Headline]:
    """Return the figures at the top of the report."""
    evaluation, intervals = findings.evaluation, findings.intervals
    names = {"accuracy": "accuracy", "f1_weighted": "weighted F1", "ece": "calibration error"}
    if evaluation.mean_absolute_error is not None:
        names["mean_absolute_error"] = "mean absolute error"
    headlines = []
    for name, title in names.items():
        found = intervals[name]
        headlines.append(Headline(title, f"{found.value:.3f}", f"{found.low:.3f} to {found.high:.3f}"))
    if findings.worst is not None:
        headlines.append(
            Headline("worst slice", f"{findings.worst.accuracy:.3f}", show_slice(findings.worst))
        )
    return headlines


def _explain_missing(name: str, facts: ReportFacts) -> str:
    usual = explain_unchecked() if name.endswith("_labels") else SECTIONS[name].why_missing
    return facts.missing.get(name, usual)
