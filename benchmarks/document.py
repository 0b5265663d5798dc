"""Render `docs/benchmarks.md` from `benchmarks/results/*.json`: `python -m benchmarks.document`."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from . import RESULTS, ROOT, pictures
from .measuring.machine import Machine
from .measuring.results import FULL

DOCUMENT = ROOT / "docs" / "benchmarks.md"
SIZES = {"distilbert": "DistilBERT size", "minilm": "MiniLM"}
BATCH_NAMES = {
    "ours_spark": "**this project, Spark job**",
    "ours_loop": "this project, bare loop",
    "onnxruntime_int8": "ONNX Runtime int8, sorted (loop)",
    "torch_sorted": "torch fp32, sorted (loop)",
    "mlflow_spark_udf": "mlflow.pyfunc.spark_udf, transformers flavor",
    "predict_batch_udf": "predict_batch_udf, torch, 64",
    "hf_pipeline_udf": "HF pipeline in a pandas UDF, 32",
}
ONLINE_NAMES = {
    "ours": "**this project, score.py --serve**",
    "loop": "the same engine in a bare loop, sorted",
    "litserve": "LitServe, the same engine",
    "mlflow_pyfunc": "mlflow models serve, the same pyfunc",
    "mlflow_transformers": "mlflow models serve, transformers flavor",
    "fastapi_pipeline": "transformers pipeline in FastAPI",
}
TRAINING_NAMES = {
    "ours": "**this project, jobs/finetune.py**",
    "ours_tokens": "the same, mini-batches by tokens",
    "ours_compiled": "the same, compiled by torch",
    "trainer_max_length": "plain Trainer, each review padded to 256 tokens",
    "trainer_512": "plain Trainer, each review padded to 512 tokens",
}
# Earlier results do not name the model of cascade and parity.
_TUNED = "a tuned MiniLM"
# A machine is quiet if its load before a run is lower.
_QUIET_LOAD = 0.5
# Rows of the table of other figures, with the format of a cell.
_SHARES = {
    "Spark job to bare loop": "{spark_to_loop:.2f}",
    "bare loop to the int8 matrix products": "{roofline_share:.0%} of {roofline_gops:,.0f} GOP/s",
    "the same, without products that ours leaves out": "{roofline_done_share:.0%}",
    "a worker is ready after": "{worker_start_seconds:.1f} s",
    "a worker's peak memory, resident": "{worker_peak_mb:.0f} MB",
    "the same, shared pages divided": "{worker_peak_pss_mb:.0f} MB",
}
_HEAD = """# Benchmarks

Generated from `benchmarks/results/*.json` at the end of `make bench`, `bench-scale`, `bench-online`,
`bench-train` and `bench-gpu`, or by `python -m benchmarks.document`. Do not edit.

