"""Adopt a text classifier that was trained elsewhere: `python jobs/adopt.py --help`."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from sentiment.cli import Reporter, make_table, run_job
from sentiment.config import AdoptConfig

HOME = Path(__file__).resolve().parents[1]


def run(config: AdoptConfig, report: Reporter) -> dict[str, Any]:
    """Set up tracking, adopt, and return the summary."""
    # As in finetune.py.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from sentiment.models import registry

    registry.use_tracking(HOME)  # before the import of torch, which takes seconds
    from sentiment.training.adoption import adopt

    return adopt(config, report).as_dict()


def show(summary: Mapping[str, Any]) -> list[Table]:
    """Return two tables: engines compared with float32, and facts about the model."""
    rows = [
        (
            figures["engine"],
            f"{figures['rows']:,}",
            f"{figures['flip_share']:.2%}",
            f"{figures['mean_shift']:.4f}",
            "-" if figures["accuracy_loss_points"] is None else f"{figures['accuracy_loss_points']:.2f}",
            "yes" if figures["engine"] == summary["engine"] else "no",
        )
        for figures in summary["gate"]
    ]
    columns = ("engine", "texts", "changed labels", "mean shift", "accuracy loss, points", "chosen")
    facts = [
        ("model", _describe_model(summary)),
        ("labels", ", ".join(summary["labels"])),
        ("engine", summary["engine"]),
        ("reason", summary["engine_reason"]),
        ("reads", f"{summary['max_length']} tokens ({summary['truncation']})"),
        ("test", _describe_test(summary)),
        ("licence", summary["licence"]),
        ("base model", summary["base_model"]),
        (
            "size",
            f"{summary['parameters'] / 1e6:,.1f} M parameters ({summary['encoder_type']}), "
            f"{summary['size_bytes'] / 1e6:,.0f} MB",
        ),
        ("time", f"{summary['seconds']:.0f} s"),
        *(("note", note) for note in summary["notes"]),
    ]
    tables = [make_table(f"Compared with float32 on {summary['texts']}", columns, rows)] if rows else []
    return [*tables, make_table("Adopted", ("", summary["model"]), facts)]


def _describe_model(summary: Mapping[str, Any]) -> str:
    if summary["is_dry_run"]:
        return "dry run: nothing was registered"
    return f"{summary['model_uri']}{' @' + summary['alias'] if summary['alias'] else ''}"


def _describe_test(summary: Mapping[str, Any]) -> str:
    test = summary["test"]
    if test is None:
        return "not measured: no labelled reviews"
    return (
        f"accuracy {test['accuracy']:.3f}, F1 weighted {test['f1_weighted']:.3f}, ECE {test['ece']:.3f} at "
        f"temperature {summary['temperature']:.2f}, power {summary['power']:.2f}, "
        f"{test['unsure_share']:.1%} unsure, on {test['rows']:,} reviews"
    )


if __name__ == "__main__":
    sys.exit(run_job(AdoptConfig, HOME / "conf" / "adopt.yaml", run, show))
