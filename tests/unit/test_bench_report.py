"""What a benchmark writes for people."""

import json
from pathlib import Path

from tests.bench import report


def test_scale_alone_is_a_table_without_a_picture(tmp_path: Path) -> None:
    found = {"rows_per_second": 1411.8, "driver_peak_mb": 1297.9, "worker_peak_mb": 334.6}
    (tmp_path / "batch.json").write_text(json.dumps({"scale": {"1000000": found}, "machine": "2 cores"}))

    report.write(tmp_path / "batch.json", tmp_path)

    table = (tmp_path / "batch.md").read_text()
    assert "| 1,000,000 | 1,412 | 1,298 | 335 |" in table
    assert table.endswith("\n\n2 cores.\n")
    assert not (tmp_path / "batch.png").exists()


def test_sections_without_a_table_are_told_in_a_line() -> None:
    pair = {"rows": 7170, "speedup": 1.85, "share_early": 0.54, "accuracy_change_points": 0.31}
    results = {
        "machine": "2 cores",
        "skew": {"one_file": 1.01},
        "parity": {
            "rows": 10_000,
            "labelled_rows": 7170,
            "accuracy_loss_points": 0.014,
            "flip_share": 0.0043,
            "mean_shift": 0.0029,
            "alone_shift_p99": 0.0,
            "alone_shift_max": 0.0,
            "alone_flips": 0,
        },
        "cascade": pair | {"clothing": pair | {"rows": 8000, "share_early": 0.52}},
    }

    told = report.tabulate(results)

    assert "Last task to median task: one file 1.01." in told
    assert "loss 0.01 points, 0.43% of labels flipped, mean shift 0.0029" in told
    assert "clothing, 8,000 reviews: 1.85 times the encoder alone, 52% decided early" in told
    assert "No review was decided early" not in told
    off = {**results, "cascade": pair | {"share_early": 0.0, "clothing": pair}}
    assert "No review was decided early" in report.tabulate(off)


def test_comparison_is_two_tables_and_a_picture(tmp_path: Path) -> None:
    found = {
        "rows": 7000,
        "fast_rows": 1600,
        "slow_rows": 96,
        "tokens_per_review": 155.6,
        "rates": dict.fromkeys(report.NAMES, 10.0) | {"ours_spark": 50.63},
        "spark_to_loop": 1.009,
        "roofline_share": 0.754,
        "roofline_gops": 1965.2,
        "worker_start_seconds": 0.94,
        "worker_peak_mb": 435.4,
        "worker_peak_pss_mb": 317.0,
    }
    (tmp_path / "batch.json").write_text(json.dumps({"minilm": found, "machine": "2 cores"}))

    report.write(tmp_path / "batch.json", tmp_path)

    rates, shares, notes = (tmp_path / "batch.md").read_text().split("\n\n")
    assert rates.startswith("| reviews/s on the same cores | minilm |\n|---|---|\n")
    assert "| torch fp32, sorted (loop) | 10.0 (5.1x) |" in rates
    assert "| Spark job to bare loop | 1.01 |" in shares
    assert "| bare loop to the int8 matrix products | 75% of 1,965 GOP/s |" in shares
    assert "| a worker's peak, resident (shared pages divided) | 435 MB (317) |" in shares
    assert notes.startswith("2 cores. minilm: 7,000 reviews of 156 tokens")
    assert (tmp_path / "batch.png").stat().st_size > 0
