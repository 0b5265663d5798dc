"""Name the columns, labels, stages and reject reasons that all parts of the project share."""

import itertools
import re
from collections.abc import Iterable, Sequence

NEGATIVE = "negative"
NEUTRAL = "neutral"
POSITIVE = "positive"
# Usual class names; the index is the class id. A model may have any others.
POLARITY_LABELS = (NEGATIVE, POSITIVE)
THREE_WAY_LABELS = (NEGATIVE, NEUTRAL, POSITIVE)
STAR_LABELS = ("1", "2", "3", "4", "5")

# The input of a model.
TEXT = "text"
# Stands between the non-null columns of a joined text such as `title,content`.
TEXT_JOINER = " "

# The output of a model.
LABEL = "label"
SCORE = "score"
UNSURE = "unsure"
N_TOKENS = "n_tokens"
TRUNCATED = "truncated"
STAGE = "stage"
REJECT_REASON = "reject_reason"
# MLflow and Spark use the same names for these types.
PREDICTION_TYPES = {
    LABEL: "string",
    SCORE: "double",
    UNSURE: "boolean",
    N_TOKENS: "long",
    TRUNCATED: "boolean",
    STAGE: "string",
    REJECT_REASON: "string",
}
PREDICTION_COLUMNS = tuple(PREDICTION_TYPES)
# Further columns: the mean of the label values, of a model with ordinal labels such as stars; and the
# probability of each class, in the model's order of labels, where the caller asks for it.
EXPECTED = "expected"
PROBABILITIES = "probabilities"

# The stage of the cascade that decided, or both of them together.
LINEAR = "linear"
ENCODER = "encoder"
BOTH = "both"
STAGES = (LINEAR, ENCODER, BOTH)

# Columns that the scored table adds to the output of the model.
MODEL_VERSION = "model_version"
SCORED_AT = "scored_at"
# Spark's xxhash64 of the text: it differs if a text has changed since it was scored.
TEXT_DIGEST = "text_digest"
# Number of the batch in its store: of two rows with one id, the row with the higher number is newer.
SEQUENCE = "sequence"
TABLE_COLUMNS = (TEXT_DIGEST, MODEL_VERSION, SCORED_AT, SEQUENCE)
# Keys in the `key=value` folder names of a store; readers add them as columns.
STORE_KEYS = ("model", "batch")

NULL_ID = "null_id"
NULL_TEXT = "null_text"
BLANK_TEXT = "blank_text"
NOT_TEXT = "not_text"
UNDECODABLE_TEXT = "undecodable_text"
TOO_LONG_TEXT = "too_long_text"
UNKNOWN_TEXT = "unknown_text"
DUPLICATE_ID = "duplicate_id"
MODEL_FAILED = "model_failed"
REJECT_REASONS = {
    NULL_ID: "an id column is null or not valid Unicode",
    NULL_TEXT: "the text is null",
    BLANK_TEXT: "the text is empty, or has only characters that the model ignores",
    NOT_TEXT: "the value is not a string",
    UNDECODABLE_TEXT: "the string is not valid Unicode (a lone surrogate)",
    TOO_LONG_TEXT: "the text is longer than max_text_chars",
    UNKNOWN_TEXT: "the model knows little of the text: another script, unknown symbols, or one endless word",
    DUPLICATE_ID: "other rows of the same chunk have this id and another text",
    MODEL_FAILED: "the model fails on this text, or gives no score",
}

# Labels with a value: `4`, `4 stars`.
_VALUED_LABEL = re.compile(r"(\d{1,2})(?: stars?)?")
# Two labels that are numbers, such as 0 and 1, are names; only more of them are a scale.
_MIN_ORDINAL_LABELS = 3

_NAME_LIKE = re.compile(r"[\w.-]{1,40}")
# JSON whose keys are the numbers of products has thousands of columns.
_SHOWN_COLUMNS = 40


def find_label_values(labels: Sequence[str]) -> tuple[float, ...] | None:
    """Return the values of ordinal labels such as `1 star` to `5 stars`, rising; None for other labels."""
    found = [_VALUED_LABEL.fullmatch(label.lower()) for label in labels]
    values = tuple(float(match[1]) for match in found if match)
    # Falling labels have no `expected`: models that were logged with such labels do not return it.
    is_ordinal = len(values) == len(labels) >= _MIN_ORDINAL_LABELS
    return values if is_ordinal and all(a < b for a, b in itertools.pairwise(values)) else None


def list_prediction_types(labels: Sequence[str], has_probabilities: bool = False) -> dict[str, str]:
    """Return the columns of the predictions of a model with these labels, and their types in Spark."""
    types = dict(PREDICTION_TYPES)
    if find_label_values(labels) is not None:
        types[EXPECTED] = "double"
    if has_probabilities:
        types[PROBABILITIES] = "array<double>"
    return types


def name_like(names: Iterable[str]) -> list[str]:
    """Return the strings that look like column names; the others may be review text."""
    return [name for name in names if _NAME_LIKE.fullmatch(str(name))]


def show_columns(names: Iterable[str]) -> str:
    """List the first column names for a message; only count those that may be review text (`name_like`)."""
    listed = list(names)
    shown = name_like(listed)
    others = len(listed) - len(shown)
    more = len(shown) - _SHOWN_COLUMNS
    first = ", ".join(shown[:_SHOWN_COLUMNS])
    parts = [
        first,
        f"{more:,} more" if more > 0 else "",
        f"{others} that do not look like column names" if others else "",
    ]
    return " and ".join(filter(None, parts))


def split_columns(names: str) -> tuple[str, ...]:
    """Return the names in a comma-separated argument such as `title,content`, without spaces around them."""
    return tuple(name.strip() for name in names.split(",") if name.strip())
