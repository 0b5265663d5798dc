import json
import subprocess
import sys

import pytest

import score
from sentiment import schema
from sentiment.errors import ModelNotFoundError
from tests.factories import ROOT

IMPORTED = """
import json, os, sys
sys.path.insert(0, {root!r})
before = dict(os.environ)
import score
changed = sorted(k for k in before.keys() | os.environ if before.get(k) != os.environ.get(k))
print(json.dumps({{"environment": changed, "modules": sorted(sys.modules)}}))
"""


@pytest.fixture(autouse=True)
def _use_model(use_tiny_model, monkeypatch):
    monkeypatch.setenv("SENTIMENT_MODEL_URI", use_tiny_model.uri)
    score._load_champion.cache_clear()


def test_a_string_gives_one_prediction():
    prediction = score.predict_sentiment("great phone")
    assert prediction["label"] == "positive"
    assert 0.5 <= prediction["score"] <= 1
    assert tuple(prediction) == schema.PREDICTION_COLUMNS
    json.dumps(prediction)


def test_the_platforms_keyword_works():
    assert score.predict_sentiment(sentence="awful battery")["label"] == "negative"


def test_a_list_gives_a_list_in_its_order_with_rejects():
    predictions = score.predict_sentiment(["awful battery", None, "great phone"])
    assert [p["label"] for p in predictions] == ["negative", None, "positive"]
    assert predictions[1]["reject_reason"] == "null_text"
    assert predictions[1]["score"] is None
    json.dumps(predictions, allow_nan=False)


def test_one_null_gives_one_reject_and_no_reviews_give_none():
    assert score.predict_sentiment(None)["reject_reason"] == "null_text"
    assert score.predict_sentiment([]) == []


def test_the_model_is_loaded_once(monkeypatch):
    loads = []
    real = score.loading.load_model
    monkeypatch.setattr(
        score.loading, "load_model", lambda uri, **told: loads.append(uri) or real(uri, **told)
    )
    score.predict_sentiment("great")
    score.predict_sentiment(["good"])
    assert len(loads) == 1


def test_importing_it_does_nothing():
    script = IMPORTED.format(root=str(ROOT))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["environment"] == []
    assert not set(found["modules"]) & {
        *("mlflow", "torch", "transformers", "datasets", "openvino", "pyspark"),
        *("sentiment.inference", "sentiment.training", "sentiment.tables", "sentiment.serving"),
    }


def test_the_docstring_names_every_key_of_a_prediction():
    assert [k for k in schema.PREDICTION_COLUMNS if f"`{k}`" not in score.predict_sentiment.__doc__] == []


def test_a_warm_up_loads_the_model_that_the_first_call_uses(monkeypatch):
    loads = []
    real = score.loading.load_model
    monkeypatch.setattr(
        score.loading, "load_model", lambda uri, **told: loads.append(uri) or real(uri, **told)
    )
    thread = score.warm_up()
    assert score.predict_sentiment("great phone")["label"] == "positive"
    thread.join()
    assert len(loads) == 1


def test_a_warm_up_without_a_model_is_logged_and_the_call_raises(monkeypatch):
    logged = []
    monkeypatch.setenv("SENTIMENT_MODEL_URI", "models:/none@champion")
    monkeypatch.setattr(score._log, "warning", lambda message, *values: logged.append(message % values))
    score.warm_up().join()
    assert ["models:/none@champion" in line for line in logged] == [True]
    with pytest.raises(ModelNotFoundError):
        score.predict_sentiment("great phone")


def test_the_command_prints_a_table_or_json(tmp_path, capsys):
    path = tmp_path / "reviews.txt"
    path.write_text("perfect [bold]\n\nawful battery\n")
    assert score.main(["--eval_path", str(path)]) == 0
    table = capsys.readouterr().out
    assert "perfect [bold]" in table
    assert "blank_text" in table
    assert score.main(["--eval_path", str(path), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["label"] for line in lines] == ["positive", None, "negative"]


def test_without_a_file_it_scores_a_default_sentence(capsys):
    assert score.main([]) == 0
    assert score.DEFAULT_SENTENCE[:20] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "uri", "code"),
    [(["--eval_path", "/no/such"], None, 3), ([], "models:/none@champion", 4)],
)
def test_an_error_is_one_line_and_its_exit_code(monkeypatch, capsys, arguments, uri, code):
    if uri:
        monkeypatch.setenv("SENTIMENT_MODEL_URI", uri)
    assert score.main(arguments) == code
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")


def test_a_model_without_a_record_is_refused_unless_the_environment_allows_it(
    use_tiny_model, monkeypatch, capsys
):
    folder = score.registry.resolve_model(use_tiny_model.uri).folder
    monkeypatch.setenv("SENTIMENT_MODEL_URI", str(folder))
    assert score.main([]) == 4
    assert "SENTIMENT_ALLOW_UNVERIFIED=1" in capsys.readouterr().err
    monkeypatch.setenv("SENTIMENT_ALLOW_UNVERIFIED", "1")
    assert score.predict_sentiment("great phone")["label"] == "positive"


def test_a_key_that_the_environment_names_is_demanded(monkeypatch, capsys):
    pytest.importorskip("model_signing", reason="NOT RUN: the extra `signing` is not installed")
    monkeypatch.setenv("SENTIMENT_VERIFY_KEY", "/no/such/key.pub")
    assert score.main([]) == 2
    assert "verify_key" in capsys.readouterr().err


def test_the_table_marks_what_is_unsure_and_shows_the_mean_of_stars(monkeypatch, tmp_path, capsys):
    sure = dict.fromkeys(schema.PREDICTION_COLUMNS) | {"label": "4", "score": 0.9, "unsure": False}
    unsure = sure | {"label": "2", "score": 0.3, "unsure": True, "expected": 2.75}
    monkeypatch.setattr(score, "predict_sentiment", lambda _: [sure | {"expected": 3.9}, unsure])
    path = tmp_path / "reviews.txt"
    path.write_text("fine\nwell\n")
    assert score.main(["--eval_path", str(path)]) == 0
    table = capsys.readouterr().out
    assert "expected" in table
    assert "2 (unsure)" in table
    assert "3.900" in table
    assert "2.750" in table
