"""Find out, before a model is loaded, whether it can give the accuracy that is asked for."""

from pathlib import Path

from ..errors import ConfigError
from .artifacts import find_artifact


def check_target_accuracy(folder: Path, target_accuracy: float | None) -> None:
    """Raise ConfigError if fine-tuning did not prove this accuracy for the model in `folder` (its root)."""
    if target_accuracy is None:
        return
    # Imported here, because the driver of a Spark job without this argument needs none of it.
    from ..inference.calibration import find_min_score
    from ..inference.settings import SETTINGS_FILE, load_settings

    found = find_artifact(folder, SETTINGS_FILE)
    try:
        if found is None:
            raise ValueError(f"target_accuracy {target_accuracy:g}: the model states no accuracy by score")
        find_min_score(load_settings(found.parent).coverage, target_accuracy)
    except (ValueError, KeyError, TypeError) as error:
        # An earlier model has other settings.
        reason = error if isinstance(error, ValueError) else "an earlier model, which states no accuracy"
        raise ConfigError(str(reason)) from error
