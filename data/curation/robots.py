"""robots.txt: which pages a site refuses to a crawler (RFC 9309).

    User-agent: CCBot          a group: the names of crawlers, and rules for them
    Disallow: /private
    Allow: /private/*.html$

Of these rules the longest that matches a path counts, and of equally long ones one that allows.
`/private/a.pdf` is refused, `/private/a.html` and `/a` are not. Groups that name the crawler
count together. If there is none, those of `*` count. So the rules of all other groups are passed
over, and a file is read in time and memory that grow with its length.

Paths and rules are compared in one form of percent-encoding: `%7E` is `~`, `%3d` is `=` and `é`
is `%C3%A9`, but `%2F` does not separate folders. Common misspellings of Disallow and lines without
a colon count, and a rule that allows `/index.html` allows `/`.

A host without a robots.txt, or with one that is answered by a status 4xx, refuses nothing. One that
is answered by 5xx refuses everything: its owner's wish is not known. So does one whose rules have
more than `MOST_WILDCARDS` wildcards, which are all tried on each page.

The files come in one of three forms:

* WARC, as Common Crawl's `robotstxt` files: responses of an address whose path is /robots.txt.
* JSON Lines: {"host": "www.example.org", "robots": "User-agent: ..."}, perhaps with "status" (200
  if left out) and "time". Beside a status 4xx or 5xx, "robots" may be null.
* Plain: `www.example.org/robots.txt`, in a folder named by its host.

The rules that a redirect leads to are those of the host that was asked, over at most five
redirects. They are followed within one archive, which is read once more for it; a crawler writes
both records in turn. A host whose redirect leads elsewhere counts as skipped. A damaged line or
record costs one host. So it is skipped and counted, and does not end a job.

The robots.txt files of a whole crawl do not fit into memory. So they meet the pages by host
(`host_of`) in an engine's shuffle, where `refused_by` decides for each host.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urljoin

import msgspec

from data.curation.block_lists import ROBOTS_TXT
from data.errors import DataError
from data.files.json_files import of_shape
from data.files.paths import exists, local_copy
from data.reading import records, web_archive
from data.reading.html import Response, response_of
from data.reading.page import BrokenRecord, Defect, sortable
from data.urls import host_of, split, with_slashes

MOST_BYTES = 500 << 10  # RFC 9309 asks for as many; Google ignores the rest
ARCHIVES, JSON_LINES = (".warc", ".warc.gz"), (".jsonl", ".jsonl.gz")
PATH = "/robots.txt"
MOST_REDIRECTS = 5
LONGEST_ADDRESS = 2048  # characters; redirects are held in memory
USER_AGENT = "CCBot"  # Common Crawl's, whose pages most corpora are made of
MOST_WILDCARDS = 5_000  # 0.01 s per page; as many as fit into 500 kB would take 0.05 s
LINE = re.compile(
    r"(?:(?P<name>user-agent|useragent|user\s+agent)|(?P<allow>allow)"
    r"|disallow|dissallow|dissalow|disalow|diasllow|disallaw)(?:\s*:|\s|$)(?P<value>.*)",
    re.IGNORECASE | re.DOTALL,
).match
MARK = re.compile(rb"\xef(?:\xbb\xbf?)?").match  # of the order of bytes, or its beginning
ENCODED = re.compile(rb"%[0-9a-fA-F]{2}")
KEPT_ENCODED = (b"%2F", b"%25", b"%2A")  # what a separator, the sign itself and a wildcard are not
INDEX = "/index.html"


class Robots(NamedTuple):
    """The robots.txt of a host, ordered so that the one that counts is the greatest of several.

    It is the newest. Of equally old ones the stricter counts: first a failure, then a text.

    Attributes:
        time: when it was read, as `page.sortable` writes it; "" if not known.
        failed: whether the server answered by 5xx, which refuses everything (RFC 9309).
        content: its text; "" for 4xx and 5xx.
        host: the host, as `host_of` returns it.
    """

    time: str
    failed: bool
    content: str
    host: str


class Row(msgspec.Struct):
    """A line of JSON Lines."""

    host: str
    robots: str | None
    status: int = 200
    time: object = ""


class PageAddress(NamedTuple):
    """An address without its scheme, as sites serve both."""

    host: str
    path: str
    query: str


class Rules(NamedTuple):
    """The rules for a crawler; a path is compared with `$` at its end.

    Attributes:
        prefixes: whether a rule without wildcards allows, by its beginning of paths.
        lengths: lengths of these, the longest first.
        wildcards: length of each rule with wildcards, whether it allows, and the pieces between
            its wildcards; the one that counts is first.
    """

    prefixes: dict[str, bool]
    lengths: list[int]
    wildcards: list[tuple[int, bool, list[str]]]

    def allow(self, url: str) -> bool:
        """Returns whether a page may be fetched."""
        path = path_of(url)
        if path.partition("?")[0] == "/robots.txt":
            return True
        path += "$"
        fitting = (n for n in self.lengths if n <= len(path) and path[:n] in self.prefixes)
        longest = next(fitting, 0)
        allows = self.prefixes.get(path[:longest], True)
        for length, wildcard_allows, pieces in self.wildcards:
            if (length, wildcard_allows) <= (longest, allows):
                break
            if matches(pieces, path):
                return wildcard_allows
        return allows


def read_robots(path: str, skipped: Counter[str] | None = None) -> Iterator[Robots]:
    """Yields the robots.txt files of a file, in its order; a host may have several.

    Args:
        path: path or address of a WARC file, JSON Lines, or `HOST/robots.txt`.
        skipped: is increased by the number of lines or records that cannot be read, by reason.

    Raises:
        DataError: if the file is none of these, or does not exist.
    """
    check_robots_file(path)
    skipped = Counter() if skipped is None else skipped
    with local_copy(path) as here:
        if path.endswith(ARCHIVES):
            yield from _read_archive(here, skipped)
        elif path.endswith(JSON_LINES):
            yield from _read_json_lines(here, skipped)
        else:
            yield from _answer("", 200, here.read_bytes(), _folder_host(path))


def check_robots_file(path: str) -> None:
    """Checks that a file can hold robots.txt files, by its name.

    Raises:
        DataError: if its name is none of the forms, or it does not exist.
    """
    is_plain = path.endswith(PATH) and _folder_host(path)
    if not is_plain and not path.endswith((*ARCHIVES, *JSON_LINES)):
        raise DataError(
            f"Robots.txt files are read from {', '.join((*ARCHIVES, *JSON_LINES))} or "
            f"HOST/robots.txt, and {path} is none of these; convert it, or leave it out."
        )
    if not exists(path):
        raise DataError(f"The file {path} with robots.txt does not exist; check its path.")


def _read_archive(archive: Path, skipped: Counter[str]) -> Iterator[Robots]:
    """Yields what hosts answer themselves, and then what those have that redirect.

    Of several answers at the end of redirects, the one that counts is the same for all hosts.
    """
    redirected = _redirected_hosts(archive)
    ends: dict[PageAddress, Robots] = {}
    missing = set(redirected)
    for record in web_archive.read_records(archive):
        if isinstance(record, BrokenRecord):
            skipped[record.reason] += 1
            continue
        address = _parse_address(record.url)
        if record.kind != "response" or address is None:
            continue
        if address.path != PATH and address not in redirected:
            continue
        missing.discard(address)
        response = response_of(record.body)
        if isinstance(response, Defect):
            skipped[response.reason] += 1
            continue
        time = record.headers.get("WARC-Date") or ""
        for answer in _answer(time, response.status, response.content, address.host):
            if address.path == PATH:
                yield answer
            if address in redirected:
                ends[address] = max(answer, ends.get(address, answer))
    for end, answer in ends.items():
        yield from (answer._replace(host=host) for host in redirected[end])
    if missing:
        skipped["redirect_elsewhere"] += sum(len(redirected[address]) for address in missing)


def _read_json_lines(file: Path, skipped: Counter[str]) -> Iterator[Robots]:
    for line in records.values(file):
        if isinstance(line, BrokenRecord):
            skipped[line.reason] += 1
        elif (row := _row(line.value)) is None:
            skipped["no_robots_txt"] += 1
        else:
            content = (row.robots or "").encode("utf-8", "replace")
            yield from _answer(row.time, row.status, content, host_of(row.host))


def _row(value: object) -> Row | None:
    """Returns a line's value as a row; None if it has another shape or says nothing of a host."""
    try:
        row = of_shape(value, Row, "a line of robots.txt files")
    except DataError:
        return None
    kind = row.status // 100
    has_answer = kind in (4, 5) or (kind == 2 and row.robots is not None)
    return row if host_of(row.host) and has_answer else None


