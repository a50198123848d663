"""URLs: their normal form, their host, and the keys under which pages meet lists and each other.

Normal form and hash are C4's (TensorFlow Datasets, `normalize_url`): scheme, `www.`, tracking
parameters and trailing slashes are removed. Pages are split, sorted and sharded by the hash of the
normal form. Hashes are MD5 for agreement with the reference, not for security.

Pages meet the robots.txt of their site by host, and entries of lists by host, page or folder.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import SplitResult, quote, urlsplit

import idna

SCHEME = re.compile(r"https?:\/\/(www\.)?")
TRACKING = re.compile(r"\?(utm_|ref|feed).*")
IGNORED = re.compile(r"^[\x00-\x20]+|[\t\n\r]+")  # as `urlsplit` does, and browsers
BEGINNING = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//").match
LONGEST = 253  # characters of a name in the DNS; encoding takes time that grows with its square
WWW = "www."
DEFAULT_PORTS = {"http": 80, "https": 443}
ENCODED = re.compile(r"%([0-9a-fA-F]{2})")
UNRESERVED = re.compile(r"[A-Za-z0-9._~-]").fullmatch
KEPT = "/?:@!$&'()*+,;=%"  # RFC 3986's delimiters, which mean something else once encoded
OF_TEXT = re.compile(r"sha256:[0-9a-f]{32}").fullmatch  # what a page without an address has instead
NORMAL = re.compile(rf"[A-Za-z0-9._~{re.escape(KEPT.replace('%', ''))}-]*").fullmatch


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


def host_of(url: str) -> str:
    """Returns the host of an address in lower case and ASCII, with a port that is not the default.

    Both schemes have one key, as sites serve both. The host of a malformed address is "".
    """
    parts = split(url)
    if parts is None:
        return ""
    host = ascii_host(parts.hostname or "")
    default = DEFAULT_PORTS.get(parts.scheme)
    defaults = DEFAULT_PORTS.values() if default is None else (default,)
    return host if parts.port in (None, *defaults) else f"{host}:{parts.port}"


def with_slashes(url: str) -> str:
    """Returns an address that begins with its scheme, or with // if it has none.

    A later "://" is not a sign of a scheme: `example.org/?to=https://other.org` has none.
    """
    url = IGNORED.sub("", url)
    return url if BEGINNING(url) else f"//{url}"


def split(url: str) -> SplitResult | None:
    """Returns the parts of an address, also of one without a scheme; None if it is malformed."""
    try:
        parts = urlsplit(with_slashes(url))
        _ = parts.port  # refuses what is not a number
    except ValueError:
        return None
    return parts


def ascii_host(host: str) -> str:
    """Returns a host as the DNS knows it: in lower case, without the last dot, labels in IDNA.

    Labels are those of IDNA 2008 by UTS 46, as in browsers: faß.de is not fass.de. Where that has
    none, such as for a heart, they are those of IDNA 2003. What is not a name stays as it is.
    """
    host = host.lower().rstrip(".")
    if host.isascii():
        return host
    if len(host) <= LONGEST:
        with suppress(UnicodeError, OverflowError):  # Python 3.13's of a number above 2**63
            return idna.encode(host, uts46=True).decode("ascii")
        with suppress(UnicodeError):
            return host.encode("idna").decode("ascii")
    return host.encode("utf-8", "replace").decode()  # halves of surrogate pairs are not text


def host_and_page(url: str) -> tuple[str, str]:
    """Returns host and page of an address, the page without a slash at the end.

    The page is "" for a host's first page. Both are "" if the address is malformed. The digest that
    a page without an address has instead is its own host.
    """
    if OF_TEXT(url):
        return url, ""
    parts = split(url)
    if parts is None:
        return "", ""
    query = f"?{parts.query}" if parts.query else ""
    path = _without_dots(normal(parts.path)).rstrip("/")
    return ascii_host(parts.hostname or ""), path + normal(query)


def normal(page: str) -> str:
    """Returns a path or query in the one form of those that are equal by RFC 3986, 6.2.2.2."""
    if NORMAL(page):
        return page
    return quote(ENCODED.sub(_decode, page), safe=KEPT, errors="surrogatepass")


def _decode(encoded: re.Match[str]) -> str:
    character = chr(int(encoded[1], 16))
    return character if UNRESERVED(character) else encoded[0].upper()


def _without_dots(path: str) -> str:
    """Returns a path without its segments . and .. (RFC 3986, 5.2.4)."""
    if "/." not in path:
        return path
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == ".." and len(kept) > 1:
            kept.pop()
        elif segment not in (".", ".."):
            kept.append(segment)
    return "/".join(kept)


def domains(host: str, longest: int) -> Iterator[str]:
    """Yields a host, it with `www.` before it, and its parent domains.

    Those of more than `longest` characters, or than the DNS allows, are left out. `www.` makes a
    list's line `www.x.org` name the pages of `x.org` too, as addresses have one key with `www.` and
    without.
    """
    longest = min(longest, LONGEST)
    if len(host) + len(WWW) <= longest:
        yield WWW + host
    if len(host) > longest:
        host = host[-longest - 1 :].partition(".")[2]
    while "." in host:
        yield host
        host = host.partition(".")[2]


def folder_ends(address: str, longest: int) -> list[int]:
    """Returns where a page's key, all paths above it and its host end in the key, in order.

    Those of more than `longest` characters are left out. The keys themselves would have a length
    together that grows with the square of the address's.
    """
    path = address.partition("?")[0]
    slashes = (at for at, character in enumerate(path[: longest + 1]) if character == "/")
    return [*slashes, *(end for end in sorted({len(path), len(address)}) if end <= longest)]


def key(host: str, page: str) -> str:
    """Returns the key of a page, or of all pages of a host if the page is ""."""
    return host.removeprefix(WWW) + page
