"""State as sections what a model was compared with, and which of its labels are doubtful."""

from collections.abc import Sequence

from ..inference.linear import OpinionPool
from .facts import Findings
from .intervals import Comparison
from .label_errors import CLEANLAB, LabelErrors, has_cleanlab
from .metrics import measure
from .sections import METRICS, Section, Table

# Most suspected reviews that the report lists; the run has all of them.
MAX_LISTED = 50
_NO_CLEANLAB = f"The package {CLEANLAB} is not installed, so labels were not checked."
_MAX_TEXT_CHARS = 300


def describe_champion(findings: Findings) -> Section | None:
    """State the difference to the champion on the same reviews; None without a champion."""
    champion, comparison = findings.facts.champion, findings.champion
    if champion is None or comparison is None:
        return None
    other = measure(champion.judged)
    rows = []
    for name, title in METRICS.items():
        values = getattr(findings.evaluation, name), getattr(other, name)
        if None not in values:
            rows.append((title, *(f"{value:.3f}" for value in values)))
    table = Table(("metric", "this model", "champion"), tuple(rows))
    return Section("Champion", (f"The champion is {champion.uri}.", compare(comparison)), table)


def compare(comparison: Comparison) -> str:
    """Return a sentence on the difference of accuracy between the model and the champion."""
    gap = comparison.difference
    verdict = "is significant" if comparison.is_significant else "may be chance"
    return (
        f"On {comparison.rows:,} reviews only this model is right on {comparison.only_first:,}, only the "
        f"champion on {comparison.only_second:,}: a difference of {100 * gap.value:+.2f} points of accuracy "
        f"({100 * gap.low:+.2f} to {100 * gap.high:+.2f}), which {verdict} (McNemar, "
        f"{_show_p(comparison)})."
    )


def describe_baselines(findings: Findings) -> Section | None:
    """State the results of simple rules on the same reviews; None if none was measured."""
    results = {"this model": findings.evaluation} | dict(findings.facts.baselines)
    if len(results) == 1:
        return None
    rows = tuple((name, f"{r.accuracy:.3f}", f"{r.f1_weighted:.3f}") for name, r in results.items())
    sentence = "A model is worth its cost only if it is clearly better than rules that cost nothing."
    return Section("Baselines", (sentence,), Table(("rule", "accuracy", "F1, weighted"), rows))


def describe_lengths(findings: Findings) -> Section | None:
    """State accuracy and time by the number of tokens that are read; None if none was tried."""
    points = findings.facts.lengths
    if not points:
        return None
    slowest = max(point.seconds for point in points)
    rows = tuple(
        (
            f"{point.max_length}, {point.truncation}",
            f"{point.accuracy:.3f}",
            f"{point.tokens_per_review:.0f}",
            f"{point.truncated_share:.1%}",
            f"{point.seconds / slowest:.2f}",
        )
        for point in points
    )
    columns = ("tokens at most", "accuracy", "tokens per review", "truncated", "time")
    sentence = "On validation reviews; the slowest setting has time 1."
    return Section("Length, accuracy and cost", (sentence,), Table(columns, rows), "length_accuracy_cost")


def describe_engines(findings: Findings) -> Section | None:
    """State which engine was chosen, and how each engine did at the gate; None if none is known."""
    facts = findings.facts
    if facts.engine is None and not facts.engines:
        return None
    reason = f": {facts.engine_reason}" if facts.engine_reason else ""
    sentences = [] if facts.engine is None else [f"The model runs on the engine {facts.engine}{reason}."]
    rows = tuple(
        (
            result.engine,
            "passed" if result.is_passed else "failed",
            "-" if result.accuracy_loss_points is None else f"{result.accuracy_loss_points:.2f}",
            f"{result.flip_share:.2%}",
            f"{result.mean_shift:.4f}",
        )
        for result in facts.engines
    )
    columns = ("engine", "gate", "accuracy loss, points", "changed labels", "mean shift")
    if rows:
        sentences.append(f"Compared with the reference engine on {facts.engines[0].rows:,} reviews.")
    return Section("Engine gate", tuple(sentences), Table(columns, rows, texts=2) if rows else None)


