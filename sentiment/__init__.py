"""Bulk sentiment scoring of product reviews: one model, the same prediction in batch and online.

The names below are the public ones. Each is imported when it is first used: a process that reads scores does
not import what scores.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .models.loading import load_model
    from .tables.history import read_scores
    from .tables.store.scores import load_scores

    __version__: str

__all__ = ["__version__", "load_model", "load_scores", "read_scores"]

_HOMES = {
    "load_model": ".models.loading",
    "load_scores": ".tables.store.scores",
    "read_scores": ".tables.history",
}
# The version of a copy of the sources that is not installed, in the words of PEP 440.
_NOT_INSTALLED = "0+unknown"


def __getattr__(name: str) -> Any:
    """Import a public name, or read the version that setup.py gave the installed package."""
    if name == "__version__":
        return _read_version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def _read_version() -> str:
    from importlib import metadata

    try:
        return metadata.version(__name__)
    except metadata.PackageNotFoundError:
        return _NOT_INSTALLED