def _answer(time: object, status: int, content: bytes, host: str) -> Iterator[Robots]:
    """Yields the file that a crawler may rely on; nothing for a redirect or a malformed host."""
    kind = status // 100
    if host and kind in (2, 4, 5):
        time = sortable(time) if isinstance(time, str) else ""
        yield Robots(time, kind == 5, _text(content) if kind == 2 else "", host)


def _folder_host(path: str) -> str:
    return host_of(path.removesuffix(PATH).rpartition("/")[2])


def _text(content: bytes) -> str:
    """Returns the text of a robots.txt, up to the last whole line of its first 500 KiB.

    Lines end by LF, CR or both. Without an end, all of these bytes are one line. A byte-order mark
    is not a part of the text, nor is the beginning of one; Google's parser passes over both.
    """
    if len(content) > MOST_BYTES:
        end = max(content.rfind(line_break, 0, MOST_BYTES) for line_break in (b"\n", b"\r"))
        content = content[: end + 1 or MOST_BYTES]
    mark = MARK(content)
    return content[mark.end() if mark else 0 :].decode("utf-8", "replace")


def _parse_address(url: str) -> PageAddress | None:
    """Returns an address by its parts; None if it is malformed or very long."""
    parts = split(url) if len(url) <= LONGEST_ADDRESS else None
    return None if parts is None else PageAddress(host_of(url), parts.path, parts.query)


