"""A night comes to the same result however often it is killed, and says what needs attention once."""

import contextlib
import datetime
from dataclasses import dataclass, field

import pandas as pd
import pytest

from sentiment.errors import (
    BadFilesError,
    ConfigError,
    MonitoringError,
    ObjectStoreError,
    RegistryError,
    StoreError,
)
from sentiment.monitoring import alerts, history
from sentiment.monitoring import night as night_module
from sentiment.monitoring.alerts import Alert
from tests.unit.monitoring.made import make_rows
from tests.unit.monitoring.nights import FIRST, Stopped, World, make_labels

pytestmark = pytest.mark.slow

DAY = datetime.timedelta(days=1)
STEPS = (
    *("champion", "plan", "begin", "score", "profile", "history", "drift", "record", "report", "mlflow"),
    *("overdue", "alerts", "finish"),
)


@pytest.fixture(autouse=True)
def _quick_reports(monkeypatch):
    """Write short reports: test_report.py looks at whole ones, whose pictures take a while."""
    monkeypatch.setattr(night_module, "render_report", lambda day, *tables: f"night of {day}")


@dataclass
class Inbox:
    """Stands for a channel."""

    is_broken: bool = False
    got: list[Alert] = field(default_factory=list)
    name: str = "inbox"

    def deliver(self, alert):
        if self.is_broken:
            raise MonitoringError("down")
        self.got.append(alert)


def make_world(folder, **options):
    """Return a world whose next night has an alert: too many rejects."""
    world = World(folder, **options)
    world.arrive(FIRST, n=400)
    world.arrive(FIRST, n=200, name="other.parquet", seed=5)
    rows = world.pending[1][2]
    rows.loc[:99, ["reject_reason", "label", "score"]] = ["null_text", None, float("nan")]
    return world


@pytest.mark.parametrize(
    ("step", "place"),
    [*((step, place) for step in STEPS for place in ("before", "after")), ("score", "between")],
)
def test_a_killed_night_that_is_run_again_equals_one_that_was_not(step, place, tmp_path):
    undisturbed, world = make_world(tmp_path / "a"), make_world(tmp_path / "b")
    undisturbed.run(FIRST)
    world.stop_at = (step, place)
    with pytest.raises(Stopped):
        world.run(FIRST)
    result = world.run(FIRST)

    found = world.load()
    assert found == undisturbed.load()
    assert len(found["nights"]) == len(found["alerts"]) == len(found["sent"]) == len(found["runs"]) == 1
    assert found["nights"][0]["input_rows"] == 600
    assert result.row["alerts"] == 1


def test_a_night_that_is_repeated_changes_nothing(tmp_path):
    world = make_world(tmp_path)
    world.run(FIRST)
    before = world.load()
    world.run(FIRST)
    assert world.load() == before
    assert world.calls["score"] == 1


def test_a_late_file_found_by_a_repetition_belongs_to_the_night(tmp_path):
    world = make_world(tmp_path)
    world.run(FIRST)
    world.arrive(FIRST, n=100, name="late.parquet", seed=8)
    world.run(FIRST)
    [night] = world.load()["nights"]
    assert (night["input_rows"], night["batches"]) == (700, 3)


def test_a_night_that_was_killed_for_good_keeps_its_batches_and_is_named_the_next_night(tmp_path):
    world = make_world(tmp_path)
    world.stop_at = ("record", "before")
    with pytest.raises(Stopped):
        world.run(FIRST)
    world.arrive(FIRST + DAY, n=300, seed=3)
    [warning] = world.run(FIRST + DAY).warnings
    assert f"--date {FIRST}" in warning
    world.run(FIRST)
    assert [night["input_rows"] for night in world.load()["nights"]] == [600, 300]


def test_a_night_that_is_repeated_belongs_to_the_model_that_scored_it(tmp_path):
    world = World(tmp_path)
    world.arrive(FIRST, n=300)
    world.run(FIRST)
    world.version = "2"
    row = world.run(FIRST).row
    assert row["model_version"] == "1"
    assert "another model" in row["missing"]["drift against the model"]
    assert {figure["against"] for figure in world.load()["figures"]} == set()


def test_nothing_pending_is_a_success_that_says_so(tmp_path):
    result = World(tmp_path).run(FIRST)
    assert (result.row["status"], result.row["input_rows"], result.alerts) == ("empty", 0, [])


def test_unusable_files_are_alerted_and_the_rest_is_judged(tmp_path):
    world = World(tmp_path)
    world.arrive(FIRST, n=300)
    world.bad_files = [{"path": "/in/a.parquet", "reason": "/in/a.parquet: is empty"}]
    result = world.run(FIRST)
    assert isinstance(result.failure, BadFilesError)
    assert result.row["input_rows"] == 300
    assert [(alert.kind, alert.items) for alert in result.alerts] == [("bad_files", ("/in/a.parquet",))]


