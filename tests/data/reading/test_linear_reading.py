"""Bytes read grow with the file, whatever lengths its records claim: counted, not timed."""

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from damaged_archives import record

from data.reading import web_archive

CLAIM = 30 << 20
SMALL = record("a", b"Habari", length=CLAIM)


def nested(count: int) -> bytes:
    """Returns members that fail at their ends, each stored within the one before, 30 deep."""
    content = b""
    for _ in range(30):
        stored = SMALL + content
        sizes = len(stored).to_bytes(2, "little") + (len(stored) ^ 0xFFFF).to_bytes(2, "little")
        content = gzip.compress(b"")[:10] + b"\x00" + sizes + stored + b"\x07"  # no kind of block
    return content * (count // 30)


CONTENTS: dict[str, Callable[[int], bytes]] = {
    "members_that_claim_30_mb": lambda count: gzip.compress(SMALL, mtime=0) * count,
    "records_that_claim_30_mb": lambda count: SMALL * count,
    "records_of_unknown_length": lambda count: SMALL.replace(b": 3", b": x") * count,
    "members_cut": lambda count: gzip.compress(SMALL, mtime=0)[:-9] * count,
    "members_with_wrong_sums": lambda count: (gzip.compress(SMALL)[:-8] + b"\x01" * 8) * count,
    "members_in_members": nested,
    "starts_of_members": lambda count: gzip.compress(b"")[:10] * 30 * count,
    "first_lines": lambda count: b"WARC/1.0\r\n" * 30 * count,
    "blank_lines": lambda count: b"\r\n" * 200 * count + SMALL,
    "one_long_line": lambda count: b"x" * 200 * count,
}


class CountedFile(io.FileIO):
    """A file that counts the bytes read from it."""

    read_bytes = 0

    def readinto(self, buffer: memoryview) -> int | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        size = super().readinto(buffer)
        CountedFile.read_bytes += size or 0
        return size


class CountedPath(type(Path())):
    """A path whose file counts the bytes read from it."""

    def open(self, *_, **__) -> CountedFile:  # pyright: ignore[reportIncompatibleMethodOverride]
        return CountedFile(str(self))


def bytes_read(path: Path, content: bytes) -> int:
    path.write_bytes(content)
    CountedFile.read_bytes = 0
    assert list(web_archive.read(CountedPath(path)))
    return CountedFile.read_bytes


@pytest.mark.parametrize("name", CONTENTS)
def test_ten_times_the_file_is_ten_times_the_reading(tmp_path, name):
    path = tmp_path / "x.wet.gz"
    few, many = (bytes_read(path, CONTENTS[name](count)) for count in (60, 600))
    assert many < 12 * few + (1 << 18)