def _redirected_hosts(archive: Path) -> dict[PageAddress, list[str]]:
    """Returns the hosts whose robots.txt is at another address, by that address."""
    redirects = _redirects(archive)
    hosts: dict[PageAddress, list[str]] = defaultdict(list)
    for begin in redirects:
        end, left = begin, MOST_REDIRECTS
        while end in redirects and left:
            end, left = redirects[end], left - 1
        if begin.path == PATH:
            hosts[end].append(begin.host)
    return dict(hosts)


def _redirects(archive: Path) -> dict[PageAddress, PageAddress]:
    """Returns the target of each address that redirects and never answers.

    One that redirects by one scheme, or at one time, may answer by the other or at another.
    """
    redirects: dict[PageAddress, PageAddress] = {}
    answered: set[PageAddress] = set()
    for record in web_archive.read_records(archive):
        if isinstance(record, BrokenRecord) or record.kind != "response":
            continue
        begin = _parse_address(record.url)
        if begin is None:
            continue
        if record.body[:16].partition(b" ")[2].lstrip()[:1] != b"3":  # the status
            answered.add(begin)
            continue
        response = response_of(record.body)
        if isinstance(response, Response) and response.status // 100 == 3 and response.location:
            end = _target(record.url, response.location)
            if end not in (None, begin):
                redirects[begin] = end
    return {begin: end for begin, end in redirects.items() if begin not in answered}


def _target(url: str, location: str) -> PageAddress | None:
    try:
        return _parse_address(urljoin(with_slashes(url), location.strip()))
    except ValueError:
        return None


