"""Import the code that a model carries: the very bytes that its record names, and no compiled ones.

Python would rather read a compiled copy under `__pycache__`, which no record covers, and MLflow puts the
model's `code` folder first on `sys.path` for as long as the process lives.
"""

import contextlib
import hashlib
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from ..errors import ModelIntegrityError

PACKAGE_PREFIX = "sentiment_model_"
"""Of the package that a model carries; a digest of it follows."""

_guarded: dict[Path, Mapping[str, str]] = {}
"""Folders of models, resolved, and their records: a model imports some of its modules at their first use."""

_lock = threading.RLock()


@contextlib.contextmanager
def importing_recorded(folder: Path, record: Mapping[str, str]) -> Iterator[Path]:
    """Load the model inside the block, from the folder that it gives.

    There and later, a module from that folder is compiled from source whose digest `record` holds;
    for another one the import raises ModelIntegrityError. One block at a time.
    """
    root = folder.resolve()
    with _lock:
        _guarded[root] = record
        if _make_finder not in sys.path_hooks:
            sys.path_hooks.insert(0, _make_finder)
        for path in [path for path in sys.path_importer_cache if _is_inside(path, root)]:
            del sys.path_importer_cache[path]
        _forget_others(record)
        with _without_caches():
            yield root


class _RecordedSource(SourceFileLoader):
    """Reads a module once, and compiles what it has compared; neither reads nor writes `__pycache__`."""

    digest: str | None = None

    def get_code(self, fullname: str) -> CodeType:
        path = Path(self.get_filename(fullname))
        root = next(root for root in _guarded if path.is_relative_to(root))
        content = self.get_data(str(path))
        self.digest = hashlib.sha256(content).hexdigest()
        if _guarded[root].get(path.relative_to(root).as_posix()) != self.digest:
            raise ModelIntegrityError(
                f"{path}: not the code that was registered, so it was not imported; expected a file of the "
                "record, unchanged; restore the model, or use another version"
            )
        code: CodeType = self.source_to_code(content, str(path))
        return code


class _RecordedFinder(FileFinder):
    """Finds the modules of a folder of the model's code."""

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        # MLflow's entry point, which Python's own loader compiled, is now running.
        _restore_caches()
        return super().find_spec(fullname, target)


def _make_finder(path: str) -> FileFinder:
    """Make the path hook. It finds only sources: neither a library nor a compiled module."""
    if not any(_is_inside(path, root) for root in _guarded):
        raise ImportError("not a model's", path=path)
    return _RecordedFinder(path, (_RecordedSource, SOURCE_SUFFIXES))


def _is_inside(path: str, root: Path) -> bool:
    return Path(path).is_relative_to(root)


_caches_before: list[tuple[int, str | None]] = []
"""The thread that loads a model, and where compiled copies were before it began."""


@contextlib.contextmanager
def _without_caches() -> Iterator[None]:
    """Python looks for compiled copies in an empty folder, until the first module of the model is found."""
    with tempfile.TemporaryDirectory(prefix="sentiment-pycache-") as empty:
        _caches_before.append((threading.get_ident(), sys.pycache_prefix))
        sys.pycache_prefix = empty
        try:
            yield
        finally:
            _restore_caches()


def _restore_caches() -> None:
    """Libraries have compiled copies of their own, and would take long to load without them."""
    if _caches_before and _caches_before[-1][0] == threading.get_ident():
        _, sys.pycache_prefix = _caches_before.pop()


def _forget_others(record: Mapping[str, str]) -> None:
    """Drop modules of the model's package that came from elsewhere, such as a copy that nobody recorded."""
    packages = {path.split("/")[1] for path in record if path.count("/") > 1 and path.endswith(".py")}
    digests = set(record.values())
    for package in packages:
        names = [name for name in sys.modules if name.partition(".")[0] == package]
        loaders = [getattr(sys.modules[name], "__loader__", None) for name in names]
        is_recorded = all(isinstance(x, _RecordedSource) and x.digest in digests for x in loaders)
        if package.startswith(PACKAGE_PREFIX) and not is_recorded:
            for name in names:
                del sys.modules[name]
