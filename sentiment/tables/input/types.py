"""Map the types of Parquet columns to the types with which a chunk passes through Spark."""

import pyarrow as pa
import pyarrow.compute as pc

from ...errors import SchemaMismatchError

# Arrow types that Spark has under the name of the right side.
_PLAIN = {
    pa.bool_(): "boolean",
    pa.int8(): "tinyint",
    pa.int16(): "smallint",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.string(): "string",
    pa.binary(): "binary",
    pa.date32(): "date",
    pa.timestamp("us"): "timestamp_ntz",
    pa.timestamp("us", "UTC"): "timestamp",
}
# Types without an equal in Spark, and the smallest type there that holds all their values.
_WIDENED = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
    pa.date64(): pa.date32(),
    pa.large_binary(): pa.binary(),
    pa.binary_view(): pa.binary(),
}


def is_string(kind: pa.DataType) -> bool:
    """Return True for every Arrow string type, including a dictionary of strings."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def find_carried_type(kind: pa.DataType) -> pa.DataType | None:
    """Return the Arrow type that a column of this type has in Spark and in the scores, None if there is none.

    A time in nanoseconds becomes a number, because as an id each nanosecond counts and Spark has none.
    """
    if is_string(kind) or pa.types.is_null(kind) or kind == pa.uuid():
        return pa.string()
    if isinstance(kind, pa.BaseExtensionType):
        return find_carried_type(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return find_carried_type(kind.value_type)
    if pa.types.is_timestamp(kind):
        return pa.int64() if kind.unit == "ns" else pa.timestamp("us", "UTC" if kind.tz else None)
    if pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    if pa.types.is_decimal128(kind):
        return kind
    return kind if kind in _PLAIN else _WIDENED.get(kind)


def name_spark_type(kind: pa.DataType) -> str:
    """Return the name in Spark's DDL of a type that `find_carried_type` returned."""
    return f"decimal({kind.precision},{kind.scale})" if pa.types.is_decimal(kind) else _PLAIN[kind]


def check_carried(path: str, name: str, kind: pa.DataType) -> pa.DataType:
    """Return the carried type of an id or order column; raise SchemaMismatchError if Spark has none."""
    carried = find_carried_type(kind)
    if carried is None:
        raise SchemaMismatchError(
            f"{path}: column {name} holds {kind}, which Spark cannot hold as an id or order; convert it to "
            "strings, or choose another column"
        )
    return carried


def cast_column(values: pa.Array, carried: pa.DataType) -> pa.Array:
    """Return a column as the type that carries it; a NaN becomes null, because it names nothing."""
    if values.type == pa.uuid():
        return pa.array([None if value is None else str(value) for value in values.to_pylist()], carried)
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values)
    if pa.types.is_timestamp(values.type) and values.type.unit in ("s", "ms"):
        values = values.cast(pa.timestamp("us", values.type.tz))
    return values.cast(carried)
