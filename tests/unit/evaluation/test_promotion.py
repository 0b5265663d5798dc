"""The job's `main` on a registry of its own, with models whose mistakes are chosen."""

import errno
import itertools
import json
import os
import runpy
import shutil
from dataclasses import dataclass, field

import pytest

from sentiment.cli import run_job
from sentiment.config import PromoteConfig
from sentiment.errors import AliasMovedError, RegistryError
from sentiment.evaluation import history, promotion
from sentiment.evaluation.contenders import LoadOptions
from sentiment.models import ledger, registry
from tests import hostile
from tests.contenders import LABELS, Traits, make_test_reviews, register_contender
from tests.factories import ROOT, make_reviews, using_store

pytestmark = pytest.mark.slow

JOB = runpy.run_path(str(ROOT / "jobs" / "promote.py"))
# As accurate as the champion on all reviews together.
BAD_SLICE = Traits(wrong="noise < 0.2 if category == 'toys' else noise < 0.06")
SHUFFLED = Traits(wrong="int(noise * 3)")
USUAL = Traits()
BETTER = Traits(wrong="noise < 0.05", score=0.95)


@dataclass
class Place:
    """A registered model of its own for one test, and what the job printed."""

    folder: object
    name: str
    test: str
    numbers: object = field(default_factory=itertools.count)
    told: list = field(default_factory=list)
    summary: dict = field(default_factory=dict)

    def register(self, traits=USUAL):
        return register_contender(self.folder / f"model-{next(self.numbers)}", self.name, traits)

    def move(self, traits=USUAL):
        """Register a model and move the alias to it without a judgement."""
        version = registry.find_version(self.register(traits))
        ledger.move_alias(ledger.read_ledger(self.name, "champion"), version)

    def promote(self, *arguments):
        """Run the job; return its exit code."""
        path = self.folder / "summary.json"
        code = run_job(
            *(PromoteConfig, ROOT / "conf" / "promote.yaml", JOB["run"], JOB["show"]),
            argv=[*map(str, arguments), "--summary", str(path)],
            tell=self.told.append,
        )
        self.summary = json.loads(path.read_text()) if path.exists() else {}
        return code

    def judge(self, challenger, *arguments):
        # The bounds of conf/, but for the time, which on a busy machine is not sure for models this quick.
        bounds = (ROOT / "conf" / "gates.yaml").read_text()
        path = self.folder / "patient.yaml"
        path.write_text(bounds.replace("max_latency_ratio: 1.5", "max_latency_ratio: 4"))
        given = ("--challenger", challenger, "--test", self.test, "--gates", path)
        return self.promote(*given, *arguments)

    @property
    def champion(self):
        return ledger.read_ledger(self.name, "champion").champion

    def list_decisions(self, version):
        tags = registry.import_mlflow().MlflowClient().get_model_version(self.name, version).tags
        return history.find_decisions(tags, "champion")

    def list_outcomes(self, version):
        return [found["outcome"] for found in self.list_decisions(version)]


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """A file of test reviews for all tests."""
    path = tmp_path_factory.mktemp("promotion") / "test.parquet"
    make_test_reviews().to_parquet(path)
    return str(path)


@pytest.fixture
def place(shared_store, reviews, tmp_path, request):
    with using_store(shared_store):
        yield Place(tmp_path, request.node.name.replace("[", "-").strip("]"), reviews)


@pytest.fixture
def defended(place):
    """A place with a champion, version 1."""
    place.move()
    assert place.champion == "1"
    return place


@pytest.fixture(scope="module")
def fortress(shared_store, reviews, tmp_path_factory):
    """One place with a champion, version 1, for all tests that must not move it."""
    with using_store(shared_store):
        place = Place(tmp_path_factory.mktemp("fortress"), "fortress", reviews)
        registry.set_alias(place.name, "champion", registry.find_version(place.register()))
        yield place


def test_a_better_challenger_becomes_champion_and_its_gates_are_kept(defended):
    assert defended.judge(defended.register(BETTER)) == 0, defended.told
    assert defended.champion == "2"
    assert defended.summary["outcome"] == "promoted"
    assert defended.summary["comparison"]["difference"]["value"] < 0
    [kept] = defended.list_decisions("2")
    assert kept["outcome"] == "promoted"
    assert kept["champion"] == "1"
    gates = {gate["name"]: gate for gate in kept["gates"]}
    assert gates["accuracy"]["figure"] > gates["accuracy"]["bound"] == 0.85
    run = registry.import_mlflow().get_run(kept["run_id"])
    assert run.data.metrics["challenger_accuracy"] == gates["accuracy"]["figure"]
    assert run.data.tags["sentiment.promotion.outcome"] == "promoted"


