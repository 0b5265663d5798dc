"""Alerts reach a file, a webhook and a mailbox, each once, and channels give no secret away."""

import datetime
import http.client
import http.server
import json
import threading

import pytest

from sentiment.errors import ConfigError, MonitoringError
from sentiment.monitoring import alerts
from sentiment.monitoring.alerts import Alert, FileChannel, MailChannel, WebhookChannel, is_due, open_channels

NIGHT = datetime.date(2026, 3, 30)


def make_alert(kind="drift", items=("label", "score"), days=0, store="/scores", subject="label, score"):
    night = NIGHT + datetime.timedelta(days=days)
    return Alert(night, store, kind, subject, "warning", "found", "do", items)


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
    assert key == body["key"] == make_alert().key
    assert key.startswith("2026-03-30/drift/")
    assert (body["store"], body["subject"], body["items"]) == ("/scores", "label, score", ["label", "score"])


def test_a_busy_webhook_is_asked_again_a_bounded_number_of_times(receiver):
    assert post(receiver, [503, 429, 200]) == [1, 4]
    with pytest.raises(MonitoringError, match="webhook:127.0.0.1#[0-9a-f]{8} answered 503") as raised:
        post(receiver, [503, 503, 503, 200])
    assert "canary" not in str(raised.value)
    assert len(Receiver.got) == 6


@pytest.mark.parametrize("answer", [404, 301, 302, 303, 307, 308])
def test_a_webhook_that_refuses_or_has_moved_has_no_alert_and_is_not_asked_again(receiver, answer):
    with pytest.raises(MonitoringError, match=f"answered {answer}"):
        post(receiver, [answer, 200])
    assert len(Receiver.got) == 1


def test_a_webhook_that_speaks_no_http_is_an_error(monkeypatch):
    def fail(*arguments, **named):
        raise http.client.BadStatusLine("canary")

    monkeypatch.setattr(http.client.HTTPConnection, "getresponse", fail)
    monkeypatch.setattr(http.client.HTTPConnection, "connect", lambda self: None)
    monkeypatch.setattr(http.client.HTTPConnection, "send", lambda self, data: None)
    channel = WebhookChannel("http://127.0.0.1:1/", waits=(), sleep=lambda seconds: None)
    with pytest.raises(MonitoringError, match=r"does not answer \(BadStatusLine\)"):
        channel.deliver(make_alert())


def test_a_webhook_that_is_down_is_an_error():
    channel = WebhookChannel("http://127.0.0.1:1/", waits=(0,), sleep=lambda seconds: None)
    with pytest.raises(MonitoringError, match="does not answer"):
        channel.deliver(make_alert())


def test_a_file_has_each_key_once_even_after_half_a_line(tmp_path):
    channel = FileChannel(tmp_path / "new" / "alerts.jsonl")
    channel.deliver(make_alert())
    with channel.path.open("a") as file:  # only the last letter and the end of the line are missing
        file.write(make_alert(days=1).as_json()[:-1])
    channel.deliver(make_alert())
    channel.deliver(make_alert(days=1))
    channel.deliver(make_alert(days=1))
    whole = [line for line in channel.path.read_text().splitlines() if line.endswith("}")]
    assert [json.loads(line)["key"] for line in whole] == [make_alert().key, make_alert(days=1).key]


def test_two_stores_that_share_a_channel_have_alerts_of_their_own(tmp_path):
    channel = FileChannel(tmp_path / "alerts.jsonl")
    for store in ("/scores", "/others"):
        channel.deliver(make_alert(store=store))
    lines = [json.loads(line) for line in channel.path.read_text().splitlines()]
    assert [line["store"] for line in lines] == ["/scores", "/others"]


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
    channel.deliver(make_alert(subject="label,\nscore"))
    address, message = sent
    assert address == ("mail.example.org", 2525)
    assert message["To"] == "b@example.org"
    assert message["Message-ID"] == f"<{make_alert().key.replace('/', '.')}@sentiment>"
    assert message["Subject"] == "[warning] label, score: night of 2026-03-30"
    assert "What to do: do" in message.get_content()


def test_a_mailbox_that_is_down_is_an_error():
    with pytest.raises(MonitoringError, match="smtp:127.0.0.1#[0-9a-f]{8} does not take mail"):
        MailChannel("127.0.0.1", 1, "a@example.org", ("b@example.org",)).deliver(make_alert())


def test_targets(tmp_path):
    targets = "a.jsonl file:///x/b.jsonl /x/a.jsonl https://h.org/canary https://h.org/other"
    mailboxes = [f"smtp://h.org?from=a@h.org&to={name}@h.org" for name in "ab"]
    names = [channel.name for channel in open_channels(" ".join([targets, *mailboxes]), tmp_path)]
    assert [name.partition("#")[0] for name in names] == [
        *("file:a.jsonl", "file:b.jsonl", "file:a.jsonl", "webhook:h.org", "webhook:h.org"),
        *("smtp:h.org", "smtp:h.org"),
    ]
    assert len(set(names)) == len(names)
    assert open_channels("", tmp_path) == []


@pytest.mark.parametrize("target", ["ftp://canary", "smtp://h?from=canary", "http://"])
def test_a_target_that_means_nothing_is_an_error_that_does_not_show_it(target, tmp_path):
    with pytest.raises(ConfigError) as raised:
        open_channels(target, tmp_path)
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        ({}, True),
        ({"label": "2026-03-29", "score": "2026-03-02"}, False),
        ({"label": "2026-03-29", "score": "2026-03-01"}, True),
        ({"label": "2026-03-29"}, True),
        ({"label": "2026-03-30", "score": "2026-03-30"}, False),
    ],
)
def test_a_channel_needs_an_alert_until_it_has_all_items_and_again_after_four_weeks(got, expected):
    assert is_due(make_alert(), got) is expected