def refused_by(
    robots: Robots | None, urls: Sequence[str], user_agent: str = USER_AGENT
) -> list[str | None]:
    """Returns "robots_txt" for each address that a robots.txt refuses, None for the others.

    Args:
        robots: robots.txt of the addresses' hosts; None if they have none. It is parsed once.
        urls: addresses on hosts that have this one.
        user_agent: product token of the crawler that asks.
    """
    if robots is not None and robots.failed:
        return [ROBOTS_TXT] * len(urls)
    if robots is None or not robots.content:
        return [None] * len(urls)
    rules = rules_for(robots.content, user_agent)
    if rules is None:
        return [ROBOTS_TXT] * len(urls)
    return [None if rules.allow(url) else ROBOTS_TXT for url in urls]


def rules_for(content: str, user_agent: str) -> Rules | None:
    """Returns the rules for a crawler; None if those with wildcards are too many to be tried."""
    own: dict[str, bool] | None = None  # of the groups that name the crawler
    general: dict[str, bool] = {}  # of those that name *
    applying: list[dict[str, bool]] = []  # which of the two the current group adds to
    is_named = re.compile(rf"{re.escape(user_agent)}(?![a-z_-])", re.IGNORECASE).match
    has_rules = True  # whether the next name begins a group
    for line in content.replace("\r", "\n").split("\n"):
        field = LINE(line.partition("#")[0].strip())
        if field is None:
            continue
        value = field["value"].strip()
        if field["name"]:
            applying, has_rules = [] if has_rules else applying, False
            if is_named(value.replace("*", "")):
                own = {} if own is None else own
                applying.append(own)
            elif value.split()[:1] == ["*"]:
                applying.append(general)
        else:
            has_rules = True
            if applying and value.startswith(("/", "*")):
                allows = field["allow"] is not None
                for path in _paths(value, allows=allows):
                    for rules in applying:
                        rules[path] = rules.get(path, False) or allows
    return _compile(general if own is None else own)


def _paths(value: str, *, allows: bool) -> list[str]:
    """Returns the paths that a rule names, in the form in which they are compared."""
    path, anchor = (value[:-1], "$") if value.endswith("$") else (value, "")
    path = re.sub(r"\*+", "*", normalized_path(path, safe="*")) + anchor
    return [path, path.removesuffix(INDEX) + "/$"] if allows and path.endswith(INDEX) else [path]


def _compile(rules: dict[str, bool]) -> Rules | None:
    prefixes = {path: allows for path, allows in rules.items() if "*" not in path}
    wildcards = [
        (len(path), allows, path.split("*")) for path, allows in rules.items() if "*" in path
    ]
    if sum(len(pieces) - 1 for *_, pieces in wildcards) > MOST_WILDCARDS:
        return None
    lengths = sorted({len(path) for path in prefixes}, reverse=True)
    return Rules(prefixes, lengths, sorted(wildcards, reverse=True))


def matches(pieces: Sequence[str], path: str) -> bool:
    """Returns whether a path begins with the first piece and has the others in this order.

    A piece that ends with $ is found at the end of the path alone, so the first place of each piece
    is as good as any other, and no place is tried twice.
    """
    if not path.startswith(pieces[0]):
        return False
    end = len(pieces[0])
    for piece in pieces[1:]:
        begin = path.find(piece, end)
        if begin < 0:
            return False
        end = begin + len(piece)
    return True


def path_of(url: str) -> str:
    """Returns path and query of an address in the form in which they are compared with rules."""
    rest = with_slashes(url).partition("#")[0].partition("//")[2]
    host = re.match("[^/?]*", rest)
    path = rest[host.end() if host else 0 :]
    return normalized_path(path if path.startswith("/") else f"/{path}", safe="")


def normalized_path(path: str, safe: str) -> str:
    """Returns a path in the one form of percent-encoding of those that are equal."""
    content = path.encode("utf-8", "surrogatepass")
    return quote(ENCODED.sub(_decode, content), safe=f"/%={safe}")


def _decode(encoded: re.Match[bytes]) -> bytes:
    code = encoded[0].upper()
    return code if code in KEPT_ENCODED else bytes([int(code[1:], 16)])
