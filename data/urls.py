"""What makes two addresses one page, and the number by which a page is drawn, ordered and placed.

Both as in C4 (TensorFlow Datasets, `normalize_url`): scheme, `www.`, tracking parameters and
trailing slashes do not count. Hashes are MD5, for agreement with the reference and not for safety.
"""

import hashlib
import re

SCHEME = re.compile(r"https?:\/\/(www\.)?")
TRACKING = re.compile(r"\?(utm_|ref|feed).*")


def normalize(url: str) -> str:
    """Returns the address that pages are compared by."""
    return TRACKING.sub("", SCHEME.sub("", url)).rstrip("/")


def url_hash(url: str) -> bytes:
    """Returns the 16 bytes of MD5; their order is the order in which pages win lines."""
    return hashlib.md5(url.encode("utf-8"), usedforsecurity=False).digest()


def normalized_hash(url: str) -> bytes:
    """Returns the hash of the normalized address, by which pages are split, sorted and sharded."""
    return url_hash(normalize(url))


def number(digest: bytes) -> int:
    """Returns a hash as the number that the reference makes of its hexadecimal form."""
    return int.from_bytes(digest, "big")
