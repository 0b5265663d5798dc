"""Read the rows of a data set once, and keep them on disk with what selection needs to know of each."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import joblib
import pyarrow as pa

from ...errors import EmptyInputError
from ...evaluation import details
from ...evaluation.details import find_details
from . import cache
from .batches import make_batch, read_batches
from .columns import Columns, choose_for_all, note_columns, share_class_names
from .description import make_schema
from .source import NO_ROWS, Location, Source, open_all
from .splits import TRAIN

_FACTS_FILE = "facts.json"
_BANDS_FILE = "bands"
# Starting processes that describe texts takes seconds, which smaller data sets do not need.
_PARALLEL_BYTES = 50_000_000

# Called with the rows done and the name of the file.
RowProgress = Callable[[int, str], None]


@dataclass(frozen=True)
class FileReport:
    """State how many rows were read from a file, for which split, and what was noted about it."""

    name: str
    split: str
    rows: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """Hold the rows of a data set on disk: `folder` has an Arrow file for each split (see `make_schema`).

    The column `label` there is a place in `labels`, or -1 for no label. `bands_file` has `N_BANDS` uint32 for
    each row, in the order of `splits`. `class_names` is the order of the classes that the data set states,
    `warnings` are those of the sources.
    """

    folder: Path
    columns: Columns
    files: tuple[FileReport, ...]
    labels: tuple[str, ...]
    class_names: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    splits: tuple[str, ...]
    warnings: tuple[str, ...]

    def find_file(self, split: str) -> Path:
        return self.folder / f"{split}.arrow"

    @property
    def bands_file(self) -> Path:
        return self.folder / _BANDS_FILE

    def count_labels(self) -> dict[str, Counter[str | None]]:
        """Return the rows by label value of each split; None counts rows without label."""
        return {
            split: Counter({value or None: n for value, n in count.items()})
            for split, count in self.counts.items()
        }


def prepare(
    by_split: Mapping[str, Sequence[Location]],
    choose: Callable[[Source], Columns],
    facts: Sequence[str],
    progress: RowProgress,
) -> Prepared:
    """Read all rows, or find them in the cache; `facts` are all that the reading depends on beyond the files.

    `choose` gets the first training source, and returns the columns. Raises an InputError if a file cannot be
    read or lacks a column.
    """
    root = cache.prepared_cache()
    locations = [(split, location) for split, group in by_split.items() for location in group]
    code = [*sorted(Path(__file__).parent.glob("*.py")), Path(details.__file__)]
    files = [file for _, location in locations for file in location.content]
    names = [f"{split} {location.name} {location.form}" for split, location in locations]
    key = cache.make_key([*code, *files], [*facts, *names])
    if cache.find_entry(key, root) is None:
        with cache.write_entry(key, root) as folder:
            _write(folder, by_split, choose, progress)
    return _load(root / key)


def _load(folder: Path) -> Prepared:
    facts = json.loads((folder / _FACTS_FILE).read_text(encoding="utf-8"))
    return Prepared(
        folder=folder,
        columns=Columns(tuple(facts["columns"]["texts"]), facts["columns"]["label"]),
        files=tuple(FileReport(**{**file, "notes": tuple(file["notes"])}) for file in facts["files"]),
        labels=tuple(facts["labels"]),
        class_names=tuple(facts["class_names"]),
        counts=facts["counts"],
        splits=tuple(facts["splits"]),
        warnings=tuple(facts["warnings"]),
    )


def _write(
    folder: Path,
    by_split: Mapping[str, Sequence[Location]],
    choose: Callable[[Source], Columns],
    progress: RowProgress,
) -> None:
    opened, files = _open_splits(by_split)
    columns = choose_for_all(opened[TRAIN], choose)
    opened = share_class_names(opened, columns.label)
    sources = [source for group in opened.values() for source in group]
    schema = make_schema(
        {kind for source in sources for kind in find_details(source.flat_columns, columns.texts)}
    )
    labels: dict[str, int] = {}
    counts, done = {}, 0
    # In this process, or in one per core for a large data set; batches come back in their order.
    workers = -1 if _count_bytes(by_split) >= _PARALLEL_BYTES else 1
    with (
        joblib.Parallel(workers, return_as="generator", pre_dispatch="2*n_jobs", batch_size=1) as describe,
        (folder / _BANDS_FILE).open("wb") as bands_file,
    ):
        for split, group in opened.items():
            counts[split], start = Counter[str](), done
            with (
                pa.OSFile(str(folder / f"{split}.arrow"), "wb") as file,
                pa.ipc.new_stream(file, schema) as out,
            ):
                for source in group:
                    rows = 0
                    batches = read_batches(source, split, columns, labels, counts[split])
                    for batch, bands in describe(joblib.delayed(make_batch)(*b, schema) for b in batches):
                        out.write_batch(batch)
                        bands_file.write(bands)
                        rows += len(batch)
                        progress(done + rows, Path(source.name).name)
                    notes = source.notes if rows else (*source.notes, NO_ROWS)
                    files.append(
                        FileReport(source.name, split, rows, (*notes, *note_columns(source, columns)))
                    )
                    done += rows
            if done == start:
                raise EmptyInputError(f"{group[0].name}: has no rows")
    first = opened[TRAIN][0]
    facts = {
        "columns": asdict(columns),
        "files": [asdict(file) for file in files],
        "labels": list(labels),
        "class_names": list(first.class_names.get(columns.label, ())),
        "counts": counts,
        "splits": list(opened),
        "warnings": [warning for source in sources for warning in source.warnings],
    }
    (folder / _FACTS_FILE).write_text(json.dumps(facts), encoding="utf-8")


def _open_splits(
    by_split: Mapping[str, Sequence[Location]],
) -> tuple[dict[str, list[Source]], list[FileReport]]:
    """Return the sources by split, and reports of the files that are empty."""
    opened, reports = {}, []
    for split, locations in by_split.items():
        opened[split], empty = open_all(locations)
        reports += [FileReport(name, split, 0, (NO_ROWS,)) for name in empty]
    return opened, reports


def _count_bytes(by_split: Mapping[str, Sequence[Location]]) -> int:
    return sum(
        file.stat().st_size for group in by_split.values() for place in group for file in place.content
    )
