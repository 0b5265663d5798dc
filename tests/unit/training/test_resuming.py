"""A run has one result per seed, also if it is killed and continues."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch

from sentiment.cli import Terminated
from sentiment.config import FinetuneConfig
from sentiment.errors import CheckpointError, DivergedError, RunLockedError
from sentiment.models import registry
from sentiment.training import checkpoints as checkpoints_module
from sentiment.training.checkpoints import (
    Checkpoints,
    digest_encoder,
    digest_inputs,
    list_inputs,
    open_checkpoints,
)
from sentiment.training.data.reading import load_labelled_reviews
from sentiment.training.encoders import load_encoder
from sentiment.training.finetuning import log_data
from sentiment.training.processes import Termination
from sentiment.training.run_log import start_run
from sentiment.training.runs import open_run
from sentiment.training.trainer import finetune_encoder
from tests.factories import ROOT, keep_folder, make_reviews, make_splits, make_tiny_encoder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    encoder = make_tiny_encoder(tmp_path_factory.mktemp("encoder"), initializer_range=0.05)
    return FinetuneConfig(
        distilbert_model=str(encoder), lr=3e-3, epochs=2, max_length=32, patience=9, checkpoint_minutes=1e-6
    )


@pytest.fixture(scope="module")
def splits():
    rows = make_reviews(84)
    return make_splits(rows[:60], rows[60:74], rows[74:])


class KilledError(Exception):
    pass


def tune(config, splits, folder=None, kill_at=None, termination=None):
    """Return the weights and the log of a run; at the step `kill_at` it ends as if it was killed."""
    encoder = load_encoder(config.distilbert_model, config.max_length, config.seed)

    def kill(done, total, note):
        if done == kill_at:
            raise KilledError

    checkpoints = None if folder is None else Checkpoints(folder)
    log = finetune_encoder(encoder, splits, config, kill, lambda *_: None, checkpoints, termination)
    return encoder.model.state_dict(), log


@pytest.fixture(scope="module")
def undisturbed(config, splits):
    return tune(config, splits)


def losses(log):
    return {row["step"]: row["eval_loss"] for row in log if "eval_loss" in row}


def assert_same(found, expected):
    assert all(torch.equal(found[0][name], weights) for name, weights in expected[0].items())
    assert losses(found[1]) == losses(expected[1])


def test_the_same_seed_gives_the_same_weights_bit_for_bit(config, splits, undisturbed):
    assert_same(tune(config, splits), undisturbed)


def test_another_seed_gives_other_weights(config, splits, undisturbed):
    found, _ = tune(replace(config, seed=1), splits)
    assert not torch.equal(found["classifier.weight"], undisturbed[0]["classifier.weight"])


@pytest.mark.parametrize("step", [4, 7])  # at the end of the first epoch, and in the last one
def test_a_killed_run_continues_to_the_same_weights_and_losses(config, splits, undisturbed, tmp_path, step):
    with pytest.raises(KilledError):
        tune(config, splits, tmp_path, kill_at=step)
    assert_same(tune(config, splits, tmp_path), undisturbed)


@pytest.mark.parametrize("relocate", [shutil.move, shutil.copytree])
def test_a_run_whose_folder_was_moved_continues_to_the_same_weights(
    config, splits, undisturbed, tmp_path, relocate
):
    """The Trainer keeps absolute paths; a folder left at the old place, here damaged, is not used."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    with pytest.raises(KilledError):
        tune(config, splits, old, kill_at=6)
    relocate(old, new)
    if old.exists():
        for weights in old.rglob("model.safetensors"):
            weights.write_bytes(b"damaged")
    kept = Checkpoints(new)
    last = kept.find_last()
    assert (last and last.name, kept.warnings) == ("checkpoint-5", [])
    assert kept.find_last() == last  # its record is that of the corrected file
    assert_same(tune(config, splits, new), undisturbed)


