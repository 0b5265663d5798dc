"""A search keeps the best of its trials, and continues after a kill."""

from dataclasses import replace

import pytest
import torch

from sentiment.config import FinetuneConfig
from sentiment.errors import ConfigError
from sentiment.models import registry
from sentiment.training import search as search_module
from sentiment.training.checkpoints import Checkpoints
from sentiment.training.encoders import load_encoder
from sentiment.training.finetuning import finetune
from sentiment.training.runs import Training, open_run
from sentiment.training.search import search
from tests.factories import make_reviews, make_splits, make_tiny_encoder
from tests.families import SIZES, TYPES, make_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
pytest.importorskip("optuna", reason="NOT RUN: the extra `search` is not installed")


class KilledError(Exception):
    pass


@pytest.fixture
def config(tmp_path):
    encoder = make_tiny_encoder(tmp_path / "encoder", initializer_range=0.05)
    return FinetuneConfig(
        distilbert_model=str(encoder), lr=1e-3, epochs=1, max_length=32, evaluations=1, search=3
    )


@pytest.fixture
def checkpoints(tmp_path):
    (tmp_path / "kept").mkdir()
    return Checkpoints(tmp_path / "kept")


def search_recipes(config, checkpoints, kill_at=None):
    """Run a search in an MLflow run; it ends as if it was killed when a stage begins with `kill_at`."""
    rows = make_reviews(84)
    encoder = load_encoder(config.distilbert_model, config.max_length, config.seed)
    stages = []

    def progress(stage, done, total, note):
        stages.append(stage)
        if kill_at is not None and stage.startswith(kill_at):
            raise KilledError

    splits = make_splits(rows[:60], rows[60:74], rows[74:])
    with open_run(checkpoints, "digest") as log:
        _, found = search(encoder, Training(splits, config, checkpoints, log, progress))
    return encoder.model, found, stages


@pytest.mark.reliability
def test_a_killed_search_continues_with_the_same_trial(config, checkpoints, tracking):
    registry.open_experiment("sentiment")
    with pytest.raises(KilledError):
        search_recipes(config, checkpoints, kill_at="trial 2")
    model, found, stages = search_recipes(config, checkpoints)
    assert found.trials == 3
    assert not any(stage.startswith("trial 1,") for stage in stages)
    runs = registry.import_mlflow().search_runs(experiment_names=["sentiment"], output_format="list")
    [parent] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    trials = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(trials) == 3  # the killed trial went on in its run
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert parent.data.params["best_lr"] == str(found.best["lr"])
    best = max(run.data.metrics["eval_f1"] for run in trials)
    assert found.best_f1 == best
    [kept] = checkpoints.folder.glob("trial-*")
    other = load_encoder(config.distilbert_model, config.max_length, 7)
    assert Checkpoints(kept).load_trained(other.model) is not None
    assert torch.equal(other.model.classifier.weight, model.classifier.weight)


def test_minutes_end_a_search_after_the_given_recipe(config, checkpoints, tracking):
    registry.open_experiment("sentiment")
    given = replace(config, search=None, search_minutes=1e-9, lr_decay=0.9)
    _, found, _ = search_recipes(given, checkpoints)
    assert (found.trials, found.best_trial) == (1, 1)
    assert (found.best["lr"], found.best["lr_decay"]) == (config.lr, 0.9)


@pytest.mark.parametrize("suggested", [0, 1])
def test_the_given_recipe_is_tried_even_if_its_trial_was_killed_at_once(config, tmp_path, suggested):
    """The values of a trial that was killed before it had suggested them were drawn at random."""
    trial = search_module._open_study(config, tmp_path).ask()
    for _ in range(suggested):
        trial.suggest_float("lr", config.lr / 5, config.lr * 5, log=True)
    again = search_module._open_study(config, tmp_path).ask()
    assert search_module.suggest(again, config, has_layers=True) == config


def test_an_encoder_without_layers_of_its_own_is_searched_without_their_rates(config, checkpoints, tracking):
    """The second trial failed because of a value that nobody had given."""
    from transformers import AutoConfig, AutoModel

    registry.open_experiment("sentiment")
    folder = config.distilbert_model
    sizes = {**SIZES, **TYPES["albert"][1], "initializer_range": 0.05}
    AutoModel.from_config(AutoConfig.for_model("albert", **sizes)).save_pretrained(folder)
    make_tokenizer("unigram").save_pretrained(folder)
    _, found, _ = search_recipes(replace(config, search=2), checkpoints)
    assert found.trials == 2
    assert "lr_decay" not in found.best
    assert any("search: lr_decay stays 1" in warning for warning in checkpoints.warnings)


def test_a_recipe_that_diverges_does_not_end_the_search(config, checkpoints, tracking, monkeypatch):
    registry.open_experiment("sentiment")
    run_trial = search_module._run_trial

    def diverge_first(number, encoder, training):
        high = replace(training, config=replace(training.config, lr=1e9))
        return run_trial(number, encoder, high if number == 0 else training)

    monkeypatch.setattr(search_module, "_run_trial", diverge_first)
    _, found, _ = search_recipes(replace(config, search=2), checkpoints)
    assert (found.trials, found.best_trial) == (2, 2)
    [warning] = checkpoints.warnings
    assert warning.startswith("trial 1 counts as F1 0: the training diverged")


@pytest.mark.reliability
def test_report_and_card_state_the_recipe_that_was_found(config, tracking, tmp_path, monkeypatch):
    """The given recipe diverges, so the other one is the best."""
    run_trial = search_module._run_trial

    def diverge_first(number, encoder, training):
        high = replace(training, config=replace(training.config, lr=1e9))
        return run_trial(number, encoder, high if number == 0 else training)

    monkeypatch.setattr(search_module, "_run_trial", diverge_first)
    make_reviews(240).to_parquet(tmp_path / "train.parquet")
    given = {"dataset_name": str(tmp_path / "train.parquet"), "search": 2, "cascade": "off"}
    found = finetune(replace(config, **given, checkpoint_dir=str(tmp_path / "kept")), lambda *_: None)
    folder = registry.resolve_model(found.model_uri).folder
    card = (folder / "artifacts" / "encoder" / "README.md").read_text()
    assert found.search.best["schedule"] in card
    assert str(found.search.best["lr"]) in card


def test_several_processes_cannot_search(config, checkpoints, monkeypatch):
    monkeypatch.setattr(search_module, "count_processes", lambda: 2)
    with pytest.raises(ConfigError, match="search: found several processes, expected one"):
        search(None, Training(None, config, checkpoints, None, lambda *_: None))
