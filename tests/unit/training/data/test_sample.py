import pandas as pd
import pytest

from sentiment.errors import MissingInputError, UnreadableFileError
from sentiment.training.data import sample


def test_the_sample_has_its_rows_labels_and_groups():
    reviews = sample.load_sample()
    assert len(reviews) == 3708
    assert reviews["review_id"].is_unique
    assert reviews["rating"].between(-4, 4).all()
    counts = reviews["label"].value_counts(dropna=False).to_dict()
    assert counts == {1: 1750, 0: 1235, pd.NA: 723}
    assert reviews["review"].nunique() == 300
    first = reviews.iloc[0]
    assert (first["review_id"], first["review"], first["rating"]) == ("1_1", "1", -0.9)


def test_the_review_table_is_written_once(tmp_path):
    path = sample.write_sample_table()
    modified = path.stat().st_mtime_ns
    assert sample.write_sample_table() == path
    assert path.stat().st_mtime_ns == modified
    assert len(pd.read_parquet(path)) == 3708


def test_a_damaged_cache_is_fetched_again(tmp_path, monkeypatch):
    (tmp_path / "amazonReviewSnippets_GroundTruth.txt").write_bytes(b"1_1\t4.0\tforged")
    fetched = []

    def download():
        fetched.append(True)
        raise MissingInputError("no index")

    monkeypatch.setattr(sample, "_download_sdist", download)
    with pytest.raises(MissingInputError):
        sample.load_sample(tmp_path)
    assert fetched


def test_another_archive_than_the_pinned_one_is_refused(monkeypatch):
    def pip_download(command, **_):
        folder = command[command.index("--dest") + 1]
        with open(f"{folder}/vaderSentiment-3.3.2.tar.gz", "wb") as file:
            file.write(b"another archive")
        return sample.subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(sample.subprocess, "run", pip_download)
    with pytest.raises(UnreadableFileError, match="expected 5d7c06e0"):
        sample._download_sdist()


def test_an_index_that_does_not_answer_is_a_clear_error(monkeypatch):
    monkeypatch.setattr(
        sample.subprocess, "run", lambda command, **_: sample.subprocess.CompletedProcess(command, 1)
    )
    with pytest.raises(MissingInputError, match="pip download vaderSentiment==3.3.2"):
        sample._download_sdist()
