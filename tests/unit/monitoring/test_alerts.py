"""Alerts reach a file, a webhook and a mailbox, each once, and channels give no secret away."""

import datetime
import http.server
import json
import threading

import pytest

from sentiment.errors import ConfigError, MonitoringError
from sentiment.monitoring import alerts
from sentiment.monitoring.alerts import Alert, FileChannel, MailChannel, WebhookChannel, is_new, open_channels

NIGHT = datetime.date(2026, 3, 30)


def make_alert(kind="drift", subject="label, score", days=0):
    return Alert.of(NIGHT + datetime.timedelta(days=days), kind, subject, "warning", "found", "do")


class Receiver(http.server.BaseHTTPRequestHandler):
    answers: list[int]
    got: list[tuple[str, dict]]

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((self.headers["Idempotency-Key"], json.loads(body)))
        self.send_response(self.answers.pop(0))
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def receiver():
    Receiver.answers, Receiver.got = [], []
    server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def post(server, answers):
    waited = []
    Receiver.answers = answers
    url = f"http://127.0.0.1:{server.server_port}/hook?secret=canary"
    WebhookChannel(url, waits=(1, 4), sleep=waited.append).deliver(make_alert())
    return waited


def test_a_webhook_gets_the_alert_as_json_with_its_key(receiver):
    assert post(receiver, [200]) == []
    [(key, body)] = Receiver.got
    assert key == body["key"] == "2026-03-30/drift"
    assert body["subject"] == "label, score"


def test_a_busy_webhook_is_asked_again_a_bounded_number_of_times(receiver):
    assert post(receiver, [503, 429, 200]) == [1, 4]
    with pytest.raises(MonitoringError, match="webhook:127.0.0.1 answered 503") as raised:
        post(receiver, [503, 503, 503, 200])
    assert "canary" not in str(raised.value)
    assert len(Receiver.got) == 6


def test_a_webhook_that_refuses_is_not_asked_again(receiver):
    with pytest.raises(MonitoringError, match="answered 404"):
        post(receiver, [404, 200])
    assert len(Receiver.got) == 1


def test_a_webhook_that_is_down_is_an_error():
    channel = WebhookChannel("http://127.0.0.1:1/", waits=(0,), sleep=lambda seconds: None)
    with pytest.raises(MonitoringError, match="does not answer"):
        channel.deliver(make_alert())


def test_a_file_has_each_key_once_even_after_half_a_line(tmp_path):
    channel = FileChannel(tmp_path / "new" / "alerts.jsonl")
    channel.deliver(make_alert())
    with channel.path.open("a") as file:
        file.write('{"key": "2026-03-31/dr')
    channel.deliver(make_alert())
    channel.deliver(make_alert(days=1))
    whole = [line for line in channel.path.read_text().splitlines() if line.endswith("}")]
    assert [json.loads(line)["key"] for line in whole] == ["2026-03-30/drift", "2026-03-31/drift"]


def test_mail(monkeypatch):
    sent = []

    class Server:
        def __init__(self, host, port, timeout):
            sent.append((host, port))

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def send_message(self, message):
            sent.append(message)

    monkeypatch.setattr(alerts.smtplib, "SMTP", Server)
    [channel] = open_channels("smtp://mail.example.org:2525?from=a@example.org&to=b@example.org", None)
    channel.deliver(make_alert())
    address, message = sent
    assert address == ("mail.example.org", 2525)
    assert message["To"] == "b@example.org"
    assert message["Message-ID"] == "<2026-03-30.drift@sentiment>"
    assert "What to do: do" in message.get_content()


def test_a_mailbox_that_is_down_is_an_error():
    with pytest.raises(MonitoringError, match="smtp:127.0.0.1 does not take mail"):
        MailChannel("127.0.0.1", 1, "a@example.org", ("b@example.org",)).deliver(make_alert())


def test_targets(tmp_path):
    names = [c.name for c in open_channels("a.jsonl file:///x/b.jsonl https://h.org/canary", tmp_path)]
    assert names == ["file:a.jsonl", "file:b.jsonl", "webhook:h.org"]
    assert open_channels("", tmp_path) == []


@pytest.mark.parametrize("target", ["ftp://canary", "smtp://h?from=canary", "http://"])
def test_a_target_that_means_nothing_is_an_error_that_does_not_show_it(target, tmp_path):
    with pytest.raises(ConfigError) as raised:
        open_channels(target, tmp_path)
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    ("earlier", "is_reported"),
    [
        ([], True),
        ([make_alert(days=-1)], False),
        ([make_alert(days=-28)], False),
        ([make_alert(days=-29)], True),
        ([make_alert(subject="label", days=-1)], True),
        ([make_alert(subject="label", days=-2), make_alert(subject="score", days=-1)], False),
        ([make_alert(kind="accuracy", days=-1)], True),
        ([make_alert(), make_alert(days=1)], True),
    ],
)
def test_a_lasting_event_is_reported_once_in_four_weeks(earlier, is_reported):
    assert is_new(make_alert(), earlier) is is_reported


def test_an_event_of_one_night_is_always_reported():
    assert is_new(make_alert("volume", "volume"), [make_alert("volume", "volume", days=-1)])
