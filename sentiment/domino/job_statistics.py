"""Write the figures of a scoring run for Domino's Jobs dashboard, as the flat JSON file `dominostats.json`.

Usage: `python -m sentiment.domino.job_statistics SUMMARY TARGET`. Domino reads the file from the working
directory of the job.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError, MissingInputError, SchemaMismatchError, SentimentError, UnreadableFileError
from ..process.files import replace_file

Stat = str | int | float

_COUNTS = ("input_rows", "scored_rows", "rejected_rows", "skipped_rows")


def flatten_summary(summary: Mapping[str, Any]) -> dict[str, Stat]:
    """Return figures of a summary of `jobs/score_reviews.py`, by the names that the dashboard shows.

    Counts are rows. Shares are in [0, 1]: `share LABEL` of the scored rows for each label, `share rejected`
    of the scored and rejected rows; without such rows there is no share. Each reject reason in the summary
    has a key `rejected: <reason>`. Raises SchemaMismatchError if a figure is missing or has another type.
    """
    counts = {key: _figure(summary, key, int) for key in _COUNTS}
    labels = _figure(summary, "labels", dict)
    reasons = _figure(summary, "rejected_by_reason", dict)
    stats: dict[str, Stat] = {key.replace("_", " "): rows for key, rows in counts.items()}
    stats |= {f"rejected: {reason}": rows for reason, rows in sorted(reasons.items())}
    scored, rejected = counts["scored_rows"], counts["rejected_rows"]
    if scored:
        names = _figure(summary, "label_names", list, tuple)
        for label in names:
            # "share rejected" is the share of rejects.
            name = "share of label rejected" if label == "rejected" else f"share {label}"
            stats[name] = round(labels.get(label, 0) / scored, 4)
    if scored + rejected:
        stats["share rejected"] = round(rejected / (scored + rejected), 4)
    stats["reviews per second"] = round(_figure(summary, "rows_per_second", int, float), 1)
    stats["seconds"] = round(_figure(summary, "seconds", int, float), 1)
    stats["model version"] = _figure(summary, "model_version", str)
    if summary.get("batch") is not None:
        stats["batch"] = Path(_figure(summary, "batch", str)).name
    return stats


def write_stats(summary_path: Path, target: Path) -> None:
    """Write the figures of a summary file to `target`, completely or not at all.

    Raises an InputError if the summary cannot be used, ConfigError if `target` cannot be written.
    """
    stats = flatten_summary(_load_summary(summary_path))
    try:
        replace_file(target, f"{json.dumps(stats, indent=2)}\n".encode())
    except OSError as error:
        raise ConfigError(f"target: cannot write {target} ({error.strerror})") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Write a target from a summary, and return an exit code (see `sentiment.errors`)."""
    parser = argparse.ArgumentParser(description="Write a run's figures for Domino's Jobs dashboard.")
    parser.add_argument("summary", type=Path, metavar="SUMMARY", help="file from score_reviews.py --summary")
    parser.add_argument("target", type=Path, metavar="TARGET", help="dominostats.json to write")
    arguments = parser.parse_args(argv)
    try:
        write_stats(arguments.summary, arguments.target)
    except SentimentError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _load_summary(path: Path) -> dict[str, Any]:
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingInputError(
            f"no summary at {path} ({error.strerror}); run jobs/score_reviews.py with --summary {path}"
        ) from error
    except ValueError as error:  # invalid JSON or UTF-8
        raise UnreadableFileError(f"{path}: expected a summary as JSON ({type(error).__name__})") from error
    if not isinstance(summary, dict):
        raise SchemaMismatchError(f"{path}: expected a JSON object, found a {type(summary).__name__}")
    return summary


def _figure(summary: Mapping[str, Any], key: str, *kinds: type) -> Any:
    value = summary.get(key)
    if not isinstance(value, kinds):
        expected = " or ".join(kind.__name__ for kind in kinds)
        found = type(value).__name__ if key in summary else "nothing"
        raise SchemaMismatchError(
            f"summary: expected {key} as {expected}, found {found}; pass the summary of jobs/score_reviews.py"
        )
    return value


if __name__ == "__main__":
    sys.exit(main())
