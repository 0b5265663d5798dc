"""Find the files of a classifier that was trained elsewhere: on the hub, in a folder, or in MLflow.

Only weights in safetensors are used. Pickled weights run code when they are read.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import ModelNotFoundError, UnusableClassifierError
from ..models import registry
from ..models.integrity import MODEL_FILE
from .data.hub import is_hub_reachable

# What is downloaded from the hub: no pickles, no code.
_SAFE_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "README.md"]
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
ADAPTER_FILE = "adapter_config.json"
_HUB_ID = re.compile(r"\w[\w.-]*(/[\w.-]+)?")
UNKNOWN = "unknown"


@dataclass(frozen=True)
class ClassifierFiles:
    """Hold the folders of weights and tokenizer, and what the model card states.

    `licence` is `unknown`, and `base_model` None, if nothing states it.
    """

    name: str
    weights: Path
    tokenizer: Path
    licence: str
    base_model: str | None


def find_classifier(name: str) -> ClassifierFiles:
    """Find a folder, an MLflow model of the flavour `transformers`, or a model of the hub or its cache.

    Raises ModelNotFoundError if there is none, RegistryError if the tracking server does not answer,
    UnusableClassifierError if it is no model of transformers, is an adapter, or has no safetensors.
    """
    if name.startswith(("models:/", "runs:/")) or (Path(name) / MODEL_FILE).is_file():
        return _find_logged(name)
    folder = Path(name)
    if folder.is_dir():
        return _open_folder(name, folder)
    if folder.exists() or not _HUB_ID.fullmatch(name):
        raise ModelNotFoundError(
            f"model: no folder at {name!r}; expected a folder with config.json, a hub id such as owner/name, "
            "or an MLflow URI; check --model"
        )
    return _open_folder(name, _download(name))


def _open_folder(name: str, folder: Path) -> ClassifierFiles:
    files = {file.name for file in folder.iterdir()}
    _check_files(name, files)
    facts = read_card(folder / "README.md")
    return ClassifierFiles(name, folder, folder, read_licence(facts), _find_base(facts))


def _find_logged(uri: str) -> ClassifierFiles:
    """Find the weights and the tokenizer of a logged model in a private copy; nothing of it is run."""
    reference = registry.resolve_model(uri)
    root = reference.folder
    content = yaml.safe_load((root / MODEL_FILE).read_text(encoding="utf-8"))
    flavours: Mapping[str, Any] = content.get("flavors") or {}
    if "sentiment_version" in (content.get("metadata") or {}):
        raise UnusableClassifierError(
            f"model {uri!r}: is a model of this project already, so nothing is to be adopted; score with it "
            f"(jobs/score_reviews.py --model_uri {uri})"
        )
    flavour: Mapping[str, Any] = flavours.get("transformers") or {}
    _check_flavour(uri, flavour, flavours)
    # The file may name any path; only a folder of the model is used.
    weights = root / Path(str(flavour["model_binary"])).name
    tokenizer = root / "components" / "tokenizer"
    _check_files(uri, {file.name for file in weights.iterdir()} if weights.is_dir() else set())
    facts = read_card(root / "model_card.md")
    source = str(flavour.get("source_model_name") or "")
    base = _find_base(facts) or (source if _HUB_ID.fullmatch(source) else None)
    # An alias may name another version tomorrow.
    return ClassifierFiles(reference.pinned_uri, weights, tokenizer, read_licence(facts), base)


def _check_flavour(uri: str, flavour: Mapping[str, Any], flavours: Mapping[str, Any]) -> None:
    """Raise UnusableClassifierError if the model is no text classifier of transformers with its weights."""
    if not flavour:
        found = ", ".join(sorted(set(flavours) - {"python_function"})) or "python_function"
        raise UnusableClassifierError(
            f"model {uri!r}: expected the MLflow flavour transformers, found {found}; log the classifier "
            "with mlflow.transformers.log_model, or pass the folder of its save_pretrained"
        )
    task = flavour.get("task")
    if task != "text-classification":
        raise UnusableClassifierError(
            f"model {uri!r}: expected the task text-classification, found {task}; pass another --model"
        )
    if flavour.get("peft_adaptor"):
        raise UnusableClassifierError(_explain_adapter(uri))
    if "model_binary" not in flavour:
        raise UnusableClassifierError(
            f"model {uri!r}: was logged without its weights (save_pretrained=False); pass the hub id "
            f"instead: --model {flavour.get('source_model_name')}"
        )


def _check_files(name: str, files: Collection[str]) -> None:
    """Raise UnusableClassifierError if the files are an adapter's, or have no weights in safetensors."""
    if ADAPTER_FILE in files:
        raise UnusableClassifierError(_explain_adapter(name))
    if any(file.endswith(".safetensors") for file in files):
        if "config.json" not in files:
            raise UnusableClassifierError(
                f"model {name!r}: has weights but no config.json; expected the folder that save_pretrained "
                "writes; pass another --model"
            )
        return
    pickled = sorted(file for file in files if file.endswith(_PICKLES))
    if pickled:
        raise UnusableClassifierError(
            f"model {name!r}: its weights are pickled ({pickled[0]}), and reading a pickle can run code; "
            "expected model.safetensors; if you trust its author, convert it once with "
            f'`python -c "import transformers as t; m = {name!r}; '
            "t.AutoModelForSequenceClassification.from_pretrained(m).save_pretrained('converted'); "
            "t.AutoTokenizer.from_pretrained(m).save_pretrained('converted')\"` and pass --model converted"
        )
    raise UnusableClassifierError(
        f"model {name!r}: has no weights that transformers reads; expected config.json, model.safetensors "
        "and tokenizer.json; pass another --model"
    )


