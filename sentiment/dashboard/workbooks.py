"""Parse uploaded Excel workbooks (.xlsx)."""

import datetime
import io
import zipfile
from typing import Any

import python_calamine as calamine

from ..errors import AmbiguousInputError, EmptyInputError, InputError, UnreadableFileError
from .columns import Column, make_column

# A small workbook may unpack to a size that no machine has.
_MAX_UNPACKED_BYTES = 2_000_000_000
_TIMES = (datetime.date, datetime.time)


def list_sheets(name: str, data: bytes) -> list[str]:
    """Return the names of the sheets. Raises UnreadableFileError."""
    return list(_open(name, data).sheet_names)


def parse_sheet(name: str, data: bytes, sheet: str | None) -> dict[str, Column]:
    """Parse a sheet whose first row has the names of the columns; an empty cell is null.

    Rows without any value are no rows. Raises an InputError if there is nothing, or a column has no name.
    """
    workbook = _open(name, data)
    if sheet is None and len(workbook.sheet_names) != 1:
        listed = ", ".join(workbook.sheet_names)
        raise AmbiguousInputError(f"{name}: has the sheets {listed}; choose one")
    rows = workbook.get_sheet_by_name(sheet or workbook.sheet_names[0]).to_python()
    filled = [row for row in rows if any(value != "" for value in row)]
    if not filled:
        raise EmptyInputError(f"{name}: the sheet has no values; expected column names and reviews")
    header = [str(value).strip() for value in filled[0]]
    _check_header(name, header)
    columns = zip(*filled[1:], strict=True) if len(filled) > 1 else ([] for _ in header)
    found = {key: [_clean(value) for value in column] for key, column in zip(header, columns, strict=True)}
    return {key: make_column(_unify_times(values)) for key, values in found.items()}


def _open(name: str, data: bytes) -> Any:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > _MAX_UNPACKED_BYTES:
            raise UnreadableFileError(
                f"{name}: unpacks to {unpacked:,} bytes, expected at most {_MAX_UNPACKED_BYTES:,}; save "
                "it as CSV"
            )
        return calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
    except (zipfile.BadZipFile, calamine.CalamineError, OSError) as error:
        raise UnreadableFileError(
            f"{name}: not a readable .xlsx workbook ({type(error).__name__}); save it again, or as CSV"
        ) from error


def _check_header(name: str, header: list[str]) -> None:
    named = [column for column in header if column]
    twice = sorted({column for column in named if named.count(column) > 1})
    if twice:
        raise InputError(f"{name}: several columns have the name {', '.join(map(repr, twice))}; rename them")
    unnamed = [str(place + 1) for place, column in enumerate(header) if not column]
    if unnamed:
        raise InputError(
            f"{name}: column {', '.join(unnamed)} has no name in the first row; write names there, or remove "
            "what stands above and beside the table"
        )


def _clean(value: object) -> object:
    """Return a cell as Python has it: workbooks keep whole numbers as fractions."""
    if value == "":
        return None
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _unify_times(values: list[object]) -> list[object]:
    """Return dates as they are, but as ISO texts if the column has other values too."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) < 2:
        return values
    return [value.isoformat() if isinstance(value, _TIMES) else value for value in values]
