"""Raise alerts, each once, and hand them to a file, a webhook or a mailbox."""

import datetime
import email.message
import json
import os
import smtplib
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from ..errors import ConfigError, MonitoringError

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
_TIMEOUT_SECONDS = 10.0
# Seconds before each further try of a delivery.
_WAITS = (1.0, 4.0)


@dataclass(frozen=True)
class Alert:
    """Hold one alert; its `key` names the event, so that receivers can drop what they already have."""

    key: str
    night: datetime.date
    kind: str
    subject: str
    severity: str
    message: str
    advice: str

    @classmethod
    def of(
        cls, night: datetime.date, kind: str, subject: str, severity: str, message: str, advice: str
    ) -> "Alert":
        """Return an alert whose key is made of its night and kind."""
        return cls(f"{night.isoformat()}/{kind}", night, kind, subject, severity, message, advice)

    def as_json(self) -> str:
        return json.dumps({**asdict(self), "night": self.night.isoformat()}, ensure_ascii=False)


class Channel(Protocol):
    """Define what delivers alerts; `name` has no secret, and `deliver` raises MonitoringError."""

    @property
    def name(self) -> str: ...

    def deliver(self, alert: Alert) -> None: ...


def is_new(alert: Alert, earlier: Sequence[Alert]) -> bool:
    """Return whether the alert is about something that no alert of the last REMIND_NIGHTS nights reported.

    The subject of a lasting alert lists what it is about, separated by commas. `earlier` may have alerts of
    the same and of later nights, which do not count.
    """
    if not KINDS[alert.kind]:
        return True
    first = alert.night - datetime.timedelta(days=REMIND_NIGHTS)
    said = [old for old in earlier if old.kind == alert.kind and first <= old.night < alert.night]
    known = {subject for old in said for subject in old.subject.split(", ")}
    return not set(alert.subject.split(", ")) <= known


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


@dataclass(frozen=True)
class FileChannel:
    """Append alerts to a file, one JSON object per line; an alert whose key is in it already is not added."""

    path: Path

    @property
    def name(self) -> str:
        return f"file:{self.path.name}"

    def deliver(self, alert: Alert) -> None:
        """Append the alert. Raises MonitoringError."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+", encoding="utf-8") as file:
                file.seek(0)
                content = file.read()
                if json.dumps(alert.key) in content:
                    return
                # A killed writer may have left half a line.
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
        return f"webhook:{urllib.parse.urlsplit(self.url).hostname}"

    def deliver(self, alert: Alert) -> None:
        """Post the alert; try again if the receiver does not answer or is busy. Raises MonitoringError."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": alert.key}
        request = urllib.request.Request(self.url, alert.as_json().encode(), headers)
        for wait in (*self.waits, None):
            try:
                with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS):
                    return
            except urllib.error.HTTPError as error:
                problem, is_passing = f"answered {error.code}", error.code == 429 or error.code >= 500
            except OSError as error:
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
        return f"smtp:{self.host}"

    def deliver(self, alert: Alert) -> None:
        """Send one message. Raises MonitoringError."""
        message = email.message.EmailMessage()
        message["Subject"] = f"[{alert.severity}] {alert.subject}: night of {alert.night}"
        message["From"], message["To"] = self.sender, ", ".join(self.receivers)
        message["Message-ID"] = f"<{alert.key.replace('/', '.')}@sentiment>"
        message.set_content(f"{alert.message}\n\nWhat to do: {alert.advice}\n\n{alert.key}\n")
        try:
            with smtplib.SMTP(self.host, self.port, timeout=_TIMEOUT_SECONDS) as server:
                server.send_message(message)
        except (OSError, smtplib.SMTPException) as error:
            raise MonitoringError(
                f"alerts: {self.name} does not take mail ({type(error).__name__})"
            ) from error
