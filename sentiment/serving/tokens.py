"""Check tokens against a file, which is read again when it changes."""

import base64
import binascii
import hashlib
import hmac
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError

_LINE = re.compile(r"(?P<name>[\w.-]{1,40}):(?P<token>[\x21-\x7e]{16,200})")


@dataclass(frozen=True)
class Token:
    """`name` is what logs call it; `digest` is the SHA-256 of the token."""

    name: str
    digest: bytes


def read_tokens(path: Path) -> tuple[Token, ...]:
    """Read lines of `name:token`; blank lines and lines that begin with # are left out.

    A token has 16 to 200 visible ASCII characters. Raises ConfigError, without any token in it, if the file
    cannot be read, may be read by other users, has another line, or has none.
    """
    try:
        mode = path.stat().st_mode
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"tokens_file: cannot read {path} as UTF-8 text") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"tokens_file: {path} may be used by others: run chmod 600 {path}")
    tokens = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None:
            raise ConfigError(
                f"tokens_file: {path}, line {number}: expected name:token, the token of 16 to 200 visible "
                "ASCII characters"
            )
        tokens.append(Token(found["name"], _digest(found["token"].encode())))
    if not tokens:
        raise ConfigError(f"tokens_file: {path} holds no token; expected a line name:token")
    return tuple(tokens)


class TokenFile:
    """The tokens of a file as it is now.

    A file that can no longer be used leaves the tokens as they were, and `problem` says why.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = _stamp(path)
        self._tokens = read_tokens(path)
        self.problem: str | None = None

    def find(self, authorization: str) -> str | None:
        """Return the name of the header's token, or None. All are compared, in constant time."""
        self._refresh()
        digest = _digest(_read_credentials(authorization))
        name = None
        for token in self._tokens:
            if hmac.compare_digest(token.digest, digest):
                name = token.name
        return name

    def _refresh(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._tokens = read_tokens(self._path)
            self.problem = None
        except ConfigError as error:
            self.problem = str(error)


def _read_credentials(authorization: str) -> bytes:
    """Return the token of `Bearer TOKEN`, or of basic credentials with the token as user and as password."""
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
