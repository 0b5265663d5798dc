"""List the versions of a registered model, with the figures and documents that fine-tuning logged."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .mlflow_errors import as_registry_error, is_absent, translating_errors
from .registry import quote
from .tracking import import_mlflow

# As fine-tuning logs them: the report to the run, the card into the folder of the model.
REPORT_FILE = "evaluation.html"
CARD_FILE = "artifacts/encoder/README.md"


@dataclass(frozen=True)
class Version:
    """Hold a registered version, its tags, and the run that made it (empty for a copied model)."""

    number: str
    created: datetime
    aliases: tuple[str, ...]
    run_id: str
    tags: Mapping[str, str]


def list_versions(name: str) -> list[Version]:
    """Return the versions of a model, the newest first; none if there is no such model.

    Raises RegistryError.
    """
    with translating_errors(f"the versions of {name!r}"):
        client = import_mlflow().MlflowClient()
        found = client.search_model_versions(f"name={quote(name)}", order_by=["version_number DESC"])
        # The search does not give aliases on every store.
        models = client.search_registered_models(f"name={quote(name)}")
    aliases: dict[str, list[str]] = {}
    for alias, number in (models[0].aliases if models else {}).items():
        aliases.setdefault(str(number), []).append(alias)
    return [
        Version(
            number=str(version.version),
            created=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC),
            aliases=tuple(aliases.get(str(version.version), ())),
            run_id=version.run_id or "",
            tags=dict(version.tags),
        )
        for version in found
    ]


def load_metrics(version: Version) -> dict[str, float]:
    """Return the metrics of the run that made a version; none without a run. Raises RegistryError."""
    if not version.run_id:
        return {}
    try:
        return dict(import_mlflow().MlflowClient().get_run(version.run_id).data.metrics)
    except Exception as error:  # as in `registry.resolve_model`
        if is_absent(error):  # the run was deleted
            return {}
        raise as_registry_error(f"run {version.run_id}", error) from error


def load_report(version: Version) -> str | None:
    """Return the evaluation report as HTML, None if the run has none. Raises RegistryError."""
    return _load_text(f"runs:/{version.run_id}/{REPORT_FILE}") if version.run_id else None


def load_card(name: str, version: Version) -> str | None:
    """Return the model card as Markdown, None if the model has none. Raises RegistryError."""
    return _load_text(f"models:/{name}/{version.number}/{CARD_FILE}")


def _load_text(uri: str) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            path = import_mlflow().artifacts.download_artifacts(artifact_uri=uri, dst_path=folder)
            return Path(path).read_text(encoding="utf-8")
        except Exception as error:  # as in `registry.resolve_model`
            if is_absent(error):
                return None
            raise as_registry_error(uri, error) from error
