"""Read the settings of the app from its environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..config import DEFAULT_MODEL_URI
from ..monitoring.history import find_default_folder

# The folder of the project. Without a tracking server, its subfolder `var` holds the models.
HOME = Path(__file__).resolve().parents[2]
MODEL_URI_VARIABLE = "SENTIMENT_MODEL_URI"
SCORES_VARIABLE = "SENTIMENT_SCORES"
REVIEWS_VARIABLE = "SENTIMENT_REVIEWS"
CORRECTIONS_VARIABLE = "SENTIMENT_CORRECTIONS"
MONITORING_VARIABLE = "SENTIMENT_MONITORING"
ADMIN_TOKEN_VARIABLE = "SENTIMENT_ADMIN_TOKEN"


@dataclass(frozen=True)
class Settings:
    """Hold what the operator has set; a path to read that is None is typed by the reader.

    `scores` is a published table, `reviews` the reviews that it scores, `monitoring` the folder of the
    nightly reports. `corrections` is a folder for labels that readers correct; without it, and without
    `admin_token`, the app writes and promotes nothing.
    """

    model_uri: str
    scores: str | None
    reviews: str | None
    corrections: str | None
    monitoring: str | None
    admin_token: str | None


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings; an empty variable counts as one that is not set.

    The nightly job writes next to the scores, so the folder of its results follows from theirs.
    """
    scores = environment.get(SCORES_VARIABLE) or None
    beside = find_default_folder(scores) if scores else None
    return Settings(
        model_uri=environment.get(MODEL_URI_VARIABLE) or DEFAULT_MODEL_URI,
        scores=scores,
        reviews=environment.get(REVIEWS_VARIABLE) or None,
        corrections=environment.get(CORRECTIONS_VARIABLE) or None,
        monitoring=environment.get(MONITORING_VARIABLE) or (str(beside) if beside else None),
        admin_token=environment.get(ADMIN_TOKEN_VARIABLE) or None,
    )
