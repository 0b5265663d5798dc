"""Measure the sections of `make bench`; each function returns the figures of one section."""

import statistics
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from .. import WORK
from ..measuring import corpus, encoders, results
from ..measuring.corpus import Table
from ..measuring.hosting import Hosted, Open
from ..measuring.interleaving import fit_rows, measure_interleaved
from ..measuring.processes import sample_memory
from . import contenders, loop_peers, roofline, spark_peers
from .contenders import Trial, measure_rate

OURS, LOOP, ONNX = "ours_spark", "ours_loop", "onnxruntime_int8"
CONTENDERS: Mapping[str, Open] = {
    OURS: contenders.open_spark,
    LOOP: contenders.open_loop,
    "mlflow_spark_udf": spark_peers.open_mlflow_spark_udf,
    "hf_pipeline_udf": spark_peers.open_hf_pipeline_udf,
    "predict_batch_udf": spark_peers.open_predict_batch_udf,
    "torch_sorted": loop_peers.open_torch_sorted,
    ONNX: loop_peers.open_onnxruntime_int8,
}
# These are several times slower than the others, and measured only once.
SLOW = ("mlflow_spark_udf", "hf_pipeline_udf", "predict_batch_udf", "torch_sorted")
SCALE_ROWS = (10_000, 100_000, 1_000_000)
_PROBE_ROWS = 16
_CASCADE_PROBE_ROWS = 500
_CASCADE_PASSES = 4
_REPETITIONS_SHARE = 0.3


@dataclass(frozen=True)
class Plan:
    """Limit the amount of work, for a machine of any speed.

    The Spark job scores `rows` reviews, or fewer if a pass would exceed `spark_seconds`. Every other
    contender scores as many of `most_rows` reviews as it can in its `seconds`. A section that cannot end
    before `limit_seconds` is not run.
    """

    name: str
    rows: int
    spark_seconds: float
    most_rows: Mapping[str, int]
    seconds: Mapping[str, float]
    repetitions: int
    skew_rows: int
    cascade_rows: int
    parity_rows: int
    limit_seconds: float


FULL = Plan(
    name=results.FULL,
    rows=7_000,
    spark_seconds=float("inf"),
    most_rows={LOOP: 7_000, ONNX: 1_600} | dict.fromkeys(SLOW, 96),
    seconds={LOOP: 40, ONNX: 15} | dict.fromkeys(SLOW, 12),
    repetitions=3,
    skew_rows=4_000,
    cascade_rows=8_000,
    parity_rows=10_000,
    limit_seconds=27 * 60,
)
QUICK = Plan(
    name=results.QUICK,
    rows=960,
    spark_seconds=40,
    most_rows={LOOP: 960, ONNX: 240} | dict.fromkeys(SLOW, 96),
    seconds={LOOP: 12, ONNX: 6} | dict.fromkeys(SLOW, 8),
    repetitions=1,
    skew_rows=2_000,
    cascade_rows=600,
    parity_rows=300,
    limit_seconds=4.5 * 60,
)


def compare(name: str, encoder: Path, plan: Plan, seconds: float) -> dict[str, Any]:
    """Compare ours and the peers on the same length distribution, and ours with the roofline.

    Repetitions continue while they need only a part of `seconds`, the time that is left.
    """
    cache = WORK / "cache" / name
    texts = corpus.draw_texts(corpus.load_texts(), plan.rows, seed=1)
    lengths = corpus.count_tokens(texts, encoder)

    def draw(rows: int) -> Table:
        chosen = texts if rows == len(texts) else corpus.draw_stratified(texts, lengths, rows, seed=2)
        return corpus.write_table(chosen, cache / f"reviews-{rows}.parquet")

    trial = Trial(encoder, cache, draw(_PROBE_ROWS))
    with ExitStack() as stack:
        hosts = {key: stack.enter_context(trial.host(key, of)) for key, of in CONTENDERS.items()}
        probes = {key: measure_rate(host, trial.few) for key, host in hosts.items() if key != OURS}
        rows = {
            key: fit_rows(rate, plan.seconds[key], min(plan.most_rows[key], len(texts)))
            for key, rate in probes.items()
        }
        # Estimated from the loop, because with few reviews the Spark job has mostly fixed costs.
        rows[OURS] = fit_rows(probes[LOOP], plan.spark_seconds, len(texts), least=240)
        passes = {key: partial(measure_rate, host, draw(rows[key])) for key, host in hosts.items()}
        repetitions = {key: 1 if key in SLOW else plan.repetitions for key in CONTENDERS}
        with sample_memory(hosts[OURS].pid) as memory:
            measured = measure_interleaved(passes, repetitions, seconds * _REPETITIONS_SHARE)
        rates = {key: statistics.median(taken) for key, taken in measured.items()}
    shape, tokens = encoders.read_shape(encoder), statistics.mean(lengths)
    gops = roofline.measure_limit(shape, cache / "logs", plan.repetitions)
    per_second = rates[LOOP] / (gops * 1e9)
    return {
        "rows": rows,
        "repetitions": {key: len(taken) for key, taken in measured.items()},
        "tokens_per_review": tokens,
        "rates": rates,
        "spreads": {key: (max(taken) - min(taken)) / rates[key] for key, taken in measured.items()},
        "spark_to_loop": rates[OURS] / rates[LOOP],
        "roofline_gops": gops,
        "roofline_share": roofline.count_linear_operations(shape, tokens) * per_second,
        "roofline_done_share": roofline.count_done_operations(shape, tokens, 1) * per_second,
        "worker_start_seconds": contenders.read_summary(trial, "start")["worker_start_seconds"],
        **memory,
    }


