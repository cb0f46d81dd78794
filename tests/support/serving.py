"""A server that behaves as a test says, to which every https request of the test is led."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from requests.adapters import HTTPAdapter


@dataclass
class Served:
    """Where a server is found, and what it was asked for."""

    url: str = "https://generators.example"
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


class Answer(BaseHTTPRequestHandler):
    """One request; a behaviour answers it with these."""

    served: Served
    behave: Callable[["Answer"], None]

    def do_GET(self):
        self.served.paths.append(self.path)
        self.served.headers.append(dict(self.headers))
        try:
            type(self).behave(self)
        except OSError:  # the client went away, as it may
            self.close_connection = True

    do_CONNECT = do_GET

    def head(self, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def whole(self, content, limit=None):
        """Answer rightly, but send at most `limit` bytes of the body."""
        self.head(200, Content_Length=len(content))
        self.wfile.write(content[:limit])

    def log_message(self, *arguments):
        pass


@contextmanager
def listening(
    behave: Callable[[Answer], None], certificate: Path | None = None
) -> Iterator[Served]:
    """Serve on a free loopback port while the block runs, over TLS with a certificate and key."""
    served = Served()
    kind = type("Kind", (Answer,), {"served": served, "behave": staticmethod(behave)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    server.daemon_threads = False  # so that closing waits for the last answer
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        served.url = served.url.replace("http:", "https:")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def serving(behave: Callable[[Answer], None]) -> Iterator[Served]:
    """Serve every https URL while the block runs, whatever its host; a plain one fails the test.

    The Host header says which was asked for. Certificates are not looked at here.
    """
    real = HTTPAdapter.send
    with listening(behave) as served, pytest.MonkeyPatch.context() as patch:
        there, served.url = served.url, Served.url

        def send(self, request, **options):
            asked = request.url
            parts = urlsplit(asked)
            assert parts.scheme == "https", f"{asked} was asked for"
            request.headers["Host"] = parts.netloc
            request.url = f"{there}{parts.path}" + (f"?{parts.query}" if parts.query else "")
            answer = real(self, request, **options | {"proxies": {}})
            answer.url = request.url = asked
            return answer

        patch.setattr(HTTPAdapter, "send", send)
        yield served
