"""Score what is new, compare it with the nights before, report and alert: `python jobs/nightly.py --help`."""

import datetime
import functools
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from sentiment.cli import Reporter, Terminated, make_table, run_job, tell_stderr
from sentiment.config import NightlyConfig, ScoreConfig, config_fields
from sentiment.errors import ConfigError, InputError, SentimentError, StoreLockedError
from sentiment.process.locks import hold_lock

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from sentiment.monitoring.night import Champion, Doors, NightResult
    from sentiment.monitoring.published import Includes
    from sentiment.monitoring.realised import Labelled
    from sentiment.tables.store.protocol import Store

HOME = Path(__file__).resolve().parents[1]
ALERT_VARIABLE = "SENTIMENT_ALERT_TO"
_LOCK = "_lock"


def run(config: NightlyConfig, report: Reporter) -> dict[str, Any]:
    """Run the night, or each night of a range, and return a summary of the last one and a line for each."""
    from sentiment.models import registry
    from sentiment.monitoring import alerts, night, quality, steps, telemetry
    from sentiment.process.telemetry import open_telemetry

    registry.use_tracking(HOME)
    channels = alerts.open_channels(config.alert_to or os.environ.get(ALERT_VARIABLE, ""), HOME)
    limits = quality.Limits(
        config.max_volume_ratio,
        config.max_freshness_hours,
        config.alert_reject_share,
        config.max_repeated_share,
        config.max_accuracy_drop,
    )
    folder = choose_folder(config)
    results = []
    sender = open_telemetry(telemetry.SERVICE)
    with _hold(folder), tempfile.TemporaryDirectory(prefix="sentiment-nightly-") as scratch:
        try:
            for day in list_days(config.date, datetime.datetime.now(datetime.UTC).date()):
                report(f"night of {day}", 0, 1)
                doors = open_doors(config, day, Path(scratch))
                runner = steps.Steps(tell_stderr, open_span=sender.open_span)
                with sender.open_span("night", {"night": day.isoformat()}):
                    results.append(night.run_night(day, folder, doors, channels, limits, runner))
                telemetry.send_metrics(sender, results[-1].row)
        except SentimentError as error:
            # The earlier nights of a range are done.
            error.summary = summarise(results, folder) if results else None
            raise
        finally:
            sender.close()
    summary = summarise(results, folder)
    failed = next((result.failure for result in results if result.failure is not None), None)
    if failed is not None:
        raise InputError(f"step score: {failed}", summary)
    return summary


def list_days(date: str | None, today: datetime.date) -> list[datetime.date]:
    """Return the nights of `--date`, in order; today without it."""
    first, _, last = (date or today.isoformat()).partition("..")
    start, stop = datetime.date.fromisoformat(first), datetime.date.fromisoformat(last or first)
    return [start + datetime.timedelta(days=number) for number in range((stop - start).days + 1)]


def open_doors(config: NightlyConfig, day: datetime.date, scratch: Path) -> "Doors":
    """Return what the steps of a night need of registry, store, Spark and MLflow."""
    from sentiment.job_process import run_job_process
    from sentiment.monitoring.batches import list_published
    from sentiment.monitoring.night import Doors
    from sentiment.monitoring.night_run import log_night
    from sentiment.monitoring.observation import SETTINGS
    from sentiment.monitoring.published import observe
    from sentiment.tables.uris import resolve_uri

    def start(program: Sequence[str], champion: "Champion", *further: str) -> dict[str, Any]:
        arguments = [*list_arguments(config, day), "--model_uri", champion.uri, *further]
        command = [*program, str(HOME / "jobs" / "score_reviews.py"), *arguments]
        return run_job_process(command, scratch, tell_stderr)

    store = resolve_uri(config.output)
    settings = {name: getattr(config, name) for name in SETTINGS if getattr(config, name) is not None}
    return Doors(
        store=store,
        resolve=lambda: resolve_champion(config),
        # Nothing is scored, so that Spark is not needed.
        plan=lambda champion: start([sys.executable], champion, "--dry_run"),
        score=lambda champion: start([_find_spark_submit()], champion),
        list_names=lambda: {batch.number: batch.name for batch in list_published(open_for_reading(config))},
        observe=lambda champion, includes: observe(
            day,
            datetime.datetime.now(datetime.UTC),
            (champion.uri, champion.version),
            list_published(open_for_reading(config)),
            includes,
            settings,
        ),
        label=functools.partial(label, config, config.labels) if config.labels else None,
        log=lambda night, row, page: log_night(config.experiment, store, night, row, page),
    )


def list_arguments(config: NightlyConfig, day: datetime.date) -> list[str]:
    """Return the arguments of the scoring job: all values that differ from its defaults, and the day.

    The job reads no file, so that it has the values of this job, which has read conf/score.yaml too.
    """
    values = {
        field.name: getattr(config, field.name)
        for field in config_fields(ScoreConfig)
        if field.name != "model_uri" and getattr(config, field.name) != field.default
    }
    if config.date and config.date_col:
        values |= {"since": day.isoformat(), "until": (day + datetime.timedelta(days=1)).isoformat()}
    words = [word for name, value in values.items() for word in (f"--{name}", str(value))]
    return ["--conf", os.devnull, *words]