def _explain_adapter(name: str) -> str:
    return (
        f"model {name!r}: is an adapter (PEFT, LoRA), not a whole model; merge it into its base model once "
        f'with `python -c "import peft; m = peft.AutoPeftModelForSequenceClassification.from_pretrained('
        f"{name!r}); m.merge_and_unload().save_pretrained('merged')\"`, save the tokenizer there too, and "
        "pass --model merged"
    )


def _download(name: str) -> Path:
    """Download a model of the hub without pickles and code, or find it in the cache."""
    from huggingface_hub import list_repo_files, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    is_reachable = is_hub_reachable()
    try:
        if is_reachable:
            _check_files(name, [file for file in list_repo_files(name) if "/" not in file])
        folder = snapshot_download(
            name, allow_patterns=_SAFE_FILES, ignore_patterns=["*/*"], local_files_only=not is_reachable
        )
    except (OSError, ValueError, HfHubHTTPError) as error:
        reason = (
            f"the hub has none that you can read ({type(error).__name__}); check the name, or log in with "
            "`hf auth login`"
            if is_reachable
            else "it is not in the cache, and the hub does not answer; pass a local folder"
        )
        raise ModelNotFoundError(f"model: {name!r} is no local folder, and {reason}") from error
    return Path(folder)


def read_card(path: Path) -> dict[str, Any]:
    """Return the metadata at the top of a model card; empty if there is none that can be read."""
    if not path.is_file():
        return {}
    found = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", path.read_text(encoding="utf-8", errors="replace"), re.S)
    try:
        facts = yaml.safe_load(found[1]) if found else None
    except (yaml.YAMLError, ValueError):  # a date that does not exist is a ValueError
        return {}
    return facts if isinstance(facts, dict) else {}


def read_licence(facts: Mapping[str, Any]) -> str:
    """Return the licence that the metadata of a model card states, `UNKNOWN` if it states none."""
    licence = facts.get("license") or UNKNOWN
    if licence == "other":
        licence = facts.get("license_name") or licence
    return ", ".join(map(str, licence)) if isinstance(licence, list) else str(licence)


def _find_base(facts: Mapping[str, Any]) -> str | None:
    base = facts.get("base_model")
    return ", ".join(map(str, base)) if isinstance(base, list) else str(base) if base else None
