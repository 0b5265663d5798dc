"""Draw the speeds of a benchmark."""

from collections.abc import Mapping
from typing import Any

_OURS = ("ours_spark", "ours_loop", "ours", "ours_tokens", "ours_compiled", "loop")
COMPARED_CLIENTS = "16"


def draw(found: Mapping[str, Any]) -> Any:
    """Draw a result, with a panel per encoder or kind of text; None if it has no speeds."""
    from matplotlib.figure import Figure

    panels = {name: rates for name, of in found["sections"].items() if (rates := _read_rates(of))}
    if not panels:
        return None
    figure = Figure(figsize=(9, 1.2 + 2.2 * len(panels)), layout="constrained")
    for axes, (title, rates) in zip(
        figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels.items(), strict=True
    ):
        names = sorted(rates, key=rates.__getitem__)
        colors = ["C0" if name in _OURS else "0.7" for name in names]
        bars = axes.barh(names, [rates[name] for name in names], color=colors)
        axes.bar_label(bars, [f" {rates[name]:.1f}" for name in names])
        axes.set_title(title, loc="left")
        axes.set_xlabel(
            "reviews/s"
            if found["kind"] in ("batch", "training")
            else f"reviews/s, {COMPARED_CLIENTS} clients"
        )
        axes.margins(x=0.12)
    return figure


def _read_rates(section: Mapping[str, Any]) -> dict[str, float]:
    """Return the reviews per second of each contender of a section; empty if there is none."""
    rates: dict[str, float] = dict(section.get("rates", {}))
    for name, by_clients in section.get("contenders", {}).items():
        if COMPARED_CLIENTS in by_clients:
            rates[name] = by_clients[COMPARED_CLIENTS]["reviews_per_second"]
    return rates | ({"loop": section["loop"]} if "loop" in section else {})