def choose_folder(config: NightlyConfig) -> Path:
    """Return the monitoring folder, by default next to the store; raise ConfigError for one in a bucket."""
    from sentiment.monitoring.history import find_default_folder

    if config.monitoring:
        return Path(config.monitoring).absolute()
    beside = find_default_folder(config.output)
    if beside is None:
        raise ConfigError(
            f"monitoring: the scores are at {config.output}, and results of nights need a mounted folder; "
            "pass --monitoring"
        )
    return beside


def resolve_champion(config: NightlyConfig) -> "Champion":
    """Find and verify the model, and read the profile of its test set, if it has one."""
    from sentiment.evaluation.profile import PROFILE_FILE, load_profile
    from sentiment.models import artifacts, copies, loading, registry
    from sentiment.monitoring.night import Champion

    model = registry.resolve_model(config.model_uri)
    try:
        allowed = config.allow_unverified or loading.allows_unverified()
        loading.check_model(model, allowed, config.verify_key or loading.find_verify_key())
        path = artifacts.find_artifact(model.folder, PROFILE_FILE)
        return Champion(model.pinned_uri, model.version, load_profile(path) if path else None)
    finally:
        copies.release(model.folder)


def open_for_reading(config: NightlyConfig) -> "Store":
    """Return the store of the scores, without its lock."""
    from sentiment.tables.storage import load_options
    from sentiment.tables.store.opening import find_store

    return find_store(config.output, load_options(config.storage_options))


def label(
    config: NightlyConfig, path: str, nights: "Mapping[datetime.date, Includes]"
) -> "tuple[dict[datetime.date, Labelled], dict[str, str]]":
    """Return the scored rows of each night that have a label in `path`, and why some are missing."""
    from sentiment.monitoring.late_labels import label_store

    find = functools.partial(find_truth, config)
    return label_store(open_for_reading(config), path, config.label_col, find, nights)


def find_truth(
    config: NightlyConfig, labels: "pa.Table", ids: Sequence[str], label_names: Sequence[str]
) -> "pd.DataFrame":
    """Return the id columns and `truth`: the label of a model that each value means, or null."""
    import pandas as pd

    from sentiment.training.data.labels import clean_label
    from sentiment.training.data.model_labels import number_for_model

    column = config.label_col
    values = [clean_label(value) for value in labels[column].to_pylist()]
    found = number_for_model({"labels": Counter(values)}, column, label_names, label_map=config.label_map)
    names = {value: found.names[i] for value, i in found.ids.items() if i is not None}
    rows: pd.DataFrame = labels.select(list(ids)).to_pandas()
    return rows.assign(truth=pd.Series(values, dtype=object).map(names))


def summarise(results: "Sequence[NightResult]", folder: Path) -> dict[str, Any]:
    """Return the summary of the scoring job, and what each night came to."""
    last = results[-1]
    return {
        **last.scoring,
        "dry_run": False,
        "warnings": [line for result in results for line in (*result.scoring["warnings"], *result.warnings)],
        "monitoring": str(folder),
        "report": str(last.report),
        "nights": [
            {
                **result.row,
                "pending_rows": result.scoring["pending_rows"],
                "raised": [alert.message for alert in result.alerts],
            }
            for result in results
        ],
    }


def show(summary: Mapping[str, Any]) -> list[Table]:
    """Return a table of the nights, and one of the steps of the last night."""
    rows = [
        (
            night["night"],
            f"{night['input_rows']:,}",
            f"{night['pending_rows']:,}" if night["pending_rows"] else "nothing was pending",
            f"{night['rejected_rows']:,}",
            _show_share(night["estimated_accuracy"]),
            f"{night['drifted_figures']:,}",
            "\n".join(night["raised"]) or "none",
        )
        for night in summary["nights"]
    ]
    columns = ("night", "rows", "pending", "rejects", "estimated accuracy", "drifted figures", "alerts")
    steps = [(name, f"{seconds:,.1f}") for name, seconds in summary["nights"][-1]["steps"].items()]
    return [make_table("Nights", columns, rows), make_table("Steps", ("", "seconds"), steps)]


def _show_share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _find_spark_submit() -> str:
    found = shutil.which("spark-submit") or shutil.which(
        "spark-submit", path=str(Path(sys.executable).parent)
    )
    if found is None:
        raise ConfigError(
            "spark-submit is not on PATH; install sentiment[spark], or activate its environment"
        )
    return found


@contextmanager
def _hold(folder: Path) -> Iterator[None]:
    """Hold the lock of the monitoring folder. Raises StoreLockedError, ConfigError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with hold_lock(folder / _LOCK, wait_seconds=0):
            yield
    except TimeoutError as error:
        raise StoreLockedError(
            f"{folder}: another nightly job is running; wait until it has ended"
        ) from error


def _terminate(number: int, frame: object) -> None:
    raise Terminated("terminated; run the night again, which goes on where this run ended")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminate)
    conf = HOME / "conf"
    sys.exit(run_job(NightlyConfig, conf / "nightly.yaml", run, show, base_conf=conf / "score.yaml"))
