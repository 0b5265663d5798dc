"""Draw the figures of a training run."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from ..evaluation.metrics import Evaluation
from ..inference.tokenization import HEAD, HEAD_TAIL
from .cascade import CascadeChoice
from .lengths import LengthPoint


def draw_confusion_matrix(evaluation: Evaluation) -> Figure:
    """Draw true against predicted labels: counts as text, shares of the true label as shades."""
    figure = Figure(figsize=(4.4, 3.8), layout="constrained")
    axes = figure.subplots()
    counts = evaluation.confusion
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            color = "white" if shares[i][j] > 0.5 else "black"
            axes.text(j, i, f"{count:,}\n{shares[i][j]:.1%}", ha="center", va="center", color=color)
    places = range(len(evaluation.labels))
    axes.set_xticks(places, evaluation.labels)
    axes.set_yticks(places, evaluation.labels)
    axes.set(xlabel="predicted", ylabel="true", title=f"test accuracy {evaluation.accuracy:.3f}")
    figure.colorbar(image, label="share of the true label")
    return figure


def draw_text_lengths(n_tokens: Sequence[int], max_length: int) -> Figure:
    """Draw a histogram of the tokens per review, and count the reviews longer than `max_length`."""
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.subplots()
    longest = max(n_tokens)
    width = -(-longest // 40)  # a whole number, so that all bins cover equally many lengths
    axes.hist(n_tokens, bins=range(0, longest + width + 1, width))
    cut = sum(n > max_length for n in n_tokens)
    axes.axvline(max_length, color="C3", linestyle="--", label=f"max_length {max_length}: {cut:,} longer")
    axes.set(xlabel="tokens", ylabel="reviews")
    axes.legend()
    return figure


def draw_learning_curve(history: Sequence[dict[str, float]]) -> Figure:
    """Draw training loss, validation loss and, if there is one, validation F1 by step."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel="step", ylabel="loss")
    for key, name, style in (
        ("loss", "training loss", "C0-"),
        ("eval_loss", "validation loss", "C1o-"),
        ("eval_f1", "validation F1", "C2s--"),
    ):
        points = [(row["step"], row[key]) for row in history if key in row]
        if points and key == "eval_f1":
            axes = axes.twinx()
            axes.set_ylabel("F1")
        axes.plot(*zip(*points, strict=True), style, label=name) if points else None
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def draw_length_curve(points: Sequence[LengthPoint], max_length: int) -> Figure:
    """Draw accuracy against time relative to the slowest point, for each length and truncation."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    slowest = max(point.seconds for point in points)
    for truncation, style in ((HEAD, "C0o-"), (HEAD_TAIL, "C1s--")):
        chosen = [point for point in points if point.truncation == truncation]
        axes.plot(
            [p.seconds / slowest for p in chosen], [p.accuracy for p in chosen], style, label=truncation
        )
        for point in chosen:
            label = f"{point.max_length}: {point.tokens_per_review:.0f} tokens per review"
            at = (point.seconds / slowest, point.accuracy)
            axes.annotate(label, at, xytext=(4, -10), textcoords="offset points", fontsize=7)
    axes.set(xlim=(0, 1.3), xlabel="time for all reviews (slowest = 1)", ylabel="validation accuracy")
    axes.set_title(f"tuned with max_length {max_length}")
    axes.legend(title="truncation")
    return figure


def draw_cascade_curve(choice: CascadeChoice) -> Figure:
    """Draw by threshold the accuracy of both stages together, and the share of the linear stage."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    accuracy_axes = figure.subplots()
    share_axes = accuracy_axes.twinx()
    thresholds = [point.threshold for point in choice.curve]
    accuracy_axes.plot(thresholds, [p.accuracy for p in choice.curve], "C0-", label="accuracy, both stages")
    accuracy_axes.axhline(choice.accuracy_encoder, color="C0", linestyle=":", label="accuracy, encoder only")
    share_axes.plot(thresholds, [p.share_early for p in choice.curve], "C1--", label="share of linear stage")
    if choice.threshold is not None:
        accuracy_axes.axvline(choice.threshold, color="C3", label=f"chosen: {choice.threshold:g}")
    accuracy_axes.set(xlabel="threshold", ylabel="validation accuracy")
    share_axes.set(ylabel="share of reviews", ylim=(0, 1))
    figure.legend(loc="outside lower center", ncols=2)
    return figure
