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
