"""Check that this machine can start Spark, whose own errors then are those of shells and of Java."""

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ..errors import ConfigError

# Of https://spark.apache.org/docs/latest/ (4.0): Java 17 or 21; newer ones work too.
_OLDEST_JAVA = 17
_RELEASE = re.compile(r'^JAVA_VERSION="(\d+(?:\.\d+)*)', re.MULTILINE)
_VERSION = re.compile(r'version "(\d+(?:\.\d+)*)')
_REMOTE = ("SPARK_REMOTE", "SPARK_CONNECT_MODE_ENABLED")
_ANSWER_SECONDS = 60


def check_not_remote(environment: Mapping[str, str]) -> None:
    """Raise ConfigError if the environment asks for Spark Connect."""
    found = [name for name in _REMOTE if environment.get(name)]
    if found:
        raise ConfigError(
            f"{', '.join(found)} is set, but the scoring job needs classic Spark; unset it, or use "
            "sentiment.score(df) over Spark Connect"
        )


def check_java(environment: Mapping[str, str]) -> None:
    """Raise ConfigError unless the Java that Spark would start is there and new enough."""
    home = environment.get("JAVA_HOME")
    java = f"{home}/bin/java" if home else shutil.which("java", path=environment.get("PATH", os.defpath))
    place = f"JAVA_HOME={home}" if home else "PATH"
    if java is None or not os.access(java, os.X_OK):
        raise ConfigError(
            f"Spark needs Java, and {place} has none; install Java {_OLDEST_JAVA} or newer, or set JAVA_HOME"
        )
    version = _find_version(Path(java))
    # Until Java 8 versions began with `1.`.
    numbers = [int(number) for number in version.split(".")]
    release = numbers[1] if numbers[0] == 1 and len(numbers) > 1 else numbers[0]
    if release < _OLDEST_JAVA:
        raise ConfigError(
            f"Spark needs Java {_OLDEST_JAVA} or newer, and {java} is {version}; install a newer one, or set "
            "JAVA_HOME"
        )


def _find_version(java: Path) -> str:
    """Return the version that the installation states in its file `release`, else the one that it prints."""
    try:
        stated = _RELEASE.search((java.resolve().parents[1] / "release").read_text())
    except (OSError, IndexError, UnicodeDecodeError):
        stated = None
    if stated is not None:
        return stated[1]
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=_ANSWER_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(
            f"{java} cannot be started ({type(error).__name__}); set JAVA_HOME to another Java"
        ) from error
    printed = _VERSION.search(done.stderr + done.stdout)
    if printed is None:
        raise ConfigError(f"{java} does not state its version; set JAVA_HOME to another Java")
    return printed[1]


def check_user(user_id: int) -> None:
    """Raise ConfigError if the user has no name, which Java's login needs."""
    try:
        pwd.getpwuid(user_id)
    except KeyError:
        raise ConfigError(
            f"user {user_id} has no entry in /etc/passwd, and Spark cannot start without one; add it, as in "
            f"spark:x:{user_id}:0::/tmp:/bin/false"
        ) from None
