"""HTTP on one port of 127.0.0.1: invocations of endpoints, the clock, and everything else for MiniStack."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from local import ministack
from local.clock import Clock

if TYPE_CHECKING:
    from local.sagemaker import SageMaker

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
EXAMPLE = '{"now": "2013-03-01T05:00:00Z"}'


class Gateway:
    """The ASGI application. `ready` is true from when the saved state serves."""

    def __init__(self, platform: ministack.Platform, sagemaker: SageMaker, clock: Clock) -> None:
        self.platform, self.sagemaker, self.clock = platform, sagemaker, clock
        self.ready = False
        self._loop = asyncio.get_running_loop()
        clock.on_set(self._decide)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """ASGI: our own paths first (an invocation should cost little), everything else is MiniStack's."""
        path = scope.get("path", "")
        send = self._dated(send)
        if scope["type"] == "http" and path.startswith("/endpoints/") and path.endswith("/invocations"):
            await self._invoke_endpoint(scope, receive, send)
        elif scope["type"] == "http" and path.startswith("/_local/"):
            await self._local(scope, receive, send)
        else:
            await self.platform.app(scope, receive, send)

    def _dated(self, send: Send) -> Send:
        """Answers tell the time of this AWS, as AWS's do."""

        async def dated(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                date = (b"date", formatdate(self.clock.time(), usegmt=True).encode())
                others = [pair for pair in message.get("headers", []) if pair[0].lower() != b"date"]
                message = {**message, "headers": [*others, date]}
            await send(message)

        return dated

    async def _invoke_endpoint(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        body = await _body(receive)
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        endpoint = scope["path"].split("/")[2]
        began = time.perf_counter()
        status, answer, content = await asyncio.to_thread(self.sagemaker.invoke_endpoint, endpoint, body, headers)
        took = (time.perf_counter() - began) * 1e6
        variant = answer.get("x-Amzn-Invoked-Production-Variant", "AllTraffic")
        self.platform.meter.add_invocation(endpoint, variant, status, content, took)
        await _answer(send, status, answer, content)

    async def _local(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        body = await _body(receive)
        path, method = scope["path"], scope["method"]
        content: dict[str, Any] = {}
        status = 200
        if path == "/_local/clock":
            if method == "PUT":
                try:
                    now = datetime.fromisoformat(json.loads(body)["now"])
                    await asyncio.to_thread(self.clock.set, now)
                except (ValueError, KeyError, TypeError) as error:
                    status, content = 400, {"error": f"PUT {EXAMPLE}: {error}"}
            if status == 200:
                content = {"now": self.clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")}
        elif path == "/_local/ready":
            status, content = (200 if self.ready else 503), {"ready": self.ready, "pid": os.getpid()}
        elif path == "/_local/violations":
            faults = [fault for wire in self.platform.wires.values() for fault in wire.violations]
            content = {"violations": faults}
        elif path == "/_local/calls":
            content = {"calls": self.platform.record.calls()}
        else:
            known = "/_local/clock, /_local/ready, /_local/violations, /_local/calls"
            status, content = 404, {"error": f"no {path}; there are {known}"}
        await _answer(send, status, {"Content-Type": "application/json"}, json.dumps(content).encode())

    def _decide(self) -> None:
        """`decide` has run in the event loop; for other threads."""

        async def decide() -> None:
            self.platform.decide()

        asyncio.run_coroutine_threadsafe(decide(), self._loop).result()

    async def serve(self, port: int, ready: Callable[[], None], bind: str | None = None) -> None:
        """Answers, on `bind` too, until the process is told to stop; then its state is on disk.

        `ready` is called once it answers.
        """
        from hypercorn.asyncio import serve
        from hypercorn.config import Config

        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, stop.set)
        config = Config()
        config.bind = [f"{address}:{port}" for address in ("127.0.0.1", bind) if address]
        config.keep_alive_timeout = 75
        config.graceful_timeout = 2
        config.accesslog = None
        config.include_date_header = False  # _dated does it
        config.loglevel = os.environ["LOG_LEVEL"]
        beat = asyncio.create_task(self._beat(port, ready))

        async def told_to_stop() -> None:
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait({stopped, beat}, return_when=asyncio.FIRST_COMPLETED)
            beat.cancel()
            # While S3 still answers: the last captures are written, jobs and model servers end.
            await asyncio.to_thread(self.sagemaker.shutdown)

        try:
            await serve(self, config, shutdown_trigger=told_to_stop)  # type: ignore[arg-type]
        finally:
            ministack.end_workers()
        if not beat.cancelled() and (fault := beat.exception()):
            raise fault

    async def _beat(self, port: int, ready: Callable[[], None]) -> None:
        """`ready` was called once the port answered; from then on, time goes by once a second."""
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                break
        await asyncio.to_thread(ready)
        self.platform.machines.resume()
        self.ready = True
        while True:
            await asyncio.sleep(1)
            try:
                self.platform.decide()
                await asyncio.to_thread(self.platform.keeper.rest)
            except Exception:
                logging.getLogger("local").exception("schedules, metrics or alarms could not be brought up to date")


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


async def _answer(send: Send, status: int, headers: dict[str, str], content: bytes) -> None:
    fields = {"Content-Length": str(len(content)), "x-amzn-requestid": str(uuid.uuid4()), **headers}
    pairs = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": content})
