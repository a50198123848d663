"""A relay to the first host whose near end stays open when the far end breaks.

JAX's coordination client ends its process with a C++ stack trace as soon as its connection to the
first host breaks, and has no option against it (a callback for this crashes in jaxlib 0.10). Behind
this relay the connection only falls silent, and `host_watch.py` says in one sentence what happened.
Only the client's calls take this way, some kB per host; the devices' collectives do not.
"""

import socket
import threading
import time
from contextlib import suppress

RETRY_SECONDS = 0.2
PIECE_BYTES = 1 << 16


def relayed(address: str) -> str:
    """Returns a local HOST:PORT whose connections lead to `address`, also HOST:PORT."""
    host, _, port = address.rpartition(":")
    listener = socket.create_server(("127.0.0.1", 0))
    there = host.strip("[]"), int(port)
    threading.Thread(target=_accept, args=(listener, there), daemon=True).start()
    return f"127.0.0.1:{listener.getsockname()[1]}"


def _accept(listener: socket.socket, address: tuple[str, int]) -> None:
    while True:
        near, _ = listener.accept()
        threading.Thread(target=_relay, args=(near, address), daemon=True).start()


def _relay(near: socket.socket, address: tuple[str, int]) -> None:
    """Relays until the near end closes, even if the far one breaks before."""
    with near, _connected(address) as far:
        threading.Thread(target=_answer, args=(far, near), daemon=True).start()
        with suppress(OSError):
            while piece := near.recv(PIECE_BYTES):
                with suppress(OSError):  # the far end broke, and what is sent is lost
                    far.sendall(piece)
        with suppress(OSError):
            far.shutdown(socket.SHUT_RDWR)  # ends `_answer`


def _connected(address: tuple[str, int]) -> socket.socket:
    """Returns a connection; waits for the first host, which may start later."""
    while True:
        with suppress(OSError):
            return socket.create_connection(address)
        time.sleep(RETRY_SECONDS)


def _answer(far: socket.socket, near: socket.socket) -> None:
    with suppress(OSError):
        while piece := far.recv(PIECE_BYTES):
            near.sendall(piece)
