"""The host of an address: the key by which pages meet the robots.txt of their site."""

from urllib.parse import SplitResult, urlsplit

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


def split(url: str) -> SplitResult | None:
    """Returns the parts of an address, also of one without a scheme; None if it is malformed."""
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        _ = parts.port  # refuses what is no number
    except ValueError:
        return None
    return parts


def ascii_host(host: str) -> str:
    """Returns a host as the DNS knows it: in lower case, without the last dot, labels in IDNA."""
    host = host.lower().rstrip(".")
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return host.encode("utf-8", "replace").decode()  # halves of surrogate pairs are no text


def _defaults(scheme: str) -> list[int]:
    return [DEFAULT_PORTS[scheme]] if scheme in DEFAULT_PORTS else [*DEFAULT_PORTS.values()]