@pytest.mark.parametrize(
    ("traits", "gates"),
    [
        (SHUFFLED, {"accuracy", "f1_macro", "ece", "mcnemar", "slices"}),
        (BAD_SLICE, {"slices"}),
        (Traits(score=0.45), {"ece", "unsure_share"}),
        (Traits(seconds=0.08, gated_on=None), {"engine", "latency_ratio"}),
        (Traits(labels=("bad", "good", "great")), {"labels"}),
    ],
    ids=["shuffled", "bad_slice", "unsure", "slow", "labels"],
)
def test_a_bad_challenger_is_refused_and_each_gate_is_named(fortress, traits, gates, capsys):
    uri = fortress.register(traits)
    assert fortress.judge(uri) == 6
    assert {gate["name"] for gate in fortress.summary["gates"] if gate["is_passed"] is False} == gates
    assert all(f"{name}: " in fortress.told[-1] for name in gates)
    assert fortress.champion == "1"
    version = registry.find_version(uri)
    assert fortress.list_outcomes(version) == ["refused"]
    # No text reaches messages, tags or runs.
    mlflow = registry.import_mlflow()
    tags = mlflow.MlflowClient().get_model_version(fortress.name, version).tags
    run = mlflow.get_run(fortress.summary["run_id"]).data.to_dictionary()
    shown = [*fortress.told, json.dumps(fortress.summary), *tags.values(), *capsys.readouterr(), str(run)]
    assert not [text for text in shown if "review 1" in text]


def test_the_same_labels_in_another_order_are_the_same_classes(fortress):
    assert fortress.judge(fortress.register(Traits(labels=LABELS[::-1])), "--dry_run") == 0
    metrics = fortress.summary["metrics"]
    assert metrics["challenger"]["accuracy"] == metrics["champion"]["accuracy"] > 0.9


def test_a_bad_slice_is_named(fortress):
    assert fortress.judge(fortress.register(BAD_SLICE), "--dry_run") == 6
    assert "category toys (300 reviews)" in fortress.told[-1]


def test_a_changed_file_is_refused_and_nothing_moves(fortress):
    uri = fortress.register(BETTER)
    stored = hostile.find_stored(uri) / "contender.py"
    stored.write_text(stored.read_text() + "\n")
    assert fortress.judge(uri) == 4
    assert "not the files that were registered" in fortress.told[-1]
    assert fortress.champion == "1"


def test_a_challenger_without_a_record_is_refused_and_if_allowed_its_gate_is_open(fortress):
    uri = fortress.register(BETTER)
    client = registry.import_mlflow().MlflowClient()
    client.delete_model_version_tag(fortress.name, registry.find_version(uri), registry.FILES_TAG)
    assert fortress.judge(uri) == 4
    assert fortress.judge(uri, "--allow_unverified", "--dry_run") == 0
    assert {"name": "files", "is_passed": None}.items() <= fortress.summary["gates"][1].items()


def test_a_dry_run_judges_and_writes_nothing(fortress):
    mlflow = registry.import_mlflow()
    runs = len(mlflow.search_runs(search_all_experiments=True))
    uri = fortress.register(BETTER)
    assert fortress.judge(uri, "--dry_run") == 0
    assert fortress.summary["outcome"] == "passed"
    assert fortress.champion == "1"
    assert fortress.list_outcomes(registry.find_version(uri)) == []
    assert len(mlflow.search_runs(search_all_experiments=True)) == runs


def test_the_champion_itself_moves_nothing(fortress):
    assert fortress.judge(f"models:/{fortress.name}@champion") == 0
    assert fortress.summary["outcome"] == "unchanged"
    assert ledger.read_ledger(fortress.name, "champion").entries == ()


def test_a_rollback_does_not_guess_what_another_tool_replaced(fortress):
    assert fortress.promote("--rollback", "--registered_model_name", fortress.name) == 4
    assert "set by another tool" in fortress.told[-1]
    assert fortress.champion == "1"


def test_the_version_may_have_zeros_before_it(fortress):
    assert fortress.judge(f"models:/{fortress.name}/01") == 0
    assert fortress.summary["outcome"] == "unchanged"


