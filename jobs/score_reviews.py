"""Score a table of reviews: `spark-submit jobs/score_reviews.py --input … --output …`."""

import dataclasses
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from sentiment.cli import Reporter, make_table, run_job, tell_stderr
from sentiment.config import SAMPLE, ScoreConfig
from sentiment.errors import ConfigError
from sentiment.schema import BOTH, LINEAR, REJECT_REASONS

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

HOME = Path(__file__).resolve().parents[1]
_OTHER_ROWS = {
    "superseded_rows": "superseded: the chunk has a later row with the same id",
    "skipped_rows": "skipped: scored or rejected by an earlier run",
    "waiting_rows": "waiting for a later run",
}


def run(config: ScoreConfig, report: Reporter) -> dict[str, Any]:
    """Lock the store, score the pending rows, and return the summary."""
    from sentiment.tables.storage import load_options
    from sentiment.tables.store.opening import open_store, peek_store
    from sentiment.tables.uris import check_apart

    check_paths(config.input, config.output)
    check_apart(config.input, config.output)
    options = load_options(config.storage_options)
    with (peek_store if config.dry_run else open_store)(config.output, options) as store:
        # Imported after the lock is taken: a run that finds the store in use then ends at once.
        from sentiment.models import registry
        from sentiment.tables.runs import run_scoring
        from sentiment.tables.session import build_session

        registry.use_tracking(HOME)
        if config.input == SAMPLE:
            from sentiment.training.data.sample import write_sample_table

            config = dataclasses.replace(config, input=str(write_sample_table()))

        def start_session() -> "SparkSession":
            return build_session("score_reviews", report.debug, config.worker_timeout_seconds)

        return run_scoring(config, store, start_session, datetime.now(UTC), report).as_dict()


def check_paths(*paths: str) -> None:
    """Raise ConfigError if spark-submit may have put `?` for letters of a path, as without a locale."""
    if "PYSPARK_GATEWAY_PORT" not in os.environ or not any("?" in path for path in paths):
        return
    from pyspark import SparkContext

    SparkContext._ensure_initialized()
    encoding = str(SparkContext._jvm.System.getProperty("sun.jnu.encoding"))  # type: ignore[union-attr]
    if encoding.upper() != "UTF-8":
        raise ConfigError(
            f"input, output: a path has a `?`, and Java decodes arguments as {encoding}, so letters may be "
            "lost; set LC_ALL=C.UTF-8 before spark-submit"
        )


def show(summary: Mapping[str, Any]) -> list[Table]:
    """Return a table that counts the rows by result, and a table of the quarantined files, if any."""
    if summary["dry_run"]:
        return [_show_pending(summary)]
    rows = [("rows read", f"{summary['input_rows']:,}"), ("scored", f"{summary['scored_rows']:,}")]
    rows += [(f"  {label}", f"{count:,}") for label, count in sorted(summary["labels"].items())]
    if summary["unsure_rows"]:
        rows += [("  unsure: the score is below min_score", f"{summary['unsure_rows']:,}")]
    if summary["repeated_texts"]:
        share = summary["repeated_texts"] / summary["scored_rows"]
        rows += [(f"  text scored once for several rows ({share:.1%})", f"{summary['repeated_texts']:,}")]
    deciders = {LINEAR: "the linear stage", BOTH: "both stages together"}
    rows += [
        (f"  decided by {name}", f"{summary['stages'][stage]:,}")
        for stage, name in deciders.items()
        if summary["stages"].get(stage)
    ]
    rows += [("rejected", f"{summary['rejected_rows']:,}")]
    rows += [
        (f"  {reason}: {REJECT_REASONS[reason]}", f"{count:,}")
        for reason, count in sorted(summary["rejected_by_reason"].items())
    ]
    rows += [(text, f"{summary[key]:,}") for key, text in _OTHER_ROWS.items() if summary[key]]
    rows += [
        ("reviews/s while scoring", f"{summary['rows_per_second']:,.1f}"),
        ("reviews per core-hour", _show_number(summary["rows_per_core_hour"])),
        ("core-seconds per 1,000 reviews", _show_number(summary["core_seconds_per_1000_rows"])),
        ("seconds in total", f"{summary['seconds']:,.1f}"),
        ("engine", ", ".join(summary["engines"]) or "-"),
        ("instruction set", ", ".join(summary["instruction_sets"]) or "-"),
        ("Python workers / model loads", f"{summary['python_workers']} / {summary['model_loads']}"),
        ("model version", summary["model_version"]),
        ("batch", "\n".join(summary["batches"]) or "none: nothing was pending"),
    ]
    return [make_table("Scored reviews", ("", summary["output"]), rows), *_show_bad_files(summary)]


def _show_number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _show_pending(summary: Mapping[str, Any]) -> Table:
    rows = [
        ("input rows", f"{summary['input_rows']:,}"),
        ("pending rows, at most", f"{summary['pending_rows']:,}"),
        ("input files", f"{summary['input_files']:,}"),
        ("files with pending rows", f"{summary['pending_files']:,}"),
        ("unusable files", f"{len(summary['bad_files']):,}"),
        ("model version", summary["model_version"]),
    ]
    return make_table("Pending rows (dry run: nothing was scored)", ("", summary["output"]), rows)


def _show_bad_files(summary: Mapping[str, Any]) -> list[Table]:
    rows = [(bad["path"], bad["reason"].removeprefix(f"{bad['path']}: ")) for bad in summary["bad_files"]]
    return [make_table("Quarantined files", ("file", "reason"), rows)] if rows else []


def tell(line: str) -> None:
    """Print a line on stderr; under spark-submit, on the stderr of spark-submit."""
    from sentiment.tables.session import tell_submitter

    if not tell_submitter(line):
        tell_stderr(line)


if __name__ == "__main__":
    sys.exit(run_job(ScoreConfig, HOME / "conf" / "score.yaml", run, show, tell=tell))
