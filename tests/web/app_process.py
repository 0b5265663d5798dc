"""Start the app as its operator does, behind a proxy that strips a prefix if asked, and a browser for it."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.factories import ROOT

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_START_SECONDS = 60.0


def find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_app(folder: Path, **environment: str) -> Iterator[str]:
    """Run `app.sh` until the block ends, and yield its address."""
    port = find_port()
    log = (folder / "app.log").open("wb")
    process = subprocess.Popen(
        [ROOT / "app.sh"],
        env={**os.environ, "APP_PORT": str(port), **environment},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + _START_SECONDS
        while True:
            assert process.poll() is None, (folder / "app.log").read_text()
            assert time.monotonic() < deadline, "the app did not start"
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"{url}/_stcore/health", timeout=5).read()
                break
            time.sleep(0.1)
        yield url
    finally:
        log.close()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def open_browser(width: int = 1280, scheme: Any = "light") -> Iterator[Any]:
    """Yield a page of a headless Chromium, and check that it reports no error of a script."""
    playwright = pytest.importorskip("playwright.sync_api", reason="NOT RUN: playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("NOT RUN: no Chromium on PATH")
    with playwright.sync_playwright() as session:
        # Chromium's sandbox needs rights that containers lack; it opens only our own pages.
        browser = session.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.set_default_timeout(60_000)
        yield page
        browser.close()
    assert errors == []


def settle(page: Any) -> None:
    """Wait until the script of the page has ended."""
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
    page.wait_for_timeout(300)


@contextlib.contextmanager
def stripping_proxy(target: str, prefix: str) -> Iterator[str]:
    """Forward requests below a prefix without it, WebSockets too, as Domino's proxy does."""
    import aiohttp
    from aiohttp import web

    async def forward(request: web.Request) -> web.StreamResponse:
        if not request.path.startswith(prefix):
            return web.Response(status=404)
        url = (
            target
            + request.path.removeprefix(prefix)
            + ("?" + request.query_string if request.query_string else "")
        )
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await _forward_socket(request, url)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in ("host", "accept-encoding")}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method, url, headers=headers, data=await request.read(), allow_redirects=False
            ) as answer,
        ):
            kept = {
                k: v
                for k, v in answer.headers.items()
                if k.lower() not in ("transfer-encoding", "content-length")
            }
            return web.Response(status=answer.status, headers=kept, body=await answer.read())

    async def _forward_socket(request: web.Request, url: str) -> web.StreamResponse:
        protocols = [
            p.strip() for p in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if p.strip()
        ]
        ours = web.WebSocketResponse(protocols=protocols[:1], max_msg_size=0)
        await ours.prepare(request)
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, protocols=protocols, max_msg_size=0) as theirs,
        ):

            async def pump(source: Any, sink: Any) -> None:
                async for message in source:
                    if message.type == aiohttp.WSMsgType.BINARY:
                        await sink.send_bytes(message.data)
                    elif message.type == aiohttp.WSMsgType.TEXT:
                        await sink.send_str(message.data)
                await sink.close()

            await asyncio.gather(pump(ours, theirs), pump(theirs, ours))
        return ours

    loop, port, started = asyncio.new_event_loop(), find_port(), threading.Event()

    async def serve() -> web.AppRunner:
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{rest:.*}", forward)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        return runner

    def run() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(serve())
        started.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(20)
    try:
        yield f"http://127.0.0.1:{port}{prefix}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
