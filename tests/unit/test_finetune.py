import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from tests.factories import ROOT


@pytest.mark.parametrize("more", [["--epochs", "3"], ["--conf", "conf/demo.yaml"], ["--experiment=shop"]])
def test_what_has_no_effect_on_registering_is_a_usage_error(capsys, more):
    from jobs.finetune import main

    with pytest.raises(SystemExit) as caught:
        main(["--register", "var/unregistered/a", "--alias", "champion", *more])
    assert caught.value.code == 2
    assert f"unrecognized arguments: {' '.join(more)}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("threshold", "weight", "expected"),
    [
        (0.94, None, "the linear stage decides 54% of reviews (threshold 0.94)"),  # of an earlier version
        (None, 0.0, "off: no threshold was safe on 2,000 validation reviews"),
        (0.94, 0.0, "the linear stage decides 54% of reviews (threshold 0.94)"),
        (
            0.94,
            0.5,
            "the linear stage decides 54% of reviews "
            "(threshold 0.94), and counts in other long ones (weight 0.50)",
        ),
        (None, 0.5, "the linear stage decides no review, and counts in other long ones (weight 0.50)"),
    ],
)
def test_the_job_states_what_the_linear_stage_does(threshold, weight, expected):
    from jobs.finetune import _describe_cascade

    share = 0.0 if threshold is None else 0.54
    cascade = {"threshold": threshold, "rows": 2_000, "share_early": share}
    if weight is not None:
        cascade["pool"] = {"encoder": 0.8, "linear": weight, "bias": 0.1}
    assert _describe_cascade(cascade) == expected


def test_registering_takes_an_alias_and_a_name(monkeypatch):
    from jobs import finetune
    from sentiment.models import registry
    from sentiment.training import registration

    registered = []

    def register_kept(*arguments):
        registered.append(arguments)
        raise registration.ConfigError("done")

    monkeypatch.setattr(registry, "use_tracking", lambda home: "")
    monkeypatch.setattr(registration, "register_kept", register_kept)
    given = ["--alias", "challenger", "--registered_model_name", "shop"]
    assert finetune.main(["--register=var/unregistered/a", *given]) == 2
    assert registered == [(Path("var/unregistered/a"), "challenger", "shop")]


@pytest.mark.slow
def test_the_policy_is_set_before_torch_is_imported():
    script = """
import os, sys, types
os.environ.pop("OMP_WAIT_POLICY", None)

class Done(Exception):
    pass

class Finder:
    def find_spec(self, name, *_):
        if name == "sentiment.training.finetuning":
            raise Done

sys.meta_path.insert(0, Finder())
from jobs.finetune import run
try:
    run(None, None)
except Done:
    print(os.environ.get("OMP_WAIT_POLICY"), "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("PASSIVE False\n", "")


def test_the_baseline_for_drift_is_of_reviews_that_the_model_was_not_trained_on(monkeypatch):
    """A model is surer of reviews that it has seen."""
    from jobs import finetune
    from sentiment.config import FinetuneConfig
    from sentiment.domino import training_sets

    test = pd.DataFrame({"text": ["a", "b"], "label": [0, 1]})
    reviews = SimpleNamespace(splits=SimpleNamespace(test=test), label_names=("bad", "good"))
    described = []
    monkeypatch.setattr(training_sets, "is_available", lambda environment: True)
    monkeypatch.setattr(training_sets, "register_baseline", lambda rows, *facts: described.append(rows))
    monkeypatch.setattr("sentiment.training.data.reading.load_labelled_reviews", lambda config: reviews)
    monkeypatch.setattr("sentiment.models.loading.load_model", lambda uri: None)
    scored = {"label": "good", "score": 0.9, "n_tokens": 3, "truncated": False}
    monkeypatch.setattr(
        "sentiment.models.predictions.list_predictions", lambda model, texts: [scored for _ in texts]
    )
    config = FinetuneConfig(dataset_name="d")
    assert finetune.register_drift_baseline(config, "models:/m/1", "digest", lambda *stage: None) == ()
    assert sorted(described[0]["label"]) == ["bad", "good"]


def test_a_baseline_that_cannot_be_made_costs_no_model(monkeypatch):
    """The training has ended, and the model is registered."""
    from jobs import finetune
    from sentiment.config import FinetuneConfig
    from sentiment.domino import training_sets

    monkeypatch.setattr(training_sets, "is_available", lambda environment: True)
    config = FinetuneConfig(dataset_name="/no/such/reviews.csv")
    [note] = finetune.register_drift_baseline(config, "models:/m/1", "digest", lambda *stage: None)
    assert "no Domino training set was registered (MissingInputError)" in note


@pytest.mark.parametrize("distributor", ["none", "spark"])
def test_a_baseline_is_registered_whatever_starts_the_processes(monkeypatch, distributor):
    """With Spark it was skipped, and nothing stated it."""
    from jobs import finetune
    from sentiment.config import FinetuneConfig
    from sentiment.models import registry
    from sentiment.training import distribution, finetuning

    @dataclass(frozen=True)
    class Summary:
        model_uri: str = "models:/m/1"
        data_digest: str = "digest"
        warnings: tuple[str, ...] = ("earlier",)

        def as_dict(self):
            return {"model_uri": self.model_uri, "warnings": self.warnings}

    monkeypatch.setattr(registry, "use_tracking", lambda home: "")
    monkeypatch.setattr(finetuning, "finetune", lambda *_: Summary())
    monkeypatch.setattr(distribution, "finetune_on_spark", lambda *_: Summary())
    monkeypatch.setattr(finetune, "register_drift_baseline", lambda config, *facts: (f"{facts[:2]}",))
    config = FinetuneConfig(distributor=distributor, num_processes=2 if distributor == "spark" else None)
    warnings = finetune.run(config, lambda *stage: None)["warnings"]
    assert warnings == ("earlier", "('models:/m/1', 'digest')")
