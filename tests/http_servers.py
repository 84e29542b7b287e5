"""Small HTTP servers for the tests: one that answers what a test says, and a proxy."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit


class Request(NamedTuple):
    """What a client sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Answer(NamedTuple):
    """What it gets; the names of headers are lower case."""

    status: int
    content: bytes = b""
    headers: Mapping[str, str] = {}


Respond = Callable[[Request], Answer | None]


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Ignore that a client closed its connection."""


class QuietHandler(BaseHTTPRequestHandler):
    """Prints no line for each request."""

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def run_handler(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Yield the address of a server that answers each request in a thread by ``handler``."""
    with _QuietServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def http_server(respond: Respond) -> Iterator[str]:
    """Yield the address of a server that answers each request with what ``respond`` returns.

    None closes the connection without an answer.
    """

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer is sent in one packet; the second one would wait

        def answer(self) -> None:
            self.close_connection = True
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = respond(Request(self.command, self.path, dict(self.headers), body))
            if answer is None:
                return
            self.send_response(answer.status)
            headers = {**answer.headers, "content-length": str(len(answer.content))}
            for name, value in {**headers, "connection": "close"}.items():
                if name not in ("date", "server", "transfer-encoding"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    with run_handler(Handler) as address:
        yield address


def send(address: str, request: Request) -> Answer:
    """Send a request to a server, and return its answer, whatever the status."""
    with closing(HTTPConnection(urlsplit(address).netloc, timeout=30)) as connection:
        # A server may refuse a body that is too large before it has read all of it.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request(request.method, request.path, request.body or None, request.headers)
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, answer.read(), headers)
