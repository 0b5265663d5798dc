"""Check tokens against a file, which is read again when it changes."""

import base64
import binascii
import hashlib
import hmac
import os
import re
import stat
from pathlib import Path

from ..errors import ConfigError
from .logs import log_event

_LINE = re.compile(r"(?P<name>[\w.-]{1,40}):(?P<token>[\x21-\x7e]{16,200})")


def read_tokens(path: Path) -> dict[bytes, str]:
    """Return the name of each token by its SHA-256.

    Lines are `name:token`; a token has 16 to 200 visible ASCII characters; blank lines and lines that begin
    with # are skipped. Raises ConfigError, without any token in it, for a file that cannot be read, may be
    read by other users, has another line, or has no token.
    """
    try:
        status = path.stat()
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"tokens_file: cannot read {path} as UTF-8 text") from error
    if not is_private(status.st_mode, status.st_uid, os.geteuid()):
        raise ConfigError(f"tokens_file: {path} may be used by others; run chmod 600 {path}")
    tokens = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None:
            raise ConfigError(
                f"tokens_file: {path}, line {number}: expected name:token, with a token of 16 to 200 visible "
                "ASCII characters"
            )
        tokens[_digest(found["token"].encode())] = found["name"]
    if not tokens:
        raise ConfigError(f"tokens_file: {path} holds no token; expected a line name:token")
    return tokens


def is_private(mode: int, owner: int, user: int) -> bool:
    """Return whether only the user and the administrator can read a file of this mode and owner.

    A secret that Kubernetes mounts for a user other than root belongs to root and may be read, not written,
    by the group of the pod (`fsGroup`); there is no other way to pass one.
    """
    is_mounted_secret = owner == 0 and user != 0
    others = stat.S_IRWXO | ((stat.S_IWGRP | stat.S_IXGRP) if is_mounted_secret else stat.S_IRWXG)
    return not mode & others


class TokenFile:
    """Hold the tokens of a file, and read it again when it changes; a file in error changes nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = _stamp(path)
        self._tokens = read_tokens(path)

    def find(self, authorization: str) -> str | None:
        """Return the name of the token in the header, or None. All tokens are compared, in constant time."""
        self._refresh()
        digest = _digest(_read_credentials(authorization))
        names = [name for token, name in self._tokens.items() if hmac.compare_digest(token, digest)]
        return names[0] if names else None

    def _refresh(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._tokens = read_tokens(self._path)
            log_event("tokens_read")
        except ConfigError:
            log_event("tokens_refused")


def _read_credentials(authorization: str) -> bytes:
    """Return the token of `Bearer TOKEN`, or of basic credentials with the token as user and password."""
    scheme, _, value = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode("utf-8", "replace")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value.strip(), validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return b""
        return password if hmac.compare_digest(user, password) else b""
    return b""


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode
