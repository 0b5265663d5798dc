"""Write the model card: README.md with the front matter of the Hugging Face hub, from what a run knows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .choices import compare
from .facts import Findings
from .sections import Table, describe_labels, describe_worst, tabulate_facts, tabulate_metrics

CARD_FILE = "README.md"
UNKNOWN_LICENCE = "unknown"
# Names of our metrics that the hub knows.
_HUB_METRICS = {
    "accuracy": "accuracy",
    "f1_weighted": "f1",
    "roc_auc": "roc_auc",
    "mean_absolute_error": "mae",
}
# The hub knows licences by identifiers in lower case; it lists others by a name of their own.
_HUB_LICENCES = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "gpl-3.0")


def write_card(findings: Findings, folder: Path) -> Path:
    """Write README.md into an existing folder, and return its path."""
    path = folder / CARD_FILE
    path.write_text(render_card(findings), encoding="utf-8")
    return path


def render_card(findings: Findings) -> str:
    """Return the model card as Markdown with YAML front matter, without review text."""
    front = yaml.safe_dump(make_front_matter(findings), sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{front}---",
        f"# {_escape(findings.facts.model)}",
        _describe(findings),
        "## Results",
        _as_markdown(tabulate_metrics(findings)),
        describe_worst(findings) if findings.worst is None else _escape(describe_worst(findings)),
        *_describe_champion(findings),
        _show_labels(findings),
        "## Data",
        _show_facts(findings.facts.data, "Nothing is known about the data."),
        "## Recipe",
        _show_facts(findings.facts.recipe, "Nothing is known about the training."),
        "## Limits",
        "\n".join(f"- {_escape(limit)}" for limit in list_limits(findings)),
        "## Licence",
        _describe_licence(findings),
    ]
    return "\n\n".join(parts) + "\n"


def make_front_matter(findings: Findings) -> dict[str, Any]:
    """Return what the hub reads; the language is left out, because it is not known."""
    facts, evaluation = findings.facts, findings.evaluation
    found: dict[str, Any] = {}
    licence = (facts.licence or "").lower()
    if licence in _HUB_LICENCES:
        found["license"] = licence
    elif licence not in ("", UNKNOWN_LICENCE):
        found |= {"license": "other", "license_name": licence}
    if facts.base_model is not None:
        found["base_model"] = facts.base_model
    values = {hub: getattr(evaluation, name) for name, hub in _HUB_METRICS.items()}
    known = {hub: round(float(value), 4) for hub, value in values.items() if value is not None}
    task = {"type": "text-classification"}
    results = [{"type": hub, "value": value} for hub, value in known.items()]
    data = {"name": str(facts.data.get("data set", "test reviews")), "type": "reviews"}
    return found | {
        "pipeline_tag": task["type"],
        "tags": ["sentiment"],
        "metrics": list(known),
        "model-index": [
            {"name": facts.model, "results": [{"task": task, "dataset": data, "metrics": results}]}
        ],
    }


def list_limits(findings: Findings) -> list[str]:
    """Return sentences on what the model was not shown to do."""
    evaluation, facts = findings.evaluation, findings.facts
    limits = [
        f"It knows only the labels {', '.join(evaluation.labels)}, and gives one of them to any text that "
        "it can read.",
        "It was measured on reviews like those of its test set. Other products, languages and times may "
        "give other results.",
        f"It is wrong on about {1 - evaluation.accuracy:.1%} of the reviews. Do not decide about single "
        "people by its label.",
    ]
    if facts.max_length is not None:
        limits.append(f"It reads at most {facts.max_length:,} tokens of a review.")
    if findings.worst is not None:
        limits.append(describe_worst(findings))
    if facts.test_labels is not None and facts.test_labels.errors:
        limits.append(
            f"{len(facts.test_labels.errors):,} of {facts.test_labels.rows:,} test labels are doubtful."
        )
    return limits


def _describe(findings: Findings) -> str:
    facts = findings.facts
    base = f" It was fine-tuned from {facts.base_model}." if facts.base_model else ""
    created = f" Trained: {facts.created}." if facts.created else ""
    labels = ", ".join(findings.evaluation.labels)
    return _escape(f"A classifier of product reviews with the labels {labels}.{base}{created}")


def _describe_champion(findings: Findings) -> list[str]:
    champion = findings.facts.champion
    if champion is None or findings.champion is None:
        return []
    return [_escape(f"Compared with {champion.uri}: {compare(findings.champion)}")]


def _describe_licence(findings: Findings) -> str:
    licence = findings.facts.licence
    if licence is None or licence.lower() == UNKNOWN_LICENCE:
        return "The licence of the encoder is not known. Find it out before you pass the model on."
    return _escape(f"{licence}, as the encoder. The licence of the training data may set other conditions.")


def _show_labels(findings: Findings) -> str:
    table = describe_labels(findings).table
    return _as_markdown(table) if table else ""


def _show_facts(facts: Mapping[str, object], otherwise: str) -> str:
    return _as_markdown(tabulate_facts(facts)) if facts else otherwise


def _as_markdown(table: Table) -> str:
    rules = ["---" if i < table.texts else "---:" for i in range(len(table.columns))]
    lines = [table.columns, tuple(rules), *(tuple(map(_escape, row)) for row in table.rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escape(text: str) -> str:
    """Return the text on one line, without characters that Markdown or HTML would interpret."""
    escaped = " ".join(text.split())
    for character in "\\`*_[]|<>":
        escaped = escaped.replace(character, f"\\{character}")
    return escaped
