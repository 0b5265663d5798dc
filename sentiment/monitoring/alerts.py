"""Raise alerts, each once, and hand them to a file, a webhook or a mailbox."""

import datetime
import email.message
import hashlib
import http.client
import json
import os
import smtplib
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import ConfigError, MonitoringError
from .observation import Observation

WARNING, CRITICAL = "warning", "critical"
# Kinds of alerts, and whether what they report lasts: a lasting event is one alert, not one per night.
KINDS: Mapping[str, bool] = {
    "drift": True,
    "accuracy": True,
    "realised": True,
    "freshness": True,
    "empty": False,
    "volume": False,
    "late_files": False,
    "bad_files": True,
    "rejects": False,
    "repeated_rows": False,
    "failed": False,
}
# An event that still lasts is reported again after so many nights.
REMIND_NIGHTS = 28
# It has ended once so many nights in a row did not raise it; if it returns, it is a new event.
LAPSE_NIGHTS = 2
_TIMEOUT_SECONDS = 10.0
# Seconds before each further try of a delivery.
_WAITS = (1.0, 4.0)


@dataclass(frozen=True)
class Alert:
    """Hold one alert of a store. `items` are what it is about: with a further item it is worse, and new.

    `is_new` is False if nights just before raised it for all of its items.
    """

    night: datetime.date
    store: str
    kind: str
    subject: str
    severity: str
    message: str
    advice: str
    items: tuple[str, ...]
    is_new: bool = True

    @classmethod
    def of(
        cls,
        seen: Observation,
        kind: str,
        subject: str,
        severity: str,
        message: str,
        advice: str,
        items: Iterable[str] = (),
    ) -> "Alert":
        """Return an alert on a night; without `items` it is about its subject."""
        about = tuple(sorted(items)) or (subject,)
        return cls(seen.night, seen.store, kind, subject, severity, message, advice, about)

    @property
    def key(self) -> str:
        """Return the name of the alert, by which receivers drop what they already have."""
        return f"{self.night.isoformat()}/{self.kind}/{_digest(self.store, *self.items)}"

    def as_json(self) -> str:
        content: dict[str, Any] = {"key": self.key, **asdict(self), "night": self.night.isoformat()}
        return json.dumps(content, ensure_ascii=False)


class Channel(Protocol):
    """Define what delivers alerts; `name` differs for each target and has no secret.

    `deliver` raises MonitoringError.
    """

    @property
    def name(self) -> str: ...

    def deliver(self, alert: Alert) -> None: ...


def is_due(alert: Alert, got: Mapping[str, str]) -> bool:
    """Return whether a channel needs the alert; `got` are the ISO nights on which it got each item."""
    first = (alert.night - datetime.timedelta(days=REMIND_NIGHTS)).isoformat()
    return any(got.get(item, "") < first for item in alert.items)


def open_channels(targets: str, home: Path) -> list[Channel]:
    """Return a channel per target: a path, a URL of a webhook, or `smtp://HOST:PORT?from=…&to=…`.

    Targets are separated by spaces. Raises ConfigError; its message has no target, which may hold a secret.
    """
    channels: list[Channel] = []
    for target in targets.split():
        parts = urllib.parse.urlsplit(target)
        if parts.scheme in ("http", "https") and parts.hostname:
            channels.append(WebhookChannel(target))
        elif parts.scheme == "smtp" and parts.hostname:
            channels.append(_open_mailbox(parts))
        elif parts.scheme in ("", "file"):
            channels.append(FileChannel(home / parts.path))
        else:
            raise ConfigError("alert_to: expected a path, http(s)://… or smtp://HOST:PORT?from=…&to=…")
    return channels


def _open_mailbox(parts: urllib.parse.SplitResult) -> "MailChannel":
    asked = urllib.parse.parse_qs(parts.query)
    sender, receivers = asked.get("from", []), asked.get("to", [])
    if len(sender) != 1 or not receivers:
        raise ConfigError("alert_to: smtp needs one ?from=ADDRESS and at least one &to=ADDRESS")
    return MailChannel(parts.hostname or "", parts.port or 25, sender[0], tuple(receivers))


def _digest(*words: object) -> str:
    return hashlib.sha256(json.dumps(words, default=str).encode()).hexdigest()[:8]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Take a redirect as an error: urllib would follow it by GET, without the alert."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


@dataclass(frozen=True)
class FileChannel:
    """Append alerts to a file, one JSON object per line; an alert whose key is in it already is not added."""

    path: Path

    @property
    def name(self) -> str:
        return f"file:{self.path.name}#{_digest(self.path)}"

    def deliver(self, alert: Alert) -> None:
        """Append the alert. Raises MonitoringError."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+", encoding="utf-8") as file:
                file.seek(0)
                content = file.read()
                # A killed writer may have left half a line, which is no delivery.
                whole = content[: content.rfind("\n") + 1].splitlines()
                if any(line.startswith(f'{{"key": {json.dumps(alert.key)},') for line in whole):
                    return
                file.write(("" if content.endswith("\n") or not content else "\n") + alert.as_json() + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise MonitoringError(f"alerts: {self.path} cannot be written ({error.strerror})") from error


@dataclass(frozen=True)
class WebhookChannel:
    """Post alerts as JSON; the key is in the body and in the header `Idempotency-Key`."""

    url: str
    waits: tuple[float, ...] = _WAITS
    sleep: Callable[[float], None] = time.sleep

    @property
    def name(self) -> str:
        return f"webhook:{urllib.parse.urlsplit(self.url).hostname}#{_digest(self.url)}"

    def deliver(self, alert: Alert) -> None:
        """Post the alert; try again if the receiver does not answer or is busy. Raises MonitoringError."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": alert.key}
        request = urllib.request.Request(self.url, alert.as_json().encode(), headers)
        opener = urllib.request.build_opener(_NoRedirect)
        for wait in (*self.waits, None):
            try:
                with opener.open(request, timeout=_TIMEOUT_SECONDS):
                    return
            except urllib.error.HTTPError as error:
                problem, is_passing = f"answered {error.code}", error.code == 429 or error.code >= 500
            except (OSError, http.client.HTTPException) as error:
                problem, is_passing = f"does not answer ({type(error).__name__})", True
            if wait is None or not is_passing:
                raise MonitoringError(f"alerts: {self.name} {problem}; check alert_to")
            self.sleep(wait)


@dataclass(frozen=True)
class MailChannel:
    """Send alerts by e-mail; the key is in the header `Message-ID`, by which mailboxes drop repetitions."""

    host: str
    port: int
    sender: str
    receivers: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"smtp:{self.host}#{_digest(self.host, self.port, self.sender, *self.receivers)}"

    def deliver(self, alert: Alert) -> None:
        """Send one message. Raises MonitoringError."""
        message = email.message.EmailMessage()
        message["Subject"] = f"[{alert.severity}] {' '.join(alert.subject.split())}: night of {alert.night}"
        message["From"], message["To"] = self.sender, ", ".join(self.receivers)
        message["Message-ID"] = f"<{alert.key.replace('/', '.')}@sentiment>"
        message.set_content(f"{alert.message}\n\nWhat to do: {alert.advice}\n\n{alert.store}\n{alert.key}\n")
        try:
            with smtplib.SMTP(self.host, self.port, timeout=_TIMEOUT_SECONDS) as server:
                server.send_message(message)
        except (OSError, smtplib.SMTPException) as error:
            raise MonitoringError(
                f"alerts: {self.name} does not take mail ({type(error).__name__})"
            ) from error
