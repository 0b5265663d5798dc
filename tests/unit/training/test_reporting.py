from types import SimpleNamespace

import pandas as pd
import pytest

from sentiment.config import FinetuneConfig
from sentiment.models import registry
from sentiment.training import reporting
from sentiment.training.finetuning import finetune
from tests.factories import CANARY, make_reviews, make_tiny_encoder

pytestmark = pytest.mark.slow


def test_the_report_of_a_fine_tuned_model_has_slices_by_the_columns_of_the_reviews(
    one_thread, tracking, tmp_path
):
    """The reader of training data once kept texts and labels only."""
    (tmp_path / "reviews").mkdir()
    reviews = make_reviews(320)
    reviews[:240].to_parquet(tmp_path / "reviews" / "train.parquet")
    reviews[240:].assign(
        category=["books", "toys"] * 40,
        stars=[1, 5] * 40,
        review_date=[*pd.date_range("2024-03-01", periods=40, tz="UTC")] * 2,
        title=[CANARY, None] * 40,
    ).to_parquet(tmp_path / "reviews" / "test.parquet")
    config = FinetuneConfig(
        dataset_name=str(tmp_path / "reviews"),
        distilbert_model=str(make_tiny_encoder(tmp_path / "encoder", initializer_range=0.05)),
        epochs=1,
        max_length=32,
        cascade="off",
        report=str(tmp_path / "report.html"),
    )
    summary = finetune(config, lambda *_: None)
    report = (tmp_path / "report.html").read_text()
    for part in ("category books", "category toys", "stars 1", "stars 5", "month 2024-03", "title yes"):
        assert part in report
    assert "There is no slice by" not in report
    assert CANARY not in report
    logged = registry.import_mlflow().artifacts.load_text(f"runs:/{summary.run_id}/evaluation.html")
    assert "category books" in logged


def test_a_report_that_cannot_be_written_costs_no_model(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    config = FinetuneConfig(report=str(tmp_path / "gone" / "report.html"))
    (tmp_path / "gone").rmdir()
    monkeypatch.setattr(reporting, "write_report", lambda findings, path, texts: path.write_text("report"))
    log = SimpleNamespace(log_text=lambda text, name: None)
    [note] = reporting.log_report(None, [], config, log)
    assert note.endswith(
        "was not written (No such file or directory); the MLflow run has it as evaluation.html"
    )
