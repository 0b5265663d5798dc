"""Score the sentiment of product reviews: one model, the same prediction in batch and online.

Each public name is imported when it is first used, so that reading scores does not import the scoring code.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .models.loading import load_model
    from .tables.scores import read_scores
    from .tables.scoring import score, sentiment_udf
    from .tables.store.scores import load_scores

    __version__: str

__all__ = ["__version__", "load_model", "load_scores", "read_scores", "score", "sentiment_udf"]

_HOMES = {
    "load_model": ".models.loading",
    "load_scores": ".tables.store.scores",
    "read_scores": ".tables.scores",
    "score": ".tables.scoring",
    "sentiment_udf": ".tables.scoring",
}


def __getattr__(name: str) -> Any:
    """Import a public name; `__version__` is "0+unknown" where the package is not installed."""
    from importlib import import_module, metadata

    if name == "__version__":
        try:
            return metadata.version(__name__)
        except metadata.PackageNotFoundError:
            return "0+unknown"
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
