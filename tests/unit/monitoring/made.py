"""Make scored rows and profiles without a model: scores of which so many are right as they say."""

import numpy as np
import pandas as pd

from sentiment import schema
from sentiment.evaluation.profile import IS_RIGHT, Profile, make_profile


def make_rows(n=2_000, seed=0, positive=0.5, sure=8.0, chars=300.0, inflated=0.0):
    """Return n scored rows; scores say by `inflated` more than the share that is right."""
    rng = np.random.default_rng(seed)
    accuracy = 0.5 + rng.beta(sure, 2, n) / 2
    chars = np.maximum(1, rng.lognormal(np.log(chars), 0.6, n).round())
    return pd.DataFrame(
        {
            schema.LABEL: np.where(rng.random(n) < positive, "positive", "negative"),
            schema.SCORE: np.minimum(1.0, accuracy + inflated),
            schema.UNSURE: accuracy < 0.6,
            schema.N_TOKENS: np.maximum(3, (chars / 4.5).astype(int)),
            schema.TRUNCATED: False,
            schema.STAGE: np.where(accuracy > 0.95, schema.LINEAR, schema.ENCODER),
            schema.REJECT_REASON: None,
            schema.TEXT_DIGEST: rng.integers(-(2**62), 2**62, n),
            schema.MODEL_VERSION: "1",
            "n_chars": chars,
            IS_RIGHT: rng.random(n) < accuracy,
        }
    )


def make_night(**options) -> Profile:
    """Return the profile of scored rows whose labels are not known."""
    return make_profile(make_rows(**options).drop(columns=IS_RIGHT))


def make_reference(**options) -> Profile:
    """Return the profile of scored rows whose labels are known."""
    return make_profile(make_rows(**options))
