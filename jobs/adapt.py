"""Adapt an encoder to unlabelled reviews before it is fine-tuned: `python jobs/adapt.py --help`."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from sentiment.cli import Reporter, make_table, run_job
from sentiment.config import AdaptConfig

HOME = Path(__file__).resolve().parents[1]


def run(config: AdaptConfig, report: Reporter) -> dict[str, Any]:
    """Set up tracking, adapt, and return the summary."""
    # As in finetune.py.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from sentiment.models import registry
    from sentiment.training.adaptation import adapt

    registry.use_tracking(HOME)
    return adapt(config, report).as_dict()


def show(summary: Mapping[str, Any]) -> list[Table]:
    """Return a table of facts about the adapted encoder."""
    counts = summary["counts"]
    dropped = ", ".join(f"{n:,} {reason}" for reason, n in counts["dropped"].items())
    head = "came with the encoder" if summary["had_head"] else "new: the encoder had none"
    facts = [
        ("base model", f"{summary['base_model']} ({summary['licence']})"),
        ("head", head),
        ("reviews", f"{counts['train_rows']:,} train, {counts['held_out_rows']:,} held out"),
        ("not used", f"{dropped or 'none dropped'}; {counts['not_sampled']:,} not in the sample"),
        ("sequences", f"{summary['train_sequences']:,} of {summary['max_length']} tokens"),
        ("perplexity", f"{summary['perplexity_before']:.2f} before, {summary['perplexity_after']:.2f} after"),
        ("steps", f"{summary['steps']:,} of {summary['planned_steps']:,} ({summary['stopped']})"),
        ("time", f"{summary['seconds']:.0f} s on {summary['device']}"),
    ]
    return [make_table("Adapted", ("", summary["output"]), facts)]


if __name__ == "__main__":
    sys.exit(run_job(AdaptConfig, HOME / "conf" / "adapt.yaml", run, show))
