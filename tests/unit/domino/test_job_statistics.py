import json
from pathlib import Path
from typing import Any

import pytest

from sentiment.domino.job_statistics import flatten_summary, main
from sentiment.errors import SchemaMismatchError


def make_summary(**overrides: Any) -> dict[str, Any]:
    summary = {
        "input_rows": 100,
        "scored_rows": 80,
        "rejected_rows": 20,
        "skipped_rows": 0,
        "rejected_by_reason": {"null_text": 15, "blank_text": 5},
        "labels": {"positive": 60, "negative": 20},
        "rows_per_second": 123.456,
        "seconds": 9.87,
        "model_loads": 2,
        "python_workers": 2,
        "model_uri": "models:/sentiment@champion",
        "label_names": ["negative", "positive"],
        "model_version": "7",
        "output": "/data/scores",
        "batch": "/data/scores/model=7/batch=2026-11-24-abc",
        "warnings": [],
    }
    return summary | overrides


def test_figures_of_a_run_become_flat_stats() -> None:
    assert flatten_summary(make_summary()) == {
        "input rows": 100,
        "scored rows": 80,
        "rejected rows": 20,
        "skipped rows": 0,
        "rejected: blank_text": 5,
        "rejected: null_text": 15,
        "share negative": 0.25,
        "share positive": 0.75,
        "share rejected": 0.2,
        "reviews per second": 123.5,
        "seconds": 9.9,
        "model version": "7",
        "batch": "batch=2026-11-24-abc",
    }


def test_run_without_a_positive_review_has_a_share_of_zero() -> None:
    assert flatten_summary(make_summary(labels={"negative": 80}))["share positive"] == 0


def test_run_with_nothing_new_has_no_shares() -> None:
    stats = flatten_summary(
        make_summary(scored_rows=0, rejected_rows=0, skipped_rows=100, rejected_by_reason={}, labels={})
    )

    assert stats["skipped rows"] == 100
    assert [name for name in stats if name.startswith("share")] == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"labels": 3}, "expected labels as dict, found int"),
        ({"seconds": "9"}, "expected seconds as int or float, found str"),
    ],
)
def test_figure_of_another_type_is_named(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaMismatchError, match=message):
        flatten_summary(make_summary(**overrides))


def test_missing_figure_is_named() -> None:
    summary = make_summary()
    del summary["scored_rows"]

    with pytest.raises(SchemaMismatchError, match="expected scored_rows as int, found nothing"):
        flatten_summary(summary)


def test_command_replaces_the_target_and_leaves_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "score.json").write_text(json.dumps(make_summary()))
    (tmp_path / "dominostats.json").write_text("old")

    assert main([str(tmp_path / "score.json"), str(tmp_path / "dominostats.json")]) == 0

    stats = json.loads((tmp_path / "dominostats.json").read_text())
    assert stats == flatten_summary(make_summary())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["dominostats.json", "score.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no summary at"),
        (b"not JSON", "expected a summary as JSON"),
        (b"\xff\xfe", "expected a summary as JSON"),
        (b"[1]", "expected a JSON object, found a list"),
        (b"{}", "found nothing"),
    ],
)
def test_unusable_summary_ends_with_3_and_one_line(
    content: bytes | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "score.json").write_bytes(content)

    assert main([str(tmp_path / "score.json"), str(tmp_path / "dominostats.json")]) == 3

    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "dominostats.json").exists()


def test_target_in_no_folder_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "score.json").write_text(json.dumps(make_summary()))

    assert main([str(tmp_path / "score.json"), str(tmp_path / "absent" / "dominostats.json")]) == 2
    assert "cannot write" in capsys.readouterr().err