def test_a_scoring_that_an_object_store_broke_off_is_a_failed_night(tmp_path, monkeypatch):
    """It has the exit code and, if a batch was published, the summary of a run with unusable files."""
    world = make_world(tmp_path)

    def fail(champion):
        raise ObjectStoreError("no answer", world._summarise(1))

    monkeypatch.setattr(world, "_score", fail)
    with pytest.raises(ObjectStoreError, match="^step score: no answer$"):
        world.run(FIRST)
    assert [night["status"] for night in world.load()["nights"]] == ["failed"]


def test_a_step_that_fails_is_named_recorded_and_alerted(tmp_path, monkeypatch):
    world = make_world(tmp_path)

    def fail(champion):
        raise ConfigError("text_col is wrong")

    monkeypatch.setattr(world, "_score", fail)
    with pytest.raises(ConfigError, match="^step score: text_col is wrong$"):
        world.run(FIRST)
    found = world.load()
    assert found["nights"][0]["status"] == "failed"
    assert found["sent"] == [Alert(FIRST, "/scores", "failed", "", "", "", "", ("nightly job",)).key]

    monkeypatch.undo()
    world.run(FIRST)
    assert [night["status"] for night in world.load()["nights"]] == ["alert"]


def test_an_unexpected_error_shows_its_class_only(tmp_path, monkeypatch):
    world = make_world(tmp_path)

    def fail(champion):
        raise ValueError("a canary sings")

    monkeypatch.setattr(world, "_score", fail)
    with pytest.raises(MonitoringError, match="^step score: unexpected ValueError") as raised:
        world.run(FIRST)
    assert "canary" not in str(raised.value) + (tmp_path / "alerts.jsonl").read_text()


def test_a_silent_registry_is_asked_again(tmp_path, monkeypatch):
    world = make_world(tmp_path)
    answers = [RegistryError("silent"), RegistryError("silent"), "run"]

    def log(*arguments):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(world, "_log", log)
    assert world.run(FIRST, waits=(1, 2, 3)).row["run_id"] == "run"
    assert world.calls["mlflow"] == 3


def test_an_alert_that_was_not_delivered_is_delivered_by_the_repetition(tmp_path):
    world, channel = make_world(tmp_path), Inbox(is_broken=True)
    both = [channel, alerts.FileChannel(tmp_path / "alerts.jsonl")]
    with pytest.raises(MonitoringError, match="step alerts: down"):
        world.run(FIRST, channels=both)
    channel.is_broken = False
    world.run(FIRST, channels=both)
    world.run(FIRST, channels=both)
    assert [alert.kind for alert in channel.got] == ["rejects"]
    assert [key.split("/")[1] for key in sorted(world.load()["sent"])] == ["failed", "rejects"]


def test_an_alert_of_one_night_that_was_not_delivered_is_delivered_on_the_next(tmp_path):
    world, channel = make_world(tmp_path), Inbox(is_broken=True)
    file = alerts.FileChannel(tmp_path / "alerts.jsonl")
    with pytest.raises(MonitoringError, match="step alerts: down"):
        world.run(FIRST, channels=[channel])
    channel.is_broken = False
    # A channel that is new on the second night has nothing of the first.
    world.run(FIRST + DAY, channels=[channel, file])
    world.run(FIRST + 2 * DAY, channels=[channel, file])
    first = [alert.kind for alert in channel.got if alert.night == FIRST]
    assert sorted(first) == ["failed", "rejects"]
    assert not [key for key in world.load()["sent"] if key.startswith(FIRST.isoformat())]


def test_a_channel_that_stays_down_is_a_warning_on_each_night_of_a_week(tmp_path):
    world, channel = make_world(tmp_path), Inbox(is_broken=True)
    with pytest.raises(MonitoringError):
        world.run(FIRST, channels=[channel])
    warnings = [world.run(FIRST + number * DAY, channels=[channel]).warnings for number in range(1, 9)]
    overdue = f"alerts of the night of {FIRST} are not delivered yet: down"
    assert [found.count(overdue) for found in warnings] == [1] * 7 + [0]


def run_nights(world, inbox, bad_files, start=FIRST):
    """Run nights on which these input files cannot be used; return what the inbox got on each."""
    got = []
    for number, names in enumerate(bad_files):
        world.bad_files = [{"path": f"/in/{name}", "reason": f"/in/{name}: is empty"} for name in names]
        before = len(inbox.got)
        with contextlib.suppress(MonitoringError):
            world.run(start + number * DAY, channels=[inbox])
        got.append([alert.items for alert in inbox.got[before:] if alert.kind == "bad_files"])
    return got


