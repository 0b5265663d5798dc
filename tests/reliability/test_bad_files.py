"""Files that cannot be used, or not wholly, each next to a good one."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment.tables.store.manifests import MANIFEST, load_manifest
from tests.factories import make_reviews

from .tables import Ended, read_rejects

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.promise("B1", "files that are damaged, of another shape, or no files"),
]
ROWS = 20  # of the good file, `a.parquet`, and of the bad one, `b.parquet`
_FLIPPED_FILES = 40
_CODECS = ("none", "snappy", "zstd")

Run = Callable[..., Ended]
# Puts a bad file at this path.
_Spoil = Callable[[Path], object]


def _write_input(folder: Path, spoil: _Spoil) -> Path:
    """Write a good file and a bad one; return the path of the bad one."""
    source = folder / "in"
    source.mkdir()
    make_reviews(ROWS).to_parquet(source / "a.parquet", index=False)
    spoil(source / "b.parquet")
    [bad] = [path for path in source.iterdir() if path.name != "a.parquet"]
    return bad


def _bad_reviews() -> pd.DataFrame:
    """Return the rows that the bad file would have without its fault."""
    return make_reviews(2 * ROWS)[ROWS:]


def _write(**columns: object) -> _Spoil:
    return lambda path: _bad_reviews().assign(**columns).to_parquet(path, index=False)


def _write_twice(path: Path) -> None:
    table = pa.Table.from_pandas(_bad_reviews(), preserve_index=False)
    pq.write_table(table.append_column("text", table["text"]), path)


def _write_in_partition(path: Path) -> None:
    """Spark leaves out files that lie deeper or higher than others."""
    (path.parent / "day=01").mkdir()
    _bad_reviews().to_parquet(path.parent / "day=01" / path.name, index=False)


def _write_plain(reviews: pd.DataFrame, path: Path, codec: str, has_checksums: bool) -> None:
    table = pa.Table.from_pandas(reviews, preserve_index=False)
    pq.write_table(table, path, compression=codec, use_dictionary=False, write_page_checksum=has_checksums)


def _truncate_at(place: float) -> _Spoil:
    """After so many bytes; a fraction is a share of the file, a negative number counts from its end."""

    def spoil(path: Path) -> None:
        _bad_reviews().to_parquet(path, index=False)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * place) if 0 < place < 1 else int(place)])

    return spoil


def _overwrite(at: int, with_bytes: bytes) -> _Spoil:
    def spoil(path: Path) -> None:
        _bad_reviews().to_parquet(path, index=False)
        content = bytearray(path.read_bytes())
        at_byte = at % len(content)
        content[at_byte : at_byte + len(with_bytes)] = with_bytes
        path.write_bytes(content)

    return spoil


def _flip_checked(codec: str) -> _Spoil:
    def spoil(path: Path) -> None:
        _write_plain(_bad_reviews(), path, codec, has_checksums=True)
        column = pq.read_metadata(path).row_group(0).column(1)
        _flip(path, column.data_page_offset + column.total_compressed_size - 3, 2)

    return spoil


def _flip(path: Path, at: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


def _link_out(path: Path) -> None:
    target = path.parent.parent / "elsewhere.parquet"
    _bad_reviews().to_parquet(target, index=False)
    path.symlink_to(target)


def _link_folder(path: Path) -> None:
    target = path.parent.parent / "elsewhere"
    target.mkdir()
    _bad_reviews().to_parquet(target / "b.parquet", index=False)
    path.symlink_to(target)


_NAMED: dict[str, _Spoil] = {
    "zero bytes": lambda path: path.write_bytes(b""),
    "truncated after its first bytes": _truncate_at(10),
    "truncated in the middle": _truncate_at(0.5),
    "truncated before its last byte": _truncate_at(-1),
    "no magic at its end": _overwrite(-4, b"PARX"),
    "a text file": lambda path: _bad_reviews().to_csv(path, index=False),
    "numbers as text": _write(text=range(ROWS)),
    "bytes as text": _write(text=[b"good"] * ROWS),
    "lists as text": _write(text=[["good"]] * ROWS),
    "a column missing": lambda path: _bad_reviews().drop(columns="text").to_parquet(path),
    "the id missing": lambda path: _bad_reviews().drop(columns="review_id").to_parquet(path),
    "a column renamed": lambda path: _bad_reviews().rename(columns={"text": "Text"}).to_parquet(path),
    "a column twice": _write_twice,
    "ids of another type": _write(review_id=range(ROWS)),
    "a pipe": lambda path: os.mkfifo(path),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a link out of the input": _link_out,
    "a linked folder": _link_folder,
    "in no partition": _write_in_partition,
    **{f"a flipped bit under a checksum, {codec}": _flip_checked(codec) for codec in _CODECS},
}
_QUICK = ("zero bytes", "truncated in the middle")


@pytest.mark.parametrize(
    "damage", [pytest.param(damage, marks=[pytest.mark.quick] * (damage in _QUICK)) for damage in _NAMED]
)
def test_a_bad_file_is_named_and_the_good_one_is_published(damage: str, run: Run, tmp_path: Path) -> None:
    bad = _write_input(tmp_path, _NAMED[damage])
    ended = run()
    assert ended.exit_code == 3
    _check_named(ended, [bad])
    assert ended.summary["scored_rows"] == ROWS
    assert _read_ids(tmp_path) == sorted(make_reviews(ROWS)["review_id"])


def test_a_further_column_is_warned_of(run: Run, tmp_path: Path) -> None:
    bad = _write_input(tmp_path, _write(shop="x"))
    ended = run()
    assert ended.exit_code == 0
    assert any("shop" in line and str(bad) in line for line in ended.summary["warnings"])
    assert ended.summary["scored_rows"] == 2 * ROWS


def test_a_file_without_rows_is_warned_of(run: Run, tmp_path: Path) -> None:
    bad = _write_input(tmp_path, lambda path: _bad_reviews().iloc[:0].to_parquet(path))
    ended = run()
    assert ended.exit_code == 0
    assert any("no rows" in line and str(bad) in line for line in ended.summary["warnings"])
    assert ended.summary["scored_rows"] == ROWS


def test_files_in_a_folder_named_as_a_file_are_read(run: Run, tmp_path: Path) -> None:
    """Name the file as Spark does."""

    def write(path: Path) -> None:
        path.mkdir()
        (path / "_SUCCESS").write_bytes(b"")
        _bad_reviews().to_parquet(path / "part-0.parquet", index=False)

    _write_input(tmp_path, write)
    assert run().summary["scored_rows"] == 2 * ROWS


def test_a_file_without_magic_at_its_beginning_is_named_or_read_whole(run: Run, tmp_path: Path) -> None:
    _write_input(tmp_path, _overwrite(0, b"PARX"))
    _check_nothing_lost(run(), tmp_path, files=2)


def test_a_flipped_bit_in_a_text_without_checksums_loses_no_row(run: Run, tmp_path: Path) -> None:
    def write(path: Path) -> None:
        reviews = _bad_reviews().assign(text=["good unmistakable phone", *_bad_reviews()["text"][1:]])
        _write_plain(reviews, path, "none", has_checksums=False)
        _flip(path, path.read_bytes().index(b"unmistakable"), 0)

    _write_input(tmp_path, write)
    ended = run()
    assert ended.exit_code == 0
    assert _read_ids(tmp_path) == sorted(make_reviews(2 * ROWS)["review_id"])


def test_a_damaged_column_that_is_not_read_does_no_harm(run: Run, tmp_path: Path) -> None:
    def write(path: Path) -> None:
        _write_plain(_bad_reviews().assign(shop="unmistakable"), path, "none", has_checksums=True)
        _flip(path, path.read_bytes().index(b"unmistakable"), 0)

    _write_input(tmp_path, write)
    ended = run()
    assert ended.exit_code == 0
    assert ended.summary["scored_rows"] == 2 * ROWS


def test_a_file_that_was_mended_is_scored_by_the_next_run(run: Run, tmp_path: Path) -> None:
    bad = _write_input(tmp_path, _truncate_at(0.5))
    assert run().exit_code == 3
    _bad_reviews().to_parquet(bad, index=False)
    ended = run()
    assert ended.exit_code == 0
    assert (ended.summary["scored_rows"], ended.summary["skipped_rows"]) == (ROWS, ROWS)
    assert _read_ids(tmp_path) == sorted(make_reviews(2 * ROWS)["review_id"])


def test_with_as_many_as_are_allowed_the_run_succeeds_and_names_them(run: Run, tmp_path: Path) -> None:
    bad = _write_input(tmp_path, _truncate_at(0.5))
    ended = run(max_bad_files=1)
    assert ended.exit_code == 0
    _check_named(ended, [bad])
    assert any(str(bad) in line for line in ended.summary["warnings"])
    [entry] = load_manifest(Path(ended.summary["batch"]) / MANIFEST).bad_files
    assert entry["path"] == str(bad)


def test_nothing_but_bad_files_is_an_error(run: Run, tmp_path: Path) -> None:
    bad = _write_input(tmp_path, _truncate_at(0.5))
    (bad.parent / "a.parquet").unlink()
    ended = run(max_bad_files=1)
    assert ended.exit_code == 3
    assert str(bad) in ended.error
    assert not (tmp_path / "scores").exists()


@pytest.mark.parametrize("codec", _CODECS)
def test_each_file_with_a_bit_flipped_anywhere_is_named_or_whole(
    codec: str, run: Run, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    make_reviews(ROWS).to_parquet(source / "a.parquet", index=False)
    reviews = make_reviews(ROWS * (1 + _FLIPPED_FILES))
    chance = random.Random(20261124)
    for number in range(1, 1 + _FLIPPED_FILES):
        path = source / f"b{number}.parquet"
        reviews[number * ROWS : (number + 1) * ROWS].to_parquet(path, index=False, compression=codec)
        _flip(path, chance.randrange(path.stat().st_size), chance.randrange(8))
    _check_nothing_lost(run(), tmp_path, files=1 + _FLIPPED_FILES)
    assert set(make_reviews(ROWS)["review_id"]) <= set(_read_ids(tmp_path))


def _check_nothing_lost(ended: Ended, folder: Path, files: int) -> None:
    """Each file is quarantined or used, and each row of a used file is a score, a reject or superseded."""
    assert ended.summary, ended.error
    summary = ended.summary
    named = {bad["path"] for bad in summary["bad_files"]}
    taken = {entry["path"] for batch in summary["batches"] for entry in _list_inputs(Path(batch))}
    assert len(named) + len(taken) == files, f"{len(named)} named, {len(taken)} taken of {files}"
    assert not named & taken
    assert ended.exit_code == (3 if named else 0)
    rows = summary["scored_rows"] + summary["rejected_rows"] + summary["superseded_rows"]
    assert rows == summary["input_rows"] == len(taken) * ROWS
    assert len(_read_ids(folder)) == summary["scored_rows"]
    assert len(read_rejects(folder / "scores")) == summary["rejected_rows"]


def _check_named(ended: Ended, paths: list[Path]) -> None:
    found = ended.summary["bad_files"]
    # A bad file in a folder of its own is named by its path, whatever folder the case made for it.
    assert len(found) == len(paths), found
    for entry, path in zip(found, paths, strict=True):
        assert entry["path"].startswith(str(path)), found
        assert entry["path"] in entry["reason"]


def _list_inputs(batch: Path) -> list[dict[str, str]]:
    return list(load_manifest(batch / MANIFEST).consumption.inputs)


def _read_ids(folder: Path) -> list[str]:
    return sorted(map(str, pq.read_table(folder / "scores", columns=["review_id"])["review_id"].to_pylist()))
