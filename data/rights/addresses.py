"""Keys under which addresses of pages and entries of lists meet: a host, a page on it, a folder."""

import re
from collections.abc import Iterator
from urllib.parse import quote

from data.rights.hosts import ascii_host, split

ENCODED = re.compile(r"%([0-9a-fA-F]{2})")
UNRESERVED = re.compile(r"[A-Za-z0-9._~-]").fullmatch
KEPT = "/?:@!$&'()*+,;=%"  # RFC 3986's delimiters, which mean something else once encoded
OF_TEXT = re.compile(r"sha256:[0-9a-f]{32}").fullmatch  # what a page without an address has instead
NORMAL = re.compile(rf"[A-Za-z0-9._~{re.escape(KEPT.replace('%', ''))}-]*").fullmatch


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
    return quote(ENCODED.sub(_normal, page), safe=KEPT, errors="surrogatepass")


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
    """Yields a host and its parent domains of at most `longest` characters."""
    if len(host) > longest:
        host = host[-longest - 1 :].partition(".")[2]
    while "." in host:
        yield host
        host = host.partition(".")[2]


def folders(host: str, page: str, longest: int) -> Iterator[str]:
    """Yields the keys of a page, all paths above it and its host, if not longer than `longest`.

    Without the limit, the keys' total length would grow with the square of the address's length.
    """
    address = key(host, page)
    if len(address) <= longest:
        yield address
    path, query, _ = address.partition("?")
    if query and len(path) <= longest:
        yield path
    path = path[: longest + 1]
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def key(host: str, page: str) -> str:
    """Returns the key of a page, or of all pages of a host if the page is ""."""
    return host.removeprefix("www.") + page


def _normal(encoded: re.Match[str]) -> str:
    character = chr(int(encoded[1], 16))
    return character if UNRESERVED(character) else encoded[0].upper()
