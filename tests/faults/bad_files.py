"""B1: files that cannot be used, or not wholly, each beside a good one."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sentiment.tables.manifests import MANIFEST, load_manifest
from tests.conftest import make_reviews
from tests.matrix import Case

from .cells import World
from .increments import Ended, read_rejects, score

ROWS = 20
"""Of the good file, `a.parquet`, and of the bad one, `b.parquet`."""
_FLIPPED_FILES = 40
_CODECS = ("none", "snappy", "zstd")

_Spoil = Callable[[Path], None]
"""Puts a bad file at this path."""


def list_cases() -> list[Case]:
    """B1: files that are named, files that are scored whole, and flipped bits, of which either is right."""
    named: dict[str, _Spoil] = {
        "zero bytes": lambda path: path.write_bytes(b"") and None,
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
    }
    named |= {f"a flipped bit under a checksum, {codec}": _flip_checked(codec) for codec in _CODECS}
    cases = [
        Case(name, _make_named_check(spoil), is_quick=name in ("zero bytes", "truncated in the middle"))
        for name, spoil in named.items()
    ]
    cases += [
        Case("a further column", _check_further_column),
        Case("no rows", _check_no_rows),
        Case("a folder named as a file", _check_folder),
        Case("no magic at its beginning", _make_lossless_check(_overwrite(0, b"PARX"))),
        Case("a flipped bit in a text", _check_flipped_text),
        Case("a damaged column that is not read", _check_unread_column),
        Case("mended for the next run", _check_mended),
        Case("as many as are allowed", _check_allowed),
        Case("nothing but bad files", _check_all_bad),
    ]
    cases += [
        Case(f"{_FLIPPED_FILES} files with a bit flipped anywhere, {codec}", _make_flips_check(codec))
        for codec in _CODECS
    ]
    return cases


def _make_named_check(spoil: _Spoil) -> Callable[[World, Path], None]:
    """The bad file is named, the run ends in 3, and what is in the good one is published."""

    def check(world: World, folder: Path) -> None:
        source, bad = _write_input(folder, spoil)
        ended = score(world, source, folder / "scores")
        assert ended.exit_code == 3
        _check_named(ended, [bad])
        assert ended.summary["scored_rows"] == ROWS
        assert _read_ids(folder) == sorted(make_reviews(ROWS)["review_id"])

    return check


def _make_lossless_check(spoil: _Spoil) -> Callable[[World, Path], None]:
    """The file is named, or all of its rows are scored or rejected."""

    def check(world: World, folder: Path) -> None:
        source, _ = _write_input(folder, spoil)
        _check_nothing_lost(score(world, source, folder / "scores"), folder, files=2)

    return check


def _make_flips_check(codec: str) -> Callable[[World, Path], None]:
    """One bit flipped at a random place in each of many files without checksums: each is named or whole."""

    def check(world: World, folder: Path) -> None:
        source = folder / "in"
        source.mkdir()
        make_reviews(ROWS).to_parquet(source / "a.parquet", index=False)
        reviews = make_reviews(ROWS * (1 + _FLIPPED_FILES))
        chance = random.Random(20261124)
        for number in range(1, 1 + _FLIPPED_FILES):
            path = source / f"b{number}.parquet"
            reviews[number * ROWS : (number + 1) * ROWS].to_parquet(path, index=False, compression=codec)
            _flip(path, chance.randrange(path.stat().st_size), chance.randrange(8))
        ended = score(world, source, folder / "scores")
        _check_nothing_lost(ended, folder, files=1 + _FLIPPED_FILES)
        assert set(make_reviews(ROWS)["review_id"]) <= set(_read_ids(folder))

    return check


def _check_nothing_lost(ended: Ended, folder: Path, files: int) -> None:
    """Files are named or taken, and of those taken each row is a score, a reject or stands for a twin."""
    assert ended.summary, ended.error
    summary = ended.summary
    named = {bad["path"] for bad in summary["bad_files"]}
    taken = {entry["path"] for batch in summary["batches"] for entry in _list_inputs(Path(batch))}
    assert len(named) + len(taken) == files, f"{len(named)} named, {len(taken)} taken of {files}"
    assert not named & taken
    assert ended.exit_code == (3 if named else 0)
    rows = summary["scored_rows"] + summary["rejected_rows"] + summary["repeated_rows"]
    assert rows == summary["input_rows"] == len(taken) * ROWS
    assert len(_read_ids(folder)) == summary["scored_rows"]
    assert len(read_rejects(folder / "scores")) == summary["rejected_rows"]


def _check_further_column(world: World, folder: Path) -> None:
    source, bad = _write_input(folder, _write(shop="x"))
    ended = score(world, source, folder / "scores")
    assert ended.exit_code == 0
    assert any("shop" in line and str(bad) in line for line in ended.summary["warnings"])
    assert ended.summary["scored_rows"] == 2 * ROWS


def _check_no_rows(world: World, folder: Path) -> None:
    source, bad = _write_input(folder, lambda path: _bad_reviews().iloc[:0].to_parquet(path))
    ended = score(world, source, folder / "scores")
    assert ended.exit_code == 0
    assert any("no rows" in line and str(bad) in line for line in ended.summary["warnings"])
    assert ended.summary["scored_rows"] == ROWS


def _check_folder(world: World, folder: Path) -> None:
    """As Spark names what it writes: the files in it are read."""

    def write(path: Path) -> None:
        path.mkdir()
        (path / "_SUCCESS").write_bytes(b"")
        _bad_reviews().to_parquet(path / "part-0.parquet", index=False)

    source, _ = _write_input(folder, write)
    assert score(world, source, folder / "scores").summary["scored_rows"] == 2 * ROWS


def _check_flipped_text(world: World, folder: Path) -> None:
    """Without checksums the text is another one, and the row is still there."""

    def write(path: Path) -> None:
        reviews = _bad_reviews().assign(text=["unmistakable", *_bad_reviews()["text"][1:]])
        _write_plain(reviews, path, "none", has_checksums=False)
        _flip(path, path.read_bytes().index(b"unmistakable"), 0)

    source, _ = _write_input(folder, write)
    ended = score(world, source, folder / "scores")
    assert ended.exit_code == 0
    assert _read_ids(folder) == sorted(make_reviews(2 * ROWS)["review_id"])


def _check_unread_column(world: World, folder: Path) -> None:
    def write(path: Path) -> None:
        _write_plain(_bad_reviews().assign(shop="unmistakable"), path, "none", has_checksums=True)
        _flip(path, path.read_bytes().index(b"unmistakable"), 0)

    source, _ = _write_input(folder, write)
    ended = score(world, source, folder / "scores")
    assert ended.exit_code == 0
    assert ended.summary["scored_rows"] == 2 * ROWS


def _check_mended(world: World, folder: Path) -> None:
    """What was set aside is pending: mended, it is scored, and nothing else is."""
    source, bad = _write_input(folder, _truncate_at(0.5))
    assert score(world, source, folder / "scores").exit_code == 3
    _bad_reviews().to_parquet(bad, index=False)
    ended = score(world, source, folder / "scores")
    assert ended.exit_code == 0
    assert (ended.summary["scored_rows"], ended.summary["skipped_rows"]) == (ROWS, ROWS)
    assert _read_ids(folder) == sorted(make_reviews(2 * ROWS)["review_id"])


def _check_allowed(world: World, folder: Path) -> None:
    """The run succeeds, and names the file in its summary, its warnings and the manifest."""
    source, bad = _write_input(folder, _truncate_at(0.5))
    ended = score(world, source, folder / "scores", max_bad_files=1)
    assert ended.exit_code == 0
    _check_named(ended, [bad])
    assert any(str(bad) in line for line in ended.summary["warnings"])
    [entry] = load_manifest(Path(ended.summary["batch"]) / MANIFEST).bad_files
    assert entry["path"] == str(bad)


def _check_all_bad(world: World, folder: Path) -> None:
    source, bad = _write_input(folder, _truncate_at(0.5))
    (source / "a.parquet").unlink()
    ended = score(world, source, folder / "scores", max_bad_files=1)
    assert ended.exit_code == 3
    assert str(bad) in ended.error
    assert not (folder / "scores").exists()


def _write_input(folder: Path, spoil: _Spoil) -> tuple[Path, Path]:
    """A good file and a bad one: their folder, and the path of the bad one."""
    source = folder / "in"
    source.mkdir()
    make_reviews(ROWS).to_parquet(source / "a.parquet", index=False)
    spoil(source / "b.parquet")
    [bad] = [path for path in source.iterdir() if path.name != "a.parquet"]
    return source, bad


def _bad_reviews() -> pd.DataFrame:
    """What the bad file would hold if it were good."""
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
