"""Archives with every kind of damage of real crawls, between records that are whole."""

import gzip
import struct
import zlib

GZIP_HEADER = b"\x1f\x8b\x08" + bytes(5) + b"\x02\xff"
HTTP = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"


def record(name: str, body: bytes, kind: str = "conversion", length: int | None = None) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: http://{name}.example/\r\n"
        f"WARC-Date: 2026\r\nContent-Type: {'application/http' if kind == 'response' else 'text'}"
        f"\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n"
    )
    return head.encode() + body + b"\r\n\r\n"


def member(*args, **kwargs) -> bytes:
    return gzip.compress(record(*args, **kwargs), mtime=0)


GOOD = [member(f"good{number}", f"Habari {number} njema. ".encode() * 40) for number in range(4)]
BAD = {
    "cut": GOOD[0][:80],
    "garbage": b"\x00\x01\x1f\x8b\x08 between records \xff\n" * 9,
    "zeros": b"\x00" * 4096,
    "checksum": GOOD[0][:-6] + b"\xff\xff" + GOOD[0][-4:],
    "not_utf8": member("bad", b"caf\xe9" * 99),
    "utf16": member("bad", "\ufeffHabari".encode("utf-16-le")),
    "surrogate": member("bad", b"Habari \xed\xa0\x80 njema"),
    "no_record": gzip.compress(b"neither header nor record", mtime=0),
    "empty_member": gzip.compress(b"", mtime=0),
    "too_long_a_length": member("bad", b"Habari", length=99_999),
    "enormous_length": member("bad", b"Habari", length=1 << 40),
    "html_error": b"<html><h1>503 Slow Down</h1></html>\n",
}


def bomb(prefix: bytes, filler: bytes = b"\x00" * (1 << 20), megabytes: int = 300) -> bytes:
    """Returns a gzip member that unpacks to `megabytes` times the filler.

    A full flush forgets what came before, so that one compressed filler serves all: 0.1 CPU-seconds
    instead of 1.2.
    """
    packer = zlib.compressobj(9, wbits=-15)
    head = packer.compress(prefix) + packer.flush(zlib.Z_FULL_FLUSH)
    once = packer.compress(filler) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = zlib.crc32(prefix)
    for _ in range(megabytes):
        checksum = zlib.crc32(filler, checksum)
    size = (len(prefix) + megabytes * len(filler)) % (1 << 32)
    packed = head + once * megabytes + packer.flush()
    return GZIP_HEADER + packed + struct.pack("<II", checksum, size)
