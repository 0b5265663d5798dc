import pandas as pd
import pytest

from sentiment import registry
from sentiment.errors import ModelError, ModelLoadError, ModelNotFoundError


def test_a_preset_tracking_server_wins(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/preset.db")
    assert registry.use_tracking(tmp_path / "home") == f"sqlite:///{tmp_path}/preset.db"
    assert not (tmp_path / "home").exists()


def test_without_one_it_is_sqlite_under_var(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert registry.use_tracking(tmp_path) == f"sqlite:///{tmp_path}/var/mlflow.db"


def test_files_of_an_experiment_lie_beside_the_database(tracking, tmp_path):
    registry.open_experiment("tests")
    experiment = registry.import_mlflow().get_experiment_by_name("tests")
    assert experiment.artifact_location == (tmp_path / "tracking" / "artifacts").as_uri()


def test_an_alias_resolves_to_its_version_and_folder(use_tiny_model):
    found = registry.resolve_model("models:/sentiment@champion")
    assert found.version == "1"
    assert found.text_col == "text"
    assert (found.folder / "MLmodel").is_file()
    by_version = registry.resolve_model("models:/sentiment/1")
    assert (by_version.folder, by_version.model_id) == (found.folder, found.model_id)
    assert registry.resolve_model("models:/sentiment/latest").version == "1"


def test_a_folder_is_a_model_without_a_registry(use_tiny_model):
    found = registry.resolve_model("models:/sentiment/1")
    by_folder = registry.resolve_model(str(found.folder))
    assert by_folder.model_id == found.model_id
    assert found.model_id.replace("-", "").startswith(by_folder.version)


@pytest.mark.parametrize("uri", ["models:/none@champion", "models:/sentiment@none", "models:/sentiment/99"])
def test_a_model_that_is_not_there_is_an_error_with_the_next_step(use_tiny_model, uri):
    with pytest.raises(ModelNotFoundError, match="fine-tune one with"):
        registry.resolve_model(uri)


def test_an_error_shows_no_password(monkeypatch):
    shown = registry._without_password("https://user:secret@tracking.example/path?x=1")
    assert shown == "https://tracking.example/path?x=1"
    assert registry._without_password("sqlite:////var/mlflow.db") == "sqlite:////var/mlflow.db"


def test_a_folder_that_is_no_model_is_an_error(use_tiny_model, tmp_path):
    with pytest.raises(ModelNotFoundError):
        registry.resolve_model(str(tmp_path))


def test_a_model_that_cannot_be_loaded_is_an_error(use_tiny_model, tmp_path):
    import shutil

    copy = tmp_path / "model"
    shutil.copytree(registry.resolve_model(use_tiny_model.uri).folder, copy)
    (copy / "artifacts" / "encoder" / "inference.json").write_bytes(b"damaged")
    with pytest.raises(ModelLoadError, match="could not be loaded"):
        registry.load_model(copy)


def test_a_broken_model_file_is_no_model(use_tiny_model, tmp_path):
    for content in ("flavors: {}\n", "a: [\n", "- 1\n"):
        (tmp_path / "MLmodel").write_text(content)
        with pytest.raises(ModelNotFoundError):
            registry.resolve_model(str(tmp_path))


class Foreign:
    """A model that answers, or raises, what it was made with."""

    def __init__(self, answer):
        self._answer = answer

    def predict(self, data):
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (ValueError("cannot read 'a secret'"), "failed while it scored: ValueError"),
        (pd.DataFrame({"label": ["positive"]}), "no sentiment model"),
        (["positive"], "no sentiment model"),
    ],
)
def test_a_model_that_breaks_its_contract_is_an_error_that_quotes_nothing(answer, says):
    with pytest.raises(ModelError, match=says) as caught:
        registry.predict(Foreign(answer), pd.Series(["a secret"]))
    assert "secret" not in str(caught.value)


def test_rows_out_are_rows_in(use_tiny_model):
    model = registry.load_model(use_tiny_model.uri)
    predictions = registry.predict(model, pd.Series(["great phone", None], dtype=object))
    assert predictions["reject_reason"].tolist() == [None, "null_text"]
    with pytest.raises(ModelError, match="expected 2 rows"):
        registry.predict(Foreign(predictions.head(1)), pd.Series(["a", "b"]))
