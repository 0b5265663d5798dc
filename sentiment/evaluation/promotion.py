"""Judge a challenger next to the champion, and move the alias to it, or back."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..cli import Progress
from ..config import GatesConfig
from ..errors import AliasMovedError, ModelNotFoundError, RefusedChallengerError, SentimentError
from ..models import copies, ledger, loading, registry
from ..models.predictions import predict_columns
from ..models.tracking import show_store
from . import history
from .comparison import compare_slices, measure_latency_ratio
from .contenders import Contender, LoadOptions, NumberedReviews, judge_contender, load_contender
from .facts import Champion, ReportFacts, examine
from .gates import Figures, GateResult, apply_gates, find_failed, judge_labels
from .intervals import Comparison, compare_hits
from .judged import JudgedReviews
from .label_errors import check_test_labels, has_cleanlab
from .metrics import Evaluation, measure
from .report import write_report

# Enough to be longer than the pauses of a busy machine, short enough to be run ten times.
LATENCY_ROWS = 200
LATENCY_ROUNDS = 5


@dataclass(frozen=True)
class Contest:
    """Hold who is judged: the alias as it was, the challenger, and the champion if there is one."""

    moves: ledger.Ledger
    challenger: Contender
    champion: Contender | None

    @property
    def version(self) -> str:
        return self.challenger.reference.version


@dataclass(frozen=True)
class Judgement:
    """Hold the results of all gates, the metrics of both models, and the reviews they were measured on.

    Without reviews the models were not scored, because their labels differ.
    """

    gates: list[GateResult]
    judged: Mapping[str, JudgedReviews]
    evaluations: Mapping[str, Evaluation]
    comparison: Comparison | None = None
    reviews: NumberedReviews | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return gates, metrics by model, the comparison, and facts about the reviews, for a summary."""
        reviews = self.reviews
        return {
            "gates": [asdict(gate) for gate in self.gates],
            "metrics": {role: found.as_metrics() for role, found in self.evaluations.items()},
            "comparison": None if self.comparison is None else asdict(self.comparison),
            "test": None
            if reviews is None
            else {**reviews.source, "rows": len(reviews.texts), "unused": dict(reviews.unused)},
        }


def open_moves(name: str, alias: str, will_write: bool) -> ledger.Ledger:
    """Return the alias as it is; finish the move of a killed run if the registry may be written.

    Raises ModelNotFoundError if the tracking store is still to be made, or if the alias was deleted;
    RegistryError.
    """
    moves = _read_moves(name, alias, will_write)
    if will_write:
        moves = ledger.settle(moves, history.note_move)
    else:
        moves = replace(moves, settled=ledger.describe_unfinished(moves))
    with naming_settled(moves):
        ledger.check_champion(moves)
    return moves


@contextlib.contextmanager
def naming_settled(moves: ledger.Ledger) -> Iterator[None]:
    """Add to the message of an error what became of a move that an earlier run had not finished."""
    try:
        yield
    except SentimentError as error:
        if moves.settled is None:
            raise
        raise type(error)(f"{error}; before that, {moves.settled}", error.summary) from error


def _read_moves(name: str, alias: str, will_write: bool) -> ledger.Ledger:
    # First without writing, which would make the tables of a new database.
    if not registry.check_store():
        raise ModelNotFoundError(
            f"{name!r}: expected a registered model whose alias {alias!r} moves, found no tables in the "
            f"tracking store {show_store()}; set MLFLOW_TRACKING_URI to the store that has the model"
        )
    if will_write:
        registry.check_store(will_write)
    return ledger.read_ledger(name, alias)


def open_contest(moves: ledger.Ledger, challenger: registry.ModelReference, options: LoadOptions) -> Contest:
    """Verify and load both models. Raises a ModelError."""
    loaded = load_contender(challenger, options)
    if moves.champion is None:
        return Contest(moves, loaded, None)
    uri = f"models:/{moves.name}/{moves.champion}"
    try:
        champion = registry.resolve_model(uri)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(
            f"the champion {uri} has no files any more, so nothing can be compared with it; restore them, or "
            f"set the alias {moves.alias!r} in MLflow to a version that has files, and run again"
        ) from error
    return Contest(moves, loaded, load_contender(champion, options))


