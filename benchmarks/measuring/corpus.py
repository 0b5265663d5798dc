"""Read reviews, and write tables of them with given lengths, sizes and files."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .. import ROOT

# If this folder of reviews does not exist, the sample is used.
DATA = Path(os.environ.get("BENCH_DATA", ROOT.parent / "shared" / "data"))
DATED, CLOTHING = "amazon_dated", "clothing"
_SCHEMA = pa.schema([("review_id", pa.string()), ("text", pa.string())])
_ROW_GROUP_ROWS = 10_000


@dataclass(frozen=True)
class Table:
    """Describe a Parquet file or folder with the columns `review_id` and `text`."""

    path: Path
    rows: int

    def load_texts(self) -> list[str]:
        """Return the texts in the table's order."""
        texts: list[str] = pq.read_table(self.path, columns=["text"])["text"].to_pylist()
        return texts


def load_texts() -> list[str]:
    """Return all distinct, non-blank reviews of `amazon_dated`, or of the sample if there is no data."""
    dated = DATA / f"{DATED}.parquet"
    if dated.exists():
        texts = pq.read_table(dated, columns=["text"])["text"].to_pylist()
    else:
        from sentiment.training.data.sample import load_sample

        texts = load_sample()["text"].tolist()
    return list(dict.fromkeys(text for text in texts if text and not text.isspace()))


def load_labelled(name: str) -> pd.DataFrame:
    """Return `review_id`, `text` (title and text) and `label` of a set, or of the sample without data."""
    if not (DATA / f"{name}.parquet").exists():
        from sentiment.training.data.sample import load_sample

        sample = load_sample()
        return sample[sample["label"].notna()][["review_id", "text", "label"]].reset_index(drop=True)
    reviews = pd.read_parquet(DATA / f"{name}.parquet")
    text = (reviews["title"].fillna("") + " " + reviews["text"].fillna("")).str.strip()
    joined = reviews.assign(text=text)[["review_id", "text", "label"]]
    return joined[joined["label"].notna() & (joined["text"] != "")].reset_index(drop=True)


def draw_texts(texts: Sequence[str], rows: int, seed: int) -> list[str]:
    """Return `rows` of the texts in random order, or all if there are fewer."""
    chosen = np.random.default_rng(seed).permutation(len(texts))[:rows]
    return [texts[i] for i in chosen]


def draw_stratified(texts: Sequence[str], lengths: Sequence[int], rows: int, seed: int) -> list[str]:
    """Return a subset with the same distribution of lengths: every k-th review by length, shuffled.

    A slow contender, which scores only the subset, then has the same rate as on all texts.
    """
    order = np.argsort(np.asarray(lengths), kind="stable")
    # The middle of each of `rows` equal strata.
    chosen = order[((np.arange(rows) + 0.5) * len(texts) / rows).astype(np.int64)]
    np.random.default_rng(seed).shuffle(chosen)
    return [texts[i] for i in chosen]


def count_tokens(texts: Sequence[str], encoder: Path) -> list[int]:
    """Return how many tokens of each text the encoder reads, with special tokens and without padding."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
    tokenizer.no_padding()
    return [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(list(texts))]


def write_table(texts: Sequence[str], path: Path) -> Table:
    """Write one Parquet file of `review_id` (r0, r1, ...) and `text`, in the order given."""
    _write_atomically(path, _batch_rows((f"r{i}", text) for i, text in enumerate(texts)))
    return Table(path, len(texts))


def write_replicated(texts: Sequence[str], rows: int, path: Path) -> Table:
    """Write one Parquet file of `rows` rows by repeating the texts, in bounded memory.

    Each text starts with the number of its copy, because equal texts would be scored only once.
    """
    copies = ((f"r{i}", f"{i // len(texts)} {texts[i % len(texts)]}") for i in range(rows))
    if not path.exists():
        _write_atomically(path, _batch_rows(copies))
    return Table(path, rows)


def write_files(texts: Sequence[str], folder: Path, files: int) -> Table:
    """Write a table of `files` files with equal numbers of rows.

    A file of at most 10,000 rows is one row group, which no reader can split.
    """
    bounds = np.linspace(0, len(texts), files + 1).astype(np.int64)
    rows = [(f"r{i}", text) for i, text in enumerate(texts)]
    for i in range(files):
        _write_atomically(folder / f"part-{i:05}.parquet", _batch_rows(rows[bounds[i] : bounds[i + 1]]))
    return Table(folder, len(texts))


def _batch_rows(rows: Iterable[tuple[str, str]]) -> Iterator[pa.RecordBatch]:
    remaining = iter(rows)
    while part := list(islice(remaining, _ROW_GROUP_ROWS)):
        yield pa.record_batch([pa.array(column) for column in zip(*part, strict=True)], schema=_SCHEMA)


def _write_atomically(path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    # A table is used again if its file exists, so the file must never be incomplete.
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"_{path.name}.{os.getpid()}")
    with pq.ParquetWriter(partial, _SCHEMA) as writer:
        for batch in batches:
            writer.write_batch(batch, row_group_size=len(batch))
    partial.replace(path)
