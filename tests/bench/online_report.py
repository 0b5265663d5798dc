"""The online results as a file, a table and a picture."""

import json
import os
import statistics
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from .online_contenders import FASTAPI, FRAMEWORK, MLFLOW_PYFUNC, MLFLOW_TRANSFORMERS, OURS
from .online_session import LOOP
from .online_texts import REAL, SHORT
from .report import describe_machine

NAMES = {
    OURS: "this project, score.py --serve",
    FRAMEWORK: "LitServe, the same engine",
    MLFLOW_PYFUNC: "mlflow models serve, the same pyfunc",
    MLFLOW_TRANSFORMERS: "mlflow models serve, transformers flavor",
    FASTAPI: "transformers pipeline in FastAPI",
}
_VERSIONS = ("fastapi", "uvicorn", "uvloop", "litserve")
_RATIOS = {"to_loop": LOOP, "to_mlflow_serve": MLFLOW_TRANSFORMERS, "to_framework": FRAMEWORK}

Report = dict[str, Any]


def summarise(
    figures: Mapping[tuple[str, str, int], Any], loops: Mapping[str, Sequence[float]], run: Report
) -> Report:
    """Ours by kind of text and clients, with its ratios to the others; these under `peers`."""
    peers: Report = {LOOP: {kind: _describe_rates(rates) for kind, rates in loops.items()}}
    for (name, kind, n_clients), found in figures.items():
        peers.setdefault(name, {}).setdefault(kind, {})[str(n_clients)] = _describe(found)
    mine = peers.pop(OURS, {})
    report: Report = {}
    for kind, by_clients in mine.items():
        report[kind] = {}
        for n_clients in sorted(by_clients, key=int):
            entry = by_clients[n_clients]
            rates = {
                name: (values.get(kind, {}) if name == LOOP else values.get(kind, {}).get(n_clients, {}))
                for name, values in peers.items()
            }
            report[kind][n_clients] = entry | {
                ratio: entry["reviews_per_second"] / rates[name]["reviews_per_second"]
                for ratio, name in _RATIOS.items()
                if rates.get(name)
            }
    versions = [f"{name} {metadata.version(name)}" for name in _VERSIONS if _has(name)]
    machine = ", ".join([describe_machine(), *versions])
    return report | {"peers": peers, "machine": machine, "setup": run}


def write(report: Report, folder: Path, is_partial: bool) -> None:
    """Write the results, and of whole ones the table and the picture; print the table."""
    if is_partial:
        _write_whole(folder / "online-partial.json", json.dumps(report, indent=2) + "\n")
    else:
        _write_whole(folder / "online.json", json.dumps(report, indent=2) + "\n")
        _write_whole(folder / "online.md", tabulate(report))
        draw(report).savefig(folder / "online.png", dpi=110)
    show(report)


