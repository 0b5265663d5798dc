"""`python -m sentiment.tables`, and what it does to a store."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from sentiment.tables.__main__ import main
from sentiment.tables.store import folder as store_module
from sentiment.tables.store.manifests import MANIFEST, BatchId
from sentiment.tables.store.opening import open_store
from sentiment.tables.store.scores import load_scores
from tests.factories import describe_file, make_manifest, publish_rows, write_part


@pytest.fixture
def scores(tmp_path):
    """Batches of 1, 2 and 3 rows with a reject each, and one of another model."""
    root = tmp_path / "scores"
    with open_store(str(root)) as store:
        for number, version in ((1, "3"), (2, "3"), (3, "3"), (4, "4")):
            manifest = make_manifest(number, scored_rows=number, model_version=version)
            publish_rows(store, BatchId(version, "2026-01-31", f"b{number}"), manifest, 10 * number)
    return root


def snapshot(root):
    return {str(p): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_list_has_a_line_a_batch_in_order(scores, capsys):
    assert main(["list", str(scores)]) == 0
    out = capsys.readouterr().out
    places = [out.index(f"batch=2026-01-31-b{number}") for number in (1, 2, 3, 4)]
    assert places == sorted(places)


def test_show_names_the_files_that_a_batch_consumed(scores, capsys):
    assert main(["show", str(scores), "2026-01-31-b2"]) == 0
    assert "/in/2.parquet" in capsys.readouterr().out
    assert main(["show", str(scores), "nothing"]) == 3


def test_verify_finds_what_was_changed_removed_and_added(scores, capsys):
    assert main(["verify", str(scores)]) == 0
    first, second, third = (scores / "model=3" / f"batch=2026-01-31-b{n}" for n in (1, 2, 3))
    content = bytearray((first / "part-00000.parquet").read_bytes())
    content[40] ^= 1
    (first / "part-00000.parquet").write_bytes(content)
    (second / "_rejected" / "part-00000.pq").unlink()
    write_part(third / "part-9.parquet", 1)
    capsys.readouterr()
    assert main(["verify", str(scores)]) == 1
    lines = capsys.readouterr().out.replace("\n", " ")
    assert "part-00000.parquet is not the file that was published" in lines
    assert "part-00000.pq is missing" in lines
    assert "part-9.parquet is not in the manifest" in lines


def test_verify_finds_counts_that_do_not_add_up(scores):
    path = scores / "model=3" / "batch=2026-01-31-b3" / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"input_rows": 99}))
    assert main(["verify", str(scores)]) == 1


def test_drop_takes_one_batch_and_the_folder_of_a_model_without_others(scores, capsys):
    assert main(["drop", str(scores), "model=4/batch=2026-01-31-b4"]) == 0
    assert sorted(p.name for p in scores.iterdir()) == ["model=3"]
    assert len(pd.read_parquet(scores)) == 6
    assert not (scores.parent / ".scores.staging").exists()


def test_compact_makes_one_batch_a_model_and_keeps_every_row_and_what_was_consumed(scores, capsys):
    before = pd.read_parquet(scores).sort_values("review_id")
    assert main(["compact", str(scores)]) == 0
    assert len(list((scores / "model=3").iterdir())) == 1
    assert [p.name for p in (scores / "model=4").iterdir()] == ["batch=2026-01-31-b4"]
    after = pd.read_parquet(scores).sort_values("review_id")
    columns = ["review_id", "label", "score", "sequence"]
    pd.testing.assert_frame_equal(
        before[columns].reset_index(drop=True), after[columns].reset_index(drop=True)
    )
    assert main(["verify", str(scores)]) == 0
    with open_store(str(scores)) as store:
        compacted, other = store.list_batches()
    assert [part.consumption.inputs[0]["path"] for part in compacted.manifest.parts] == [
        f"/in/{number}.parquet" for number in (1, 2, 3)
    ]
    assert (compacted.manifest.sequence, other.manifest.sequence) == (3, 4)
    assert (compacted.manifest.scored_rows, compacted.manifest.rejected_rows) == (6, 3)
    assert not (scores.parent / ".scores.staging").exists()
    unchanged = snapshot(scores)
    assert main(["compact", str(scores)]) == 0
    assert snapshot(scores) == unchanged


def test_compact_keeps_columns_that_only_some_batches_have(tmp_path):
    root = tmp_path / "scores"
    with open_store(str(root)) as store:
        for number, further in ((1, {}), (2, {"unsure": [True, False], "probabilities": [[0.1, 0.9]] * 2})):
            staging = store.stage()
            path = Path(staging.folder) / "part-0.parquet"
            write_part(path, 2, number, first_id=10 * number)
            table = pq.read_table(path)
            for name, values in further.items():
                table = table.append_column(name, [values])
            pq.write_table(table, path)
            manifest = make_manifest(number, scored_rows=2, rejected_rows=0, unsure_rows=number - 1)
            store.publish(staging, BatchId("3", "2026-01-31", f"b{number}"), manifest, [describe_file(path)])
    assert main(["compact", str(root)]) == 0
    found = load_scores(str(root)).set_index("review_id")
    assert found["unsure"].to_dict() == {"r10": None, "r11": None, "r20": True, "r21": False}
    assert found["probabilities"].notna().sum() == 2
    with open_store(str(root)) as store:
        [batch] = store.list_batches()
    assert batch.manifest.unsure_rows == 1


def test_compact_refuses_a_damaged_batch_and_changes_nothing(scores, capsys):
    (scores / "model=3" / "batch=2026-01-31-b2" / "part-00000.parquet").write_bytes(b"damaged")
    before = snapshot(scores)
    assert main(["compact", str(scores)]) == 1
    assert snapshot(scores) == before
    assert "nothing was changed" in capsys.readouterr().err


def test_compact_changes_nothing_where_folders_cannot_be_exchanged(scores, capsys, monkeypatch):
    def refuse(one, other):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(store_module, "_exchange", refuse)
    before = snapshot(scores)
    assert main(["compact", str(scores)]) == 1
    assert snapshot(scores) == before


def test_a_store_that_is_not_there_or_in_use_is_an_error(scores, capsys):
    assert main(["list", str(scores / "none")]) == 3
    with open_store(str(scores)):
        assert main(["drop", str(scores), "2026-01-31-b1"]) == 5
        assert main(["list", str(scores)]) == 0


def test_scores_are_read_without_spark(scores):
    code = (
        "import sys; from sentiment.tables.store.scores import load_scores\n"
        f"print(len(load_scores({str(scores)!r})), len(load_scores({str(scores)!r}, 'all')), "
        "'pyspark' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["10", "10", "False"]