def test_a_champion_of_other_columns_is_not_judged_on_those_of_the_challenger(place, tmp_path):
    reviews = make_test_reviews().assign(content=lambda rows: rows["text"])
    reviews.to_parquet(tmp_path / "both.parquet")
    place.test = str(tmp_path / "both.parquet")
    place.move()
    challenger = place.register(Traits(text_col="content"))
    assert place.judge(challenger) == 3
    assert "the champion was trained on text, and the challenger's column content" in place.told[-1]
    assert place.judge(challenger, "--text_col", "content", "--dry_run") == 0


@pytest.mark.parametrize(("traits", "code"), [(BETTER, 0), (BAD_SLICE, 6)])
def test_a_report_that_cannot_be_written_changes_no_outcome(fortress, monkeypatch, traits, code):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(promotion, "write_comparison", fail)
    given = ("--dry_run", "--report", fortress.folder / "report.html")
    assert fortress.judge(fortress.register(traits), *given) == code
    assert fortress.summary["gates"]
    [warning] = fortress.summary["warnings"]
    assert warning.endswith("report.html: the report was not written (No space left on device)")


def test_a_test_file_without_labels_is_exit_code_3(fortress):
    path = fortress.folder / "unlabelled.parquet"
    make_test_reviews().drop(columns="label").to_parquet(path)
    assert fortress.promote("--challenger", fortress.register(), "--test", path) == 3
    assert "has no column label" in fortress.told[-1]


def test_what_of_a_folder_is_not_judged_on_is_in_summary_table_and_report(fortress, monkeypatch, capsys):
    folder, page = fortress.folder / "held_out", fortress.folder / "page.html"
    folder.mkdir()
    make_test_reviews().to_parquet(folder / "test.parquet")
    make_test_reviews()[:0].to_parquet(folder / "test_2.parquet")
    monkeypatch.setattr(fortress, "test", folder)
    assert fortress.judge(fortress.register(BETTER), "--dry_run", "--report", page) == 0
    assert fortress.summary["test"]["unused_files"] == {str(folder / "test_2.parquet"): "has no rows"}
    assert "test file not used" in capsys.readouterr().out
    assert "test_2.parquet" in page.read_text()


def test_without_a_champion_the_absolute_gates_decide(place):
    assert place.judge(place.register(SHUFFLED)) == 6
    assert place.champion is None
    assert "stays at no version" in place.told[-1]
    assert place.judge(place.register()) == 0
    assert place.champion == "2"


def test_rollbacks_undo_promotions_one_by_one(defended):
    defended.move()
    defended.move()
    back = ("--rollback", "--registered_model_name", defended.name)
    assert defended.promote(*back, "--dry_run") == 0
    assert defended.champion == "3"
    assert defended.promote(*back) == 0
    assert defended.champion == "2"
    assert defended.promote(*back) == 0
    assert defended.champion == "1"
    assert defended.list_outcomes("2") == ["rolled_back", "rolled_back"]
    assert defended.promote(*back) == 4
    assert "was the first champion" in defended.told[-1]
    assert defended.champion == "1"


def test_a_rollback_verifies_the_files_of_the_champion_before(defended):
    defended.move()
    (hostile.find_stored(f"models:/{defended.name}/1") / "contender.py").write_text("")
    assert defended.promote("--rollback", "--registered_model_name", defended.name) == 4
    assert defended.champion == "2"


def test_of_two_promotions_at_once_the_first_wins_and_the_other_says_so(defended):
    first, second = (defended.register(BETTER) for _ in range(2))
    moves = ledger.read_ledger(defended.name, "champion")
    contests = [
        promotion.open_contest(moves, registry.resolve_model(uri), LoadOptions()) for uri in (first, second)
    ]
    judgement = promotion.Judgement([], {}, {})
    assert promotion.conclude(contests[0], judgement, "sentiment")["outcome"] == "promoted"
    with pytest.raises(AliasMovedError, match="it means version 2 now") as lost:
        promotion.conclude(contests[1], judgement, "sentiment")
    assert lost.value.exit_code == 5
    assert lost.value.summary["outcome"] == "lost"
    assert defended.champion == "2"
    assert defended.list_outcomes("2") == ["promoted"]
    assert defended.list_outcomes("3") == ["lost"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--challenger", "models:/m/1"], "pass --challenger models:/NAME/VERSION and --test FILE"),
        (["--rollback", "--test", "x.csv"], "rollback takes neither"),
        (["--challenger", "/a/folder", "--test", "x.csv"], "challenger: "),
        (["--challenger", "models:/m/1", "--test", "x.csv", "--alias", "latest"], "alias: "),
        (["--challenger", "models:/m/1", "--test", "x.csv", "--gates", "none.yaml"], "none.yaml"),
    ],
)
def test_wrong_arguments_are_exit_code_2(place, arguments, says):
    assert place.promote(*arguments) == 2
    assert says in place.told[-1]


