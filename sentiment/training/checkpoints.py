"""Keep what a killed run needs to continue: checkpoints of the Trainer, trained weights, the MLflow run.

A checkpoint counts when its record, the sha256 of each of its files, is next to it. The record is written
last and by one rename, so a checkpoint that was cut off has none.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from .. import inference
from ..config import FinetuneConfig
from ..errors import CheckpointError, ModelIntegrityError, RunLockedError
from ..models.integrity import make_record
from ..process.files import explain_left, remove_folder, replace_file
from ..process.locks import lock_file
from .encoders import Encoder
from .processes import count_processes, get_rank

# Folders of unfinished runs that are kept, this one included. The oldest ones are removed.
KEPT_RUNS = 4
# Checkpoints on disk at once: the last one, the best one, and the one being written.
MOST_CHECKPOINTS = 3
# They change where a run happens or what is made of its result: a run continues with others.
FREE_SETTINGS = {
    *("checkpoint_dir", "checkpoint_minutes", "distributor", "num_processes"),
    *("alias", "signing_key", "report", "show_text"),
}
# A new run names the unfinished run that differs in at most so many inputs: that may be the one meant.
MOST_DIFFERENCES = 3
_CODE = (Path(__file__).parent, Path(inference.__file__).parent)
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_LOCK, _INPUTS, _RUN, _TRAINED, _HISTORY = "_lock", "inputs.json", "run.json", "trained", "history.json"
_STATE = "trainer_state.json"


@dataclass(frozen=True)
class Checkpoints:
    """Read and write the folder of one run.

    `warnings` gets a line for each checkpoint that was set aside, and for a folder that could not be removed.
    """

    folder: Path
    warnings: list[str] = field(default_factory=list)

    def seal(self, name: str) -> None:
        """Record the files of a checkpoint that is complete."""
        _write_json(self._record_path(name), make_record(self.folder / name))
        for record in self.folder.glob("checkpoint-*.json"):
            if not record.with_suffix("").is_dir():  # the Trainer has removed the checkpoint
                record.unlink()

    def find_sealed(self, name: str) -> bool:
        """Return True if a folder is as it was when it was sealed; remove what is not."""
        path = self.folder / name
        if not path.is_dir() or self._is_intact(path):
            return path.is_dir()
        if self._record_path(name).is_file():  # else it was cut off
            self.warnings.append(f"{path}: damaged, so it was removed, and is made again")
        shutil.rmtree(path)
        return False

    def find_last(self) -> Path | None:
        """Return the last intact checkpoint whose best one is intact; remove those that are not."""
        found = {int(m[1]): p for p in self.folder.iterdir() if (m := _CHECKPOINT.fullmatch(p.name))}
        for _, path in sorted(found.items(), reverse=True):
            if not self._record_path(path.name).is_file():
                shutil.rmtree(path)  # cut off
            elif not all(self._is_intact(part) for part in (path, *_list_best(path))):
                self.warnings.append(f"{path}: damaged, so it was removed, and the checkpoint before it used")
                shutil.rmtree(path)
            else:
                self._move(path)
                return path
        return None

    def _move(self, checkpoint: Path) -> None:
        """Correct the path of the best checkpoint, which the Trainer loads, if the folder was moved."""
        file = checkpoint / _STATE
        for best in _list_best(checkpoint):
            state = json.loads(file.read_text())
            if state["best_model_checkpoint"] != str(best):
                state["best_model_checkpoint"] = str(best)
                with explaining_writes(self.folder):
                    replace_file(file, json.dumps(state, indent=2, sort_keys=True).encode())
                    self.seal(checkpoint.name)

    def save_trained(self, model: Any, history: list[dict[str, float]]) -> None:
        """Keep the trained weights, and remove the checkpoints."""
        partial = self.folder / f"{_TRAINED}.tmp"
        shutil.rmtree(partial, ignore_errors=True)
        with explaining_writes(self.folder):
            model.save_pretrained(partial)
            _write_json(partial / _HISTORY, history)
            _write_json(self._record_path(_TRAINED), make_record(partial))
            partial.replace(self.folder / _TRAINED)
        for path in self.folder.glob("checkpoint-*"):
            path.unlink() if path.is_file() else shutil.rmtree(path)

    def load_trained(self, model: Any) -> list[dict[str, float]] | None:
        """Load the weights that `save_trained` kept; return the history, or None if there are none."""
        from safetensors.torch import load_model

        path = self.folder / _TRAINED
        if not path.is_dir():
            return None
        if not self._is_intact(path):
            self.warnings.append(f"{path}: the trained weights are damaged and were removed; trained again")
            shutil.rmtree(path)
            return None
        load_model(model, path / "model.safetensors")
        history: list[dict[str, float]] = json.loads((path / _HISTORY).read_text())
        return history

    def read_run(self) -> str | None:
        """Return the id of the MLflow run that this folder belongs to; None if there is none yet."""
        path = self.folder / _RUN
        return str(json.loads(path.read_text())["run_id"]) if path.is_file() else None

    def write_run(self, run_id: str) -> None:
        _write_json(self.folder / _RUN, {"run_id": run_id})

    def clear(self) -> None:
        """Remove everything but the lock and the inputs. Raises CheckpointError if something is left."""
        for path in self.folder.iterdir():
            if path.name in (_LOCK, _INPUTS):
                continue
            try:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            except OSError as error:
                raise CheckpointError(
                    f"{path}: is of an earlier run, and cannot be removed ({error.strerror}); remove it, "
                    "or pass another --checkpoint_dir"
                ) from error

    def check_room(self, needed_bytes: int) -> None:
        """Raise CheckpointError if the disk has no room for all checkpoints of a run."""
        free = shutil.disk_usage(self.folder).free
        if free < needed_bytes:
            raise CheckpointError(
                f"{self.folder}: checkpoints need {needed_bytes / 1e9:.1f} GB, found {free / 1e9:.1f} GB; "
                "make room, or pass another --checkpoint_dir"
            )

    def _record_path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _is_intact(self, path: Path) -> bool:
        record = self._record_path(path.name)
        try:
            return bool(make_record(path) == json.loads(record.read_text()))
        except (OSError, ValueError, ModelIntegrityError):
            return False


def list_inputs(config: FinetuneConfig, **facts: str) -> dict[str, Any]:
    """Return what decides the result of a run, by name: settings, these facts, code, number of processes."""
    settings = {name: value for name, value in asdict(config).items() if name not in FREE_SETTINGS}
    return {**settings, **facts, **describe_code(), "processes": count_processes()}


def describe_code() -> dict[str, str]:
    """Return the digest of the code that trains and scores, and the versions of what it runs on."""
    code = hashlib.sha256(json.dumps([make_record(folder) for folder in _CODE]).encode()).hexdigest()
    return {"code of the project": code} | {n: metadata.version(n) for n in ("torch", "transformers")}


def digest_inputs(inputs: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]


def digest_encoder(encoder: Encoder) -> str:
    """Return a digest of weights, config and tokenizer: a folder of the same name may have others."""
    digest = hashlib.sha256(encoder.model.config.to_json_string().encode())
    digest.update(encoder.tokenizer.backend_tokenizer.to_str().encode())
    for name, tensor in sorted(encoder.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@contextlib.contextmanager
def open_checkpoints(root: str | None, inputs: Mapping[str, Any]) -> Iterator[Checkpoints]:
    """Lock the folder of the run with these inputs, and remove it after success. None: a temporary folder.

    A warning tells of an unfinished run with nearly the same inputs, which is not continued, and another one
    of a folder that could not be removed after success.
    Raises RunLockedError if another process has it, CheckpointError if it cannot be written.
    """
    if root is None:
        with tempfile.TemporaryDirectory(prefix="sentiment-finetune-") as folder:
            yield Checkpoints(Path(folder))
        return
    checkpoints = Checkpoints(Path(root).resolve() / digest_inputs(inputs))
    if get_rank() != 0:  # the main process holds the lock for all
        yield checkpoints
        return
    with explaining_writes(checkpoints.folder):
        checkpoints.folder.mkdir(parents=True, exist_ok=True)
        lock = lock_file(checkpoints.folder / _LOCK)
    if lock is None:
        raise RunLockedError(
            f"{checkpoints.folder}: another process trains the same configuration on the same data; wait for "
            "it, or pass another --seed or --checkpoint_dir"
        )
    try:
        os.utime(checkpoints.folder)
        if not (checkpoints.folder / _INPUTS).is_file():
            checkpoints.warnings.extend(_find_similar(checkpoints.folder.parent, inputs))
            _write_json(checkpoints.folder / _INPUTS, inputs)
        _remove_old(checkpoints)
        yield checkpoints
        reason = remove_folder(checkpoints.folder)
    finally:
        os.close(lock)
    if reason is not None:
        # On NFS the lock was the last file. Another run may begin in the folder, so only an empty one goes.
        with contextlib.suppress(OSError):
            checkpoints.folder.rmdir()
        if checkpoints.folder.exists():
            checkpoints.warnings.append(explain_left(checkpoints.folder, reason))


@contextlib.contextmanager
def explaining_writes(folder: Path) -> Iterator[None]:
    """Raise CheckpointError for a write that failed."""
    from safetensors import SafetensorError

    try:
        yield
    # A full disk is an OSError of Python, a RuntimeError of torch, or an error of safetensors.
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise CheckpointError(
            f"{folder}: cannot write a checkpoint ({reason}); make room or check the permissions, then run "
            "the same command again to continue, or pass another --checkpoint_dir"
        ) from error


def _remove_old(checkpoints: Checkpoints) -> None:
    """Remove the oldest folders of this user's unfinished runs that no process holds."""
    owner = checkpoints.folder.stat().st_uid
    runs = []
    for path in checkpoints.folder.parent.iterdir():
        with contextlib.suppress(OSError):  # another process has removed it
            status = path.stat()
            if status.st_uid == owner and (path / _LOCK).is_file():
                runs.append((status.st_mtime, path))
    for _, path in sorted(runs, reverse=True)[KEPT_RUNS:]:
        lock = lock_file(path / _LOCK)
        if lock is not None:
            shutil.rmtree(path)
            os.close(lock)
            checkpoints.warnings.append(f"{path}: removed, the oldest of {KEPT_RUNS + 1} unfinished runs")