def judge_contest(
    contest: Contest,
    read: Callable[[tuple[str, ...]], NumberedReviews],
    bounds: GatesConfig,
    report: Progress,
    clock: Callable[[], float] = time.perf_counter,
) -> Judgement:
    """Score the reviews that `read` gives for the challenger's labels with both models, and apply the gates.

    Models with other labels than each other are not scored: only their gate is judged, and it fails.
    """
    challenger, champion = contest.challenger, contest.champion
    labels = judge_labels(challenger.labels, champion.labels if champion else None)
    if labels.is_failed:
        return Judgement([labels], {}, {})
    reviews = read(challenger.labels)
    ours = _judge(challenger, "challenger", reviews, report)
    judged, evaluations = {"challenger": ours}, {"challenger": measure(ours)}
    found = evaluations["challenger"]
    figures = Figures(
        evaluation=found,
        unsure_share=found.unsure_share if challenger.can_be_unsure else None,
        engine=challenger.engine,
        size_bytes=challenger.size_bytes,
        is_verified=challenger.reference.files is not None,
    )
    if champion is not None:
        theirs = _judge(champion, "champion", reviews, report)
        judged["champion"], evaluations["champion"] = theirs, measure(theirs)
        figures = replace(
            figures,
            comparison=compare_hits(theirs.is_right, ours.is_right),
            slices=compare_slices(theirs, ours, bounds.min_slice_rows),
            latency_ratio=_measure_latency(champion, challenger, reviews, clock),
        )
    gates = [labels, *apply_gates(figures, bounds)]
    return Judgement(gates, judged, evaluations, figures.comparison, reviews)


def write_comparison(contest: Contest, judgement: Judgement, path: Path) -> None:
    """Write the evaluation report of a judgement with reviews, compared with the champion, without text."""
    assert judgement.reviews is not None
    champion, source = judgement.judged.get("champion"), judgement.reviews.source
    uri = contest.champion.reference.pinned_uri if contest.champion else ""
    challenger = contest.challenger
    facts = ReportFacts(
        model=challenger.reference.pinned_uri,
        judged=judgement.judged["challenger"],
        created=time.strftime("%d %B %Y"),
        champion=Champion(uri, champion) if champion is not None else None,
        engine=challenger.engine.name,
        data={
            **source,
            "files": _show_names(source["files"]),
            "unused_files": _show_names(source["unused_files"]) or "none",
            "notes": "; ".join(source["notes"]) or "none",
        },
        test_labels=check_test_labels(judgement.judged["challenger"]) if has_cleanlab() else None,
    )
    write_report(examine(facts), path)


def _show_names(files: Iterable[str]) -> str:
    """Return the names of files without their folders, which may name a person or a machine."""
    return ", ".join(Path(file).name for file in files)


def conclude(contest: Contest, judgement: Judgement, experiment: str | None) -> dict[str, Any]:
    """Record the judgement and, if no gate refused, move the alias; return what happened.

    Without `experiment` nothing is written. Raises RefusedChallengerError, whose message has each failed
    gate, or AliasMovedError; the summary of both is what this would return. Raises RegistryError.
    """
    failed = find_failed(judgement.gates)
    moves, uri = contest.moves, contest.challenger.reference.pinned_uri
    summary = {**describe(moves, uri), **judgement.as_dict(), "is_dry_run": experiment is None}
    decision = None
    if experiment is not None:
        figures = _list_metrics(judgement)
        decision = history.record(moves, contest.version, judgement.gates, figures, experiment)
        summary |= {"run_id": decision.run_id, "tag": decision.tag}
    if failed:
        listed = "; ".join(f"{gate.name}: {gate.sentence}" for gate in failed)
        raise RefusedChallengerError(
            f"{uri}: refused by {len(failed)} of {len(judgement.gates)} gates ({listed}); alias "
            f"{moves.alias!r} stays at {ledger.show_version(moves.champion)}",
            {**summary, "outcome": history.REFUSED},
        )
    if decision is None:
        return {**summary, "outcome": history.PASSED}
    try:
        entry = ledger.move_alias(
            moves,
            contest.version,
            note=lambda _, entry: history.close(decision, history.PROMOTED, entry.number),
        )
    except AliasMovedError as error:
        history.close(decision, history.LOST)
        raise AliasMovedError(str(error), {**summary, "outcome": history.LOST}) from error
    return {**summary, "outcome": history.PROMOTED, "entry": entry.number}


