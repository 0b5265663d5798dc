from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.errors import SchemaMismatchError
from sentiment.schema import MODEL_FAILED
from sentiment.tables.input.files import Columns, InputFile
from sentiment.tables.input.tables import ReviewTable
from sentiment.tables.pending import (
    Request,
    Slice,
    check_id_types,
    count_slice_rows,
    cut_chunks,
    find_pending,
    limit_rows,
    make_consumption,
    name_batch,
    skip_slices,
)
from sentiment.tables.store.manifests import KNOWN, Manifest, Window
from tests.factories import make_manifest

REQUEST = Request("review_id", "text", "m-1", None, False)
RESCORE = Request("review_id", "text", "m-2", None, True)
JANUARY = Window("day", "2026-01-01", "2026-02-01")
NOW = datetime(2026, 1, 31, tzinfo=UTC)


def make_file(name="a", rows=10, **overrides):
    values = {"size_bytes": 100, "modified_ns": 1, "footer_digest": "f", "rows": rows, "column_types": ()}
    return InputFile(f"/in/{name}.parquet", **{**values, **overrides})


def make_table(*files):
    return ReviewTable("/in", files, Columns(("review_id",), ("text",)))


def make_batch(*slices, request=REQUEST, **overrides):
    return make_manifest(1, consumption=make_consumption(request, slices), **overrides)


def whole(file):
    return Slice(file, 0, file.rows)


def test_all_is_pending_in_an_empty_store():
    files = make_file("a"), make_file("b", rows=3)
    assert find_pending(make_table(*files), [], REQUEST) == [whole(file) for file in files]


def test_what_a_manifest_has_taken_is_not_pending():
    a, b = make_file("a"), make_file("b")
    assert find_pending(make_table(a, b), [make_batch(whole(a))], REQUEST) == [whole(b)]


def test_the_gaps_between_taken_rows_are_pending():
    file = make_file(rows=10)
    batches = [make_batch(Slice(file, 6, 8)), make_batch(Slice(file, 1, 3)), make_batch(Slice(file, 2, 4))]
    assert find_pending(make_table(file), batches, REQUEST) == [
        *(Slice(file, 0, 1), Slice(file, 4, 6), Slice(file, 8, 10))
    ]


@pytest.mark.parametrize(
    "change", [{"size_bytes": 101}, {"modified_ns": 2}, {"footer_digest": "g"}, {"name": "c"}]
)
def test_a_file_that_is_another_one_is_pending(change):
    batch = make_batch(whole(make_file()))
    file = make_file(**change)
    assert find_pending(make_table(file), [batch], REQUEST) == [whole(file)]


def test_files_without_rows_are_never_pending():
    assert find_pending(make_table(make_file(rows=0)), [], REQUEST) == []


def test_a_compacted_batch_has_taken_what_its_parts_took():
    a, b = make_file("a"), make_file("b")
    parts = (make_batch(whole(a)), make_batch(whole(b)))
    merged = make_manifest(2, consumption=parts[1].consumption, parts=parts)
    assert find_pending(make_table(a, b), [merged], REQUEST) == []


@pytest.mark.parametrize(
    ("day", "is_pending"),
    [(None, True), ("2025-12-31", False), ("2026-01-01", True), ("2026-01-31", True), ("2026-02-01", False)],
)
def test_files_of_other_days_are_not_pending(day, is_pending):
    request = Request("review_id", "text", "m-1", JANUARY, False)
    file = make_file(day=day)
    assert find_pending(make_table(file), [], request) == ([whole(file)] if is_pending else [])


def slices_of(draw_rows):
    return [Slice(make_file(str(i), rows=20), start, stop) for i, (start, stop) in enumerate(draw_rows)]


spans = st.tuples(st.integers(0, 19), st.integers(1, 20)).filter(lambda span: span[0] < span[1])
slice_lists = st.lists(spans, max_size=8).map(slices_of)


def list_rows(slices):
    return [(piece.file.path, row) for piece in slices for row in range(piece.start_row, piece.stop_row)]


@given(slice_lists, st.integers(1, 50))
def test_chunks_hold_every_row_once_in_order_and_are_full_but_the_last(slices, chunk_rows):
    chunks = cut_chunks(slices, chunk_rows)
    assert list_rows([piece for chunk in chunks for piece in chunk]) == list_rows(slices)
    sizes = [count_slice_rows(chunk) for chunk in chunks]
    assert all(size == chunk_rows for size in sizes[:-1])
    assert all(0 < size <= chunk_rows for size in sizes[-1:])
    assert all(piece.rows > 0 for chunk in chunks for piece in chunk)


@given(slice_lists, st.none() | st.integers(1, 200))
def test_a_limit_takes_the_first_rows(slices, max_rows):
    assert list_rows(limit_rows(slices, max_rows)) == list_rows(slices)[:max_rows]


@given(slice_lists, st.integers(1, 50))
def test_after_a_limited_run_the_rest_is_pending(slices, max_rows):
    files = [piece.file for piece in slices]
    done = limit_rows([whole(file) for file in files], max_rows)
    rest = find_pending(make_table(*files), [make_batch(*done)], REQUEST)
    assert list_rows([*done, *rest]) == list_rows([whole(file) for file in files])


