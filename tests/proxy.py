"""A proxy between us and an S3 server that fails as stores and networks do, and lies about nothing.

A test says for each request what befalls it. What is passed on goes as it came, its Host too, which is signed.
"""

import contextlib
import http.client
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

Fault = Literal[
    "500",
    "503",
    "slow_down",
    "not_implemented",
    "cut_upload",
    "cut_answer",
    "cut_download",
    "delay",
    "refuse_connection",
]
"""An error of the server; the connection breaks in the middle of what we send, after the server took it, or in the
middle of what it sends; an answer that takes long; a connection that breaks before anything is read."""

_ERRORS = {
    "500": (500, "InternalError"),
    "503": (503, "ServiceUnavailable"),
    "slow_down": (503, "SlowDown"),
    "not_implemented": (501, "NotImplemented"),
}
_DELAY_S = 1.0


class Request(NamedTuple):
    """A request on its way to the server."""

    method: str
    key: str
    """Bucket and key, or the bucket alone for a listing or a deletion of many."""
    headers: dict[str, str]
    """Names in small letters."""
    number: int
    """How many of the same method and key there were before, faults with them."""


Plan = Callable[[Request], Fault | None]


def sound(_: Request) -> Fault | None:
    """Let everything through."""
    return None


class Proxy:
    """The proxy in threads of this process."""

    def __init__(self, target: str) -> None:
        self.befalls: Plan = sound
        """What befalls a request; may be replaced at any time."""
        self.struck: Counter[Fault] = Counter()
        """Faults so far."""
        self._seen: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self, "target": target}))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def fault_of(self, method: str, path: str, headers: dict[str, str]) -> Fault | None:
        """Count a request and return what befalls it."""
        with self._lock:
            key = urlsplit(path).path.strip("/")
            fault = self.befalls(Request(method, key, headers, self._seen[method, key]))
            self._seen[method, key] += 1
            if fault is not None:
                self.struck[fault] += 1
            return fault

    @contextlib.contextmanager
    def running(self) -> Iterator["Proxy"]:
        """Serve for the block."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    @contextlib.contextmanager
    def failing(self, plan: Plan) -> Iterator[Counter[Fault]]:
        """Let a plan befall the requests of the block; give the count of its faults."""
        self.struck, self.befalls = Counter(), plan
        try:
            yield self.struck
        finally:
            self.befalls = sound


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that broke."""


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy
    target: str
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        fault = self.proxy.fault_of(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
        if fault in ("refuse_connection", "cut_upload"):
            if fault == "cut_upload":
                self.rfile.read(int(self.headers.get("Content-Length", 0)) // 2)
            self._cut()
            return
        body = self._body()
        if fault in _ERRORS:
            self._fail(*_ERRORS[fault])
            return
        if fault == "delay":
            time.sleep(_DELAY_S)
        answer, content = self._pass_on(body)
        if fault == "cut_answer":
            self._cut()
            return
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        if answer.getheader("Content-Length") is None and answer.status not in (204, 304):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if fault == "cut_download" else content)
        if fault == "cut_download":
            self._cut()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle  # noqa: N815

    def _body(self) -> bytes:
        """Read the body as it comes; one in chunks stays so."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        lines = b""
        while True:
            size = self.rfile.readline()
            lines += size + self.rfile.read(int(size.split(b";")[0], 16) + 2)
            if not int(size.split(b";")[0], 16):
                return lines

    def _pass_on(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        with contextlib.closing(http.client.HTTPConnection(urlsplit(self.target).netloc, timeout=60)) as server:
            server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    server.putheader(name, value)
            server.endheaders(body)
            answer = server.getresponse()
            return answer, answer.read()

    def _fail(self, status: int, code: str) -> None:
        content = f"<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _cut(self) -> None:
        """Break the connection, so that the other side sees a reset."""
        self.wfile.flush()
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def preconditions_are_refused(request: Request) -> Fault | None:
    """Fail as a store that does not know conditional writes."""
    return "not_implemented" if "if-none-match" in request.headers else None


def checksums_are_refused(request: Request) -> Fault | None:
    """Fail as a store that does not know the checksums that newer clients send."""
    newer = any(re.match("x-amz-(sdk-)?checksum", name) for name in request.headers)
    return "not_implemented" if newer or "x-amz-trailer" in request.headers else None


def is_down(_: Request) -> Fault | None:
    """Fail as a store that is not there."""
    return "refuse_connection"
