"""Read labelled reviews from the hub, a file, a folder or the sample, and make clean splits of them."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from ...config import SAMPLE, FinetuneConfig
from ...errors import (
    ConfigError,
    EmptyInputError,
    MissingInputError,
    SchemaMismatchError,
    UnreadableFileError,
)
from ...inference.rejects import find_reject_reason, find_reject_reasons
from ...schema import NULL_TEXT, TEXT_JOINER, show_columns, split_columns
from .hub import load_hub_splits
from .labels import parse_labels
from .sample import GROUP, load_sample
from .splits import SPLITS, TEST, TRAIN, VALIDATION, Splits, cut_splits, sample_splits, without_leaks

_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".parquet": pd.read_parquet,
    ".csv": pd.read_csv,
    ".jsonl": lambda path: pd.read_json(path, lines=True),
}
# Column that only `sample` has: its sentences with the same value belong to one review.
_GROUP = "sentiment.group"
_DEFAULT_TEXT_COLUMNS = ("content", "text")


@dataclass(frozen=True)
class DataReport:
    """Count the rows by use; rows in none of these counts were not in the sample."""

    read_rows: int
    dropped_text_rows: int
    dropped_label_rows: int
    leaked_rows: int
    train_rows: int
    validation_rows: int
    test_rows: int

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True)
class LabelledReviews:
    """Hold the splits, their text column(s), a digest of their rows, and the counts."""

    splits: Splits
    text_col: str
    digest: str
    report: DataReport


def load_labelled_reviews(config: FinetuneConfig) -> LabelledReviews:
    """Read, clean, split and sample the data set `config.dataset_name`.

    Rows without label, or whose text a model would reject, are dropped and counted. Raises an InputError if
    there is no data, a column is missing, or the labels do not give two classes.
    """
    raw = _read_splits(config.dataset_name)
    text_columns = _choose_text_columns(config.text_col, raw[TRAIN])
    frames = {name: _select(frame, text_columns, config.label_col, name) for name, frame in raw.items()}
    labelled, dropped_label = _with_class_ids(frames, config.label_col)
    clean, dropped_text = _without_unreadable_texts(labelled)
    splits = without_leaks(cut_splits(clean, config.seed))
    splits = sample_splits(splits, config.max_train_samples, config.max_eval_samples, config.seed)
    report = DataReport(
        read_rows=sum(len(frame) for frame in raw.values()),
        dropped_text_rows=dropped_text,
        dropped_label_rows=dropped_label,
        leaked_rows=splits.leaked_rows,
        train_rows=len(splits.train),
        validation_rows=len(splits.validation),
        test_rows=len(splits.test),
    )
    return LabelledReviews(splits, ",".join(text_columns), _digest(splits), report)


def _read_splits(name: str) -> dict[str, pd.DataFrame]:
    path = Path(name)
    if name == SAMPLE:
        return {TRAIN: load_sample().rename(columns={GROUP: _GROUP})}
    if path.is_dir():
        return _read_folder(path)
    if path.exists():
        return {TRAIN: _read_file(path)}
    if path.suffix in _READERS or path.is_absolute() or name.startswith("."):
        raise MissingInputError(f"no data set at {name!r}: no such file or folder; check --dataset_name")
    return _require_train({s: f for s, f in load_hub_splits(name).items() if s in SPLITS}, name)


def _read_folder(folder: Path) -> dict[str, pd.DataFrame]:
    """Read files or sub-folders named train…, valid… and test…; if there is none, all files are train."""
    files = sorted(p for p in folder.rglob("*") if p.suffix in _READERS and p.is_file())
    if not files:
        raise MissingInputError(f"no data set in {str(folder)!r}: expected a Parquet, CSV or JSONL file")
    by_split: dict[str, list[Path]] = {}
    for file in files:
        top = file.relative_to(folder).parts[0].lower()
        split = next((s for s in (TRAIN, "valid", TEST) if top.startswith(s)), None)
        if split is not None:
            by_split.setdefault(VALIDATION if split == "valid" else split, []).append(file)
    by_split = by_split or {TRAIN: files}
    return _require_train(
        {s: pd.concat(map(_read_file, paths), ignore_index=True) for s, paths in by_split.items()},
        str(folder),
    )


def _require_train(splits: dict[str, pd.DataFrame], name: str) -> dict[str, pd.DataFrame]:
    if TRAIN not in splits:
        raise MissingInputError(f"data set {name!r} has no split 'train'; found {sorted(splits) or 'none'}")
    return splits


def _read_file(path: Path) -> pd.DataFrame:
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise UnreadableFileError(f"{path}: expected a name that ends in {', '.join(_READERS)}")
    try:
        frame = reader(path)
    except (ValueError, OSError, pa.ArrowException) as error:
        raise UnreadableFileError(
            f"{path}: cannot be read as {path.suffix[1:]} ({type(error).__name__})"
        ) from error
    if frame.empty:
        raise EmptyInputError(f"{path}: has no rows")
    return frame


def _choose_text_columns(text_col: str | None, frame: pd.DataFrame) -> tuple[str, ...]:
    if text_col is not None:
        columns = split_columns(text_col)
        if not columns:
            raise ConfigError(f"text_col: expected at least one column name, found {text_col!r}")
        return columns
    for name in _DEFAULT_TEXT_COLUMNS:
        if name in frame.columns:
            return (name,)
    raise SchemaMismatchError(
        f"no column {' or '.join(_DEFAULT_TEXT_COLUMNS)} in the data set; pass --text_col with one of "
        f"{show_columns(frame.columns)}"
    )


def _select(frame: pd.DataFrame, text_columns: tuple[str, ...], label_col: str, split: str) -> pd.DataFrame:
    missing = [name for name in (*text_columns, label_col) if name not in frame.columns]
    if missing:
        raise SchemaMismatchError(
            f"split {split!r} has no column {', '.join(missing)}; found {show_columns(frame.columns)}; "
            "choose with --text_col and --label_col"
        )
    selected = pd.DataFrame({"text": join_texts(frame, text_columns), "label": frame[label_col].to_numpy()})
    if _GROUP in frame.columns:
        selected["group"] = frame[_GROUP].to_numpy()
    return selected


def join_texts(frame: pd.DataFrame, columns: tuple[str, ...]) -> "pd.Series[Any]":
    """Join the non-null values of the columns by a space; null if all are null; keep a single column."""
    if len(columns) == 1:
        return frame[columns[0]].reset_index(drop=True)
    joined = [
        TEXT_JOINER.join(str(value) for value in row if find_reject_reason(value) != NULL_TEXT) or None
        for row in frame[list(columns)].itertuples(index=False)
    ]
    return pd.Series(joined, dtype=object)


def _with_class_ids(
    frames: Mapping[str, pd.DataFrame], label_col: str
) -> tuple[dict[str, pd.DataFrame], int]:
    """Replace labels by class ids, and drop and count rows without label; all splits use one numbering."""
    together = pd.concat([frame["label"] for frame in frames.values()], keys=frames.keys())
    ids = parse_labels(together.rename(label_col))
    labelled = {split: frame.assign(label=ids.loc[split].to_numpy()) for split, frame in frames.items()}
    kept = {split: frame[frame["label"].notna()] for split, frame in labelled.items()}
    kept = {split: frame.assign(label=frame["label"].astype("int64")) for split, frame in kept.items()}
    return kept, len(together) - sum(len(frame) for frame in kept.values())


def _without_unreadable_texts(
    frames: Mapping[str, pd.DataFrame],
) -> tuple[dict[str, pd.DataFrame], int]:
    kept = {
        split: frame[[reason is None for reason in find_reject_reasons(frame["text"])]]
        for split, frame in frames.items()
    }
    dropped = sum(len(frames[split]) - len(kept[split]) for split in frames)
    return kept, dropped


def _digest(splits: Splits) -> str:
    digest = hashlib.sha256()
    for frame in (splits.train, splits.validation, splits.test):
        digest.update(pd.util.hash_pandas_object(frame[["text", "label"]], index=False).to_numpy().tobytes())
        digest.update(b"|")
    return digest.hexdigest()[:16]
