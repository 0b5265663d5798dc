"""Log a night to MLflow: one run per night and store, found again by its tags if the night is repeated."""

import datetime
from collections.abc import Mapping
from typing import Any

from ..models.experiments import open_experiment
from ..models.mlflow_errors import translating_errors
from ..models.tracking import import_mlflow

NIGHT_TAG, STORE_TAG = "sentiment.night", "sentiment.store"
_METRICS = (
    *("input_rows", "scored_rows", "rejected_rows", "skipped_rows", "reject_share", "unsure_share"),
    *("volume_ratio", "freshness_hours", "late_files", "bad_files", "drifted_figures", "alerts"),
    *("estimated_accuracy", "estimated_low", "estimated_high"),
)
REPORT = "night.html"


def log_night(experiment: str, store: str, night: datetime.date, row: Mapping[str, Any], report: str) -> str:
    """Log the figures and the report of a night, and return the id of its run. Raises RegistryError."""
    open_experiment(experiment)
    mlflow = import_mlflow()
    tags = {NIGHT_TAG: night.isoformat(), STORE_TAG: store}
    with translating_errors(f"the run of the night {night}"):
        query = f"tags.`{NIGHT_TAG}` = '{night.isoformat()}'"
        found = mlflow.search_runs(filter_string=query, output_format="list")
        mine = [run.info.run_id for run in found if run.data.tags.get(STORE_TAG) == store]
        arguments = {"run_id": mine[0]} if mine else {"run_name": f"night {night}", "tags": tags}
        with mlflow.start_run(**arguments) as run:
            mlflow.set_tags({"model_uri": row["model_uri"], "status": row["status"]})
            mlflow.log_metrics({name: float(row[name]) for name in _METRICS if row[name] is not None})
            mlflow.log_text(report, REPORT)
    return str(run.info.run_id)
