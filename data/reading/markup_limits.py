"""Bounds the work of parsing a page's markup, before it is parsed.

An HTML parser compares an attribute with the others of its tag, a name with other names, and an end
tag with the open elements. It also recreates unclosed formatting elements in every later block.
Parsing 350 kB can therefore take minutes. These steps are counted here in one pass over the tags.
The count is mostly too high, because elements that HTML closes without a tag stay open. The limit
applies to the count, so whether a page is read never depends on the machine. The count can also be
too low: for markup that a parser nests in another order than that of its tags, and for a page that
hides tags in two ways at once, as in `<!-- <svg><b a=" --><svg><style>`.

Small pages are not counted, as the worst of them takes about a second.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

MOST_STEPS = 100_000_000  # about a second; 5 MB of ordinary markup takes a million
SMALL_BYTES = 128 << 10
FEW_TAGS = 2000
STEPS_OF_A_COPY = 100  # of a formatting element in one more block
MOST_EQUAL = 3  # formatting elements that a parser remembers (HTML, "Noah's Ark clause")

NAMES_PER_STEP = 16  # names that are compared with a new one as fast as one element
NAME = rb"[^\s/>][^\s/>=]*+"
VALUE = rb"(?:\s*+=\s*+(?:\"[^\"]*+\"?|'[^']*+'?|[^\s>]*+))?+"
ATTRIBUTE = NAME + VALUE
ATTRIBUTES = rb"((?:[\s/]++|" + ATTRIBUTE + rb")*+)"
ONE_TAG = rb"<(/?[a-z][^\s/>]*+)" + ATTRIBUTES
TAG = re.compile(
    rb"<!--(?:-?>|.*?(?:--!?>|\Z))"
    rb"|<(script|style|textarea|title|xmp|iframe)(?=[\s/>])" + ATTRIBUTES + rb".*?(?:</\1|\Z)"
    rb"|" + ONE_TAG,
    re.DOTALL | re.IGNORECASE,
)
# Inside <svg> and <math> no element is raw text, and where these end depends on the whole tree. So
# a page with either is counted twice: as HTML, and with the tags in scripts and comments.
FOREIGN = re.compile(rb"<(?:svg|math)[\s/>]", re.IGNORECASE)
EVERY_TAG = re.compile(ONE_TAG, re.IGNORECASE)
EACH_ATTRIBUTE = re.compile(rb"(" + NAME + rb")" + VALUE)
FORMATTING = frozenset(b"b big code em font i s small strike strong tt u a nobr".split())
ONCE = frozenset((b"a", b"nobr"))  # each closes the one before
UNNESTED = frozenset(  # without content, or closed by the next of their kind
    b"area base basefont bgsound br col embed frame hr img input keygen link meta param source "
    b"track wbr p li dd dt option tr td th tbody thead tfoot caption colgroup rt rp html head body"
    b"".split()
)
MERGED = frozenset((b"html", b"body"))  # later ones add their attributes to the first


def is_too_complex(html: bytes) -> bool:
    """Returns whether parsing the page may take more than the allowed steps."""
    if len(html) <= SMALL_BYTES and html.count(b"<") <= FEW_TAGS:
        return False
    return _are_too_many(_tags(html)) or (
        FOREIGN.search(html) is not None and _are_too_many(_every_tag(html))
    )


def _are_too_many(tags: Iterable[tuple[bytes, bytes, bool]]) -> bool:
    count = _Steps()
    for name, attributes, is_raw in tags:
        count.add(name.lower(), attributes, is_raw=is_raw)
        if count.steps > MOST_STEPS:
            return True
    return False


def _tags(html: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yields name and attributes of each tag of HTML, and whether the element is raw text."""
    for found in TAG.finditer(html):
        raw, raw_attributes, name, attributes = found.groups(b"")
        if raw or name:
            yield raw or name, raw_attributes or attributes, bool(raw)


def _every_tag(html: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yields the same of what looks like a tag, wherever it stands; no element is raw text."""
    for found in EVERY_TAG.finditer(html):
        name, attributes = found.groups(b"")
        yield name, attributes, False


class _Steps:
    """The steps so far, and the elements that are open."""

    def __init__(self):
        self.steps = 0
        self._open: Counter[bytes] = Counter()
        self._depth = 0
        self._remembered: dict[bytes, list[bytes]] = {}
        self._formatting = 0
        self._merged = 0
        self._names: set[bytes] = set()

    def add(self, name: bytes, attributes: bytes, *, is_raw: bool) -> None:
        """Counts a tag; an end tag's name begins with a slash."""
        self._count_attributes(name, attributes)
        self.steps += self._depth
        if name.removeprefix(b"/") not in FORMATTING:
            self.steps += STEPS_OF_A_COPY * self._formatting
        if name not in self._names:
            self._count_names([name])
        if name.startswith(b"/"):
            self._close(name[1:])
        elif not is_raw and name not in UNNESTED:
            self._open_one(name, attributes)

    def _count_attributes(self, name: bytes, attributes: bytes) -> None:
        if len(attributes) < 2:
            return
        names = EACH_ATTRIBUTE.findall(attributes)
        number = len(names)
        self._count_names(names)
        if name in MERGED:
            self._merged += number
        self.steps += number * (number + self._merged)

    def _count_names(self, names: list[bytes]) -> None:
        before = len(self._names)
        self._names.update(names)
        self.steps += (len(self._names) - before) * before // NAMES_PER_STEP

    def _open_one(self, name: bytes, attributes: bytes) -> None:
        if name in ONCE and self._open[name]:
            return
        self._open[name] += 1
        self._depth += 1
        if name in FORMATTING:
            self.steps += 10 * self._formatting  # compared by all attributes
            remembered = self._remembered.setdefault(name, [])
            if remembered[-MOST_EQUAL:].count(attributes) < MOST_EQUAL:
                remembered.append(attributes)
                self._formatting += 1

    def _close(self, name: bytes) -> None:
        if not self._open[name]:
            return
        self._open[name] -= 1
        self._depth -= 1
        if self._open[name] < len(self._remembered.get(name, ())):
            self._remembered[name].pop()
            self._formatting -= 1
