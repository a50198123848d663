"""The host of an address: the key by which pages meet the robots.txt of their site."""

import re
from urllib.parse import SplitResult, urlsplit

import idna

IGNORED = re.compile(r"^[\x00-\x20]+|[\t\n\r]+")  # as `urlsplit` does, and browsers
BEGINNING = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//").match
LONGEST = 253  # characters of a name in the DNS; encoding takes time that grows with its square
DEFAULT_PORTS = {"http": 80, "https": 443}


def host_of(url: str) -> str:
    """Returns the host of an address in lower case and ASCII, with a port that is not the default.

    Both schemes have one key, as sites serve both. The host of a malformed address is "".
    """
    parts = split(url)
    if parts is None:
        return ""
    host = ascii_host(parts.hostname or "")
    return f"{host}:{parts.port}" if parts.port not in (None, *_defaults(parts.scheme)) else host


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
    for encoded in (_idna_2008, _idna_2003) if len(host) <= LONGEST else ():
        try:
            return encoded(host).decode("ascii")
        except UnicodeError:
            continue
    return host.encode("utf-8", "replace").decode()  # halves of surrogate pairs are not text


def _idna_2008(host: str) -> bytes:
    return idna.encode(host, uts46=True)


def _idna_2003(host: str) -> bytes:
    return host.encode("idna")


def _defaults(scheme: str) -> list[int]:
    return [DEFAULT_PORTS[scheme]] if scheme in DEFAULT_PORTS else [*DEFAULT_PORTS.values()]
