import socket
from contextlib import closing

import pytest

from pipeline.hardware.kept_connection import relayed


def connected(address: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))


def test_bytes_go_both_ways_and_the_near_end_outlives_the_far_one():
    with socket.create_server(("127.0.0.1", 0)) as far:
        near = connected(relayed(f"127.0.0.1:{far.getsockname()[1]}"))
        peer, _ = far.accept()
    with near, closing(peer):
        near.sendall(b"question")
        assert peer.recv(8) == b"question"
        peer.sendall(b"answer")
        assert near.recv(6) == b"answer"
        peer.close()
        near.settimeout(0.5)
        for _ in range(3):
            near.sendall(b"more")
            with pytest.raises(TimeoutError):  # silent, and open
                near.recv(1)


def test_a_first_host_that_starts_later_is_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    with connected(relayed(f"127.0.0.1:{port}")) as near:
        near.sendall(b"early")
        with socket.create_server(("127.0.0.1", port)) as far:
            peer, _ = far.accept()
        with peer:
            assert peer.recv(5) == b"early"
