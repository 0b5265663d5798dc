"""`make bench`: ours beside its peers, the roofline, skewed tables, parity and the cascade, in one run.

Results are merged into `var/bench/batch.json` section by section, so that one that fails loses no other.
"""

import argparse
import functools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import corpus, encoders, ours, parity, peers, preparation, report, roofline
from .measure import MemorySampler, measure_interleaved
from .trials import Hosted, Trial

HOME = corpus.ROOT
FOLDER = HOME / "var" / "bench"
OURS = {"ours_spark": ours.open_spark, "ours_loop": ours.open_loop}
PEERS = {
    "mlflow_spark_udf": "mlflow_spark_udf",
    "hf_pipeline_udf": "hf_pipeline_udf",
    "predict_batch_udf": "predict_batch_udf",
    "torch_sorted": "torch_sorted_processes",
    "onnxruntime_int8": "onnxruntime_int8_processes",
}
"""Key of the report to the variant that is timed: of a loop, a process of one thread a core, as ours has.
One process of two threads was slower where both were timed, on a busy machine."""
SCALE_ROWS = (10_000, 100_000, 1_000_000)


@dataclass(frozen=True)
class Plan:
    """How much is run: reviews for ours, for the fast peer and for the slow ones, and repetitions."""

    rows: int
    fast_rows: int
    slow_rows: int
    repetitions: int
    slow_repetitions: int
    skew_rows: int
    parity_rows: int


