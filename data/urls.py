"""URL normalization, and the hashes by which pages are split, sorted and sharded.

Both are C4's (TensorFlow Datasets, `normalize_url`): scheme, `www.`, tracking parameters and
trailing slashes are removed. Hashes are MD5 for agreement with the reference, not for security.
"""

import hashlib
import re

SCHEME = re.compile(r"https?:\/\/(www\.)?")
TRACKING = re.compile(r"\?(utm_|ref|feed).*")


def normalize(url: str) -> str:
    """Returns the normalized address; pages with the same one are the same page."""
    return TRACKING.sub("", SCHEME.sub("", url)).rstrip("/")


def url_hash(url: str) -> bytes:
    """Returns the MD5 of an address, 16 bytes; in its order pages compete for equal lines."""
    return hashlib.md5(url.encode("utf-8"), usedforsecurity=False).digest()


def normalized_hash(url: str) -> bytes:
    """Returns the MD5 of the normalized address, by which pages are split, sorted and sharded."""
    return url_hash(normalize(url))


def number(digest: bytes) -> int:
    """Returns a hash as an integer, as the reference parses its hexadecimal form."""
    return int.from_bytes(digest, "big")
