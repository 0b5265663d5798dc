"""Read the reviews behind published scores, and join both."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

from .. import schema
from ..errors import MissingInputError, SchemaMismatchError, UnreadableFileError
from ..tables.input.types import is_string

# All columns that a published table can have besides the ids.
_SCORE_COLUMNS = {*schema.PREDICTION_TYPES, *schema.TABLE_COLUMNS, schema.EXPECTED, schema.PROBABILITIES}
# These come first; other columns may be categories too.
_CATEGORY_NAMES = ("category", "product", "product_id", "product_category", "department")
_DATE_NAMES = ("date", "review_date", "timestamp", "created_at")
# The filter offers at most so many values of a column.
MAX_FILTER_VALUES = 1_000


@dataclass(frozen=True)
class Reviews:
    """Hold the files of a table of reviews, the oldest first, and its columns."""

    path: str
    files: tuple[str, ...]
    columns: pa.Schema
    # Columns that are in names of folders, such as `shop=7`; their values are texts.
    folder_columns: tuple[str, ...] = ()

    def open(self) -> ds.Dataset:
        if not self.folder_columns:
            return ds.dataset(list(self.files), format="parquet")
        kinds = pa.schema([(name, pa.string()) for name in self.folder_columns])
        partitioning = ds.partitioning(kinds, flavor="hive")
        return ds.dataset(
            list(self.files), format="parquet", partitioning=partitioning, partition_base_dir=self.path
        )


def find_id_columns(scores: pd.DataFrame) -> list[str]:
    """Return the id columns of a published table."""
    return [str(name) for name in scores.columns if name not in _SCORE_COLUMNS]


def find_reviews(path: str, ids: Sequence[str]) -> Reviews:
    """List a Parquet file, or those of a folder, with their columns; no row is read.

    Raises an InputError if there is none, it is no Parquet, or an id column is missing.
    """
    root = Path(path)
    if (root / "_delta_log").is_dir():
        raise UnreadableFileError(
            f"{path}: is a Delta table, whose files also hold rows that were deleted or replaced; pass a "
            "Parquet copy of its newest version"
        )
    found = [root] if root.is_file() else sorted(root.rglob("*.parquet")) if root.is_dir() else []
    files = [
        file
        for file in found
        if not any(part.startswith(("_", ".")) for part in file.relative_to(root).parts)
    ]
    if not files:
        raise MissingInputError(f"no reviews at {path!r}: expected a Parquet file, or a folder of these")
    # If two rows have one id, the later one wins, as in the nightly job.
    files.sort(key=lambda file: (file.stat().st_mtime_ns, str(file)))
    names = tuple(str(file) for file in files)
    try:
        reviews = Reviews(path, names, ds.dataset(list(names), format="parquet").schema)
        folders = [part for file in files for part in file.relative_to(root).parts[:-1] if "=" in part]
        keys = tuple(dict.fromkeys(part.partition("=")[0] for part in folders))
        if keys and not {*keys} & {*reviews.columns.names}:
            reviews = replace(reviews, folder_columns=keys)
            reviews = replace(reviews, columns=reviews.open().schema)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableFileError(f"{path}: cannot be read as Parquet ({type(error).__name__})") from error
    missing = [name for name in ids if name not in reviews.columns.names]
    if missing:
        raise SchemaMismatchError(
            f"{path}: has no column {', '.join(missing)}, which the scores have as id; found "
            f"{schema.show_columns(reviews.columns.names)}; pass the reviews that were scored"
        )
    return reviews


def find_date_columns(reviews: Reviews | None) -> list[str]:
    """Return the columns that may date a review: of a date or time type, or texts with a usual name."""
    if reviews is None:
        return []
    return [
        field.name
        for field in _list_review_columns(reviews)
        if pa.types.is_date(field.type)
        or pa.types.is_timestamp(field.type)
        or (field.name in _DATE_NAMES and pa.types.is_string(field.type))
    ]


def find_category_columns(reviews: Reviews | None, ids: Sequence[str]) -> list[str]:
    """Return the columns that may group reviews: texts, whole numbers and truth values; no ids or dates."""
    if reviews is None:
        return []
    taken = {*ids, *find_date_columns(reviews), schema.TEXT}
    kinds = (is_string, pa.types.is_integer, pa.types.is_boolean)
    found = [
        field.name
        for field in _list_review_columns(reviews)
        if field.name not in taken and any(is_kind(_unwrap_dictionary(field.type)) for is_kind in kinds)
    ]
    ranks = {name: rank for rank, name in enumerate(_CATEGORY_NAMES)}
    return sorted(found, key=lambda name: ranks.get(name, len(ranks)))


def _list_review_columns(reviews: Reviews) -> list[pa.Field]:
    """Return the columns whose names no column of a published table has: `label` is that of the model."""
    return [field for field in reviews.columns if field.name not in _SCORE_COLUMNS]


def find_text_columns(reviews: Reviews | None) -> list[str]:
    """Return the columns of strings, the usual names of a text first."""
    if reviews is None:
        return []
    texts = [field.name for field in _list_review_columns(reviews) if is_string(field.type)]
    return sorted(texts, key=lambda name: name not in (schema.TEXT, "content"))


def read_columns(
    reviews: Reviews, ids: Sequence[str], names: Sequence[str], only: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return ids and these columns, one row per id.

    `only` limits the rows to those that have one of its values in the first id column; the caller joins by
    all ids. Raises UnreadableFileError if the files cannot be read.
    """
    wanted = list(dict.fromkeys([*ids, *names]))
    condition = None
    if only is not None:
        kind = reviews.columns.field(ids[0]).type
        condition = ds.field(ids[0]).isin(pa.array(only[ids[0]].unique()).cast(kind))
    try:
        table = reviews.open().to_table(wanted, filter=condition)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableFileError(f"{reviews.path}: cannot be read ({type(error).__name__})") from error
    frame: pd.DataFrame = table.to_pandas().drop_duplicates(list(ids), keep="last")
    return frame


def join_reviews(scores: pd.DataFrame, reviews: pd.DataFrame, ids: Sequence[str]) -> pd.DataFrame:
    """Add the columns of the reviews to their scores; null where a review is gone.

    A column that the scores have too gets the suffix `_of_review`. Raises SchemaMismatchError if the ids have
    other types.
    """
    kinds = {name: (scores[name].dtype, reviews[name].dtype) for name in ids}
    other = [f"{name} ({ours}, {theirs})" for name, (ours, theirs) in kinds.items() if ours != theirs]
    if other:
        raise SchemaMismatchError(
            f"the ids of scores and reviews have other types: {', '.join(other)}; pass the "
            "reviews that were scored"
        )
    return scores.merge(reviews, on=list(ids), how="left", suffixes=("", "_of_review"))


def _unwrap_dictionary(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
