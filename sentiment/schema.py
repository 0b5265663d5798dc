"""Every name that crosses a boundary: columns, labels in class order, reject reasons."""

NEGATIVE = "negative"
POSITIVE = "positive"
LABELS = (NEGATIVE, POSITIVE)
"""Labels by class id: `LABELS[0]` is the name of class 0."""

# A review as the model takes it.
TEXT = "text"
TEXT_JOINER = " "
"""Put between the columns of a `title,content` text, whose null columns are left out."""

# A prediction as the model gives it.
LABEL = "label"
SCORE = "score"
N_TOKENS = "n_tokens"
TRUNCATED = "truncated"
REJECT_REASON = "reject_reason"
PREDICTION_COLUMNS = (LABEL, SCORE, N_TOKENS, TRUNCATED, REJECT_REASON)

# What the scored table adds.
MODEL_VERSION = "model_version"
SCORED_AT = "scored_at"

# Why a review has no label.
NULL_ID = "null_id"
NULL_TEXT = "null_text"
BLANK_TEXT = "blank_text"
NOT_TEXT = "not_text"
UNDECODABLE_TEXT = "undecodable_text"
REJECT_REASONS = {
    NULL_ID: "an id column is null",
    NULL_TEXT: "the text is null",
    BLANK_TEXT: "the text is empty, or nothing in it is a token",
    NOT_TEXT: "the value is not a string",
    UNDECODABLE_TEXT: "the string is not valid Unicode (a lone surrogate)",
}


def split_columns(names: str) -> tuple[str, ...]:
    """Column names of a comma-separated argument such as `title,content`, blanks removed."""
    return tuple(name.strip() for name in names.split(",") if name.strip())
