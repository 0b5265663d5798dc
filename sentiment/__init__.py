"""Bulk sentiment scoring of product reviews: one model, the same answer in batch and online."""

__version__: str
# The version of a copy of the sources that is not installed, in the words of PEP 440.
_NOT_INSTALLED = "0+unknown"


def __getattr__(name: str) -> str:
    """Read the version that setup.py gave the installed package, when somebody asks for it."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import metadata

    try:
        return metadata.version(__name__)
    except metadata.PackageNotFoundError:
        return _NOT_INSTALLED
