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
from sentiment.config import NightlyConfig, ScoreConfig, config_fields, find_monitoring_folder
from sentiment.errors import (
    ConfigError,
    InputError,
    SentimentError,
    StoreError,
    StoreLockedError,
    UnreadableFileError,
)
from sentiment.locks import hold_lock

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from sentiment.monitoring.night import Champion, Doors, NightResult
    from sentiment.monitoring.published import Includes, PublishedBatch
    from sentiment.monitoring.realised import Labelled
    from sentiment.tables.store.protocol import Batch, Store

HOME = Path(__file__).resolve().parents[1]
ALERT_VARIABLE = "SENTIMENT_ALERT_TO"
_LOCK = "_lock"


def run(config: NightlyConfig, report: Reporter) -> dict[str, Any]:
    """Run the night, or each night of a range, and return a summary of the last one and a line for each."""
    from sentiment.models import registry
    from sentiment.monitoring import alerts, night, quality, steps, telemetry
    from sentiment.telemetry import open_telemetry

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
            for day in list_days(config.date, datetime.datetime.now(datetime.timezone.utc).date()):
                report(f"night of {day}", 0, 1)
                doors = open_doors(config, day, Path(scratch))
                runner = steps.Steps(tell_stderr, open_span=sender.open_span)
                with sender.open_span("night", {"night": day.isoformat()}):
                    results.append(night.run_night(day, folder, doors, channels, limits, runner))
                telemetry.send_metrics(sender, results[-1].row)
        except SentimentError as error:
            # Of a range, the nights before are done.
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
    from sentiment.monitoring.night import Doors
    from sentiment.monitoring.night_run import log_night
    from sentiment.monitoring.observation import SETTINGS
    from sentiment.monitoring.published import observe
    from sentiment.tables.storage import resolve_uri

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
            datetime.datetime.now(datetime.timezone.utc),
            (champion.uri, champion.version),
            list_published(open_for_reading(config)),
            includes,
            settings,
        ),
        label=functools.partial(label, config) if config.labels else None,
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
    if config.monitoring:
        return Path(config.monitoring).absolute()
    beside = find_monitoring_folder(config.output)
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


def list_published(store: "Store") -> "list[PublishedBatch]":
    """Return the batches of a store as they were scored, also those that were compacted since."""
    from sentiment.monitoring.published import PublishedBatch
    from sentiment.tables.store.manifests import KNOWN, WAITING

    return [
        PublishedBatch(
            number=manifest.sequence,
            name=f"{manifest.sequence} of {manifest.scored_at}",
            model_uri=manifest.model_uri,
            model_version=manifest.model_version,
            ids=tuple(manifest.id_types),
            label_names=manifest.label_names,
            input_rows=manifest.input_rows - manifest.skipped_rows.get(WAITING, 0),
            scored_rows=manifest.scored_rows,
            known_rows=manifest.skipped_rows.get(KNOWN, 0),
            skipped_rows=sum(manifest.skipped_rows.values()) - manifest.skipped_rows.get(WAITING, 0),
            is_rescore=manifest.consumption.is_rescore,
            inputs=manifest.consumption.inputs,
            bad_files=manifest.bad_files,
            # None in a batch of an earlier version.
            profile=manifest.profile,
            load_rows=functools.partial(load_rows, store, batch, manifest.sequence),
        )
        for batch in store.list_batches()
        for manifest in batch.manifest.origins
    ]


def load_rows(store: "Store", batch: "Batch", number: int) -> "pd.DataFrame":
    """Load scored rows and rejects of one batch from the files that have it, perhaps with others."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from sentiment.schema import SEQUENCE

    files = [file for kind in (False, True) for file in store.list_files([batch], kind)]
    if not files:
        raise StoreError(
            f"{batch.name}: has no files of rows; `python -m sentiment.tables verify` checks a store"
        )
    # Scored rows and rejects have different columns: a value is null where a file has none.
    tables = [file.load() for file in files]
    found = pa.concat_tables(tables, promote_options="default")
    rows: pd.DataFrame = found.filter(pc.equal(found[SEQUENCE], number)).to_pandas()
    return rows


def load_scored(
    store: "Store", ids: Sequence[str], labels: "pa.Table", numbers: frozenset[int]
) -> "pd.DataFrame":
    """Load the scored rows of these batches whose first id has a label; each file is read once.

    Ids become texts before pandas sees them, which makes floats of whole numbers where one is null.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from sentiment import schema

    needed = (*ids, schema.LABEL, schema.SCORE, schema.STAGE, schema.MODEL_VERSION, schema.SEQUENCE)
    batches = [
        batch
        for batch in store.list_batches()
        if any(manifest.sequence in numbers for manifest in batch.manifest.origins)
    ]
    found = []
    for file in store.list_files(batches, False):
        with file.open() as opened:
            names = pq.read_schema(opened).names
        rows = with_text_ids(file.load([name for name in needed if name in names]), ids)
        is_wanted = pc.and_(
            pc.is_in(rows[schema.SEQUENCE], pa.array(sorted(numbers), pa.int64())),
            pc.is_in(rows[ids[0]], labels[ids[0]].combine_chunks()),
        )
        found.append(rows.filter(is_wanted))
    joined: pd.DataFrame = pa.concat_tables(found, promote_options="default").to_pandas()
    return joined


def with_text_ids(rows: "pa.Table", ids: Sequence[str]) -> "pa.Table":
    """Return the rows with their ids as texts."""
    import pyarrow as pa

    for name in ids:
        rows = rows.set_column(rows.column_names.index(name), name, rows[name].cast(pa.string()))
    return rows


def load_labels(config: NightlyConfig, ids: Sequence[str]) -> "pa.Table":
    """Load the labels that came later: the id columns, as texts, and `config.label_col`."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    columns = [*ids, config.label_col]
    try:
        return with_text_ids(ds.dataset(config.labels, format="parquet").to_table(columns=columns), ids)
    except (OSError, pa.ArrowException) as error:
        raise UnreadableFileError(
            f"labels {config.labels}: expected Parquet with the columns {', '.join(columns)} "
            f"({type(error).__name__}); choose with --labels and --label_col"
        ) from error


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


def label(
    config: NightlyConfig, nights: "Mapping[datetime.date, Includes]"
) -> "tuple[dict[datetime.date, Labelled], dict[str, str]]":
    """Return the scored rows of each night whose labels have come in, and why some are missing."""
    from sentiment.monitoring.published import label_nights

    store = open_for_reading(config)
    batches = list_published(store)
    if not batches:
        return {}, {}
    ids = batches[-1].ids
    labels = load_labels(config, ids)
    return label_nights(
        batches,
        nights,
        functools.partial(load_scored, store, ids, labels),
        functools.partial(find_truth, config, labels, ids),
    )


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