def describe_cascade(findings: Findings) -> Section | None:
    """State what the linear stage decides, and what that costs; None without a cascade."""
    choice = findings.facts.cascade
    if choice is None:
        return None
    if choice.threshold is None:
        chosen = "No threshold is known to keep the accuracy, so the encoder reads every review."
    else:
        chosen = (
            f"From a score of {choice.threshold:g} on, the linear stage decides: {choice.share_early:.1%} "
            "of the reviews."
        )
    accuracies = {"linear stage only": choice.accuracy_linear, "encoder only": choice.accuracy_encoder}
    if choice.pool == OpinionPool():
        pooled = "The encoder decides the reviews that it reads."
    else:
        accuracies["both stages, no early decision"] = choice.accuracy_pooled
        pooled = (
            "Both stages together decide the reviews that the encoder reads, except short ones: the weights "
            f"of their log odds are {choice.pool.encoder:.2f} (encoder) and {choice.pool.linear:.2f} (linear "
            "stage)."
        )
    accuracies["the model"] = choice.accuracy_pair
    rows = tuple((name, f"{value:.4f}") for name, value in accuracies.items())
    sentences = (chosen, pooled, f"Accuracy on {choice.rows:,} validation reviews.")
    figure = "cascade" if choice.curve else None
    return Section("Cascade", sentences, Table(("stages", "accuracy"), rows), figure)


def describe_test_labels(findings: Findings, texts: Sequence[str] | None = None) -> Section | None:
    """State which test labels are probably wrong; quote the reviews only with `texts`, one per review."""
    found = findings.facts.test_labels
    if found is None:
        return None
    sentences = (
        f"{_count(found, 'test reviews')} The accuracy is {found.accuracy_with:.3f} with and "
        f"{found.accuracy_without:.3f} without them.",
        "The second figure is too high, because reviews are suspected where the model differs from them. "
        "Read the reviews, and correct the labels.",
    )
    return Section("Doubtful test labels", (*sentences, *_count_unlisted(found)), _tabulate(found, texts))


def describe_train_labels(findings: Findings) -> Section | None:
    """State which training labels are probably wrong, and what leaving them out changes."""
    found = findings.facts.train_labels
    if found is None:
        return None
    sentences = [
        f"{_count(found, 'training reviews')} A linear model has an accuracy of "
        f"{found.accuracy_with:.3f} if it is trained with them and of {found.accuracy_without:.3f} without "
        "them, on held-out reviews whose doubtful labels count as they are."
    ]
    if found.comparison is not None:
        verdict = "is significant" if found.comparison.is_significant else "may be chance"
        sentences.append(f"This difference {verdict} (McNemar, {_show_p(found.comparison)}).")
    return Section("Doubtful training labels", (*sentences, *_count_unlisted(found)), _tabulate(found))


def explain_unchecked() -> str:
    """Return the sentence for labels that were not checked."""
    return "The labels were not checked." if has_cleanlab() else _NO_CLEANLAB


def _show_p(comparison: Comparison) -> str:
    return f"p = {comparison.p_value:.3f}" if comparison.p_value >= 0.001 else "p < 0.001"


def _count(found: LabelErrors, reviews: str) -> str:
    share = len(found.errors) / max(1, found.rows)
    return f"Of {found.rows:,} {reviews}, {len(found.errors):,} ({share:.1%}) probably have a wrong label."


def _count_unlisted(found: LabelErrors) -> tuple[str, ...]:
    if len(found.errors) <= MAX_LISTED:
        return ()
    return (f"The {MAX_LISTED} surest of {len(found.errors):,} are listed.",)


def _tabulate(found: LabelErrors, texts: Sequence[str] | None = None) -> Table | None:
    """Return a row per suspected review: its id, never its text, unless texts are given."""
    if not found.errors:
        return None
    columns: tuple[str, ...] = ("review", "given", "suggested", "confidence")
    rows = []
    for error in found.errors[:MAX_LISTED]:
        row: tuple[str, ...] = (error.review_id, error.given, error.suggested)
        if texts is not None:
            row += (str(texts[error.row])[:_MAX_TEXT_CHARS],)
        rows.append((*row, f"{error.confidence:.3f}"))
    if texts is not None:
        columns = (*columns[:3], "text", columns[3])
    return Table(columns, tuple(rows), texts=len(columns) - 1)
