"""A session with one web server that is not trusted to stay itself, or to end what it sends.

What a server may send without a file of its own is bounded, for each answer:

* Time: 64 KiB take at most a minute, also if a byte comes now and then. The package manager DNF
  gives up below 1,000 bytes per second too (`minrate`).
* Lines, which are statuses, headers, sizes of chunks and trailers: 64 KiB, and 8 bytes for each
  byte of content before them. Without this a server may send `100 Continue` or trailers without an
  end, as `http.client` and `urllib3` bound the length of a line alone.
* Bodies of redirects: none is read, where `requests` reads and unpacks them whole.

The bounds hold in the files that `http.client` parses an answer from, for every way in which it and
`urllib3` read. What exceeds them ends as a broken connection does. The size of a file is bounded by
who stores it.
"""

import http.client
import io
import logging
from time import monotonic
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter

from data.errors import DataError, join_names

SCHEMES = ("http://", "https://")
MOST_REDIRECTS = 5
TIMEOUT_SECONDS = 60.0  # without a byte, and for `PART_BYTES`
PART_BYTES = 1 << 16
LINE_BYTES = 1 << 16  # without content; servers send headers of at most 8 to 16 kB
LINE_BYTES_PER_BYTE = 8  # of content; a chunk of one byte has 3
logging.getLogger("urllib3.connection").setLevel(logging.ERROR)  # below, tracebacks of odd headers


class IncompleteTransfer(OSError):
    """A transfer that another attempt may complete."""


class Arriving(io.RawIOBase):
    """The bytes of an answer, as long as each `PART_BYTES` of them take at most a minute.

    The minute begins with their first byte; how long that may take is the socket's timeout.
    """

    def __init__(self, file: io.RawIOBase):
        self._file, self._bytes, self._begin = file, 0, 0.0

    def readable(self) -> bool:
        """Returns that this is a file to read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Reads what is there, as a file does.

        Raises:
            IncompleteTransfer: if too little came for a minute.
        """
        count = self._file.readinto(buffer) or 0
        now = monotonic()
        if not self._bytes:
            self._begin = now
        self._bytes += count
        if self._bytes >= PART_BYTES:
            self._bytes = 0
        elif count and now - self._begin > TIMEOUT_SECONDS:
            seconds = now - self._begin
            raise IncompleteTransfer(f"only {self._bytes:,} bytes came in {seconds:.0f} s")
        return count

    def close(self) -> None:
        """Closes the connection's file too."""
        self._file.close()
        super().close()


class Lines(io.BufferedReader):
    """An answer as it is parsed: lines, and content of known size, which bounds the lines."""

    def __init__(self, raw: io.RawIOBase):
        super().__init__(raw)
        self._left = LINE_BYTES

    def readline(self, size: int | None = -1) -> bytes:
        """Returns the next line.

        Raises:
            IncompleteTransfer: if lines go on and on.
        """
        most = self._left + 1
        line = super().readline(most if size is None or size < 0 else min(size, most))
        self._left -= len(line)
        if self._left < 0:
            raise IncompleteTransfer(f"more than {LINE_BYTES:,} bytes came without content")
        return line

    def read(self, size: int | None = -1) -> bytes:
        """Returns this many bytes of content.

        Raises:
            IncompleteTransfer: if the server gives no size, or a negative one.
        """
        if size is None or size < 0:
            raise IncompleteTransfer("a part came without its size")
        self._left = min(LINE_BYTES, self._left + LINE_BYTES_PER_BYTE * size)
        return super().read(size)


class Answer(http.client.HTTPResponse):
    """An answer of which neither time nor lines are without bound."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.fp: Any = Lines(Arriving(self.fp.detach()))


class Adapter(HTTPAdapter):
    """Connections, through proxies too, whose answers are `Answer`."""

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the connections to a server, as `requests` asks for them."""
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        kind = pool.ConnectionCls
        pool.ConnectionCls = type(kind.__name__, (kind,), {"response_class": Answer})
        return pool


class OneServer(requests.Session):
    """A session that follows a redirect only on the same server, or from http to https there."""

    def __init__(self):
        super().__init__()
        self.max_redirects = MOST_REDIRECTS
        for scheme in SCHEMES:
            self.mount(scheme, Adapter())

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Returns where a response redirects to, as `requests` follows it.

        Raises:
            DataError: if that is another server, or not an address.
        """
        if not resp.is_redirect:
            return None
        resp.close()
        resp.raw = io.BytesIO()  # or `requests` reads the body of a redirect, however long
        try:
            target = super().get_redirect_target(resp) or ""
            here, there = urlsplit(resp.url), urlsplit(urljoin(resp.url, target))
            _ = there.port
        except ValueError as error:
            raise DataError(
                f"{join_names([resp.url])} was asked for and the server redirects to what is not "
                f"an address ({join_names([error])}); check the list and the base address."
            ) from error
        if there.netloc != here.netloc or there.scheme not in (here.scheme, "https"):
            raise DataError(
                f"{join_names([resp.url])} was asked for and the server redirects to another, "
                f"{join_names([repr(there.netloc)])}; if you trust that one, give it as the base "
                "address."
            )
        return target