FULL = Plan(
    rows=7_000,
    fast_rows=1_600,
    slow_rows=96,
    repetitions=3,
    slow_repetitions=1,
    skew_rows=4_000,
    parity_rows=10_000,
)
QUICK = Plan(
    rows=960,
    fast_rows=240,
    slow_rows=96,
    repetitions=1,
    slow_repetitions=1,
    skew_rows=2_000,
    parity_rows=300,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rows, one repetition: for working")
    parser.add_argument(
        "--sections", default="distilbert,cascade,skew,minilm,parity", help="of these, and scale"
    )
    parser.add_argument("--minilm", type=Path, help="folder of a tuned minilm's MLflow model")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    FOLDER.mkdir(parents=True, exist_ok=True)
    tuned = functools.cache(lambda: arguments.minilm or find_champion())
    sections: dict[str, Callable[[], dict[str, Any]]] = {
        "distilbert": lambda: compare(
            "distilbert", encoders.build_distilbert(FOLDER / "encoders" / "distilbert"), plan
        ),
        "minilm": lambda: compare("minilm", encoders.build_minilm(FOLDER / "encoders" / "minilm"), plan),
        "skew": lambda: measure_skew(plan),
        "parity": lambda: parity.measure_parity(tuned(), plan.parity_rows),
        "cascade": lambda: measure_cascade(tuned()),
        "scale": measure_scale,
    }
    for name in arguments.sections.split(","):
        started = time.monotonic()
        print(f"== {name}", file=sys.stderr, flush=True)
        report.merge(FOLDER / "batch.json", {name: sections[name]()})
        print(f"== {name} took {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    report.write(FOLDER / "batch.json", FOLDER)
    print((FOLDER / "batch.md").read_text())
    return 0


def find_champion() -> Path:
    """The model that the demo, or whoever came after it, gave the alias champion."""
    from sentiment import registry

    registry.use_tracking(HOME)
    return registry.resolve_model("models:/sentiment@champion").folder


def compare(name: str, encoder: Path, plan: Plan) -> dict[str, Any]:
    """Ours and the peers on the same length distribution, and the share of the roofline that ours reaches."""
    cache = FOLDER / "cache" / name
    cache.mkdir(parents=True, exist_ok=True)
    preparation.prepare(encoder, cache)
    texts = corpus.draw_texts(corpus.load_texts(), plan.rows, seed=1)
    lengths = corpus.count_tokens(texts, encoder)
    whole = corpus.write_table(texts, cache / "reviews.parquet")
    fast, slow = (
        corpus.write_table(
            corpus.draw_stratified(texts, lengths, rows, seed=2), cache / f"subset-{rows}.parquet"
        )
        for rows in (plan.fast_rows, plan.slow_rows)
    )
    print(f"  {sum(lengths) / len(lengths):.0f} tokens a review", file=sys.stderr)
    with ExitStack() as stack:
        contenders: dict[str, Hosted] = {}
        for key, open_ours in OURS.items():
            contenders[key] = stack.enter_context(Hosted(key, open_ours, Trial(encoder, whole, cache)))
        for key, variant in PEERS.items():
            table = slow if key in peers.SLOW else fast
            contenders[key] = stack.enter_context(peers.host(variant, Trial(encoder, table, cache)))
        with MemorySampler(contenders["ours_spark"].pid) as memory:
            measured = measure_interleaved(
                contenders,
                {n: plan.slow_repetitions if n in peers.SLOW else plan.repetitions for n in contenders},
            )
        end_to_end = {name: c.rate_end_to_end(measured[name].median) for name, c in contenders.items()}
    rates = {name: value.median for name, value in measured.items()}
    shape, n_tokens = encoders.read_shape(encoder), sum(lengths)
    gops = roofline.measure(shape)
    seconds = plan.rows / rates["ours_loop"]
    needed = roofline.count_linear_operations(shape, n_tokens)
    done = roofline.count_done_operations(shape, n_tokens, plan.rows)
    start = json.loads((cache / "start.json").read_text())
    return {
        "rows": plan.rows,
        "fast_rows": plan.fast_rows,
        "slow_rows": plan.slow_rows,
        "tokens_per_review": n_tokens / len(lengths),
        "rows_per_second": rates["ours_spark"],
        "rates": rates,
        "spreads": {name: value.spread for name, value in measured.items()},
        "end_to_end": end_to_end,
        "ratios": {name: rates["ours_spark"] / rates[name] for name in PEERS},
        "spark_to_loop": rates["ours_spark"] / rates["ours_loop"],
        "roofline_gops": gops,
        "roofline_share": needed / seconds / (gops * 1e9),
        "roofline_done_share": done / seconds / (gops * 1e9),
        "worker_start_seconds": start["worker_start_seconds"],
        "worker_peak_mb": memory.peaks.worker_mb,
        "worker_peak_pss_mb": memory.peaks.worker_pss_mb,
    }


def measure_skew(plan: Plan) -> dict[str, float]:
    """Seconds of the last task to the median one, on tables cut as badly as tables are."""
    encoder = encoders.build_tiny_bert(FOLDER / "encoders" / "tiny")
    texts = (corpus.load_texts() * 4)[: plan.skew_rows]
    texts = [f"{i} {text}" for i, text in enumerate(texts)]  # equal texts would be scored once
    lengths = corpus.count_tokens(texts, encoder)
    tables = {
        "one_file": corpus.write_one_file(texts, FOLDER / "skew" / "one"),
        "small_files": corpus.write_small_files(texts, FOLDER / "skew" / "small"),
        "long_last": corpus.write_long_last(texts, lengths, FOLDER / "skew" / "long"),
    }
    found = {}
    for name, table in tables.items():
        cache = FOLDER / "cache" / f"skew-{name}"
        cache.mkdir(parents=True, exist_ok=True)
        with Hosted(f"skew_{name}", ours.open_spark, Trial(encoder, table, cache)) as job:
            ratios = []
            for _ in range(2):
                job()
                seconds = json.loads((cache / "ours-off.json").read_text())["task_seconds"]
                ratios.append(seconds[-1] / statistics.median(seconds))
        found[name] = statistics.median(ratios)
        print(f"  {name}: last task to median task {found[name]:.2f}", file=sys.stderr)
    return found


def measure_cascade(tuned: Path) -> dict[str, Any]:
    """The Spark job with the cascade and without it, on two sets of labelled reviews."""
    dated = _measure_pair(tuned, parity.load_dated(), "dated")
    clothing = _measure_pair(tuned, parity.load_clothing(), "clothing")
    return {**dated, "clothing": clothing}


def _measure_pair(tuned: Path, reviews: Any, name: str) -> dict[str, float]:
    cache = FOLDER / "cache" / f"cascade-{name}"
    cache.mkdir(parents=True, exist_ok=True)
    table = cache / "reviews.parquet"
    reviews.to_parquet(table)
    trial = Trial(tuned / "artifacts" / "encoder", table, cache)
    with (
        Hosted("encoder", ours.open_spark, trial) as alone,
        Hosted("cascade", ours.open_spark_cascade, trial) as pair,
    ):
        measured = measure_interleaved({"encoder": alone, "cascade": pair}, 1)
    accuracy = {kind: parity.read_accuracy(cache / f"ours-{kind}", reviews) for kind in ("off", "auto")}
    stages = json.loads((cache / "ours-auto.json").read_text())["stages"]
    return {
        "rows": len(reviews),
        "speedup": measured["cascade"].median / measured["encoder"].median,
        "share_early": stages.get("linear", 0) / len(reviews),
        "accuracy_encoder": accuracy["off"],
        "accuracy_change_points": 100 * (accuracy["auto"] - accuracy["off"]),
    }


def measure_scale() -> dict[str, Any]:
    """Rows a second and peak memory by the size of the table, with an encoder that costs next to nothing."""
    encoder = encoders.build_tiny_bert(FOLDER / "encoders" / "tiny")
    found = {}
    for rows in SCALE_ROWS:
        cache = FOLDER / "cache" / f"scale-{rows}"
        cache.mkdir(parents=True, exist_ok=True)
        table = FOLDER / "scale" / f"{rows}.parquet"
        if not table.exists():
            corpus.write_replicated(corpus.load_texts(), rows, table)
        job = Hosted(f"scale_{rows}", ours.open_spark, Trial(encoder, table, cache))
        with job, MemorySampler(job.pid) as memory:
            rate = job()
        found[str(rows)] = {
            "rows_per_second": rate,
            "driver_peak_mb": memory.peaks.driver_mb,
            "worker_peak_mb": memory.peaks.worker_mb,
        }
        print(f"  {rows:,} rows: {found[str(rows)]}", file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    sys.exit(main())