def test_a_name_that_is_not_that_of_the_challenger_is_refused(fortress):
    assert fortress.judge(f"models:/{fortress.name}/1", "--registered_model_name", "other") == 2
    assert "expected 'fortress', the model of the challenger, found 'other'" in fortress.told[-1]
    assert fortress.champion == "1"


def test_a_model_that_is_not_there_is_exit_code_4(place):
    assert place.judge("models:/none/1") == 4


def test_models_as_they_are_fine_tuned_are_judged(use_tiny_model, tmp_path):
    make_reviews(300).to_parquet(tmp_path / "test.parquet")
    (tmp_path / "gates.yaml").write_text("min_accuracy: 0.9\nmax_slice_drop: 0.05\nhas_gated_engine: true\n")
    place = Place(tmp_path, "tuned", str(tmp_path / "test.parquet"))
    first = hostile.register_copy(use_tiny_model.uri, tmp_path / "first", place.name, "champion")
    second = hostile.register_copy(use_tiny_model.uri, tmp_path / "second", place.name, change=_turn_labels)
    assert place.judge(first) == 0
    assert place.judge(second, "--gates", tmp_path / "gates.yaml", "--dry_run") == 6
    gates = {gate["name"]: gate for gate in place.summary["gates"]}
    assert gates["accuracy"]["is_passed"] is gates["slices"]["is_passed"] is False
    assert gates["engine"]["is_passed"] is not None
    assert place.summary["metrics"]["champion"]["accuracy"] > 0.95


def _turn_labels(folder):
    """Exchange the names of the two classes: every label is then wrong."""
    path = folder / "artifacts" / "encoder" / "inference.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "labels": settings["labels"][::-1]}))


def test_a_challenger_that_is_not_there_is_named_by_the_option_of_this_job(place):
    place.judge("models:/none/1")
    assert place.told[-1].endswith("or pass another --challenger")
    assert place.promote("--challenger", place.register(), "--test", "none.csv") == 3
    assert place.told[-1].endswith("check --test")


def test_a_champion_whose_files_are_gone_is_named(defended):
    location = registry.import_mlflow().MlflowClient().get_model_version_download_uri(defended.name, "1")
    challenger = defended.register(BETTER)
    shutil.rmtree(location.removeprefix("file://"))
    assert defended.judge(challenger) == 4
    assert f"champion models:/{defended.name}/1 has no files any more" in defended.told[-1]


def test_a_rollback_to_a_version_that_was_deleted_is_said(defended):
    assert defended.judge(defended.register(BETTER)) == 0
    registry.import_mlflow().MlflowClient().delete_model_version(defended.name, "1")
    assert defended.promote("--rollback", "--registered_model_name", defended.name) == 4
    assert f"models:/{defended.name}/1, is no longer in the registry" in defended.told[-1]


@pytest.mark.parametrize("dry_run", [["--dry_run"], []], ids=["dry_run", "real"])
def test_a_rollback_does_not_make_a_tracking_database(tmp_path, dry_run):
    place = Place(tmp_path, "none", "")
    with using_store(f"sqlite:///{tmp_path / 'mlflow.db'}"):
        assert place.promote("--rollback", "--registered_model_name", "none", *dry_run) == 4
    assert "found no tables in the tracking store" in place.told[-1]
    assert not (tmp_path / "mlflow.db").exists()


def _rollback(place, *arguments):
    return place.promote("--rollback", "--registered_model_name", place.name, *arguments)


def _fail(*_, **__):
    raise RegistryError("the server does not answer")


# Where a rollback is killed, or the server fails, after its entry is in the ledger.
BREAKS = [(ledger, "set_alias"), (history, "_write"), (ledger, "_mark")]


@pytest.mark.parametrize(("module", "name"), BREAKS, ids=[name for _, name in BREAKS])
def test_a_rollback_that_failed_part_way_goes_back_once(defended, monkeypatch, module, name):
    defended.move()
    defended.move()
    with monkeypatch.context() as patch:
        patch.setattr(module, name, _fail)
        assert _rollback(defended) == 4
    assert "the same command again finishes" in defended.told[-1]
    assert _rollback(defended, "--dry_run") == 0
    assert defended.summary["challenger"] == f"models:/{defended.name}/2"
    assert "the rollback of an earlier run" in defended.summary["settled"]
    assert _rollback(defended) == 0
    assert defended.champion == "2"
    assert "this run finished the r" in defended.summary["settled"]
    assert defended.summary["champion"] == f"models:/{defended.name}/3"
    assert defended.list_outcomes("3") == defended.list_outcomes("2") == ["rolled_back"]
    # The next one is another rollback.
    assert _rollback(defended) == 0
    assert defended.champion == "1"