def is_covered(request, *, by=REQUEST, skipped_rows=None):
    batch = make_batch(whole(make_file()), request=by, skipped_rows=skipped_rows or {})
    return request.is_covered_by(batch)


def test_a_batch_covers_requests_of_the_same_columns_alone():
    assert is_covered(REQUEST)
    assert not is_covered(REQUEST, by=Request("shop,review_id", "text", "m-1", None, False))
    assert not is_covered(REQUEST, by=Request("review_id", "title,text", "m-1", None, False))


def test_a_batch_of_any_model_covers_a_request_that_is_no_rescore():
    assert is_covered(Request("review_id", "text", "m-2", None, False))


def test_a_rescore_is_covered_by_batches_of_its_model_that_left_nothing_to_others():
    by_mine = Request("review_id", "text", "m-2", None, False)
    assert not is_covered(RESCORE, by=REQUEST)
    assert is_covered(RESCORE, by=by_mine)
    assert not is_covered(RESCORE, by=by_mine, skipped_rows={KNOWN: 1})
    assert is_covered(RESCORE, by=RESCORE, skipped_rows={KNOWN: 1})


@pytest.mark.parametrize(
    ("since", "until", "is_inside"),
    [
        *(("2026-01-01", "2026-02-01", True), ("2026-01-10", "2026-01-11", True)),
        *(("2025-12-31", "2026-01-11", False), ("2026-01-10", "2026-02-02", False)),
        *((None, "2026-01-11", False), ("2026-01-10", None, False), (None, None, False)),
    ],
)
def test_a_window_contains_windows_that_end_inside(since, until, is_inside):
    assert JANUARY.covers(Window("day", since, until)) is is_inside


def test_an_open_window_contains_every_window_of_its_column_but_not_rows_without_date():
    open_ = Window("day", None, None)
    assert open_.covers(JANUARY)
    assert open_.covers(Window("day", None, "2026-01-01"))
    assert not open_.covers(Window("sold", None, None))
    assert not open_.covers(None)


def test_a_batch_of_a_window_covers_windows_in_it_and_a_batch_of_all_covers_each():
    def ask(window):
        return Request("review_id", "text", "m-1", window, False)

    week = Window("day", "2026-01-05", "2026-01-12")
    assert is_covered(ask(week), by=ask(JANUARY))
    assert not is_covered(ask(JANUARY), by=ask(week))
    assert not is_covered(ask(None), by=ask(JANUARY))
    assert is_covered(ask(JANUARY), by=ask(None))


days = st.dates().map(str)
ends = st.none() | days


@given(ends, ends, days)
def test_a_window_has_the_days_from_since_until_before_until(since, until, day):
    assert Window("day", since, until).includes_day(day) is ((since or "") <= day < (until or "9999-99"))


@given(slice_lists, st.integers(1, 50), st.integers(0, 9))
def test_skipping_what_chunks_took_leaves_the_rest_in_order(slices, chunk_rows, n_chunks):
    done = [piece for chunk in cut_chunks(slices, chunk_rows)[:n_chunks] for piece in chunk]
    left = slices
    for chunk in cut_chunks(slices, chunk_rows)[:n_chunks]:
        left = skip_slices(left, [piece.identity() for piece in chunk])
    assert list_rows([*done, *left]) == list_rows(slices)


def test_the_same_inputs_make_the_same_batch_and_others_another():
    a, b = make_file("a"), make_file("b")
    names = [
        name_batch(make_consumption(REQUEST, [whole(a)]), "3", NOW),
        name_batch(make_consumption(REQUEST, [whole(a)]), "3", NOW),
        name_batch(make_consumption(REQUEST, [whole(b)]), "3", NOW),
        name_batch(make_consumption(REQUEST, [Slice(a, 0, 9)]), "3", NOW),
        name_batch(make_consumption(RESCORE, [whole(a)]), "3", NOW),
        name_batch(make_consumption(replace(REQUEST, retries_after=4), [whole(a)]), "3", NOW),
    ]
    assert names[0] == names[1]
    assert len({name.folder for name in names}) == 5
    assert names[0].folder.startswith("model=3/batch=2026-01-31-")


def test_rows_that_a_model_failed_on_are_done_for_it_until_someone_asks_to_try_again():
    mine, other = REQUEST, replace(REQUEST, model_id="m-2")
    failed = make_batch(whole(make_file()), rejected_by_reason={MODEL_FAILED: 1})
    assert mine.is_covered_by(failed)
    assert not other.is_covered_by(failed)
    retry = replace(mine, retries_after=failed.sequence)
    assert not retry.is_covered_by(failed)
    again = replace(failed, sequence=2, consumption=replace(failed.consumption, retries_after=1))
    table = make_table(make_file())
    assert find_pending(table, [failed, again], retry) == []
    assert find_pending(table, [failed, again], mine) == []


def test_ids_of_another_type_than_the_stores_are_refused():
    table = make_table(make_file())
    check_id_types(table, [make_manifest(1), make_manifest(2, id_types={"shop": "int64"})])
    with pytest.raises(SchemaMismatchError, match="int64"):
        check_id_types(table, [make_manifest(1, id_types={"review_id": "int64"})])


def test_the_factories_make_manifests():
    assert isinstance(make_batch(whole(make_file())), Manifest)