Compare figures only within one table: its contenders ran by turns on the same cores. Reviews are real Amazon
reviews. Models have random weights (of MiniLM only the head), because speed does not depend on their values.
Starts of sessions and models are left out. "Ours to it" is the rate of the first row divided by the rate of
the row.
"""

Found = dict[str, Any]


def main() -> None:
    DOCUMENT.parent.mkdir(parents=True, exist_ok=True)
    DOCUMENT.write_text(render(json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))))


def write(path: Path, is_rendered: bool = True) -> str:
    """Draw the picture of a result, render the document, and return the tables of the result."""
    found = json.loads(path.read_text())
    if is_rendered:
        if picture := pictures.draw(found):
            found["picture"] = path.with_suffix(".png").name
            picture.savefig(path.with_name(found["picture"]), dpi=110)
            path.write_text(json.dumps(found, indent=2) + "\n")
        main()
    return f"{_read_machine(found).describe()}\n\n{tabulate(found)}"


def render(results: Iterable[Found]) -> str:
    """Return the document: a part for each machine, in it a part for each kind of benchmark.

    Figures of a quick run are used only if there is no full run.
    """
    machines: dict[str, dict[str, Found]] = {}
    for found in results:
        kinds = machines.setdefault(_read_machine(found).name, {})
        if found["kind"] not in kinds or found["plan"] == FULL:
            kinds[found["kind"]] = found
    parts = [_HEAD]
    for name, kinds in sorted(machines.items()):
        parts.append(f"## {name}\n\n{_read_machine(next(iter(kinds.values()))).describe()}.\n")
        parts += [f"### {_TITLES[kind]}\n\n{tabulate(kinds[kind])}" for kind in _TITLES if kind in kinds]
    return "\n".join(parts)


def tabulate(found: Found) -> str:
    """Return one result as Markdown tables and lines, with a description of the machine."""
    blocks = [*_TABLES[found["kind"]](found["sections"]), _describe_run(found)]
    if picture := found.get("picture"):
        blocks.append(f"![{_TITLES[found['kind']]}](../benchmarks/results/{picture})")
    return "\n\n".join(blocks) + "\n"


def _describe_run(found: Found) -> str:
    sections = found["sections"]
    run = sections.get("run", {})
    dates = sorted({section["date"] for section in sections.values()})
    words = f"Measured {' to '.join(dict.fromkeys((dates[0], dates[-1])))}"
    words += f" in {run['seconds'] / 60:.0f} minutes" if "seconds" in run else ""
    words += "" if found["plan"] == FULL else f" by a {found['plan'].upper()} run, for working only"
    lines = [
        ", ".join([words, *(f"{package} {version}" for package, version in found["versions"].items())]) + "."
    ]
    if run.get("left_out"):
        lines.append(f"Left out, because the time was over: {', '.join(run['left_out'])}.")
    if run.get("load_before", 0) > _QUIET_LOAD:
        lines.append(f"NOT QUIET: the load average was {run['load_before']:.1f} at the start.")
    lines += [f"Source: {found['source']}."] if "source" in found else []
    return " ".join(lines)


def _tabulate_batch(sections: Found) -> list[str]:
    sizes = [size for size in SIZES if size in sections]
    blocks = [_tabulate_rates(sections, sizes), _tabulate_shares(sections, sizes)] if sizes else []
    return blocks + [describe(sections[name]) for name, describe in _LINES.items() if name in sections]


def _tabulate_rates(sections: Found, sizes: Sequence[str]) -> str:
    head = ["reviews/s on the same cores"]
    rows = [[words] for words in BATCH_NAMES.values()]
    for size in sizes:
        of = sections[size]
        tokens = f", {of['tokens_per_review']:.0f} tokens" if "tokens_per_review" in of else ""
        head += [f"{SIZES[size]}{tokens}", "ours to it", "reviews measured"]
        for row, name in zip(rows, BATCH_NAMES, strict=True):
            rate, n_rows = of["rates"].get(name), of["rows"].get(name)
            ratio = f"{of['rates']['ours_spark'] / rate:.2f}x" if rate and name != "ours_spark" else ""
            times = f" x {of['repetitions'][name]}" if of.get("repetitions", {}).get(name, 1) > 1 else ""
            row += [f"{rate:.1f}" if rate else "", ratio, f"{n_rows:,}{times}" if rate and n_rows else ""]
    return _write_table(head, rows)


def _tabulate_shares(sections: Found, sizes: Sequence[str]) -> str:
    def cell(size: str, form: str) -> str:
        try:
            return form.format(**sections[size])
        except KeyError:  # copied by hand from a result without this value
            return ""

    rows = [[words, *(cell(size, form) for size in sizes)] for words, form in _SHARES.items()]
    head = ["this project", *(SIZES[size] for size in sizes)]
    return _write_table(head, [row for row in rows if any(row[1:])])


def _describe_skew(skew: Found) -> str:
    tables = {"one_file": "one big file", "small_files": "many small files", "long_last": "long reviews last"}
    return f"Last task to median task: {', '.join(f'{tables[key]} {skew[key]:.2f}' for key in tables)}."


def _describe_parity(parity: Found) -> str:
    return (
        f"The engine of {parity.get('model', _TUNED)} against float32, {parity['labelled_rows']:,} labelled "
        f"reviews: accuracy loss {parity['accuracy_loss_points']:.2f} points, {parity['flip_share']:.2%} of "
        f"labels flipped, mean shift {parity['mean_shift']:.4f}. Alone against in company, "
        f"{parity['rows']:,} reviews: shift {parity['alone_shift_p99']:.4f} at the 99th percentile, "
        f"{parity['alone_shift_max']:.4f} at most, "
        f"{parity['alone_flips']} labels flipped."
    )


def _describe_cascade(cascade: Found) -> str:
    found = "; ".join(
        f"{words}, {of['rows']:,} reviews: {of['speedup']:.2f} times the encoder only, "
        f"{of['share_early']:.0%} decided early, accuracy {of['accuracy_change_points']:+.2f} points"
        for words, of in (("in the domain", cascade["dated"]), ("clothing", cascade["clothing"]))
    )
    unused = "" if cascade["dated"]["share_early"] else " No review was decided early."
    return f"Cascade of {cascade.get('model', _TUNED)}, {found}.{unused}"


def _tabulate_scale(sections: Found) -> list[str]:
    keys = ("rows_per_second", "driver_peak_mb", "worker_peak_mb")
    sizes = {rows: of for rows, of in sections["scale"].items() if rows != "date"}
    rows = [[f"{int(rows):,}", *(f"{of[key]:,.0f}" for key in keys)] for rows, of in sizes.items()]
    return [_write_table(["rows, tiny encoder", "rows/s", "driver, MB", "worker, MB"], rows)]


def _tabulate_gpu(sections: Found) -> list[str]:
    of = sections["gpu"]
    share = f"{of['share_of_peak']:.0%}" if of["share_of_peak"] else "unknown"
    figures = (f"{of[key]:,.0f}" for key in ("rows", "rows_per_second", "tokens_per_second"))
    head = ["GPU", "reviews measured", "reviews/s", "tokens/s", "share of the bf16 peak"]
    return [_write_table(head, [[of["device"], *figures, share]])]


def _tabulate_training(sections: Found) -> list[str]:
    return [_tabulate_steps(SIZES[size], sections[size]) for size in SIZES if size in sections]


def _tabulate_steps(size: str, of: Found) -> str:
    rates = {name: of["rates"][name] for name in TRAINING_NAMES if name in of["rates"]}
    shares = of.get("shares_of_peak", {})
    head = [f"{size}, {of['tokens_per_review']:.0f} tokens, {of['batch_rows']} reviews per step", "reviews/s"]
    rows = [
        [
            TRAINING_NAMES[name],
            f"{rate:,.1f}",
            f"{rates['ours'] / rate:.2f}x" if name != "ours" else "",
            *([f"{shares[name]:.0%}"] if shares else []),
        ]
        for name, rate in rates.items()
    ]
    return _write_table([*head, "ours to it", *(["share of the bf16 peak"] if shares else [])], rows)


def _tabulate_online(sections: Found) -> list[str]:
    blocks = [_tabulate_texts(kind, sections[kind]) for kind in ("real", "short") if kind in sections]
    if single := sections.get("single"):
        ratio = f"{single['to_engine']:.2f}"
        blocks.append(f"One sentence, one client: the median request takes {ratio} of the engine's call.")
    if tried := sections.get("batchings"):
        rates = ", ".join(f"{words}: {rate:.1f}" for words, rate in tried.items() if words != "date")
        blocks.append(f"Settings of LitServe, of which the best is compared, reviews/s: {rates}.")
    return blocks


def _tabulate_texts(kind: str, of: Found) -> str:
    found = of["contenders"]
    clients = sorted({n for by_clients in found.values() for n in by_clients}, key=int)
    if "loop" in of:  # the loop has no clients
        found = found | {"loop": {n: {"reviews_per_second": of["loop"]} for n in clients}}
    ours = found.get("ours", {}).get(pictures.COMPARED_CLIENTS, {}).get("reviews_per_second")
    rows = []
    for name, words in ONLINE_NAMES.items():
        if name in found:
            rate = found[name].get(pictures.COMPARED_CLIENTS, {}).get("reviews_per_second")
            ratio = f"{ours / rate:.2f}x" if ours and rate and name != "ours" else ""
            n_rows = of["rows" if name in ("ours", "loop", "litserve") else "slow_rows"]
            rows.append(
                [words, *(_write_cell(found[name].get(n, {})) for n in clients), ratio, f"{n_rows:,}"]
            )
    head = [f"{kind} texts, {of['tokens']:.0f} tokens: reviews/s (p50, p95 ms) by clients", *clients]
    return _write_table([*head, f"ours to it at {pictures.COMPARED_CLIENTS}", "reviews measured"], rows)


def _write_cell(entry: Found) -> str:
    notes = [f"{entry[key]:.0f}" for key in ("p50_ms", "p95_ms") if key in entry]
    notes += [f"{entry['errors']} errors"] if entry.get("errors") else []
    rate = f"{entry['reviews_per_second']:.1f} " if "reviews_per_second" in entry else ""
    return (rate + (f"({', '.join(notes)})" if notes else "")).strip()


def _write_table(head: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def _read_machine(found: Found) -> Machine:
    machine = found["machine"]
    return Machine(**machine | {"instruction_sets": tuple(machine["instruction_sets"])})


def _tabulate_monitoring(sections: Found) -> list[str]:
    alarms = [
        [entry["reviews"], f"{entry['night_rows']:,}", f"{entry['draws']:,}", f"{entry['alarm_share']:.1%}"]
        for entry in sections["false_alarms"]["draws"]
    ]
    changes = [
        [title, f"{found['night_rows']:,}", f"{found['found_share']:.0%}", ", ".join(found["figures"])]
        for title, found in sections["changes"]["found"].items()
    ]
    accuracies = [
        [
            name,
            f"{part['rows']:,}",
            f"{part['realised']:.3f}",
            *(_show_estimate(part.get(source)) for source in ("test set", "late labels")),
        ]
        for name, part in sections["accuracy"]["parts"].items()
    ]
    return [
        _write_table(["reviews without a change", "rows per night", "nights", "nights with a drift"], alarms),
        _write_table(["planted change", "rows per night", "found", "in the figures"], changes),
        _write_table(
            ["reviews", "rows", "realised accuracy", "estimate from the test set", "from late labels"],
            accuracies,
        ),
    ]


def _show_estimate(found: Found | None) -> str:
    if found is None:
        return "-"
    bounds = f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
    return f"{bounds}, {100 * found['error']:+.1f} points"


_TITLES = {
    "batch": "Batch: a table of reviews",
    "scale": "Scale: rows of one table",
    "online": "Online: one review per request",
    "gpu": "GPU",
    "training": "Fine-tuning",
    "monitoring": "Monitoring: alarms and estimates",
}
_TABLES: dict[str, Callable[[Found], list[str]]] = {
    "batch": _tabulate_batch,
    "scale": _tabulate_scale,
    "online": _tabulate_online,
    "gpu": _tabulate_gpu,
    "training": _tabulate_training,
    "monitoring": _tabulate_monitoring,
}
_LINES = {"skew": _describe_skew, "parity": _describe_parity, "cascade": _describe_cascade}


if __name__ == "__main__":
    main()