def test_a_rollback_undoes_a_killed_promotion_without_making_it_champion(defended, monkeypatch):
    defended.move()
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "set_alias", _fail)
        with pytest.raises(RegistryError, match="the same command again finishes it"):
            defended.move()
    set_to = []
    set_alias = ledger.set_alias
    monkeypatch.setattr(ledger, "set_alias", lambda *given: (set_to.append(given[-1]), set_alias(*given)))
    assert _rollback(defended) == 0
    assert defended.champion == "2"
    assert set(set_to) == {"2"}
    assert "had not moved the alias to version 3 yet; it is undone" in defended.summary["settled"]
    assert _rollback(defended) == 0
    assert defended.champion == "1"


def test_a_move_that_a_later_run_finishes_is_in_its_summary_and_refusal(defended, monkeypatch):
    """The operator has set the alias back meanwhile, which cannot be told from a killed process."""
    challenger = defended.register(BETTER)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_mark", _fail)
        assert defended.judge(challenger) == 4
    assert f"alias 'champion' of '{defended.name}' has moved to version 2 already" in defended.told[-1]
    registry.set_alias(defended.name, "champion", "1")
    uri = defended.register(SHUFFLED)
    assert defended.judge(uri, "--dry_run") == 6
    assert "until then alias 'champion' stays at version 1" in defended.told[-1]
    assert defended.judge(uri) == 6
    says = "alias 'champion' moved from version 1 to version 2"
    assert says in defended.told[-1]
    assert says in defended.summary["settled"]
    assert defended.champion == "2"


def test_the_same_promotion_again_finishes_its_record(defended, monkeypatch):
    challenger = defended.register(BETTER)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_mark", _fail)
        assert defended.judge(challenger) == 4
    assert defended.judge(challenger) == 0
    assert defended.summary["outcome"] == "unchanged"
    assert "finished the record of the promotion" in defended.summary["settled"]
    assert ledger.read_ledger(defended.name, "champion").entries[-1].is_done


@pytest.mark.parametrize(
    ("module", "name", "outcome"),
    [(ledger, "set_alias", "passed"), (history, "close", "passed"), (ledger, "_mark", "promoted")],
    ids=["set_alias", "close", "mark"],
)
def test_the_decision_of_a_promotion_that_a_later_run_finishes_is_closed(
    defended, monkeypatch, module, name, outcome
):
    challenger = defended.register(BETTER)
    with monkeypatch.context() as patch:
        patch.setattr(module, name, _fail)
        assert defended.judge(challenger) == 4
    assert "the same command again finishes" in defended.told[-1]
    assert defended.list_outcomes("2") == [outcome]
    assert defended.judge(challenger) == 0
    [kept] = defended.list_decisions("2")
    assert (kept["outcome"], kept["entry"]) == ("promoted", 2)
    run = registry.import_mlflow().get_run(kept["run_id"])
    assert run.data.tags["sentiment.promotion.outcome"] == "promoted"


def test_a_rollback_is_finished_though_the_version_that_it_left_was_deleted(defended, monkeypatch):
    defended.move()
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_mark", _fail)
        assert _rollback(defended) == 4
    registry.import_mlflow().MlflowClient().delete_model_version(defended.name, "2")
    assert _rollback(defended) == 0
    assert defended.champion == "1"
    assert defended.list_outcomes("1") == ["rolled_back"]


def test_a_challenger_is_not_judged_without_the_champion_that_was_deleted(defended):
    defended.move()
    other = defended.register(Traits(labels=("worst", "middle", "best")))
    registry.import_mlflow().MlflowClient().delete_model_version(defended.name, "2")
    for arguments in ([], ["--dry_run"]):
        assert defended.judge(other, *arguments) == 4
        assert "expected version 2, the champion by the ledger" in defended.told[-1]
        assert f'set_registered_model_alias("{defended.name}", "champion", "VERSION")' in defended.told[-1]
    assert _rollback(defended) == 4
    assert "expected version 2, the champion by the ledger" in defended.told[-1]
    assert defended.champion is None
    registry.set_alias(defended.name, "champion", "1")
    assert defended.judge(other) == 6
