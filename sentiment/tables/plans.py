"""Plan a run: compare its input, model and store before Spark starts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from .. import schema
from ..cli import Progress
from ..config import ScoreConfig
from ..models import loading, registry
from ..models.coverage import check_target_accuracy
from .input.files import BadFile
from .input.inspection import inspect_table
from .input.tables import ReviewTable, check_columns
from .pending import Request, Slice, check_id_types, find_pending, limit_rows
from .storage import load_options
from .store.manifests import Window
from .store.protocol import Batch, Store


@dataclass(frozen=True)
class Plan:
    """Hold the pending rows of a run, the model that scores them and the published batches."""

    config: ScoreConfig
    table: ReviewTable
    model: registry.ModelReference
    batches: tuple[Batch, ...]
    pending: tuple[Slice, ...]
    now: datetime

    def without(self, bad: Sequence[BadFile]) -> "Plan":
        """Return the plan with these files quarantined."""
        gone = {item.path for item in bad}
        pending = tuple(piece for piece in self.pending if piece.file.path not in gone)
        return replace(self, table=self.table.without(bad), pending=pending)

    @property
    def request(self) -> Request:
        return _make_request(self.config, self.table, self.model, self.batches)

    @property
    def model_options(self) -> dict[str, str | float]:
        """Return the options that replace those with which the model was logged."""
        config = self.config
        options = {
            "engine": config.engine,
            "cascade": config.cascade,
            "max_text_chars": config.max_text_chars,
            "min_score": config.min_score,
            "target_accuracy": config.target_accuracy,
            "probabilities": config.probabilities or None,
        }
        return {name: value for name, value in options.items() if value is not None}

    @property
    def prediction_types(self) -> dict[str, str]:
        """Return the columns of the model's predictions and their types in Spark."""
        return schema.list_prediction_types(self.model.labels, self.config.probabilities)

    @property
    def next_sequence(self) -> int:
        return 1 + max((batch.manifest.sequence for batch in self.batches), default=0)


def make_plan(config: ScoreConfig, store: Store, now: datetime, progress: Progress) -> Plan:
    """Plan the run from the footers of the input, the model and the manifests.

    Raises an InputError, ModelError, StoreError or ConfigError if the run is impossible.
    """
    progress("checking input", 0, 1, "")
    columns = check_columns(config.id_col, config.text_col, config.date_col, config.order_col)
    options = load_options(config.storage_options)
    table = inspect_table(config.input, columns, options, config.version, config.timestamp)
    model = registry.resolve_model(config.model_uri)
    loading.check_model(model, config.allow_unverified, config.verify_key)
    check_target_accuracy(model.folder, config.target_accuracy)
    batches = tuple(store.list_batches())
    manifests = [batch.manifest for batch in batches]
    check_id_types(table, manifests)
    pending = find_pending(table, manifests, _make_request(config, table, model, batches))
    return Plan(config, table, model, batches, tuple(limit_rows(pending, config.max_rows)), now)


def _make_request(
    config: ScoreConfig, table: ReviewTable, model: registry.ModelReference, batches: Sequence[Batch]
) -> Request:
    window = None
    if config.date_col and (config.since or config.until):
        window = Window(config.date_col, config.since, config.until)
    columns = table.columns
    newest = max((batch.manifest.sequence for batch in batches), default=0)
    return Request(
        ",".join(columns.ids),
        ",".join(columns.texts),
        model.model_id,
        window,
        config.rescore,
        newest if config.retry_failed else 0,
    )