def roll_back(name: str, alias: str, options: LoadOptions, is_dry_run: bool) -> dict[str, Any]:
    """Move the alias back to the champion before, whose files are verified; return what happened.

    A rollback that an earlier run did not finish is finished, and then none is added to it. Raises
    ModelNotFoundError if there is no champion before, AliasMovedError if the alias moves meanwhile.
    """
    moves = _read_moves(name, alias, will_write=not is_dry_run)
    version = ledger.find_champion_before(moves)
    reference = _verify(f"models:/{name}/{version}", options)
    told = replace(moves, settled=ledger.describe_unfinished(moves, is_undone=not is_dry_run))
    summary = {**describe(told, reference.uri), "gates": [], "is_dry_run": is_dry_run}
    if is_dry_run:
        return {**summary, "outcome": history.PASSED}
    entry = ledger.find_unfinished(moves)
    if entry is not None and entry.move.kind == ledger.ROLLBACK:
        settled = ledger.settle(moves, history.note_move).settled
        summary |= {"champion": f"models:/{name}/{entry.move.before}", "settled": settled}
    else:
        entry = ledger.move_alias(moves, version, ledger.ROLLBACK, history.note_move)
    return {**summary, "outcome": history.ROLLED_BACK, "entry": entry.number}


def _verify(uri: str, options: LoadOptions) -> registry.ModelReference:
    """Verify the files of the champion before. Raises a ModelError."""
    try:
        reference = registry.resolve_model(uri)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(
            f"the champion before, {uri}, is no longer in the registry; promote a challenger instead"
        ) from error
    try:
        loading.check_model(reference, options.allow_unverified, options.verify_key)
    finally:
        copies.release(reference.folder)
    return reference


def describe(moves: ledger.Ledger, challenger: str) -> dict[str, Any]:
    """Return who is judged, for a summary."""
    champion = None if moves.champion is None else f"models:/{moves.name}/{moves.champion}"
    alias = f"models:/{moves.name}@{moves.alias}"
    return {"alias": alias, "champion": champion, "challenger": challenger, "settled": moves.settled}


def _judge(contender: Contender, role: str, reviews: NumberedReviews, report: Progress) -> JudgedReviews:
    uri, total = contender.reference.uri, len(reviews.texts)
    report(f"scoring with the {role}", 0, total, uri)
    return judge_contender(
        contender, reviews, lambda done: report(f"scoring with the {role}", done, total, uri)
    )


def _measure_latency(
    champion: Contender, challenger: Contender, reviews: NumberedReviews, clock: Callable[[], float]
) -> float:
    # Every k-th review, since a file may be sorted by length or category.
    texts = reviews.texts[:: max(1, len(reviews.texts) // LATENCY_ROWS)][:LATENCY_ROWS]
    return measure_latency_ratio(
        lambda: predict_columns(champion.model, texts),
        lambda: predict_columns(challenger.model, texts),
        LATENCY_ROUNDS,
        clock,
    )


def _list_metrics(judgement: Judgement) -> dict[str, float]:
    found = {f"gate_{g.name}": float(g.figure) for g in judgement.gates if g.figure is not None}
    for role, evaluation in judgement.evaluations.items():
        found |= {f"{role}_{name}": value for name, value in evaluation.as_metrics().items()}
    return found
