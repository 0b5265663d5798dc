import random
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentiment.errors import SchemaMismatchError, UnreadableFileError
from sentiment.tables.input.files import Columns, inspect_file, partition_values
from sentiment.tables.input.inspection import inspect_reviews
from sentiment.tables.input.reviews import _prepare
from sentiment.tables.pending import Slice
from sentiment.tables.storage import LOCAL
from tests.factories import make_reviews

COLUMNS = Columns(("review_id",), ("text",))
DATED = Columns(("review_id",), ("text",), "day")


def write(path, table, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def make_table(n=20, **columns):
    return pa.Table.from_pandas(make_reviews(n).assign(**columns), preserve_index=False)


def flip_bit(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def find_page_end(path, column):
    chunk = pq.read_metadata(path).row_group(0).column(column)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    return start + chunk.total_compressed_size - 2


def inspect(path, root=None, columns=COLUMNS):
    return inspect_file(str(path), str(root or path.parent), LOCAL, columns)


def read(path, columns=COLUMNS):
    """Read a file as an executor does."""
    table = inspect_reviews(str(path), columns)
    reader, [part] = _prepare(table, [Slice(file, 0, file.rows) for file in table.files], None)
    return sum(len(batch) for batch in reader.read(part))


def read_and_find_peak(path):
    read(path, Columns(("id",), ("text",)))
    return pa.default_memory_pool().max_memory()


@pytest.mark.parametrize("codec", ["none", "snappy", "zstd", "gzip"])
@pytest.mark.parametrize("column", [0, 1])
def test_a_flipped_bit_is_found_by_its_checksum(tmp_path, codec, column):
    path = write(tmp_path / "a.parquet", make_table(), compression=codec, write_page_checksum=True)
    assert read(path) == 20
    flip_bit(path, find_page_end(path, column))
    with pytest.raises(UnreadableFileError, match="a.parquet: not a readable Parquet file"):
        read(path)


def test_a_flipped_bit_in_a_column_that_is_not_read_is_left_alone(tmp_path):
    path = write(tmp_path / "a.parquet", make_table(), write_page_checksum=True)
    flip_bit(path, find_page_end(path, 2))
    assert read(path) == 20


def test_no_bit_of_a_checked_page_can_flip_unseen(tmp_path):
    path = write(
        tmp_path / "a.parquet",
        make_table(3),
        use_dictionary=False,
        compression="none",
        write_page_checksum=True,
    )
    end = find_page_end(path, 1) + 2
    for at in range(end - 20, end):
        flip_bit(path, at)
        with pytest.raises(UnreadableFileError):
            read(path)
        flip_bit(path, at)
    assert read(path) == 3


def test_a_large_file_is_decoded_in_little_memory(tmp_path):
    path = tmp_path / "large.parquet"
    n_rows = 40_000
    text = pa.array([random.Random(row).randbytes(300).hex() for row in range(n_rows)])
    table = pa.table({"id": pa.array(range(n_rows)), "text": text})
    pq.write_table(table, path, row_group_size=n_rows // 4, use_dictionary=False)
    # The peak that Arrow counts is of its process.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        peak_bytes = pool.submit(read_and_find_peak, path).result()
    assert 0 < peak_bytes < path.stat().st_size / 2


def test_a_day_is_that_of_the_folder_and_unknown_if_nobody_asks(tmp_path):
    path = write(tmp_path / "shop=a" / "day=2026-01-07" / "a.parquet", make_table())
    assert inspect(path, tmp_path, DATED).day == "2026-01-07"
    assert inspect(path, tmp_path).day is None
    assert partition_values(str(path), str(tmp_path)) == {"shop": "a", "day": "2026-01-07"}


@pytest.mark.parametrize("day", ["2026-1-5", " 2026-01-05", "20260105", "2026-01-05 23%3A59%3A59"])
def test_a_folder_may_state_a_day_in_other_forms(tmp_path, day):
    path = write(tmp_path / f"day={day}" / "a.parquet", make_table())
    assert inspect(path, tmp_path, DATED).day == "2026-01-05"


@pytest.mark.parametrize("day", ["5 January", "2026", "2026-02-30", "today", ""])
def test_a_folder_whose_day_is_none_is_refused(tmp_path, day):
    path = write(tmp_path / f"day={day}" / "a.parquet", make_table())
    with pytest.raises(SchemaMismatchError, match="gives day a value that is no date"):
        inspect(path, tmp_path, DATED)


def test_a_folder_of_a_null_day_states_none(tmp_path):
    path = write(tmp_path / "day=__HIVE_DEFAULT_PARTITION__" / "a.parquet", make_table())
    assert inspect(path, tmp_path, DATED).day is None


def test_truth_values_are_no_dates(tmp_path):
    path = write(tmp_path / "a.parquet", make_table(day=True))
    with pytest.raises(SchemaMismatchError, match="column day holds bool, expected dates"):
        inspect(path, columns=DATED)


def test_a_file_that_is_written_again_is_changed_and_one_that_is_gone_too(tmp_path):
    path = write(tmp_path / "a.parquet", make_table())
    file = inspect(path)
    assert file.is_unchanged(LOCAL)
    write(path, make_table(21))
    assert not file.is_unchanged(LOCAL)
    path.unlink()
    assert not file.is_unchanged(LOCAL)
