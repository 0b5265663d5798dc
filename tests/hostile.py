"""Models that an attacker has changed: each writes a canary file if any of its code runs.

A test copies a model that is whole, damages the copy, and expects that it is refused while the canary is
not there. Where a damage has nothing to run (a missing file), `list_imported` shows that nothing came in.
"""

import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname
from xml.etree import ElementTree

import yaml

from sentiment.models import registry


class Bomb:
    """Writes the canary when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self._canary,)


def put_pickle(folder: Path, canary: Path) -> None:
    """Make the model a pickle, as MLflow logs one from an object."""
    (folder / "python_model.pkl").write_bytes(pickle.dumps(Bomb(canary)))

    def change(pyfunc: dict[str, object]) -> None:
        pyfunc.pop("model_code_path")
        pyfunc["loader_module"] = "mlflow.pyfunc.model"
        pyfunc["python_model"] = "python_model.pkl"

    _change_pyfunc(folder, change)


def put_loader_module(folder: Path, canary: Path) -> None:
    """Make MLflow load the model with a module that the model brings."""
    _write_canary(folder / "code" / "hostile_loader.py", canary)
    _change_pyfunc(folder, lambda pyfunc: pyfunc.update(loader_module="hostile_loader"))


def put_custom_code(folder: Path, canary: Path) -> None:
    """Make the entry point write the canary before its work."""
    entry_point = folder / "sentiment_model.py"
    _write_canary(entry_point, canary, entry_point.read_text())


def put_path_outside(folder: Path, canary: Path) -> None:
    """Point to code outside the model: `../`."""
    elsewhere = folder.parent / f"{folder.name}-elsewhere"
    shutil.copytree(folder / "code", elsewhere)
    [package] = (path for path in elsewhere.iterdir() if path.is_dir())
    _write_canary(package / "__init__.py", canary)
    _change_pyfunc(folder, lambda pyfunc: pyfunc.update(code=f"../{elsewhere.name}"))


def put_symlink(folder: Path, canary: Path) -> None:
    """Replace a module by a link to one that can be changed at any time."""
    module = _find_package(folder) / "inference" / "__init__.py"
    elsewhere = folder.parent / f"{folder.name}-linked.py"
    _write_canary(elsewhere, canary, module.read_text())
    module.unlink()
    module.symlink_to(elsewhere)


def change_byte(folder: Path, canary: Path) -> None:
    """Flip one bit in the middle of the weights."""
    weights = folder / "artifacts" / "encoder" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)


def add_file(folder: Path, canary: Path) -> None:
    """Add modules with the names of libraries to a path that Python searches first."""
    _write_canary(folder / "code" / "tokenizers.py", canary)
    _write_canary(folder / "code" / "openvino.py", canary)


def remove_file(folder: Path, canary: Path) -> None:
    """Remove a setting: the model would still predict, but with other results."""
    (folder / "artifacts" / "encoder" / "inference.json").unlink()


def damage_graph(graph: Path) -> None:
    """Reverse every int8 weight matrix of an OpenVINO graph (.xml): the graph loads, but computes wrongly."""
    weights = graph.with_suffix(".bin")
    content = bytearray(weights.read_bytes())
    for data in ElementTree.parse(graph).iter("data"):
        if data.get("element_type") == "i8":
            start = int(data.attrib["offset"])
            stop = start + int(data.attrib["size"])
            content[start:stop] = content[start:stop][::-1]
    weights.write_bytes(content)


# Functions that damage the copy of a model (first argument) so that it would write the canary (second).
HOSTILE: dict[str, Callable[[Path, Path], None]] = {
    "pickle": put_pickle,
    "loader_module": put_loader_module,
    "custom_code": put_custom_code,
    "path_outside": put_path_outside,
    "symlink": put_symlink,
    "changed_byte": change_byte,
    "extra_file": add_file,
    "missing_file": remove_file,
}

# Kinds that are refused by their shape, with or without a record.
SHAPELESS = ("pickle", "loader_module", "path_outside", "symlink")


def register_copy(
    uri: str,
    target: Path,
    name: str = "sentiment",
    alias: str | None = None,
    change: Callable[[Path], object] = lambda folder: None,
) -> str:
    """Register a copy of a model, with a record, under `target`; its URI. The copy is the stored artifact.

    `change` is done to the copy before its files are recorded.
    """
    mlflow = registry.import_mlflow()
    shutil.copytree(find_stored(uri), target, ignore=shutil.ignore_patterns("__pycache__"))
    change(target)
    version = str(mlflow.register_model(target.as_uri(), name).version)
    registry.record_model(name, version)
    if alias is not None:
        registry.set_alias(name, alias, version)
    return f"models:/{name}/{version}"


def damage_version(uri: str, kind: str, canary: Path) -> None:
    """Damage the stored artifact of a registered version, on this machine, as `HOSTILE[kind]` does."""
    HOSTILE[kind](find_stored(uri), canary)


def find_stored(uri: str) -> Path:
    """Return the folder of a registered version in the artifact store, on this machine."""
    location = registry._locate(uri, registry.find_version(uri))
    return Path(url2pathname(urlsplit(location).path))


def list_imported(folder: Path) -> list[str]:
    """Return the modules of this process that came from a folder."""
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    return sorted(
        name for name, file in files.items() if file and Path(file).is_relative_to(folder.resolve())
    )


def _write_canary(module: Path, canary: Path, rest: str = "") -> None:
    module.write_text(f"import pathlib\n\npathlib.Path({str(canary)!r}).touch()\n{rest}")


def _change_pyfunc(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    path = folder / "MLmodel"
    content = yaml.safe_load(path.read_text())
    change(content["flavors"]["python_function"])
    path.write_text(yaml.safe_dump(content))


def _find_package(folder: Path) -> Path:
    [package] = (path for path in (folder / "code").iterdir() if (path / "__init__.py").is_file())
    return package
