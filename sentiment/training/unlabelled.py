"""Read reviews without labels: texts that are clean, different, and on disk."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, Value

from ..cli import Progress, naming_options
from ..errors import ConfigError, EmptyInputError, SchemaMismatchError
from ..inference.rejects import find_reject_reasons
from ..schema import TEXT, show_columns, split_columns
from . import processes
from .data.batches import join_texts
from .data.description import split_words
from .data.mapping import map_to_file
from .data.reading import LabelledReviews
from .data.source import ReadOptions, Source, check_once, open_all
from .data.sources import find_all

REASON = "reason"
# Reasons why a text that a model would score is not used.
DUPLICATE, LABELLED = "duplicate", "labelled already"
# The form of text files is found out.
_ANY_FORM = ReadOptions()
_BATCH_ROWS = 5_000


@dataclass(frozen=True)
class UnlabelledReviews:
    """Hold clean texts (column `text`), the rows that are not used by reason, and a digest of the texts.

    Only the main process has the texts, others have an empty data set. `warnings` are those of `read_texts`.
    """

    texts: Dataset
    unused: dict[str, int]
    digest: str
    warnings: tuple[str, ...] = ()


def read_unlabelled(
    path: str, reviews: LabelledReviews, folder: Path, form: ReadOptions, progress: Progress
) -> UnlabelledReviews:
    """Read the reviews in the main process, into files in `folder`, and share the rest with the others."""
    read: list[UnlabelledReviews] = []

    def load() -> UnlabelledReviews:
        progress("reading reviews without labels", 0, 1, path)
        with naming_options({"--dataset_name": "--unlabelled", "dataset_name:": "unlabelled:"}):
            read.append(load_unlabelled(path, reviews, folder, form))
        return replace(read[0], texts=Dataset.from_dict({TEXT: []}))

    shared = processes.share(load)
    return read[0] if read else shared


def load_unlabelled(
    path: str, reviews: LabelledReviews, folder: Path, form: ReadOptions = _ANY_FORM
) -> UnlabelledReviews:
    """Read the reviews of a file or folder that are not among the labelled ones, into files in `folder`.

    `form` is that of the labelled files, and is followed where it applies. Letter case and punctuation do not
    count when texts are compared with labelled ones. Raises an InputError as `read_texts` does,
    EmptyInputError if no review is left, ConfigError if there is no room in `folder`.
    """
    splits = reviews.splits
    trained = (text for batch in splits.train.select_columns(TEXT).iter(_BATCH_ROWS) for text in batch[TEXT])
    labelled = chain(trained, splits.validation[TEXT], splits.test[TEXT])
    try:
        read, warnings = read_texts(path, reviews.text_col, folder, form, may_ignore=True)
        found = drop_unusable(read, folder, labelled)
    except OSError as error:
        raise ConfigError(
            f"unlabelled: cannot write its reviews to {folder} ({error.strerror or type(error).__name__}); "
            "make room, or set TMPDIR to a folder of a larger disk"
        ) from error
    splits.release()
    if not len(found.texts):
        raise EmptyInputError(
            f"{path}: none of its {len(read):,} rows has a review that can be used; not used: "
            f"{found.unused or 'none'}; omit --unlabelled, or pass other reviews"
        )
    return replace(found, warnings=tuple(warnings))


def read_texts(
    path: str, text_col: str, cache: Path, form: ReadOptions = _ANY_FORM, may_ignore: bool = False
) -> tuple[Dataset, list[str]]:
    """Read the texts of all rows as memory-mapped columns `text`, and `reason`: why no model would score it.

    A text with a reason is null. Return also warnings: which files of the folder are not used, and what may
    be read otherwise than meant. `cache` holds the mapped file, `form` is that of text files; an option that
    none follows is an error unless they `may_ignore` it. Splits do not matter: each file of a folder is read.
    Raises an InputError if there is no file or row, a file cannot be read, or a column is missing, there
    twice, or not of strings.
    """
    columns = split_columns(text_col)
    locations, unused = find_all(path, replace(form, expected_columns=columns), may_ignore)
    sources, empty = open_all(locations)
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / "texts.arrow"
    schema = pa.schema({TEXT: pa.large_string(), REASON: pa.string()})
    with pa.OSFile(str(target), "wb") as file, pa.ipc.new_stream(file, schema) as out:
        for source in sources:
            n_rows = 0
            for texts in _read_column(source, columns):
                reasons = find_reject_reasons(texts)
                # Arrow cannot hold every text that is rejected: one with a lone surrogate is not UTF-8.
                pairs = zip(texts, reasons, strict=True)
                kept = [text if reason is None else None for text, reason in pairs]
                batch = {TEXT: kept, REASON: reasons}
                out.write_batch(pa.RecordBatch.from_pydict(batch, schema=schema))
                n_rows += len(texts)
            if not n_rows:
                empty.append(source.name)
    unused |= dict.fromkeys((os.path.relpath(name, path) for name in sorted(empty)), "has no rows")
    warnings = [warning for source in sources for warning in source.warnings]
    return Dataset.from_file(str(target)), [*show_unused(unused), *warnings]


def _read_column(source: Source, columns: tuple[str, ...]) -> Iterator[list[str | None]]:
    """Yield the texts of the columns, joined, batch by batch."""
    missing = [name for name in columns if name not in source.columns]
    if missing or not columns:
        raise SchemaMismatchError(
            f"{source.name}: no column {', '.join(missing) or 'is named'}; found "
            f"{show_columns(source.columns)}; choose with --text_col"
        )
    check_once(source, columns)
    for batch in source.read(columns):
        texts = join_texts(batch, columns, source.name)
        if any(not isinstance(text, str) for text in texts if text is not None):
            raise SchemaMismatchError(
                f"{source.name}: expected strings in column {', '.join(columns)}; choose with --text_col"
            )
        yield texts


def drop_unusable(texts: Dataset, cache: Path, labelled: Iterable[str] = ()) -> UnlabelledReviews:
    """Drop and count texts that a model would reject, duplicates, and texts that are `labelled`.

    `texts` are those of `read_texts`. `cache` holds the memory-mapped result; about 100 bytes per different
    text are in memory.
    """
    unused: Counter[str] = Counter()
    known = {_digest_words(text) for text in labelled}
    seen: set[bytes] = set()
    digest = hashlib.sha256()

    def keep(rows: dict[str, list[Any]]) -> dict[str, list[str]]:
        kept = []
        for text, reason in zip(rows[TEXT], rows[REASON], strict=True):
            if reason is None:
                key = _digest(text)
                is_labelled = bool(known) and _digest_words(text) in known
                reason = LABELLED if is_labelled else DUPLICATE if key in seen else None
                seen.add(key)
            if reason is None:
                digest.update(key)
                kept.append(text)
            else:
                unused[reason] += 1
        return {TEXT: kept}

    clean = map_to_file(texts, keep, {TEXT: Value("large_string")}, cache / "clean.arrow")
    return UnlabelledReviews(clean, dict(unused), digest.hexdigest()[:16])


def _digest_words(text: str) -> bytes:
    return _digest(" ".join(split_words(text)))


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def show_unused(unused: Mapping[str, str]) -> list[str]:
    """Return a sentence that names files with the reason why they are not read; none without files."""
    files = ", ".join(f"{name} ({reason})" for name, reason in unused.items())
    return [f"not read: {files}"] if files else []
