"""Fine-tune an encoder on labelled reviews and register it: `python jobs/finetune.py --help`."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from sentiment.cli import Reporter, make_table, run_job
from sentiment.config import FinetuneConfig

HOME = Path(__file__).resolve().parents[1]


def run(config: FinetuneConfig, report: Reporter) -> dict[str, Any]:
    """Set up tracking, fine-tune, and return the summary."""
    # Idle OpenMP threads sleep instead of spinning, which takes time from other processes. OpenMP reads this
    # when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from sentiment.models import registry

    registry.use_tracking(HOME)  # before the import of torch, which takes seconds
    from sentiment.training.finetuning import UNREGISTERED, finetune
    from sentiment.training.registration import register_kept

    if config.register is not None:
        report("registering", 0, 1, config.register)
        return register_kept(Path(config.register))
    return finetune(config, report, HOME / UNREGISTERED).as_dict()


def show(summary: Mapping[str, Any]) -> list[Table]:
    """Return two tables: the test results next to the baselines, and facts about the model."""
    test, baselines, data = summary["test"], summary["baselines"], summary["data"]
    rows = [
        (name, f"{figures['accuracy']:.3f}", f"{figures['f1_weighted']:.3f}", roc_auc)
        for name, figures, roc_auc in (
            (f"{summary['base_model']}, fine-tuned", test, f"{test['roc_auc']:.3f}"),
            ("majority class", baselines["majority"], "-"),
            ("VADER lexicon", baselines["lexicon"], "-"),
        )
    ]
    facts = [
        ("model", summary["model_uri"] + (f" @{summary['alias']}" if summary["alias"] else "")),
        (
            "reviews",
            f"{data['train_rows']:,} train, {data['validation_rows']:,} validation, "
            f"{data['test_rows']:,} test",
        ),
        (
            "not used",
            f"{data['dropped_label_rows']:,} without label, {data['dropped_text_rows']:,} without text, "
            f"{data['leaked_rows']:,} also in another split",
        ),
        ("F1 by label", f"negative {test['f1_negative']:.3f}, positive {test['f1_positive']:.3f}"),
        ("CPU engine", summary["engine"]),
        ("cascade", _describe_cascade(summary["cascade"])),
        ("speed", f"{summary['train_samples_per_second']:.1f} reviews/s on {summary['device']}"),
        ("time", f"{summary['seconds']:.0f} s"),
        *(("note", note) for note in summary["notes"]),
    ]
    title = f"Test set of {data['test_rows']:,} reviews"
    return [
        make_table(title, ("", "accuracy", "F1 weighted", "ROC-AUC"), rows),
        make_table("Fine-tuned", ("", summary["dataset"]), facts),
    ]


def _describe_cascade(cascade: dict[str, Any] | None) -> str:
    if cascade is None:
        return "off"
    if cascade["threshold"] is None:
        return f"off: no threshold was safe on {cascade['rows']:,} validation reviews"
    share, threshold = cascade["share_early"], cascade["threshold"]
    return f"the linear stage decides {share:.0%} of reviews (threshold {threshold:g})"


if __name__ == "__main__":
    sys.exit(run_job(FinetuneConfig, HOME / "conf" / "finetune.yaml", run, show))