def _find_similar(root: Path, inputs: Mapping[str, Any]) -> list[str]:
    """Return a warning that names the unfinished run with the fewest other inputs, if they are few."""
    found: list[tuple[list[str], Path]] = []
    for file in root.glob(f"*/{_INPUTS}"):
        with contextlib.suppress(OSError, ValueError):  # another process has removed it, or it is damaged
            other = json.loads(file.read_text())
            lock = lock_file(file.with_name(_LOCK))
            if lock is not None:  # else it is not unfinished, but running
                os.close(lock)
                names = [name for name in {**other, **inputs} if _differ(other.get(name), inputs.get(name))]
                found.append((names, file.parent))
    names, folder = min(found, key=lambda pair: len(pair[0]), default=([], root))
    if not 0 < len(names) <= MOST_DIFFERENCES:
        return []
    return [f"{folder}: this unfinished run is not continued, because it has another {', '.join(names)}"]


def _differ(value: Any, other: Any) -> bool:
    """Return True if two values differ as JSON, where a tuple is a list."""
    return json.dumps(value) != json.dumps(other)


def _list_best(checkpoint: Path) -> list[Path]:
    """Return the best checkpoint so far, whose weights the Trainer loads at the end; none at the start.

    It lies next to `checkpoint`: the path in the file is of the time when it was written.
    """
    try:
        best = json.loads((checkpoint / _STATE).read_text())["best_model_checkpoint"]
    except (OSError, ValueError):  # damaged
        return []
    return [] if best is None else [checkpoint.with_name(Path(best).name)]


def _write_json(path: Path, value: Mapping[str, Any] | list[Any]) -> None:
    replace_file(path, json.dumps(value).encode())
