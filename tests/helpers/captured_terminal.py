"""A pseudo-terminal of a given width in the place of standard output and standard error."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import sys
import termios
import threading
from collections.abc import Iterator
from unittest import mock

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")


@contextlib.contextmanager
def terminal(width: int) -> Iterator[list[str]]:
    """Yields a list, whose lines are there after the block: what was shown, without colours."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    taken: list[bytes] = []
    reader = threading.Thread(target=_drain, args=(master, taken))
    reader.start()
    shown: list[str] = []
    size = {"COLUMNS": str(width), "LINES": "50", "TERM": "xterm"}
    with (
        os.fdopen(slave, "w", encoding="utf-8") as file,
        mock.patch.dict(os.environ, size),
        mock.patch.object(sys, "stdout", file),
        mock.patch.object(sys, "stderr", file),
    ):
        yield shown
        file.flush()
    reader.join()
    os.close(master)
    text = ANSI.sub("", b"".join(taken).decode())
    shown += re.split(r"[\r\n]+", text)


def _drain(master: int, taken: list[bytes]) -> None:
    with contextlib.suppress(OSError):  # the other end was closed
        while part := os.read(master, 65536):
            taken.append(part)
