"""Score a Parquet table of reviews: `spark-submit jobs/score_reviews.py --input … --output …`."""

import dataclasses
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.table import Table

from sentiment.cli import Reporter, make_table, run_job, tell_stderr
from sentiment.config import ScoreConfig
from sentiment.schema import LINEAR, REJECT_REASONS

HOME = Path(__file__).resolve().parents[1]


def run(config: ScoreConfig, report: Reporter) -> dict[str, Any]:
    """Set tracking, score, and give the summary."""
    from sentiment import registry, sample
    from sentiment.tables.runs import run_scoring
    from sentiment.tables.session import build_session

    registry.use_tracking(HOME)
    if config.input == sample.SAMPLE:
        config = dataclasses.replace(config, input=str(sample.write_sample_table()))
    now = datetime.now(timezone.utc)
    return run_scoring(config, lambda: build_session("score_reviews", report.debug), now, report).as_dict()


def show(summary: dict[str, Any]) -> list[Table]:
    """What became of the rows, and where they are."""
    rows = [("rows read", f"{summary['input_rows']:,}"), ("scored", f"{summary['scored_rows']:,}")]
    rows += [(f"  {label}", f"{count:,}") for label, count in sorted(summary["labels"].items())]
    if summary["stages"].get(LINEAR):
        rows += [("  of these by the linear stage", f"{summary['stages'][LINEAR]:,}")]
    rows += [("rejected", f"{summary['rejected_rows']:,}")]
    rows += [
        (f"  {reason}: {REJECT_REASONS[reason]}", f"{count:,}")
        for reason, count in sorted(summary["rejected_by_reason"].items())
    ]
    if summary["skipped_rows"]:
        rows += [("scored by an earlier run", f"{summary['skipped_rows']:,}")]
    rows += [
        ("reviews/s while scoring", f"{summary['rows_per_second']:,.1f}"),
        ("seconds in all", f"{summary['seconds']:,.1f}"),
        ("engine", ", ".join(summary["engines"]) or "-"),
        ("Python workers / model loads", f"{summary['python_workers']} / {summary['model_loads']}"),
        ("model version", summary["model_version"]),
        ("batch", summary["batch"] or "none: nothing was pending"),
    ]
    return [make_table("Scored reviews", ("", summary["output"]), rows)]


def tell(line: str) -> None:
    """Print a line on stderr, that of spark-submit if this runs under it."""
    from sentiment.tables.session import tell_submitter

    if not tell_submitter(line):
        tell_stderr(line)


if __name__ == "__main__":
    sys.exit(run_job(ScoreConfig, HOME / "conf" / "score.yaml", run, show, tell=tell))
