"""Plan a run: compare its input, model and store before Spark starts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from .. import schema
from ..config import ScoreConfig
from ..models import loading, registry
from ..models.coverage import check_target_accuracy
from .input.files import BadFile
from .input.inspection import ReviewTable, check_columns, find_damaged, inspect_reviews
from .planning import Request, Slice, check_id_types, find_pending, limit_rows
from .scoring import Progress
from .store.folder import Batch, Store
from .store.manifests import Window


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
        return _make_request(self.config, self.table, self.model)

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
    """Plan the run; decode pending files once to quarantine damaged ones, except in a dry run.

    Raises an InputError, ModelError, StoreError or ConfigError if the run is impossible.
    """
    progress("checking input", 0, 1, "")
    columns = check_columns(config.id_col, config.text_col, config.date_col)
    table = inspect_reviews(config.input, columns)
    model = registry.resolve_model(config.model_uri)
    loading.check_model(model, config.allow_unverified, config.verify_key)
    check_target_accuracy(model.folder, config.target_accuracy)
    batches = store.list_batches()
    manifests = [batch.manifest for batch in batches]
    check_id_types(table, manifests)
    pending = find_pending(table, manifests, _make_request(config, table, model))
    plan = Plan(config, table, model, tuple(batches), tuple(pending), now)
    if not config.dry_run:
        plan = _quarantine_damaged(plan)
    return replace(plan, pending=tuple(limit_rows(plan.pending, config.max_rows)))


def _quarantine_damaged(plan: Plan) -> Plan:
    """Quarantine pending files that cannot be decoded; raise the first error if no file is left."""
    files = {piece.file.path: piece.file for piece in plan.pending}
    damaged = find_damaged(files.values(), plan.table.columns)
    if damaged and len(damaged) == len(plan.table.files):
        raise damaged[0].error
    return plan.without(damaged)


def _make_request(config: ScoreConfig, table: ReviewTable, model: registry.ModelReference) -> Request:
    window = None
    if config.date_col and (config.since or config.until):
        window = Window(config.date_col, config.since, config.until)
    columns = table.columns
    return Request(",".join(columns.ids), ",".join(columns.texts), model.model_id, window, config.rescore)
