"""Search for a better recipe with Optuna: each trial trains, and the weights of the best one are kept."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..config import FinetuneConfig
from ..errors import ConfigError, DivergedError
from .checkpoints import Checkpoints, digest_inputs, list_inputs
from .encoders import Encoder, load_encoder
from .layers import find_layers
from .processes import count_processes
from .runs import Training, open_run

_STUDY = "study.db"
# A trial whose training diverged keeps the warning here, for the case that the search is killed.
_DIVERGED = "diverged"


@dataclass(frozen=True)
class SearchResult:
    """Hold the number of trials, and the number, the validation F1 and the values of the best one."""

    trials: int
    best_trial: int
    best_f1: float
    best: dict[str, Any]


def search(encoder: Encoder, training: Training) -> tuple[list[dict[str, float]], SearchResult]:
    """Run trials until `search` or `search_minutes` is reached; load the weights of the best into `encoder`.

    The first trial is the recipe of the configuration. The study is a SQLite file next to the checkpoints, so
    that a search that was killed continues. Returns the log of the best trial.
    """
    config, checkpoints, log = training.config, training.checkpoints, training.log
    if count_processes() > 1 or log is None:
        raise ConfigError("search: found several processes, expected one; omit torchrun or --distributor")
    has_layers = find_layers(encoder.model) is not None
    if not has_layers:
        checkpoints.warnings.append(
            f"search: lr_decay stays 1, because an encoder of type {encoder.model.config.model_type} has no "
            "single stack of layers with weights of their own"
        )
    study = _open_study(config, checkpoints.folder)
    while _is_in_budget(study, config):
        trial = study.ask()
        tried = suggest(trial, config, has_layers)
        place = _make_place(checkpoints, tried)
        run_name = f"trial {trial.number + 1}"
        try:
            with open_run(place, place.folder.name, nested=True, run_name=run_name) as trial_log:
                trial_log.log_params(trial.params)
                fresh = load_encoder(config.distilbert_model, config.max_length, config.seed, encoder.labels)
                history = _run_trial(trial.number, fresh, replace(training, config=tried, log=trial_log))
        except DivergedError as error:  # other recipes may not; if all do, the best of them raises it again
            trial.set_user_attr(_DIVERGED, f"{run_name} counts as F1 0: {error}")
            history = [{"eval_f1": 0.0}]
        checkpoints.warnings.extend(f"{run_name}: {note}" for note in trial_log.notes)
        study.tell(trial, max(row["eval_f1"] for row in history if "eval_f1" in row))
        _remove_worse(checkpoints, replace(config, **study.best_params))
    diverged = [trial.user_attrs.get(_DIVERGED) for trial in _list_done(study)]
    checkpoints.warnings.extend(filter(None, diverged))
    best = study.best_trial
    # Loads the weights, or trains them again if they are damaged.
    history = _run_trial(best.number, encoder, replace(training, config=replace(config, **best.params)))
    log.log_params({f"best_{name}": value for name, value in best.params.items()})
    return history, SearchResult(len(_list_done(study)), best.number + 1, best.value, best.params)


def _run_trial(number: int, encoder: Encoder, training: Training) -> list[dict[str, float]]:
    """Train an encoder with the configuration of a trial; its checkpoints lie below those of the search."""
    from .trainer import train_encoder

    def show(stage: str, done: int, total: int, note: str) -> None:
        training.progress(f"trial {number + 1}, {stage}", done, total, note)

    place = _make_place(training.checkpoints, training.config)
    return train_encoder(encoder, replace(training, checkpoints=place, progress=show))


def suggest(trial: Any, config: FinetuneConfig, has_layers: bool) -> FinetuneConfig:
    """Return the configuration with the values of a trial, around those that were given.

    Without layers, which need weights of their own, `lr_decay` is not varied.
    """
    values = {
        "lr": trial.suggest_float("lr", config.lr / 5, config.lr * 5, log=True),
        **({"lr_decay": trial.suggest_float("lr_decay", 0.7, 1.0)} if has_layers else {}),
        "schedule": trial.suggest_categorical("schedule", ["linear", "cosine"]),
        "warmup_share": trial.suggest_float("warmup_share", 0.0, 0.2),
        "weight_decay": trial.suggest_float("weight_decay", 0.0, 0.1),
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.1),
    }
    return replace(config, **values)


def _open_study(config: FinetuneConfig, folder: Path) -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("search: Optuna is not installed; run `pip install 'sentiment[search]'`") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=f"sqlite:///{folder / _STUDY}",
        study_name="search",
        direction="maximize",
        load_if_exists=True,
    )
    # A study that continues must not begin with the same random values again.
    study.sampler = optuna.samplers.TPESampler(seed=config.seed + len(study.trials))
    if not study.trials:
        names = ("lr", "lr_decay", "schedule", "warmup_share", "weight_decay", "label_smoothing")
        study.enqueue_trial({name: getattr(config, name) for name in names})
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):  # killed
        # Values that were set beforehand are in `params` only once they were suggested.
        study.enqueue_trial(trial.system_attrs.get("fixed_params", {}) | trial.params)
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def _is_in_budget(study: Any, config: FinetuneConfig) -> bool:
    done = _list_done(study)
    minutes = sum(trial.duration.total_seconds() for trial in done) / 60
    is_full = config.search is not None and len(done) >= config.search
    is_late = config.search_minutes is not None and minutes >= config.search_minutes
    return not done or not (is_full or is_late)


def _list_done(study: Any) -> list[Any]:
    return [trial for trial in study.trials if trial.state.name == "COMPLETE"]


def _make_place(checkpoints: Checkpoints, tried: FinetuneConfig) -> Checkpoints:
    place = _find_place(checkpoints, tried)
    place.folder.mkdir(exist_ok=True)
    return place


def _find_place(checkpoints: Checkpoints, tried: FinetuneConfig) -> Checkpoints:
    digest = digest_inputs(list_inputs(tried))
    return Checkpoints(checkpoints.folder / f"trial-{digest}", checkpoints.warnings)


def _remove_worse(checkpoints: Checkpoints, best: FinetuneConfig) -> None:
    kept = _find_place(checkpoints, best).folder
    for folder in checkpoints.folder.glob("trial-*"):
        if folder != kept:
            shutil.rmtree(folder)