def test_a_lasting_alert_that_could_not_be_delivered_is_delivered_on_a_later_night(tmp_path):
    world, inbox = World(tmp_path), Inbox(is_broken=True)
    run_nights(world, inbox, [["a"], ["a"]])
    inbox.is_broken = False
    assert run_nights(world, inbox, [["a"], ["a"]], FIRST + 2 * DAY) == [[("/in/a",)], []]


def test_a_lasting_alert_needs_attention_every_night_and_is_delivered_once(tmp_path):
    world, inbox = World(tmp_path), Inbox()
    assert run_nights(world, inbox, [["a"]] * 3) == [[("/in/a",)], [], []]
    found = world.load()
    assert [(night["status"], night["alerts"]) for night in found["nights"]] == [("alert", 1)] * 3
    assert [alert["is_new"] for alert in found["alerts"]] == [True, False, False]


def test_a_lasting_alert_is_repeated_after_four_weeks(tmp_path):
    got = run_nights(World(tmp_path), Inbox(), [["a"]] * 30)
    assert [number for number, items in enumerate(got) if items] == [0, 29]


def test_a_problem_that_ended_and_returns_is_a_new_alert(tmp_path):
    got = run_nights(World(tmp_path), Inbox(), [["a"], [], ["a"], [], [], ["a"]])
    assert [bool(items) for items in got] == [True, False, False, False, False, True]


def test_files_of_one_name_in_two_folders_are_two(tmp_path):
    got = run_nights(World(tmp_path), Inbox(), [["x/a, b\n.parquet"], ["y/a, b\n.parquet"]])
    assert [len(items) for items in got] == [1, 1]


def test_an_alert_that_gets_worse_within_its_night_is_delivered_again(tmp_path):
    world, inbox = World(tmp_path), Inbox()
    file = alerts.FileChannel(tmp_path / "alerts.jsonl")
    for names in ("a", "ab", "ab", "a"):
        world.bad_files = [{"path": name, "reason": "is empty"} for name in names]
        world.run(FIRST, channels=[inbox, file])
    assert [alert.items for alert in inbox.got] == [("a",), ("a", "b")]
    assert len(world.load()["sent"]) == 2


def test_alerts_are_delivered_though_nothing_can_be_written_down(tmp_path, monkeypatch):
    world, inbox = make_world(tmp_path), Inbox()

    def fail(path, content):
        raise StoreError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr(history, "replace_file", fail)
    monkeypatch.setattr("sentiment.monitoring.journal.replace_file", fail)
    with pytest.raises(StoreError, match="^step begin: .*No space left.*; and the night was not recorded"):
        world.run(FIRST, channels=[inbox])
    assert [alert.kind for alert in inbox.got] == ["failed"]


def test_a_change_of_the_reviews_is_one_alert_on_the_second_night(tmp_path):
    world = World(tmp_path)
    for number in range(14):
        change = {"chars": 120.0, "positive": 0.9} if number >= 9 else {}
        world.arrive(FIRST + number * DAY, n=600, seed=number, **change)
        world.run(FIRST + number * DAY)
    found = world.load()
    drifted = [night["drifted_figures"] > 0 for night in found["nights"]]
    assert drifted == [False] * 9 + [True] * 5
    new = [(a["night"], a["kind"]) for a in found["alerts"] if a["is_new"]]
    assert new == [(pd.Timestamp(FIRST + 10 * DAY), "drift")]
    assert [key[:16] for key in found["sent"]] == [f"{FIRST + 10 * DAY}/drift"]
    against = {row["against"] for row in found["figures"]}
    assert against == {"model", "trailing"}


def test_a_new_model_is_not_compared_with_the_predictions_of_the_old_one(tmp_path):
    world = World(tmp_path)
    for number in range(9):
        world.version = "1" if number < 8 else "2"
        world.arrive(FIRST + number * DAY, n=300, seed=number)
        result = world.run(FIRST + number * DAY)
    last = [row for row in world.load()["figures"] if row["night"] == pd.Timestamp(FIRST + 8 * DAY)]
    assert {row["figure"] for row in last if row["against"] == "trailing"} == {"n_chars", "repeated_text"}
    assert "nights of this model" in str(result.row["missing"])


def test_a_first_night_takes_old_files_and_has_no_late_ones(tmp_path):
    world = World(tmp_path)
    now = datetime.datetime(2026, 3, 2, tzinfo=datetime.UTC)
    world.arrive(FIRST - 90 * DAY, modified=now, n=300)
    assert world.run(FIRST).alerts == []