def measure_skew(plan: Plan) -> dict[str, float]:
    """Return the ratio of the last task's seconds to the median, on tables with badly sized files."""
    encoder = encoders.build_tiny_bert(WORK / "encoders" / "tiny")
    texts = (corpus.load_texts() * 4)[: plan.skew_rows]
    texts = [f"{i} {text}" for i, text in enumerate(texts)]  # equal texts would be scored once
    lengths = dict(zip(texts, corpus.count_tokens(texts, encoder), strict=True))
    sorted_texts = sorted(texts, key=lengths.__getitem__)
    home = WORK / "skew" / str(len(texts))
    tables = {
        "one_file": corpus.write_files(texts, home / "one", files=1),
        "small_files": corpus.write_files(texts, home / "small", files=1_000),
        "long_last": corpus.write_files(sorted_texts, home / "long", files=8),
    }
    trial = Trial(encoder, WORK / "cache" / "skew", _write_few(texts))
    found = {}
    with trial.host("skew", contenders.open_spark) as job:
        for name, table in tables.items():
            ratios = []
            for _ in range(2):
                job.ask(table)
                seconds = contenders.read_summary(trial, "ours-off")["task_seconds"]
                ratios.append(seconds[-1] / statistics.median(seconds))
            found[name] = statistics.median(ratios)
            say(f"{name}: last task to median task {found[name]:.2f}")
    return found


def measure_cascade(tuned: Path, plan: Plan, seconds: float) -> dict[str, Any]:
    """Compare the Spark job with and without the cascade on two sets of labelled reviews, once each."""
    encoder = tuned / "artifacts" / "encoder"
    dated = corpus.load_labelled(corpus.DATED)
    cache = WORK / "cache" / "cascade"
    trial = Trial(encoder, cache, _write_few(dated["text"].tolist()))
    with (
        trial.host("encoder", contenders.open_spark) as alone,
        trial.host("cascade", contenders.open_spark, "auto") as pair,
    ):
        probe = _write_reviews(dated.head(_CASCADE_PROBE_ROWS), cache / "probe.parquet")
        rate = measure_rate(alone, probe)
        rows = fit_rows(rate, seconds / _CASCADE_PASSES, plan.cascade_rows, least=probe.rows)
        return {
            name: _compare_stages(trial, alone, pair, reviews.head(rows))
            for name, reviews in {"dated": dated, "clothing": corpus.load_labelled(corpus.CLOTHING)}.items()
        }


def _compare_stages(trial: Trial, alone: Hosted, pair: Hosted, reviews: pd.DataFrame) -> dict[str, float]:
    table = _write_reviews(reviews, trial.cache / "reviews.parquet")
    passes = {"encoder": partial(measure_rate, alone, table), "cascade": partial(measure_rate, pair, table)}
    measured = measure_interleaved(passes, dict.fromkeys(passes, 1))
    truth = reviews.set_index("review_id")["label"].map({0: "negative", 1: "positive"})
    accuracies = []
    for kind in ("off", "auto"):
        labels = pd.read_parquet(trial.cache / f"ours-{kind}").set_index("review_id")["label"]
        accuracies.append(float((labels.reindex(truth.index) == truth).mean()))
    stages = contenders.read_summary(trial, "ours-auto")["stages"]
    return {
        "rows": len(reviews),
        "speedup": measured["cascade"][0] / measured["encoder"][0],
        "share_early": stages.get("linear", 0) / len(reviews),
        "accuracy_encoder": accuracies[0],
        "accuracy_change_points": 100 * (accuracies[1] - accuracies[0]),
    }


def measure_scale() -> dict[str, Any]:
    """Return rows per second and peak memory by the size of the table, with a very small encoder."""
    encoder = encoders.build_tiny_bert(WORK / "encoders" / "tiny")
    few = _write_few(corpus.load_texts())
    found = {}
    for rows in SCALE_ROWS:
        table = corpus.write_replicated(corpus.load_texts(), rows, WORK / "scale" / f"{rows}.parquet")
        job = Trial(encoder, WORK / "cache" / f"scale-{rows}", few).host("scale", contenders.open_spark)
        with job, sample_memory(job.pid) as memory:
            rate = measure_rate(job, table)
        found[str(rows)] = {"rows_per_second": rate, **memory}
        say(f"{rows:,} rows: {found[str(rows)]}")
    return found


def say(line: str) -> None:
    """Print a line of progress on stderr."""
    print(f"  {time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _write_few(texts: list[str]) -> Table:
    return corpus.write_table(texts[:_PROBE_ROWS], WORK / "few.parquet")


def _write_reviews(reviews: pd.DataFrame, path: Path) -> Table:
    path.parent.mkdir(parents=True, exist_ok=True)
    reviews.to_parquet(path)
    return Table(path, len(reviews))
