"""What is scored: real reviews, subsets of the same length distribution, tables of given size and skew."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
DATED_REVIEWS = ROOT.parent / "shared" / "data" / "amazon_dated.parquet"
REVIEW_ID = "review_id"
TEXT = "text"
REPLICATED_KEY = b"sentiment.replicated_from_rows"
"""Key of the Parquet metadata that says a table is replicated, and how many distinct reviews it is of."""

_SCHEMA = pa.schema([(REVIEW_ID, pa.string()), (TEXT, pa.string())])
_ROW_GROUP_ROWS = 10_000


def load_texts() -> list[str]:
    """All distinct, non-blank reviews: of `amazon_dated` where the shared data is, else of the sample."""
    if DATED_REVIEWS.exists():
        texts = pq.read_table(DATED_REVIEWS, columns=[TEXT])[TEXT].to_pylist()
    else:
        from sentiment.sample import load_sample

        texts = load_sample()["text"].tolist()
    return list(dict.fromkeys(text for text in texts if text and not text.isspace()))


def draw_texts(texts: Sequence[str], rows: int, seed: int) -> list[str]:
    """`rows` distinct positions of `texts` in random order; ValueError if there are not so many."""
    if rows > len(texts):
        raise ValueError(f"{rows} reviews asked for, {len(texts)} are there")
    chosen = np.random.default_rng(seed).permutation(len(texts))[:rows]
    return [texts[i] for i in chosen]


def draw_stratified(texts: Sequence[str], lengths: Sequence[int], rows: int, seed: int) -> list[str]:
    """A subset whose lengths are spread as the whole's: every k-th review by length, then shuffled.

    k is len(texts) / rows and need not be whole. A slow peer scores the subset; its reviews a second are
    those of the whole, because the mean and the quantiles of the lengths are. `lengths` are best the
    tokens that a model reads (`count_tokens`).
    """
    if rows > len(texts):
        raise ValueError(f"{rows} reviews asked for, {len(texts)} are there")
    order = np.argsort(np.asarray(lengths), kind="stable")
    # The middle of each of `rows` equal strata.
    chosen = order[((np.arange(rows) + 0.5) * len(texts) / rows).astype(np.int64)]
    np.random.default_rng(seed).shuffle(chosen)
    return [texts[i] for i in chosen]


def count_tokens(texts: Sequence[str], encoder: Path) -> list[int]:
    """Tokens that the encoder in folder `encoder` reads of each text, special ones included, padding not."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
    tokenizer.no_padding()
    return [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(list(texts))]


def write_table(texts: Sequence[str], path: Path) -> Path:
    """One Parquet file of `review_id` (r0, r1, ...) and `text`, in the order given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_atomically(path, _SCHEMA, _batch_rows(_number_rows(texts)))
    return path


def write_replicated(texts: Sequence[str], rows: int, path: Path) -> Path:
    """One Parquet file of `rows` rows made of the texts again and again, in bounded memory.

    Every row has an id of its own, and the number of its copy before its text: a scorer that recognises
    equal texts would otherwise do less work the larger the table is. The file's metadata says under
    `REPLICATED_KEY` that it is replicated.
    """
    note = {REPLICATED_KEY: json.dumps(len(texts)).encode()}
    copies = ((f"r{i}", f"{i // len(texts)} {texts[i % len(texts)]}") for i in range(rows))
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_atomically(path, _SCHEMA.with_metadata(note), _batch_rows(copies))
    return path


def write_one_file(texts: Sequence[str], folder: Path) -> Path:
    """A table that is one file with one row group: no reader can split it."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_batches(_batch_rows(_number_rows(texts)), schema=_SCHEMA)
    _write_atomically(folder / "all.parquet", _SCHEMA, table.combine_chunks().to_batches())
    return folder


def write_small_files(texts: Sequence[str], folder: Path, files: int = 1_000) -> Path:
    """A table of `files` files with even counts of rows; ValueError if there are fewer texts than files."""
    if files > len(texts):
        raise ValueError(f"{files} files asked for, {len(texts)} reviews are there")
    folder.mkdir(parents=True, exist_ok=True)
    bounds = np.linspace(0, len(texts), files + 1).astype(np.int64)
    rows = list(_number_rows(texts))
    for i in range(files):
        batches = _batch_rows(iter(rows[bounds[i] : bounds[i + 1]]))
        _write_atomically(folder / f"part-{i:05}.parquet", _SCHEMA, batches)
    return folder


def write_long_last(texts: Sequence[str], lengths: Sequence[int], folder: Path, files: int = 8) -> Path:
    """A table whose reviews get longer from row to row and file to file: all the work is at its end."""
    order = np.argsort(np.asarray(lengths), kind="stable")
    return write_small_files([texts[i] for i in order], folder, files)


def _number_rows(texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    return ((f"r{i}", text) for i, text in enumerate(texts))


def _batch_rows(rows: Iterator[tuple[str, str]]) -> Iterator[pa.RecordBatch]:
    ids: list[str] = []
    texts: list[str] = []
    for review_id, text in rows:
        ids.append(review_id)
        texts.append(text)
        if len(ids) == _ROW_GROUP_ROWS:
            yield pa.record_batch([pa.array(ids), pa.array(texts)], schema=_SCHEMA)
            ids, texts = [], []
    if ids:
        yield pa.record_batch([pa.array(ids), pa.array(texts)], schema=_SCHEMA)


def _write_atomically(path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    # A table is reused if its file is there, so half a file must not be.
    partial = path.with_name(f"_{path.name}.{os.getpid()}")
    with pq.ParquetWriter(partial, schema) as writer:
        for batch in batches:
            writer.write_batch(batch.replace_schema_metadata(schema.metadata), row_group_size=len(batch))
    os.replace(partial, path)
