"""Read the settings of the app from its environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..config import DEFAULT_MODEL_URI

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
    """Hold what the operator has set.

    `scores` is a published table, `reviews` are the reviews that it scores, `monitoring` is the folder of the
    results of each night; a user of the app types the path of one that is None. `corrections` is the folder
    to which corrected labels are written, None for an app that writes none. Without `admin_token` the app
    promotes no model.
    """

    model_uri: str
    scores: str | None
    reviews: str | None
    corrections: str | None
    monitoring: str | None
    admin_token: str | None


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings; an empty variable counts as one that is not set."""
    return Settings(
        model_uri=environment.get(MODEL_URI_VARIABLE) or DEFAULT_MODEL_URI,
        scores=environment.get(SCORES_VARIABLE) or None,
        reviews=environment.get(REVIEWS_VARIABLE) or None,
        corrections=environment.get(CORRECTIONS_VARIABLE) or None,
        monitoring=environment.get(MONITORING_VARIABLE) or None,
        admin_token=environment.get(ADMIN_TOKEN_VARIABLE) or None,
    )
