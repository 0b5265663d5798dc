"""Draw the lengths of the texts and the course of the training; `evaluation.figures` has the results."""

from collections.abc import Sequence

from matplotlib.figure import Figure


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
