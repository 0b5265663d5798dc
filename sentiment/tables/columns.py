"""Name the columns that a chunk carries through Spark, and refer to a column by any name."""

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F

# Rises from the oldest to the newest row: of two rows with one id, the higher is the latest.
POSITION = "_position"
# The value of `order_col`, which decides before the position does.
ORDER = "_order"
# True for a row whose date is outside the window, or null.
IS_OUTSIDE = "_is_outside"
# True for a row that is rejected because its id has several texts.
IS_DUPLICATE = "_is_duplicate"
# All ids of a row as one value (`make_key`).
KEY = "_key"
# The digest of the text that the store has scored last for this id. A row with this digest needs no score.
KNOWN_DIGEST = "_known_digest"
# True for a text that the worker had just scored for another row.
IS_REPEATED = "_is_repeated"


def column(name: str) -> Column:
    """Return the column with exactly this name, even if it contains dots or backticks."""
    return F.col(quote(name))


def quote(name: str) -> str:
    """Return a name as Spark's SQL reads it."""
    return "`" + name.replace("`", "``") + "`"


def make_key(ids: Sequence[str]) -> Column:
    """Combine the ids of a row into one value to compare; null if one of them is null."""
    is_whole = F.lit(True)
    for name in ids:
        is_whole &= column(name).isNotNull()
    return F.when(is_whole, F.array(*(column(name).cast("string") for name in ids)))
