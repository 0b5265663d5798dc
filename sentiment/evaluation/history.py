"""Keep each decision about a challenger: its gates as a tag of the version, its figures as an MLflow run."""

import datetime
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..models import ledger, registry
from ..models.mlflow_errors import translating_errors
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
    _write(replace(decision, content=content))
    with translating_errors(f"run {decision.run_id}"):
        import_mlflow().MlflowClient().set_tag(decision.run_id, f"{_PREFIX}.outcome", outcome)


def note_rollback(name: str, entry: ledger.Entry) -> None:
    """Write a move, if it is a rollback, to a tag of both versions, if it is not there yet.

    Raises RegistryError.
    """
    move = entry.move
    if move.kind != ledger.ROLLBACK:
        return
    content = {
        "at": _now().isoformat(timespec="seconds"),
        "outcome": ROLLED_BACK,
        "champion": move.before,
        "restored": move.after,
        "entry": entry.number,
    }
    tag = _make_tag(move.alias)
    for version in (move.before, move.after):
        if version is not None and not _has_rollback(name, version, entry):
            _write(Decision(name, version, tag, content, ""))


def _has_rollback(name: str, version: str, entry: ledger.Entry) -> bool:
    """Return True if an earlier run, which was then killed, has noted this rollback."""
    with translating_errors(f"version {version} of {name!r}"):
        tags = import_mlflow().MlflowClient().get_model_version(name, version).tags
    noted = find_decisions(tags, entry.move.alias)
    return any(found["outcome"] == ROLLED_BACK and found["entry"] == entry.number for found in noted)


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
