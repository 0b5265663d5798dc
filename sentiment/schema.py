"""Every name that crosses a boundary: columns, labels in class order, reject reasons."""

import re
from collections.abc import Iterable

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
STAGE = "stage"
REJECT_REASON = "reject_reason"
PREDICTION_TYPES = {
    LABEL: "string",
    SCORE: "double",
    N_TOKENS: "long",
    TRUNCATED: "boolean",
    STAGE: "string",
    REJECT_REASON: "string",
}
"""Types by column in the words that MLflow and Spark share."""
PREDICTION_COLUMNS = tuple(PREDICTION_TYPES)

# Which part of the model decided: the linear stage of the cascade, or the encoder.
LINEAR = "linear"
ENCODER = "encoder"
STAGES = (LINEAR, ENCODER)

# What the scored table adds.
MODEL_VERSION = "model_version"
SCORED_AT = "scored_at"
TEXT_DIGEST = "text_digest"
"""Spark's xxhash64 of the text: tells a changed text from one that was scored already."""
SEQUENCE = "sequence"
"""Number of the batch in its store, growing: of two rows of one id the higher one is the newer."""
TABLE_COLUMNS = (TEXT_DIGEST, MODEL_VERSION, SCORED_AT, SEQUENCE)

# Why a review has no label.
NULL_ID = "null_id"
NULL_TEXT = "null_text"
BLANK_TEXT = "blank_text"
NOT_TEXT = "not_text"
UNDECODABLE_TEXT = "undecodable_text"
TOO_LONG_TEXT = "too_long_text"
DUPLICATE_ID = "duplicate_id"
MODEL_FAILED = "model_failed"
REJECT_REASONS = {
    NULL_ID: "an id column is null, or no valid Unicode",
    NULL_TEXT: "the text is null",
    BLANK_TEXT: "the text is empty, or nothing in it is a token",
    NOT_TEXT: "the value is not a string",
    UNDECODABLE_TEXT: "the string is not valid Unicode (a lone surrogate)",
    TOO_LONG_TEXT: "the text is longer than max_text_chars",
    DUPLICATE_ID: "other rows of the run have this id and another text",
    MODEL_FAILED: "the model fails on this text, and on no other beside it",
}


_NAME_LIKE = re.compile(r"[\w.-]{1,40}")


def name_like(names: Iterable[str]) -> list[str]:
    """Those that look like names of columns: what does not may be a review."""
    return [name for name in names if _NAME_LIKE.fullmatch(str(name))]


def show_columns(names: Iterable[str]) -> str:
    """Column names for a message; what does not look like a name may be a review, and is only counted."""
    listed = list(names)
    shown = name_like(listed)
    others = len(listed) - len(shown)
    return ", ".join(shown) + (f" and {others} that look like no names" if others else "")


def split_columns(names: str) -> tuple[str, ...]:
    """Column names of a comma-separated argument such as `title,content`, blanks removed."""
    return tuple(name.strip() for name in names.split(",") if name.strip())