def show(report: Report) -> None:
    """The table on a terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if os.isatty(1) else 140, highlight=False)
    for kind in (REAL, SHORT):
        rows = _list_rows(report, kind)
        if not rows:
            continue
        clients = _list_clients(rows)
        table = Table(title=f"{kind} texts: reviews/s (p50, p95 ms)", title_justify="left")
        table.add_column("clients")
        for n_clients in clients:
            table.add_column(n_clients, justify="right")
        for words, cells in rows.items():
            table.add_row(words, *(cells.get(n, "") for n in clients))
        console.print(table)
        for n_clients, entry in report.get(kind, {}).items():
            ratios = [f"{name} {entry[name]:.2f}" for name in _RATIOS if name in entry]
            console.print(f"{n_clients:>3} clients: {', '.join(ratios)}")
    if "single" in report:
        single = report["single"]
        console.print(
            f"single sentence, one client: p50 {single['p50_ms']:.2f} ms, "
            f"{report['single_p50_to_engine']:.2f} of the engine's call"
        )
    console.print({key: report[key] for key in ("run", "setup", "framework_tried") if key in report})


def tabulate(report: Report) -> str:
    """The comparison as Markdown, with what it was measured on."""
    lines = []
    for kind in (REAL, SHORT):
        rows = _list_rows(report, kind)
        clients = _list_clients(rows)
        tokens = report["setup"]["tokens"][kind]
        lines += [
            f"| {kind} texts, {tokens:.0f} tokens: reviews/s (p50, p95 ms) by clients | "
            + " | ".join(clients)
            + " |",
            "|---|" + "---|" * len(clients),
            *(
                f"| {words} | " + " | ".join(cells.get(n, "") for n in clients) + " |"
                for words, cells in rows.items()
            ),
            "",
        ]
    return "\n".join([*lines, f"{report['machine']}."]) + "\n"


def draw(report: Report) -> Any:
    """Reviews a second and the 95th percentile of latency by clients, for both kinds of texts."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    for column, kind in enumerate((REAL, SHORT)):
        for row, (key, words) in enumerate(
            (("reviews_per_second", "reviews/s"), ("p95_ms", "p95 latency, ms"))
        ):
            axes = panels[row][column]
            _draw_lines(axes, report, kind, key)
            axes.set_xscale("log", base=2)
            clients = sorted(int(n) for n in report[kind])
            axes.set_xticks(clients, [str(n) for n in clients])
            axes.set_ylabel(words)
            axes.grid(alpha=0.3)
        rate = report["peers"][LOOP][kind]["reviews_per_second"]
        panels[0][column].axhline(rate, color="0.4", linestyle="--", label="the same engine in a bare loop")
        panels[0][column].set_ylim(bottom=0)
        panels[1][column].set_yscale("log")
        panels[1][column].set_xlabel("closed-loop clients")
        panels[0][column].set_title(f"{kind} texts, {report['setup']['tokens'][kind]:.0f} tokens", loc="left")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _draw_lines(axes: Any, report: Report, kind: str, key: str) -> None:
    for number, (name, words) in enumerate(NAMES.items()):
        entries = _find_entries(report, name, kind)
        clients = sorted(entries, key=int)
        axes.plot(
            [int(n) for n in clients],
            [entries[n][key] for n in clients],
            marker="o",
            markersize=4,
            linewidth=2.5 if name == OURS else 1.2,
            color=f"C{number}",
            label=words,
        )


def _list_rows(report: Report, kind: str) -> dict[str, dict[str, str]]:
    """Cells by contender and clients."""
    rows = {}
    for name, words in NAMES.items():
        entries = _find_entries(report, name, kind)
        if entries:
            rows[words] = {n: _write_cell(entry) for n, entry in entries.items()}
    loop = report["peers"].get(LOOP, {}).get(kind)
    if loop:
        rate = f"{loop['reviews_per_second']:.1f}"
        rows["the same engine in a bare loop"] = dict.fromkeys(_list_clients(rows) or ["1"], rate)
    return rows


def _find_entries(report: Report, name: str, kind: str) -> Report:
    found: Report = report.get(kind, {}) if name == OURS else report["peers"].get(name, {}).get(kind, {})
    return found


def _list_clients(rows: Mapping[str, Mapping[str, str]]) -> list[str]:
    return sorted({n for cells in rows.values() for n in cells}, key=int)


def _write_cell(entry: Report) -> str:
    if "p50_ms" not in entry:
        return f"none, {entry['errors']} errors"
    failed = "".join(f", {entry[key]} {key}" for key in ("errors", "refused") if entry[key])
    return f"{entry['reviews_per_second']:.1f} ({entry['p50_ms']:.0f}, {entry['p95_ms']:.0f}{failed})"


def _describe(found: Any) -> Report:
    """Median rate of the repetitions, percentiles over the requests of all of them."""
    latencies = {}
    if found.latencies_ms:
        values = np.percentile(found.latencies_ms, (50, 95, 99)).tolist()
        latencies = dict(zip(("p50_ms", "p95_ms", "p99_ms"), values, strict=True))
    counts = {"requests": len(found.latencies_ms), "errors": found.errors, "refused": found.refused}
    return _describe_rates(found.rates) | latencies | counts


def _describe_rates(rates: Sequence[float]) -> Report:
    return {"reviews_per_second": statistics.median(rates), "rates": list(rates)}


def _write_whole(path: Path, content: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(content)
    partial.replace(path)


def _has(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
