"""A server on loopback that answers each request with given bytes, and counts what is taken."""

import itertools
import socket
import threading
from collections.abc import Callable, Iterator

Answer = bytes | Callable[[], Iterator[bytes]]
PIECE = 1 << 16
TLS = b"\x16"  # a client that was redirected to https waits for an answer to this
ROOM = 1 << 16  # of the connection's buffers, so that what is sent was taken, but for this


class RawServer:
    """A server of one connection at a time; each request takes the next answer, then the last.

    Attributes:
        answers: bytes, or functions of their pieces, which may be without end.
        asked: the requests that came.
        sent: number of bytes that each answer's client took, up to the size of buffers.
    """

    def __init__(self, *answers: Answer):
        self.answers, self.asked, self.sent = list(answers), [], []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
        self.base = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "RawServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)

    def _serve(self) -> None:
        for number in itertools.count():
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed
                return
            with connection:
                self.asked.append(_request(connection))
                answer = self.answers[min(number, len(self.answers) - 1)]
                self.sent.append(0)
                self._send(connection, answer)

    def _send(self, connection: socket.socket, answer: Answer) -> None:
        pieces = answer() if callable(answer) else _pieces(answer)
        try:
            for piece in pieces:
                connection.sendall(piece)
                self.sent[-1] += len(piece)
            connection.shutdown(socket.SHUT_WR)
        except OSError:  # the client has read enough
            return


def _pieces(answer: bytes) -> Iterator[bytes]:
    return (answer[at : at + PIECE] for at in range(0, len(answer), PIECE))


def _request(connection: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n") and not head.startswith(TLS):
        more = connection.recv(PIECE)
        if not more:
            break
        head += more
    return head