def test_a_night_that_scores_all_rows_again_is_no_alert_and_no_norm(tmp_path):
    world = World(tmp_path)
    for number in range(9):
        day = FIRST + number * DAY
        world.is_rescore = number == 7
        if world.is_rescore:  # all rows of the days before, from their old files
            world.arrive(FIRST, n=2_100, seed=20, chars=900)
        else:
            world.arrive(day, n=300, seed=number)
        assert world.run(day).alerts == []
    found = world.load()
    assert [night["expected_rows"] for night in found["nights"]][6:] == [300, None, 300]
    trailing = [row for row in found["figures"] if row["night"] == pd.Timestamp(FIRST + 8 * DAY)]
    assert {row["reference_rows"] for row in trailing if row["against"] == "trailing"} == {7 * 300}


@pytest.mark.parametrize(
    ("settings", "figures"),
    [({"min_score": 0.9}, {"unsure"}), ({"cascade": "off"}, {"score", "stage", "unsure"})],
)
def test_other_settings_than_those_of_the_model_are_no_drift(settings, figures, tmp_path):
    world = World(tmp_path)
    for number in range(9):
        world.settings = settings if number == 8 else {}
        world.arrive(FIRST + number * DAY, n=300, seed=number)
        if number == 8:
            world.pending[0][2]["unsure"] = True
            if "cascade" in settings:
                world.pending[0][2]["stage"] = "encoder"
        row = world.run(FIRST + number * DAY).row
    last = [row for row in world.load()["figures"] if row["night"] == pd.Timestamp(FIRST + 8 * DAY)]
    assert not {row["figure"] for row in last} & figures
    assert row["drifted_figures"] == 0
    assert f"drift of {', '.join(sorted(figures))} against the model" in row["missing"]
    assert ("calibrated estimate" in row["missing"]) == ("cascade" in settings)


def test_late_labels_show_the_accuracy_and_correct_the_estimate(tmp_path):
    rows = make_rows(n=2_000, seed=1, inflated=0.1)
    world = World(tmp_path, labels=make_labels(rows))
    world.reference = None
    world.arrive(FIRST, n=2_000, seed=1, inflated=0.1)
    first = world.run(FIRST).row
    world.arrive(FIRST + DAY, n=2_000, seed=2, inflated=0.1)
    world.labels = world.labels.assign(id=lambda labels: labels["id"])
    second = world.run(FIRST + DAY).row
    realised = history.load_nights(tmp_path / "monitoring")["realised_accuracy"]
    truth = rows["is_right"].mean()
    assert realised.iloc[0] == pytest.approx(truth)
    assert first["estimated_accuracy"] > truth + 0.05
    assert second["estimated_accuracy"] == pytest.approx(truth, abs=0.02)
    assert "calibrated estimate" in first["missing"]
    assert "calibrated estimate" not in second["missing"]


def test_a_fall_of_the_scores_is_an_alert_on_accuracy(tmp_path):
    world = World(tmp_path)
    world.arrive(FIRST, n=3_000, sure=1.5)
    kinds = {alert.kind: alert.message for alert in world.run(FIRST).alerts}
    assert "expected about" in kinds["accuracy"]


def test_batches_without_profiles_have_no_figures_of_texts_and_say_so(tmp_path):
    world = World(tmp_path, has_profiles=False)
    world.arrive(FIRST, n=300)
    row = world.run(FIRST).row
    assert "text figures" in row["missing"]
    assert row["scored_rows"] == 300


def test_late_labels_that_show_a_fall_are_an_alert(tmp_path):
    world = World(tmp_path, labels=make_labels(make_rows(n=600, seed=1)).head(0))
    for number in range(17):
        day = FIRST + number * DAY
        rows = make_rows(n=300, seed=number)
        if number >= 12:  # the labels mean something else from here on, which no score shows
            rows.loc[:89, "is_right"] = False
        labels = make_labels(rows).assign(id=lambda made, n=number: made["id"] + 1_000 * n)
        world.labels = pd.concat([world.labels, labels])
        world.arrive(day, n=300, seed=number)
        world.pending[0][2]["id"] += 1_000 * number
        world.run(day)
    raised = [
        (a["night"], a["kind"]) for a in world.load()["alerts"] if a["kind"] == "realised" and a["is_new"]
    ]
    assert len(raised) == 1
    assert FIRST + 13 * DAY < raised[0][0].date() <= FIRST + 18 * DAY


def test_a_night_of_few_rows_is_not_compared_and_says_so(tmp_path):
    world = World(tmp_path)
    world.arrive(FIRST, n=99)
    row = world.run(FIRST).row
    assert row["drifted_figures"] == 0
    assert "fewer than 100 rows" in row["missing"]["drift against model"]
    assert world.load()["figures"] == []
