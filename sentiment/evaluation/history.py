"""Keep each decision about a challenger: its gates as a tag of the version, its figures as an MLflow run."""

import datetime
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..models import ledger, registry
from ..models.mlflow_errors import as_registry_error, is_absent, translating_errors
from ..models.tracking import import_mlflow

# Readers of the history, such as the app, need no gates, which import the libraries of the evaluation.
if TYPE_CHECKING:
    from .gates import GateResult

# `passed` stays where the process was killed before the alias moved.
PROMOTED, REFUSED, PASSED, LOST, ROLLED_BACK = "promoted", "refused", "passed", "lost", "rolled_back"
_PREFIX = "sentiment.promotion"
# As `integrity`: older servers and databases accept no longer value.
_TAG_CHARS = 4_900


@dataclass(frozen=True)
class Decision:
    """Hold where a decision is kept (a tag of a version), what the tag holds, and the run of its figures."""

    name: str
    version: str
    tag: str
    content: Mapping[str, Any]
    run_id: str


def record(
    moves: ledger.Ledger,
    version: str,
    gates: "Sequence[GateResult]",
    figures: Mapping[str, float],
    experiment: str,
) -> Decision:
    """Log the figures to a run, and the gates to a tag of the version. Raises RegistryError, ConfigError."""
    registry.open_experiment(experiment)
    mlflow = import_mlflow()
    is_refused = any(gate.is_failed for gate in gates)
    content = {
        "at": _now().isoformat(timespec="seconds"),
        "outcome": REFUSED if is_refused else PASSED,
        "champion": moves.champion,
        "gates": [_describe(gate) for gate in gates],
    }
    name = f"promote {moves.name} {version}"
    with translating_errors("the run of this decision"), mlflow.start_run(run_name=name) as run:
        mlflow.log_params({"alias": moves.alias, "challenger": version, "champion": moves.champion or ""})
        mlflow.log_metrics(dict(figures))
        mlflow.log_dict(content, "gates.json")
    content["run_id"] = run.info.run_id
    decision = Decision(moves.name, version, _make_tag(moves.alias), content, run.info.run_id)
    _write(decision)
    return decision


def close(decision: Decision, outcome: str, entry: int | None = None) -> None:
    """Write what became of a decision. Raises RegistryError."""
    content = {**decision.content, "outcome": outcome} | ({} if entry is None else {"entry": entry})
    # The run first: a later run looks for a decision whose tag is still open.
    _tag_run(decision.run_id, outcome)
    _write(replace(decision, content=content))


def _tag_run(run_id: str, outcome: str) -> None:
    try:
        import_mlflow().MlflowClient().set_tag(run_id, f"{_PREFIX}.outcome", outcome)
    except Exception as error:  # as in `registry.resolve_model`
        if not is_absent(error):  # someone has deleted the run
            raise as_registry_error(f"run {run_id}", error) from error


def note_move(name: str, entry: ledger.Entry) -> None:
    """Write a move to the tags of its versions if it is not there yet. Raises RegistryError.

    A rollback gets a tag of its own; a promotion is written into its decision.
    """
    if entry.move.kind == ledger.ROLLBACK:
        _note_rollback(name, entry)
    else:
        _note_promotion(name, entry)


def _note_rollback(name: str, entry: ledger.Entry) -> None:
    move = entry.move
    content = {
        "at": _now().isoformat(timespec="seconds"),
        "outcome": ROLLED_BACK,
        "champion": move.before,
        "restored": move.after,
        "entry": entry.number,
    }
    tag = _make_tag(move.alias)
    for version in (move.before, move.after):
        tags = None if version is None else registry.read_version_tags(name, version)
        if version is None or tags is None:
            continue
        noted = find_decisions(tags, move.alias)
        if not any(each["outcome"] == ROLLED_BACK and each["entry"] == entry.number for each in noted):
            _write(Decision(name, version, tag, content, ""))


def _note_promotion(name: str, entry: ledger.Entry) -> None:
    """Close the decision of a run that was killed; a move without gates has none."""
    move, tags = entry.move, registry.read_version_tags(name, entry.move.after) or {}
    for tag in sorted(tags, reverse=True):
        if not tag.startswith(f"{_PREFIX}.{move.alias}."):
            continue
        content = json.loads(tags[tag])
        if content["outcome"] == PASSED and content["champion"] == move.before:
            close(Decision(name, move.after, tag, content, content["run_id"]), PROMOTED, entry.number)
            return


def find_decisions(tags: Mapping[str, str], alias: str) -> list[dict[str, Any]]:
    """Return the decisions in the tags of a version, oldest first."""
    return [json.loads(tags[tag]) for tag in sorted(tags) if tag.startswith(f"{_PREFIX}.{alias}.")]


def _write(decision: Decision) -> None:
    text = json.dumps(decision.content)
    if len(text) > _TAG_CHARS:  # only sentences can be long; they are in the run too
        gates = [{k: v for k, v in gate.items() if k != "sentence"} for gate in decision.content["gates"]]
        text = json.dumps({**decision.content, "gates": gates})
    with translating_errors(f"a tag of version {decision.version} of {decision.name!r}"):
        client = import_mlflow().MlflowClient()
        client.set_model_version_tag(decision.name, decision.version, decision.tag, text)


def _describe(gate: "GateResult") -> dict[str, Any]:
    """Return a gate for the tag; what passed needs no words."""
    found = {"name": gate.name, "figure": gate.figure, "bound": gate.bound, "is_passed": gate.is_passed}
    return found if gate.is_passed else {**found, "sentence": gate.sentence}


def _make_tag(alias: str) -> str:
    """Return a name of its own for a tag; names sort by time."""
    return f"{_PREFIX}.{alias}.{_now():%Y%m%dT%H%M%S.%fZ}.{uuid.uuid4().hex[:6]}"


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
