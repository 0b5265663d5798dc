"""Judge a challenger next to the champion and move the alias: `python jobs/promote.py --help`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from sentiment.cli import Reporter, make_table, naming_options, run_job
from sentiment.config import FinetuneConfig, GatesConfig, PromoteConfig, load_config
from sentiment.errors import AmbiguousInputError, ConfigError, SentimentError
from sentiment.schema import split_columns

if TYPE_CHECKING:
    from sentiment.evaluation.contenders import LoadOptions
    from sentiment.models.ledger import Ledger
    from sentiment.models.registry import ModelReference
    from sentiment.training.data.labelled_rows import LabelledRows

HOME = Path(__file__).resolve().parents[1]
# The options of this job for those of others that use the same modules.
_OPTIONS = {"--model_uri": "--challenger", "--dataset_name": "--test"}
_PASSED = {True: "passed", False: "FAILED", None: "not judged"}
_OUTCOMES = {
    "promoted": "the alias moved to the challenger",
    "refused": "refused; the alias stays at the champion",
    "passed": "no gate refuses; a dry run moves nothing",
    "lost": "passed, but the alias moved meanwhile; run again",
    "unchanged": "the challenger is the champion already; nothing was judged, no report written",
    "rolled_back": "the alias moved back",
}


def run(config: PromoteConfig, report: Reporter) -> dict[str, Any]:
    """Judge the challenger, and move the alias if no gate refuses it; or roll back. Return the summary."""
    from sentiment.evaluation import promotion
    from sentiment.evaluation.contenders import LoadOptions
    from sentiment.models import registry

    registry.use_tracking(HOME)
    options = LoadOptions(config.engine, config.allow_unverified, config.verify_key)
    if config.rollback:
        name = config.registered_model_name or FinetuneConfig.registered_model_name
        return promotion.roll_back(name, config.alias, options, config.dry_run)
    with naming_options(_OPTIONS):
        return judge(config, options, report)


def judge(config: PromoteConfig, options: "LoadOptions", report: Reporter) -> dict[str, Any]:
    """Judge the challenger, and move the alias if no gate refuses it; return the summary."""
    from sentiment.evaluation import promotion
    from sentiment.models import registry

    bounds = load_config(GatesConfig, Path(config.gates or HOME / "conf" / "gates.yaml"), {})
    challenger = registry.resolve_model(config.challenger or "")
    name = registry.find_name(challenger.uri)
    if config.registered_model_name not in (None, name):
        raise ConfigError(
            f"registered_model_name: expected {name!r}, the model of the challenger, found "
            f"{config.registered_model_name!r}; leave it out, or pass another --challenger"
        )
    moves = promotion.open_moves(name, config.alias, will_write=not config.dry_run)
    with promotion.naming_settled(moves):
        return _judge(config, options, report, moves, challenger, bounds)


def _judge(
    config: PromoteConfig,
    options: "LoadOptions",
    report: Reporter,
    moves: "Ledger",
    challenger: "ModelReference",
    bounds: GatesConfig,
) -> dict[str, Any]:
    """Judge the challenger against the champion of `moves`; return the summary."""
    from sentiment.evaluation import promotion

    if challenger.version == moves.champion:
        return {**promotion.describe(moves, challenger.pinned_uri), "gates": [], "outcome": "unchanged"}
    from sentiment.training.data import labelled_rows

    report("reading the test reviews", 0, 1)
    rows = labelled_rows.read_labelled_rows(_choose_reading(config), challenger.text_col)
    report("loading the models", 0, 1)
    contest = promotion.open_contest(moves, challenger, options)
    if contest.champion is not None and config.text_col is None:
        _check_text_col(contest.champion.reference, rows)
    judgement = promotion.judge_contest(
        contest,
        lambda labels: labelled_rows.take_sample(
            labelled_rows.number_rows(rows, labels, config.label_scheme, config.label_map),
            config.max_test_samples,
            config.seed,
        ),
        bounds,
        report,
    )
    warnings = []
    if config.report is not None and judgement.reviews is not None:  # also of a challenger that is refused
        report("writing the report", 0, 1)
        try:
            promotion.write_comparison(contest, judgement, Path(config.report))
        except OSError as error:
            warnings.append(f"{config.report}: the report was not written ({error.strerror})")
    try:
        summary = promotion.conclude(contest, judgement, None if config.dry_run else config.experiment)
    except SentimentError as error:
        if error.summary is not None:
            error.summary = {**error.summary, "warnings": warnings}
        raise
    return {**summary, "warnings": warnings}


def _check_text_col(champion: "ModelReference", rows: "LabelledRows") -> None:
    """Raise AmbiguousInputError if the champion was trained on other columns of the file than are read."""
    known = split_columns(champion.text_col or "")
    if known and known != rows.columns.texts and set(known) <= set(rows.available):
        raise AmbiguousInputError(
            f"{rows.files[0]}: the champion was trained on {','.join(known)}, and the challenger's column "
            f"{','.join(rows.columns.texts)} would be read for both; choose with --text_col"
        )


def show(summary: Mapping[str, Any]) -> list[Table]:
    """Return a table of the gates, and one of facts."""
    rows = [
        (gate["name"], _PASSED[gate["is_passed"]], gate["sentence"].removeprefix("not judged: "))
        for gate in summary["gates"]
    ]
    facts = [
        ("outcome", _OUTCOMES[summary["outcome"]]),
        ("alias", summary["alias"]),
        ("champion", summary["champion"] or "none before"),
        *[("move of an earlier run", text) for text in [summary.get("settled")] if text],
        *[(f"accuracy, F1, ECE of the {role}", _show_metrics(m)) for role, m in _list_metrics(summary)],
        *[("accuracy lost", text) for text in _show_difference(summary.get("comparison"))],
        *_show_test(summary.get("test")),
    ]
    tables = [make_table("Gates", ("gate", "", "figure and bound"), rows)] if rows else []
    return [*tables, make_table("Promotion", ("", summary["challenger"]), facts)]


def _choose_reading(config: PromoteConfig) -> FinetuneConfig:
    """Return the settings by which fine-tuning would read the same reviews."""
    return FinetuneConfig(
        dataset_name=config.test or "",
        text_col=config.text_col,
        label_col=config.label_col,
        delimiter=config.delimiter,
        encoding=config.encoding,
        column_names=config.column_names,
    )


def _list_metrics(summary: Mapping[str, Any]) -> list[tuple[str, Mapping[str, float]]]:
    return list(summary.get("metrics", {}).items())


def _show_metrics(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{metrics[name]:.3f}" for name in ("accuracy", "f1_macro", "ece"))


def _show_difference(comparison: Mapping[str, Any] | None) -> list[str]:
    if comparison is None:
        return []
    found = comparison["difference"]
    return [f"{found['value']:.3f}, 95 % interval {found['low']:.3f} to {found['high']:.3f}"]


def _show_test(test: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if test is None:
        return []
    unused = ", ".join(f"{n:,} {reason}" for reason, n in test["unused"].items() if n)
    rows = f"{test['rows']:,} of {', '.join(test['files'])}; not used: {unused or 'none'}"
    return [
        ("test reviews", rows),
        *[("note on a test file", note) for note in test["notes"]],
        *[("test file not used", f"{name}: {reason}") for name, reason in test["unused_files"].items()],
    ]


if __name__ == "__main__":
    sys.exit(run_job(PromoteConfig, HOME / "conf" / "promote.yaml", run, show))
