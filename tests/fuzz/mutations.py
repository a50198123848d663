"""Mutations of bytes: what disks, networks and strangers do to a file, drawn from one generator."""

import gzip
import random
import zlib
from collections.abc import Callable, Sequence

NUMBERS = (b"0", b"-1", b"255", b"65536", b"2147483648", b"4294967296", b"9" * 19, b"1e999")
WORDS = (
    b"\x00", b"\xff", b"\xff\xfe", b"\r\n\r\n", b"\n", b"{", b"[" * 500, b'"', b"\\ud800", b"null",
    b"..", b"/", b"<", b"&#0;", b"\x1b[31m", b"\x1f\x8b\x08", b"PAR1", b"WARC/1.1\r\n",
    b"Content-Length: 9\r\n", b"Content-Encoding: gzip\r\n", b"Transfer-Encoding: chunked\r\n",
    b"; charset=punycode", b"; charset=utf-16", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"NaN",
)  # fmt: skip
LARGEST_BYTES = 1 << 18
Mutation = Callable[[bytes, random.Random], bytes]


def mutated(seeds: Sequence[bytes], draw: random.Random) -> bytes:
    """Returns a seed after one to four mutations; a gzipped one often inside its compression."""
    content = draw.choice(seeds)
    packed = content[:2] == b"\x1f\x8b" and draw.random() < 0.6
    if packed:
        content = _unpacked(content)
    for _ in range(draw.randint(1, 4)):
        content = draw.choice(MUTATIONS)(content, draw)[:LARGEST_BYTES]
    if draw.random() < 0.1:
        content = _spliced(content, draw.choice(seeds), draw)
    return gzip.compress(content, 1, mtime=0) if packed else content


def _unpacked(content: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(content, LARGEST_BYTES)
    except zlib.error:
        return content


def _span(content: bytes, draw: random.Random) -> tuple[int, int]:
    start = draw.randrange(len(content) + 1)
    return start, min(len(content), start + draw.choice((1, 4, 30, 200)))


def _flip(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content) + 1)
    return (
        content[:at]
        + bytes(byte ^ draw.randint(1, 255) for byte in content[at : at + 1])
        + (content[at + 1 :])
    )


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _remove(content: bytes, draw: random.Random) -> bytes:
    start, end = _span(content, draw)
    return content[:start] + content[end:]


def _repeat(content: bytes, draw: random.Random) -> bytes:
    start, end = _span(content, draw)
    return content[:start] + content[start:end] * draw.choice((2, 3, 50)) + content[end:]


def _insert(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content) + 1)
    return content[:at] + draw.choice(WORDS) + content[at:]


def _overwrite(content: bytes, draw: random.Random) -> bytes:
    start, end = _span(content, draw)
    return content[:start] + draw.randbytes(end - start) + content[end:]


def _number(content: bytes, draw: random.Random) -> bytes:
    digits = [at for at, byte in enumerate(content[:4096]) if 48 <= byte <= 57]
    if not digits:
        return _insert(content, draw)
    start = end = draw.choice(digits)
    while content[end : end + 1].isdigit():
        end += 1
    return content[:start] + draw.choice(NUMBERS) + content[end:]


def _spliced(content: bytes, other: bytes, draw: random.Random) -> bytes:
    return (_cut(content, draw) + other[draw.randrange(len(other) + 1) :])[:LARGEST_BYTES]


MUTATIONS: tuple[Mutation, ...] = (
    _flip, _flip, _cut, _remove, _repeat, _insert, _overwrite, _number,
)  # fmt: skip
