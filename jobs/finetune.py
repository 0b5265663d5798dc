"""Fine-tune an encoder on labelled reviews and register it: `python jobs/finetune.py --help`.

A run that was killed continues when the same command runs again. `torchrun jobs/finetune.py` uses several
processes.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from sentiment.cli import Reporter, make_table, run_job
from sentiment.config import FinetuneConfig, RegisterConfig
from sentiment.training.processes import get_rank

_BASELINES = {"majority": "majority class", "lexicon": "VADER lexicon"}
HOME = Path(__file__).resolve().parents[1]


def run(config: FinetuneConfig, report: Reporter) -> dict[str, Any]:
    """Set up tracking, fine-tune, and return the summary."""
    # Idle OpenMP threads sleep instead of spinning, which takes time from other processes. OpenMP reads this
    # when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from sentiment.models import registry

    tracking_uri = registry.use_tracking(HOME)  # before the import of torch, which takes seconds
    from sentiment.training.finetuning import UNREGISTERED, FinetuneSummary, finetune
    from sentiment.training.processes import Termination

    if config.checkpoint_dir is None:
        config = replace(config, checkpoint_dir=str(HOME / "var" / "checkpoints"))
    summary: FinetuneSummary | None
    termination = Termination()
    with termination.installed():
        if config.distributor == "spark":
            from sentiment.training.distribution import finetune_on_spark

            summary = finetune_on_spark(config, tracking_uri, HOME / UNREGISTERED, termination)
        else:
            summary = finetune(config, report, termination, HOME / UNREGISTERED)
    if summary is None:
        return {}
    notes = register_drift_baseline(config, summary.model_uri, summary.data_digest, report)
    return replace(summary, warnings=(*summary.warnings, *notes)).as_dict()


def register_only(config: RegisterConfig, report: Reporter) -> dict[str, Any]:
    """Register a model that an earlier run could not register, and return the summary of that run."""
    from sentiment.models import registry

    registry.use_tracking(HOME)
    from sentiment.training.registration import register_kept

    report("registering", 0, 1, config.register)
    return register_kept(Path(config.register), config.alias, config.registered_model_name)


def register_drift_baseline(
    config: FinetuneConfig, model_uri: str, data_digest: str, report: Reporter
) -> tuple[str, ...]:
    """Register a sample of the test reviews as Domino's baseline for drift, in a Domino run only.

    Test reviews, because a model is surer of the reviews that it was trained on.
    The model is registered already, so a failure is returned as a warning.
    """
    from sentiment.domino import training_sets

    if not training_sets.is_available(os.environ):
        return ()
    from sentiment.models import loading
    from sentiment.models.predictions import list_predictions
    from sentiment.training.data.reading import load_labelled_reviews

    report("registering the training set", 0, 1, "")
    try:
        reviews = load_labelled_reviews(config)  # from the cache of prepared data
        test = reviews.splits.test
        rows = test.sample(min(len(test), training_sets.MAX_ROWS), random_state=config.seed)
        texts = rows["text"].tolist()
        predictions = list_predictions(loading.load_model(model_uri), texts)
        labels = [reviews.label_names[i] for i in rows["label"]]
        described = training_sets.describe_reviews(texts, labels, predictions)
        facts = {"model_uri": model_uri, "data_digest": data_digest, "dataset": config.dataset_name}
        training_sets.register_baseline(described, config.registered_model_name, facts)
    except Exception as error:  # noqa: BLE001 the model is registered, and the client states no errors
        return (f"no Domino training set was registered ({type(error).__name__}); drift has no baseline",)
    return ()


def show(summary: Mapping[str, Any]) -> list[Table]:
    """Return two tables: the test results next to the baselines, and facts about the model."""
    from sentiment.training.data.selection import describe_unused

    test, baselines, data = summary["test"], summary["baselines"], summary["data"]
    measured = [(f"{summary['base_model']}, fine-tuned", test)]
    measured += [(_BASELINES[name], figures) for name, figures in baselines.items()]
    rows = [
        (
            name,
            f"{figures['accuracy']:.3f}",
            f"{figures['f1_weighted']:.3f}",
            f"{figures['roc_auc']:.3f}" if figures.get("roc_auc") is not None else "-",
            f"{figures['ece']:.3f}" if "ece" in figures else "-",
        )
        for name, figures in measured
    ]
    facts = [
        ("model", summary["model_uri"] + (f" @{summary['alias']}" if summary["alias"] else "")),
        (
            "reviews",
            f"{data['train_rows']:,} train, {data['validation_rows']:,} validation, "
            f"{data['test_rows']:,} test",
        ),
        ("labels", ", ".join(f"{value}: {name}" for value, name in data["labels"].items())),
        ("not used", describe_unused(data)),
        *([("unlabelled", _describe_unlabelled(summary))] if summary.get("distillation") else []),
        ("F1 by label", ", ".join(f"{label} {f1:.3f}" for label, f1 in test["f1_by_label"].items())),
        ("calibration", _describe_calibration(summary)),
        ("unsure", _describe_unsure(summary)),
        ("CPU engine", summary["engine"]),
        *([("search", _describe_search(summary["search"]))] if summary["search"] else []),
        ("cascade", _describe_cascade(summary["cascade"])),
        ("speed", f"{summary['train_samples_per_second']:.1f} reviews/s on {summary['device']}"),
        ("time", f"{summary['seconds']:.0f} s"),
        *(("note", note) for note in summary["notes"]),
    ]
    title = f"Test set of {data['test_rows']:,} reviews"
    files = [
        (file["name"], file["split"], f"{file['rows']:,}", "; ".join(file["notes"])) for file in data["files"]
    ]
    files += [(name, "not used", "", reason) for name, reason in data["unused_files"].items()]
    return [
        make_table("Read", ("file", "split", "rows", "notes"), files),
        make_table(title, ("", "accuracy", "F1 weighted", "ROC-AUC", "ECE"), rows),
        make_table("Fine-tuned", ("", summary["dataset"]), facts),
    ]


def _describe_calibration(summary: Mapping[str, Any]) -> str:
    found = f"temperature {summary['temperature']:.2f}, power {summary['power']:.2f}"
    return f"{found}; ECE is the error of the score"


def _describe_unsure(summary: Mapping[str, Any]) -> str:
    if not summary["min_score"]:
        return "none: neither min_score nor target_accuracy was given"
    return f"scores below {summary['min_score']:.3f}: {summary['test']['unsure_share']:.1%} of the test set"


def _describe_unlabelled(summary: Mapping[str, Any]) -> str:
    found = summary["distillation"]
    unused = ", ".join(f"{n:,} {reason}" for reason, n in found["unused"].items())
    only = found["rows_by_encoder"]
    by_encoder = f", {only:,} of them by its encoder only" if only else ""
    return f"a teacher labelled {found['rows']:,} reviews{by_encoder}; not used: {unused or 'none'}"


def _describe_cascade(cascade: dict[str, Any] | None) -> str:
    if cascade is None:
        return "off"
    threshold = cascade["threshold"]
    weight = cascade.get("pool", {}).get("linear", 0.0)  # kept models of earlier versions have no pool
    if threshold is None and not weight:
        return f"off: no threshold was safe on {cascade['rows']:,} validation reviews"
    early = "the linear stage decides no review"
    if threshold is not None:
        early = f"the linear stage decides {cascade['share_early']:.0%} of reviews (threshold {threshold:g})"
    return f"{early}, and counts in other long ones (weight {weight:.2f})" if weight else early


def _describe_search(search: dict[str, Any]) -> str:
    values = ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in search["best"].items()
    )
    best, trials, f1 = search["best_trial"], search["trials"], search["best_f1"]
    return f"trial {best} of {trials}, validation F1 {f1:.3f}: {values}"


def main(argv: Sequence[str]) -> int:
    """Run the task that the arguments name, and return its exit code."""
    # The settings are those of the earlier run, so other arguments are refused and no config file is read.
    if any(argument.partition("=")[0] == "--register" for argument in argv):
        return run_job(RegisterConfig, None, register_only, show, argv)
    conf = HOME / "conf" / "finetune.yaml"
    return run_job(FinetuneConfig, conf, run, show, argv, is_main=get_rank() == 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