def test_the_best_checkpoint_of_a_moved_folder_is_loaded_without_a_further_step(config, splits, tmp_path):
    """The Trainer ignored a best checkpoint that was not there, and kept the last weights."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    tune(config, splits, old)
    last, other = sorted(old.glob("checkpoint-?"), reverse=True)
    state = json.loads((last / "trainer_state.json").read_text())
    assert state["global_step"] == state["max_steps"]
    (last / "trainer_state.json").write_text(json.dumps(state | {"best_model_checkpoint": str(other)}))
    Checkpoints(old).seal(last.name)
    best = safetensors.torch.load_file(other / "model.safetensors")
    old.rename(new)
    found, _ = tune(config, splits, new)
    assert all(torch.equal(found[name], weights) for name, weights in best.items())


def test_a_training_that_diverges_ends_with_its_reason(config, splits):
    with pytest.raises(DivergedError, match="the training diverged: .* found nan; pass a smaller --lr than"):
        tune(replace(config, lr=1e9), splits)


def test_checkpoints_are_bounded(config, splits, tmp_path):
    with pytest.raises(KilledError):
        tune(config, splits, tmp_path, kill_at=8)
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_used(config, splits, undisturbed, tmp_path):
    with pytest.raises(KilledError):
        tune(config, splits, tmp_path, kill_at=6)
    last = tmp_path / "checkpoint-5"
    (last / "optimizer.pt").write_bytes(b"damaged")
    kept = Checkpoints(tmp_path)
    before = kept.find_last()
    assert before is not None
    assert before.name == "checkpoint-2"  # the best one
    assert [str(last) in line for line in kept.warnings] == [True]
    assert_same(tune(config, splits, tmp_path), undisturbed)


def test_a_checkpoint_that_was_cut_off_is_not_used(tmp_path):
    (tmp_path / "checkpoint-7").mkdir()
    kept = Checkpoints(tmp_path)
    assert kept.find_last() is None
    assert list(tmp_path.iterdir()) == kept.warnings == []


def test_after_sigterm_a_run_saves_and_continues(config, splits, undisturbed, tmp_path):
    rare = replace(config, checkpoint_minutes=60)
    termination = Termination()
    encoder = load_encoder(config.distilbert_model, config.max_length, config.seed)

    def terminate(done, total, note):
        if done == 3:
            termination._handle(signal.SIGTERM, None)

    with pytest.raises(Terminated, match="step 3 of 8; run the same command again"):
        finetune_encoder(
            encoder, splits, rare, terminate, lambda *_: None, Checkpoints(tmp_path), termination
        )
    assert (tmp_path / "checkpoint-3.json").exists()
    assert_same(tune(rare, splits, tmp_path), undisturbed)


def test_outside_of_the_training_sigterm_ends_at_once():
    with pytest.raises(Terminated, match="run the same command again"):
        Termination()._handle(signal.SIGTERM, None)


def test_a_full_disk_is_found_before_the_training(config, splits, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(CheckpointError, match="checkpoints need .* GB, found 0.0 GB"):
        tune(config, splits, tmp_path)


def test_a_disk_that_fills_up_leaves_the_checkpoint_before(config, splits, tmp_path, monkeypatch):
    saved = torch.save
    count = iter(range(1000))

    def save(value, path):
        if next(count) > 10:
            raise RuntimeError("[enforce fail at inline_container.cc] . unexpected pos 64 vs 0")
        saved(value, path)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(CheckpointError, match="cannot write a checkpoint"):
        tune(config, splits, tmp_path)
    assert Checkpoints(tmp_path).find_last() is not None


def test_trained_weights_are_kept_and_damaged_ones_are_not_used(config, tmp_path):
    encoder = load_encoder(config.distilbert_model, config.max_length, config.seed)
    kept = Checkpoints(tmp_path)
    kept.save_trained(encoder.model, [{"step": 1}])
    other = load_encoder(config.distilbert_model, config.max_length, 7)
    assert kept.load_trained(other.model) == [{"step": 1}]
    assert torch.equal(other.model.classifier.weight, encoder.model.classifier.weight)
    (tmp_path / "trained" / "model.safetensors").write_bytes(b"damaged")
    assert kept.load_trained(other.model) is None
    assert len(kept.warnings) == 1


def test_the_digest_is_of_the_settings_that_decide_the_result_and_of_the_data(config):
    def digest(data="data", **settings):
        return digest_inputs(list_inputs(replace(config, **settings), data=data))

    free = {"checkpoint_dir": "/elsewhere", "alias": "champion", "signing_key": "key.pem", "show_text": True}
    assert digest() == digest(**free)
    assert len({digest(), digest(lr=1e-5), digest("other data")}) == 3


@pytest.mark.parametrize(
    ("settings", "facts", "named"),
    [
        ({"lr": 1e-5}, {"data": "a"}, "another lr"),
        ({"lr": 1e-5, "epochs": 3}, {"data": "b"}, "another lr, epochs, data"),
        ({"lr": 1e-5, "epochs": 3, "seed": 7}, {"data": "b"}, None),  # too different to be the one meant
    ],
)
def test_a_new_run_names_the_unfinished_one_that_it_nearly_is(config, tmp_path, settings, facts, named):
    inputs = list_inputs(config, data="a")
    with pytest.raises(KilledError), open_checkpoints(str(tmp_path), inputs) as unfinished:
        raise KilledError
    other = list_inputs(replace(config, **settings), **facts)
    with open_checkpoints(str(tmp_path), other) as found:
        expected = f"{unfinished.folder}: this unfinished run is not continued, because it has {named}"
        assert found.warnings == ([] if named is None else [expected])
    with open_checkpoints(str(tmp_path), inputs) as continued:
        assert continued.folder == unfinished.folder
        assert continued.warnings == []


def test_a_folder_with_another_encoder_is_another_run(config):
    def load():
        return load_encoder(config.distilbert_model, config.max_length, 1)

    weights, settings, tokens = load(), load(), load()
    with torch.no_grad():
        next(weights.model.parameters())[0] += 1
    settings.model.config.hidden_dropout_prob = 0.3
    tokens.tokenizer.add_tokens(["unheard"])
    found = [digest_encoder(encoder) for encoder in (load(), load(), weights, settings, tokens)]
    assert found[0] == found[1]
    assert len(set(found)) == 4


def test_two_processes_cannot_train_the_same(tmp_path):
    with (
        open_checkpoints(str(tmp_path), {"lr": 1}),
        pytest.raises(RunLockedError, match="another process trains"),
        open_checkpoints(str(tmp_path), {"lr": 1}),
    ):
        pass


def test_only_a_few_unfinished_runs_are_kept(tmp_path):
    opened = []
    for i in range(checkpoints_module.KEPT_RUNS + 1):
        with pytest.raises(KilledError), open_checkpoints(str(tmp_path), {"seed": i}) as last:
            raise KilledError
        opened.append(last.folder)
        time.sleep(0.01)
    assert set(tmp_path.iterdir()) == set(opened[1:])
    assert f"{opened[0]}: removed" in last.warnings[-1]


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: only root can give files to another user")
def test_folders_of_another_user_are_left_alone_and_not_counted(tmp_path):
    """A job ended with a PermissionError at the lock of the oldest folder."""
    with pytest.raises(KilledError), open_checkpoints(str(tmp_path), {"seed": "mine"}) as mine:
        raise KilledError
    for i in range(checkpoints_module.KEPT_RUNS + 1):
        (tmp_path / f"theirs{i}").mkdir()
        (tmp_path / f"theirs{i}" / "_lock").touch()
        os.chown(tmp_path / f"theirs{i}", 65_534, 65_534)
    with open_checkpoints(str(tmp_path), {"a": 1, "b": 2, "c": 3}) as new:
        pass
    assert (new.warnings, mine.folder.exists()) == ([], True)
    assert len(list(tmp_path.glob("theirs*"))) == checkpoints_module.KEPT_RUNS + 1


def test_a_run_that_succeeds_leaves_no_folder(tmp_path):
    with open_checkpoints(str(tmp_path), {"lr": 1}) as checkpoints:
        (checkpoints.folder / "checkpoint-1").mkdir()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_removed_costs_no_success(tmp_path, monkeypatch):
    """The model was registered, and then the run ended with an error and without a summary."""
    with open_checkpoints(str(tmp_path), {"lr": 1}) as checkpoints:
        (checkpoints.folder / "trained").mkdir()
        (checkpoints.folder / "trained" / "model.safetensors").touch()
        keep_folder(monkeypatch, checkpoints.folder)
    [warning] = checkpoints.warnings
    expected = f"{checkpoints.folder}: the work is done, but this folder could not be removed (Directory not"
    assert warning.startswith(expected)
    assert list(checkpoints.folder.iterdir()) == []
    with open_checkpoints(str(tmp_path), {"lr": 1}):  # the lock was released
        pass


def test_a_lock_that_nfs_keeps_until_it_is_closed_is_no_warning(tmp_path, monkeypatch):
    def remove(folder):
        (folder / "inputs.json").unlink()
        (folder / "_lock").unlink()
        return "Directory not empty"

    monkeypatch.setattr(checkpoints_module, "remove_folder", remove)
    with open_checkpoints(str(tmp_path), {"lr": 1}) as checkpoints:
        pass
    assert (checkpoints.warnings, list(tmp_path.iterdir())) == ([], [])


def test_remains_of_an_earlier_run_that_cannot_be_removed_are_an_error(tmp_path, monkeypatch):
    (tmp_path / "trained").mkdir()
    keep_folder(monkeypatch, tmp_path / "trained")
    with pytest.raises(CheckpointError, match="trained: is of an earlier run, and cannot be removed"):
        Checkpoints(tmp_path).clear()


@pytest.fixture
def folder(tracking, tmp_path):
    """Make a folder that nothing else uses: a new run clears it."""
    registry.open_experiment("sentiment")
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def open_and_fail(folder, digest="a"):
    with pytest.raises(KilledError), open_run(Checkpoints(folder), digest):
        raise KilledError
    return Checkpoints(folder).read_run()


def test_an_unfinished_run_of_mlflow_continues_and_a_finished_one_does_not(tracking, folder):
    first = open_and_fail(folder)
    assert open_and_fail(folder) == first
    with open_run(Checkpoints(folder), "a"):
        pass
    assert registry.import_mlflow().MlflowClient().get_run(first).info.status == "FINISHED"
    (folder / "trained").mkdir()
    assert open_and_fail(folder) != first
    assert not (folder / "trained").exists()


def test_a_run_that_continues_may_have_other_free_settings(tracking, config, tmp_path):
    make_reviews(84).to_parquet(tmp_path / "reviews.parquet")
    config = replace(config, dataset_name=str(tmp_path / "reviews.parquet"))
    reviews = load_labelled_reviews(config)
    registry.open_experiment("sentiment")
    with start_run() as log:
        log_data(config, reviews, log)
        log_data(replace(config, checkpoint_minutes=5, alias="champion", report="a.html"), reviews, log)


def test_a_run_of_another_digest_or_server_is_not_continued(tracking, folder):
    first = open_and_fail(folder)
    (folder / "trained").mkdir()
    assert open_and_fail(folder, digest="b") != first
    Checkpoints(folder).write_run("0" * 32)
    checkpoints = Checkpoints(folder)
    with open_run(checkpoints, "a") as log:
        assert log.run_id not in (first, "0" * 32)
    # The checkpoints, which took hours, are not those of the server.
    assert (folder / "trained").exists()
    assert checkpoints.warnings == [
        f"the MLflow run {'0' * 32} of these checkpoints is not on this server; a new run continues"
    ]


def test_a_job_that_is_terminated_states_how_to_continue():
    script = """
import os, signal, sys
from pathlib import Path
from sentiment.cli import run_job
from sentiment.config import FinetuneConfig
from sentiment.training.processes import Termination

def run(config, report):
    with Termination().installed():
        os.kill(os.getpid(), signal.SIGTERM)

sys.exit(run_job(FinetuneConfig, Path("conf/finetune.yaml"), run, lambda _: (), []))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    line = "error: terminated; run the same command again to continue\n"
    assert (done.returncode, done.stdout, done.stderr) == (143, "", line)
