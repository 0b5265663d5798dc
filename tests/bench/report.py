"""The results as a file, a table and a picture."""

import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

NAMES = {
    "ours_spark": "this project, Spark job",
    "ours_loop": "this project, bare loop",
    "onnxruntime_int8": "ONNX Runtime int8, sorted (loop)",
    "torch_sorted": "torch fp32, sorted (loop)",
    "mlflow_spark_udf": "mlflow.pyfunc.spark_udf, transformers flavor",
    "predict_batch_udf": "predict_batch_udf, torch, 64",
    "hf_pipeline_udf": "HF pipeline in a pandas UDF, 32",
}
_SHARES = {
    "Spark job to bare loop": "{spark_to_loop:.2f}",
    "bare loop to the int8 matrix products": "{roofline_share:.0%} of {roofline_gops:,.0f} GOP/s",
    "a worker is ready after": "{worker_start_seconds:.2f} s",
    "a worker's peak, resident (shared pages divided)": "{worker_peak_mb:.0f} MB ({worker_peak_pss_mb:.0f})",
}
"""Rows of the table of what is no comparison, with the form of a cell."""
_VERSIONS = ("torch", "transformers", "openvino", "onnxruntime", "pyspark", "mlflow", "tokenizers")


def merge(path: Path, sections: dict[str, Any]) -> None:
    """Put sections into the JSON file at `path`, beside those that are there, at one stroke."""
    found = json.loads(path.read_text()) if path.exists() else {}
    found |= sections | {"machine": describe_machine()}
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(found, indent=2) + "\n")
    partial.replace(path)


def describe_machine() -> str:
    """Processor, cores, Python and the versions of what is timed."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    features = [flag for flag in ("avx512_vnni", "avx512_bf16", "amx_int8") if flag in flags]
    versions = [f"{name} {metadata.version(name).partition('+')[0]}" for name in _VERSIONS if _has(name)]
    cores = len(os.sched_getaffinity(0))
    return (
        f"{cores} cores of an {processor} ({', '.join(features) or 'plain'}), Python "
        f"{platform.python_version()}, {', '.join(versions)}"
    )


def write(path: Path, folder: Path) -> None:
    """Write batch.md of the results at `path`, and batch.png if speeds were compared."""
    results = json.loads(path.read_text())
    (folder / "batch.md").write_text(tabulate(results))
    sizes = _find_sizes(results)
    if sizes:
        _draw(results, sizes).savefig(folder / "batch.png", dpi=110)


def tabulate(results: dict[str, Any]) -> str:
    """What was measured as Markdown tables and lines, with what it was measured on."""
    sizes = _find_sizes(results)
    tables = [_tabulate_rates(results, sizes), _tabulate_shares(results, sizes)] if sizes else []
    tables += [_tabulate_scale(results["scale"])] if "scale" in results else []
    tables += [write_line(results[name]) for name, write_line in _LINES.items() if name in results]
    notes = [
        f"{size}: {results[size]['rows']:,} reviews of {results[size]['tokens_per_review']:.0f} tokens "
        f"(ONNX Runtime {results[size]['fast_rows']:,}, the slower ones {results[size]['slow_rows']} of the "
        "same lengths)"
        for size in sizes
    ]
    measured = ". ".join([results["machine"], *(["; ".join(notes)] if notes else [])])
    return "\n\n".join([*tables, f"{measured}."]) + "\n"


def _find_sizes(results: dict[str, Any]) -> list[str]:
    return [size for size in ("distilbert", "minilm") if size in results]


def _tabulate_rates(results: dict[str, Any], sizes: list[str]) -> str:
    def cell(size: str, name: str) -> str:
        rates = results[size]["rates"]
        return f"{rates[name]:.1f} ({rates['ours_spark'] / rates[name]:.1f}x)"

    rows = [[words, *(cell(size, name) for size in sizes)] for name, words in NAMES.items()]
    return _write_table(["reviews/s on the same cores", *sizes], rows)


def _tabulate_shares(results: dict[str, Any], sizes: list[str]) -> str:
    rows = [[words, *(form.format(**results[size]) for size in sizes)] for words, form in _SHARES.items()]
    return _write_table(["this project", *sizes], rows)


def _describe_skew(skew: dict[str, float]) -> str:
    found = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in skew.items())
    return f"Last task to median task: {found}."


def _describe_parity(parity: dict[str, Any]) -> str:
    return (
        f"The model's engine against float32, {parity['labelled_rows']:,} labelled reviews: accuracy loss "
        f"{parity['accuracy_loss_points']:.2f} points, {parity['flip_share']:.2%} of labels flipped, mean "
        f"shift {parity['mean_shift']:.4f}. Alone against in company, {parity['rows']:,} reviews: shift "
        f"{parity['alone_shift_p99']:.4f} at the 99th percentile, {parity['alone_shift_max']:.4f} at most, "
        f"{parity['alone_flips']} labels flipped."
    )


def _describe_cascade(cascade: dict[str, Any]) -> str:
    sets = {"in the domain": cascade, "clothing": cascade["clothing"]}
    found = "; ".join(
        f"{name}, {of['rows']:,} reviews: {of['speedup']:.2f} times the encoder alone, "
        f"{of['share_early']:.0%} decided early, accuracy {of['accuracy_change_points']:+.2f} points"
        for name, of in sets.items()
    )
    unused = "" if cascade["share_early"] else " No review was decided early, as without a cascade."
    return f"Cascade, {found}.{unused}"


def _tabulate_scale(scale: dict[str, Any]) -> str:
    keys = ("rows_per_second", "driver_peak_mb", "worker_peak_mb")
    rows = [[f"{int(rows):,}", *(f"{found[key]:,.0f}" for key in keys)] for rows, found in scale.items()]
    return _write_table(["rows, tiny encoder", "rows/s", "driver, MB", "worker, MB"], rows)


def _write_table(head: list[str], rows: list[list[str]]) -> str:
    rule = "|---" * len(head) + "|"
    first, *others = (f"| {' | '.join(cells)} |" for cells in (head, *rows))
    return "\n".join([first, rule, *others])


_LINES = {"skew": _describe_skew, "parity": _describe_parity, "cascade": _describe_cascade}


def _draw(results: dict[str, Any], sizes: list[str]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.2 + 2.2 * len(sizes)), layout="constrained")
    panels = figure.subplots(len(sizes), 1, squeeze=False)[:, 0]
    for size, axes in zip(sizes, panels, strict=True):
        rates = results[size]["rates"]
        names = sorted(NAMES, key=lambda name: rates[name])
        colors = ["C0" if name.startswith("ours") else "0.7" for name in names]
        bars = axes.barh([NAMES[name] for name in names], [rates[name] for name in names], color=colors)
        axes.bar_label(bars, [f" {rates[name]:.1f}" for name in names])
        axes.set_title(size, loc="left")
        axes.set_xlabel("reviews/s")
        axes.margins(x=0.12)
    return figure


def _has(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
