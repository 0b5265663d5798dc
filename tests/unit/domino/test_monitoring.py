"""What Domino's model monitoring gets: captured predictions, a baseline, configurations, the email."""

import json
import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from sentiment.domino import capture, training_sets
from sentiment.domino.mail import format_mail, write_mail
from sentiment.domino.monitoring_config import main
from tests.factories import CANARY

SCORED = {
    **{"label": "good", "score": 0.9, "unsure": False, "n_tokens": 4, "truncated": False},
    **{"stage": "encoder", "reject_reason": None},
}
REJECTED = {**dict.fromkeys(SCORED), "unsure": False, "reject_reason": "null_text"}


@dataclass
class MonitoringMeta:
    """As in dominodatalab-data 6.7.4."""

    timestamp_columns: list[str] = field(default_factory=list)
    categorical_columns: list[str] = field(default_factory=list)
    ordinal_columns: list[str] = field(default_factory=list)


@pytest.fixture
def domino_data(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Install a client with arguments and column check of dominodatalab-data 6.7.4; return its calls."""
    calls: list[dict[str, Any]] = []

    def create_training_set_version(
        training_set_name: str,
        df: pd.DataFrame,
        description: str | None = None,
        key_columns: list[str] | None = None,
        target_columns: list[str] | None = None,
        exclude_columns: list[str] | None = None,
        monitoring_meta: MonitoringMeta | None = None,
        meta: dict[str, str] | None = None,
    ) -> Any:
        named = [*(target_columns or []), *(monitoring_meta or MonitoringMeta()).categorical_columns]
        assert set(named) <= set(df.columns)
        calls.append(dict(locals()))
        return SimpleNamespace(training_set_name=training_set_name, number=3)

    client, model = ModuleType("client"), ModuleType("model")
    vars(client)["create_training_set_version"] = create_training_set_version
    vars(model)["MonitoringMeta"] = MonitoringMeta
    monkeypatch.setitem(sys.modules, "domino_data.training_sets.client", client)
    monkeypatch.setitem(sys.modules, "domino_data.training_sets.model", model)
    return calls


def test_the_baseline_has_the_captured_features_and_the_label_and_no_text(domino_data: Any) -> None:
    rows = training_sets.describe_reviews([CANARY, ""], ["bad", "good"], [SCORED, REJECTED])
    assert training_sets.register_baseline(rows, "shop sentiment", {"model_uri": "m"}) == (
        "shop_sentiment version 3"
    )
    [call] = domino_data
    assert list(call["df"].columns) == [*capture.FEATURES, *capture.PREDICTIONS]
    assert call["df"].to_dict("records") == [
        {"chars": len(CANARY), "n_tokens": 4, "truncated": False, "score": 0.9, "label": "bad"}
    ]
    assert call["target_columns"] == ["label"]
    assert call["monitoring_meta"].categorical_columns == ["truncated", "label"]


def test_outside_domino_nothing_is_registered() -> None:
    assert not training_sets.is_available({})
    assert not training_sets.is_available({"DOMINO_PROJECT_ID": "5f"})  # the client is not installed


@pytest.mark.parametrize("is_made", [True, False])
def test_a_client_that_fails_costs_no_prediction_and_gives_no_id(
    is_made: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(CANARY)

    monkeypatch.setattr(capture.importlib.util, "find_spec", lambda name: SimpleNamespace())
    made = (lambda: SimpleNamespace(capturePrediction=fail)) if is_made else fail
    monkeypatch.setattr(capture, "_make_client", made)
    [found] = capture.capture_predictions([CANARY], [SCORED])
    assert found == {**SCORED, "event_id": None}
    assert "OSError" in caplog.text
    assert CANARY not in caplog.text


def test_without_the_client_predictions_stay_as_they_are() -> None:
    assert capture.capture_predictions(["good"], [SCORED]) == [SCORED]


WHERE = ["--path", "shop/scores", "--source", "bucket"]


@pytest.mark.parametrize(
    ("arguments", "types"),
    [
        (
            ["model", "--name", "sentiment", "--version", "3"],
            {
                **{"n_tokens": "feature", "truncated": "feature", "score": "feature"},
                "label": "prediction",
            },
        ),
        (["prediction"], {"review_id": "row_identifier", "scored_at": "timestamp"}),
        (["ground_truth", "--id_col", "id"], {"id": "row_identifier", "true_label": "ground_truth"}),
    ],
)
def test_a_configuration_declares_its_variables(
    arguments: list[str], types: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, *WHERE]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["name"]: one["variableType"] for one in found["variables"]} == types
    assert found["datasetDetails"]["name"] == "scores"
    assert ("modelMetadata" in found) is (arguments[0] == "model")


def test_the_variables_are_columns_of_the_scored_table(capsys: pytest.CaptureFixture[str]) -> None:
    from sentiment import schema

    main(["model", "--name", "sentiment", "--version", "3", *WHERE])
    names = {one["name"] for one in json.loads(capsys.readouterr().out)["variables"]}
    assert names <= {*schema.PREDICTION_COLUMNS, *schema.TABLE_COLUMNS}


def test_a_model_needs_name_and_version() -> None:
    for arguments in (["model"], ["prediction", "--name", "a", "--version", "1"]):
        with pytest.raises(SystemExit):
            main([*arguments, *WHERE])


def test_the_email_has_a_subject_and_escapes_what_it_shows(tmp_path: Any) -> None:
    write_mail(tmp_path, format_mail("a.csv: scored", {"<b>": "1"}, "done"), ["results/a.csv"])
    page = (tmp_path / "email.html").read_text()
    assert "<title>a.csv: scored</title>" in page
    assert "&lt;b&gt;" in page
    assert (tmp_path / ".dominoresults").read_text() == "results/a.csv\n"
