"""fastText models of two labels, written byte by byte, so that each number can be wrong."""

import struct
from collections.abc import Iterable

MAGIC = 793712314
USUAL = {  # in the file's order
    "dim": 2, "ws": 5, "epoch": 1, "min_count": 1, "neg": 5, "word_ngrams": 1, "loss": 3,
    "model": 3, "bucket": 3, "minn": 1, "maxn": 2, "lr_update_rate": 100,
}  # fmt: skip
WORDS = (b"</s>", b"watu", b"huru")
LABELS = (b"__label__swh_Latn", b"__label__yor_Latn")


def arguments(version: int = 12, **numbers: int) -> bytes:
    return struct.pack("<14id", MAGIC, version, *(USUAL | numbers).values(), 1e-4)


def counts(words: int, labels: int, size: int | None = None, pruned: int = -1) -> bytes:
    return struct.pack("<iiiqq", words + labels if size is None else size, words, labels, 9, pruned)


def entries(texts: Iterable[bytes], kind: int, each: int = 3) -> bytes:
    return b"".join(text + b"\0" + struct.pack("<qb", each, kind) for text in texts)


def dense(rows: int, columns: int) -> bytes:
    numbers = [0.1 * (one % 7) for one in range(rows * columns)]
    return struct.pack(f"<?qq{rows * columns}f", False, rows, columns, *numbers)


def quantizer(dim: int, parts: int, width: int = 1, last: int = 1) -> bytes:
    return struct.pack(f"<4i{256 * dim}f", dim, parts, width, last, *[0.5] * (256 * dim))


def quantized(rows: int, columns: int, codes: int | None = None, parts: int | None = None) -> bytes:
    """Returns a matrix with norms, whose quantizer cuts vectors into single numbers."""
    stored = rows * columns if codes is None else codes
    head = struct.pack("<??qqi", True, True, rows, columns, stored)
    cut = quantizer(columns, columns if parts is None else parts)
    return head + bytes(stored) + cut + bytes(rows) + quantizer(1, 1)


def model(
    *,
    head: bytes = arguments(),
    declared: bytes = counts(3, 2),
    words: bytes = entries(WORDS, 0),
    labels: bytes = entries(LABELS, 1),
    pruned: bytes = b"",
    matrices: bytes = dense(6, 2) + dense(2, 2),
) -> bytes:
    return head + declared + words + labels + pruned + matrices


PRUNED = model(
    declared=counts(3, 2, pruned=2),
    pruned=struct.pack("<4i", 0, 1, 2, 0),
    matrices=quantized(5, 2) + dense(2, 2),
)
