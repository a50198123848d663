"""A proxy before a store's server, which injects faults; other requests pass unchanged."""

import contextlib
import http.client
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

Trouble = Callable[["Request"], None]
UNSENT = ("transfer-encoding", "connection", "date", "server", "content-length")


class Request(BaseHTTPRequestHandler):
    """Handles one request: `trouble` may answer it, or leave it to the store."""

    protocol_version = "HTTP/1.1"
    store, trouble = "", staticmethod(lambda request: None)

    def serve(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answered = False
        type(self).trouble(self)
        if not self.answered:
            self.forward(self.body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = serve

    def forward(self, body: bytes) -> None:
        with contextlib.closing(http.client.HTTPConnection(self.store, timeout=60)) as connection:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            self.answer(answer, answer.read())

    def answer(self, answer: http.client.HTTPResponse, content: bytes) -> None:
        self.send_response(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in UNSENT:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else len(content)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)

    def send_half(self) -> None:
        """Passes on half of the announced body, and ends the connection to the store."""
        half = http.client.HTTPConnection(self.store, timeout=60)
        half.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            half.putheader(name, value)
        half.endheaders(self.body[: len(self.body) // 2])
        half.close()
        self.answered = self.close_connection = True

    def names(self, part: str) -> bool:
        """Returns whether the path, or the beginning of the body, names an object so."""
        return part in unquote(self.path) or part.encode() in self.body[:1000]

    def refuse(self) -> None:
        self.answered = True
        body = b"<Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>"
        self.send_response(503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Has room for all connections that a client opens at once; five would wait for a second."""

    request_queue_size, daemon_threads = 128, True


@contextlib.contextmanager
def proxy(store: str, trouble: Trouble) -> Iterator[str]:
    handler = type("Troubled", (Request,), {"store": store.removeprefix("http://")})
    handler.trouble = staticmethod(trouble)
    with Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
