"""Sign a model's files and verify the signature; only this module uses `model_signing` (the extra `signing`).

A signature is a Sigstore bundle (DSSE, in-toto) over the sha256 of each file, by an elliptic curve key.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import ConfigError, ModelIntegrityError
from .integrity import list_ignored


def check_signing_key(private_key: Path) -> None:
    """Raise ConfigError if `sign_files` cannot use this key; called before training, which may take hours."""
    _make_signer(_import_signing(), private_key)


def sign_files(folder: Path, private_key: Path) -> str:
    """Return a signature over the files under `folder`, as ASCII text.

    Raises ConfigError if the key cannot be used or the extra is not installed.
    """
    signing = _import_signing()
    with tempfile.TemporaryDirectory(prefix="sentiment-signature-") as scratch:
        signature = Path(scratch) / "signature"
        signer = _make_signer(signing, private_key)
        signer.set_hashing_config(_hashing(signing, folder)).sign(folder, signature)
        # Without white space, which the signature does not need, it takes fewer tags.
        return json.dumps(json.loads(signature.read_text("utf-8")), separators=(",", ":"))


def check_signature(folder: Path, signature: str | None, public_key: Path) -> None:
    """Raise ModelIntegrityError unless `signature` is of exactly the files under `folder`, by this key.

    Raises ConfigError as `sign_files` does.
    """
    signing = _import_signing()
    with _key_errors("verify_key", public_key):
        verifier = signing.verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    if signature is None:
        raise _refuse(folder, public_key, "it has no signature")
    with tempfile.TemporaryDirectory(prefix="sentiment-signature-") as scratch:
        path = Path(scratch) / "signature"
        path.write_text(signature, "utf-8")
        try:
            verifier.set_hashing_config(_hashing(signing, folder)).verify(folder, path)
        # The parsers of JSON, protobuf and keys raise their own errors, some with an empty message.
        except Exception as error:
            raise _refuse(
                folder, public_key, "its signature was made with another key, or for other files"
            ) from error


def _make_signer(signing: Any, private_key: Path) -> Any:
    with _key_errors("signing_key", private_key):
        return signing.signing.Config().use_elliptic_key_signer(private_key=private_key)


def _hashing(signing: Any, folder: Path) -> Any:
    config = signing.hashing.Config().use_file_serialization(hashing_algorithm="sha256", allow_symlinks=False)
    return config.set_ignored_paths(paths=list_ignored(folder), ignore_git_paths=False)


@contextmanager
def _key_errors(name: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{name}: cannot read {path}: {error.strerror}") from error
    # The kind of cryptography's error depends on the content of the file.
    except Exception as error:
        raise ConfigError(
            f"{name}: {path} is not a usable key; expected PEM, elliptic curve P-256, P-384 or P-521, "
            "without a password"
        ) from error


def _import_signing() -> Any:
    try:
        import model_signing
    except ImportError as error:
        raise ConfigError("signatures need the extra `signing`: pip install 'sentiment[signing]'") from error
    return model_signing


def _refuse(folder: Path, public_key: Path, problem: str) -> ModelIntegrityError:
    return ModelIntegrityError(
        f"{folder}: {problem}; expected a signature that {public_key} verifies; nothing of the model was "
        "loaded; register it with --signing_key, or use another version"
    )
