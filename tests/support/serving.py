"""A server on the loopback address that behaves as a test says, and remembers what it was asked."""

import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Served:
    """Where a server listens, the ranges it was asked for (None: no range), the bytes it sent."""

    url: str = ""
    paths: list[str] = field(default_factory=list)
    ranges: list[int | None] = field(default_factory=list)
    sent: int = 0
    headers: list[dict[str, str]] = field(default_factory=list)


class Answer(BaseHTTPRequestHandler):
    """One request; a behaviour answers it with these."""

    served: Served
    behave: Callable[["Answer"], None]

    def do_GET(self):
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        self.start = int(found[1]) if found else 0
        self.served.paths.append(self.path)
        self.served.ranges.append(int(found[1]) if found else None)
        self.served.headers.append(dict(self.headers))
        self.number = len(self.served.paths)
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

    def body(self, content):
        self.wfile.write(content)
        self.served.sent += len(content)

    def whole(self, content, limit=None):
        """Answer rightly, ranges included, but send at most `limit` bytes of the body."""
        part = content[self.start :]
        if self.start > len(content):
            self.head(416, Content_Range=f"bytes */{len(content)}", Content_Length=0)
            return
        if self.start:
            reach = f"bytes {self.start}-{len(content) - 1}/{len(content)}"
            self.head(206, Content_Length=len(part), Content_Range=reach)
        else:
            self.head(200, Content_Length=len(part))
        self.body(part[:limit])

    def log_message(self, *arguments):
        pass


@contextmanager
def serving(behave: Callable[[Answer], None], certificate: Path | None = None) -> Iterator[Served]:
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
