"""A way to the embedded AWS on which every operation meets what AWS, or the network, does instead of answering."""

from __future__ import annotations

import http.client
import re
import socket
import struct
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

READS = re.compile(r"(Get|Head|List|Describe|Query|Scan|TransactGet|BatchGet)")
# What the calls of an operation meet, the first, the third and so on; each call between is let through. The answer of
# what changes something is lost first: the effect took place, and whoever asked does not know.
OF_READS = ("throttled", "503", "reset", "cut off")
OF_CHANGES = ("answer lost", "throttled", "503", "reset", "answer lost")


class _Relay(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, *_: Any) -> None:
        """Nobody reads that."""

    def _relay(self) -> None:
        body = self._body()
        operation = self._operation(body)
        fault = self.server.fault(operation)
        if fault == "throttled":
            self._throttled()
        elif fault == "503":
            self._say(503, {"Content-Type": "text/plain"}, b"")
        elif fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._hang_up()
        else:
            status, headers, content = self._forward(body)
            if fault == "answer lost":
                self._hang_up()
            elif fault == "cut off":
                self._say(status, {**headers, "Content-Length": str(len(content) + 100)}, content)
                self._hang_up()
            else:
                self._say(status, {**headers, "Content-Length": str(len(content))}, content)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _relay

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        whole = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline() not in {b"\r\n", b""}:
            pass
        return whole

    def _operation(self, body: bytes) -> str:
        if target := self.headers.get("X-Amz-Target"):
            return str(target.rpartition(".")[2])
        if "/operation/" in self.path:
            return self.path.rpartition("/")[2]
        if self.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
            return parse_qs(body.decode())["Action"][0]
        what = "Object" if urlsplit(self.path).path.strip("/").count("/") else "Bucket"
        return {"GET": "Get", "HEAD": "Head", "PUT": "Put", "POST": "Post", "DELETE": "Delete"}[self.command] + what

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        way = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=60)
        dropped = {"transfer-encoding", "content-length", "connection", "expect"}
        headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
        try:
            way.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
            answer = way.getresponse()
            content = answer.read()
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in dropped}
            if self.command == "HEAD":
                kept["Content-Length"] = answer.getheader("Content-Length") or "0"
            return answer.status, kept, content
        finally:
            way.close()

    def _throttled(self) -> None:
        if self.headers.get("X-Amz-Target"):
            self._say(400, {}, b'{"__type": "ThrottlingException", "message": "Rate exceeded"}')
        elif "/operation/" in self.path:  # {"__type": "ThrottlingException"} in CBOR
            self._say(400, {"smithy-protocol": "rpc-v2-cbor"}, b"\xa1\x66__type\x73ThrottlingException")
        else:
            self._say(429, {"Content-Type": "text/plain"}, b"")

    def _say(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.close()


class Way(ThreadingHTTPServer):
    """The proxy. `met` has the faults that each operation has met."""

    daemon_threads = True

    def __init__(self, upstream: int) -> None:
        super().__init__(("127.0.0.1", 0), _Relay)
        self.upstream = upstream
        self.met: dict[str, list[str]] = defaultdict(list)
        self._calls: Counter[str] = Counter()
        self._lock = threading.Lock()

    def fault(self, operation: str) -> str:
        """What this call meets; "" if nothing."""
        with self._lock:
            number = self._calls[operation]
            self._calls[operation] += 1
            faults = OF_READS if READS.match(operation) else OF_CHANGES
            if number % 2 or number // 2 >= len(faults):
                return ""
            self.met[operation].append(faults[number // 2])
            return faults[number // 2]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up, too, is what was to be expected."""


@contextmanager
def troubled(aws: Any, functions: list[str]) -> Iterator[Way]:
    """These functions reach the embedded AWS by such a way, and by none else; afterwards as before."""
    client = aws.client("lambda")

    def reach_it_at(url: str | None) -> None:
        for name in functions:
            variables = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
            variables.pop("AWS_ENDPOINT_URL", None)
            more = {"AWS_ENDPOINT_URL": url} if url else {}
            client.update_function_configuration(FunctionName=name, Environment={"Variables": variables | more})

    with Way(aws.port) as way:
        thread = threading.Thread(target=way.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        reach_it_at(f"http://127.0.0.1:{way.server_address[1]}")
        try:
            yield way
        finally:
            reach_it_at(None)
            way.shutdown()
            thread.join()
