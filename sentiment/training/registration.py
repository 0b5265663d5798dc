"""Register a model; if the registry fails, keep the model in a folder and register it later."""

import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..config import FinetuneConfig
from ..errors import ConfigError, ModelIntegrityError, RegistryError, SentimentError
from ..evaluation.metrics import Evaluation
from ..inference.pyfunc import ENCODER_ARTIFACT
from ..models import registry
from ..models.integrity import describe_differences, make_record
from ..models.mlflow_errors import translating_errors
from ..models.tracking import without_autologging
from .encoders import Encoder
from .packaging import ModelConfig, log_model
from .run_log import find_run, start_run

_FACTS_FILE = "unregistered.json"


def register(folder: Path, encoder: Encoder, config: ModelConfig, text_col: str) -> str:
    """Log the model to the active run, register it, and set its alias; return its version.

    If the run has registered the same files already, because only the alias failed or the job was killed
    after it, that version is signed and gets the alias. Raises a ModelError.
    """
    name = config.registered_model_name
    files = {f"artifacts/{folder.name}/{path}": digest for path, digest in make_record(folder).items()}
    with translating_errors(f"registration of {name!r}"):
        run_id = registry.import_mlflow().active_run().info.run_id
        if find_run(run_id) is None:  # MLflow would register half of the model
            raise RegistryError(f"registration of {name!r}: the run {run_id} was deleted meanwhile")
        version = registry.find_version_with(name, run_id, files)
        if version is None:
            version = log_model(folder, encoder, config, text_col).version
        elif config.signing_key is not None:
            registry.record_model(name, version, signing_key=config.signing_key, given=files)
    if config.alias is not None:
        registry.set_alias(name, config.alias, version)
    return version


def keep(
    folder: Path,
    encoder: Encoder,
    config: FinetuneConfig,
    text_col: str,
    summary: Mapping[str, Any],
    home: Path,
) -> Path:
    """Copy a model that could not be registered below `home`, with all that `register_kept` needs."""
    name = f"{time.strftime('%Y%m%dT%H%M%S')}-{summary['run_id'][:8]}"
    try:
        kept = home / name
        kept.mkdir(parents=True)
    except OSError:  # a folder that cannot be written must not cost the model
        kept = Path(tempfile.mkdtemp(prefix="sentiment-unregistered-"))
    shutil.copytree(folder, kept / ENCODER_ARTIFACT)
    facts = {
        "config": asdict(config),
        "base_model": encoder.name,
        "licence": encoder.licence,
        "text_col": text_col,
        "summary": dict(summary),
        "files": make_record(folder),
    }
    (kept / _FACTS_FILE).write_text(json.dumps(facts, indent=2, default=str) + "\n", encoding="utf-8")
    return kept


def explain_kept(kept: Path, error: SentimentError, summary: Mapping[str, Any]) -> SentimentError:
    """Return the error of a failed registration with the folder of the model and the next step."""
    return type(error)(
        f"{error}; the fine-tuned model is in {kept}; register it later with "
        f"`python jobs/finetune.py --register {kept}`",
        summary=summary,
    )


@without_autologging()
def register_kept(kept: Path, alias: str | None = None, name: str | None = None) -> dict[str, Any]:
    """Register a model that `keep` has kept, under the names of its run, and remove the folder.

    `alias` and `name` replace those of the run. Return the summary of its run. A folder that an earlier
    version kept has no digests of its files: a note says so, and the folder stays. Raises ConfigError if
    there is no such model, ModelIntegrityError if its files have changed, RegistryError if the registry still
    fails.
    """
    try:
        facts = json.loads((kept / _FACTS_FILE).read_text(encoding="utf-8"))
        # The report is written already, perhaps to a folder that is no more.
        config = FinetuneConfig(**facts["config"] | {"report": None})
        name = name or config.registered_model_name
        config = replace(config, alias=alias or config.alias, registered_model_name=name)
        test = Evaluation(**facts["summary"]["test"])
        encoder = Encoder(facts["base_model"], model=None, tokenizer=None, licence=facts["licence"])
        text_col, run_id = facts["text_col"], facts["summary"]["run_id"]
        record = facts.get("files")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"register: cannot read {kept / _FACTS_FILE} ({type(error).__name__}); expected a folder that a "
            "failed registration of this version named"
        ) from error
    notes = _check_kept(kept, record)
    registry.open_experiment(config.experiment)
    registry.check_name(name)
    # A new store does not know the run.
    with start_run(run_id if find_run(run_id) else None) as log:
        log.log_metrics({f"test_{name}": value for name, value in test.as_metrics().items()})
        version = register(kept / ENCODER_ARTIFACT, encoder, config, text_col)
    if record is not None:
        shutil.rmtree(kept)
    return {
        **facts["summary"],
        "run_id": log.run_id,
        "notes": [*facts["summary"]["notes"], *notes, *log.notes],
        "model_uri": f"models:/{config.registered_model_name}/{version}",
        "model_version": version,
        "model_name": name,
        "alias": config.alias,
    }


def _check_kept(kept: Path, record: Mapping[str, str] | None) -> list[str]:
    """Return a note if there is no record of the files; raise ModelIntegrityError if they differ from it."""
    if record is None:
        return [
            f"{kept}: an earlier version kept this model without digests of its files, so nothing shows that "
            "the test figures are of these files; the folder was not removed"
        ]
    differences = describe_differences(kept / ENCODER_ARTIFACT, record)
    if differences:
        raise ModelIntegrityError(
            f"{kept / ENCODER_ARTIFACT}: not the files that were kept and tested ({differences}); expected "
            f"the {len(record)} files of the training, unchanged; nothing was registered; restore them, or "
            "train again"
        )
    return []
