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


def test_every_section_is_told_to_people(tmp_path: Path) -> None:
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
    assert "its cascade is off" not in told
    off = {**results, "cascade": pair | {"share_early": 0.0, "clothing": pair}}
    assert "its cascade is off" in report.tabulate(off)
