"""The demo's web: real text in all 101 languages, written as WET files of a crawl, damage included.

`gflanguages` has passages of the Universal Declaration of Human Rights in every language. `django`
has its messages in 73 of them, of which up to 12,000 characters are taken. The result is 154 to
14,500 characters per language, every line written by a person. Addresses are in .example, which is
reserved. Order and content depend only on the versions of the packages.

Among the pages is the damage of every crawl: a body that is not UTF-8, a record without an address,
bytes between records, a file that ends in the middle of a record, an address fetched twice, a page
with the text of another one, and a page of two letters. The same pages give the same bytes.
"""

import functools
import gettext
import io
import re
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import django
import gflanguages
from warcio.warcwriter import WARCWriter

from data.files.atomic import atomic_write
from data.languages import Language, all_languages, get
from data.reading.page import Page

FILES = 5
EARLIER = "2025-06-01T00:00:00Z"
RECORD_NAMES = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # RFC 4122, addresses
GARBAGE = b"\x00\x01 bytes that a failing disk left between two records \xff\xfe\n" * 7
TIMESTAMP = "2026-01-01T00:00:00Z"
SPECIMENS = ("specimen_16", "specimen_21", "specimen_32", "specimen_36", "specimen_48")
PAGES_OF_DECLARATION = 7  # enough to hold out a share and train on the rest
SHORTEST_TEXT = 40
# Where a line may be cut, in order of preference: sentences, clauses, words.
CUTS = (r"(?<=[.!?。！？।။።۔])", r"(?<=[,;:、，；،])", r"(?<=\s)")
CATALOGUES = Path(django.__file__).parent
MESSAGES_PER_PAGE = 10
LARGEST_CATALOGUE = 12_000  # characters; French has 16,000, the smallest catalogue 100
TRANSLATED_WHOLE = "fr"  # the fullest catalogue: English messages are its keys
PLACEHOLDER = re.compile(r"[%{<]")


def write(directory: Path, pages: Iterable[Page] | None = None) -> list[Path]:
    """Writes the archive and returns its files.

    Args:
        directory: output directory, created if absent.
        pages: pages to write; None for all that installed packages ship.
    """
    directory.mkdir(parents=True, exist_ok=True)
    whole = list(shipped_pages() if pages is None else pages)
    paths = [directory / f"demo-{number:05d}.warc.wet.gz" for number in range(FILES)]
    for number, path in enumerate(paths):
        members = [member_of(page) for page in whole[number::FILES]]
        with atomic_write(path) as unfinished:
            unfinished.write_bytes(b"".join(_with_damage(number, members, whole)))
    return paths


def _with_damage(number: int, members: list[bytes], whole: list[Page]) -> Iterator[bytes]:
    """Yields the records of one file, with its kind of damage in the middle."""
    middle = len(members) // 2
    yield from members[:middle]
    yield from _damage(number, whole[0])
    yield from members[middle:]
    if number == 3:
        long_text = "\n".join(page.text for page in whole[:50])
        cut = whole[0]._replace(url="https://crawl.example/cut", text=long_text)
        yield member_of(cut)[:-60]  # inside its text


def _damage(number: int, page: Page) -> Iterator[bytes]:
    if number == 0:
        invalid = page._replace(url="https://crawl.example/invalid")
        yield _member(invalid, b"\xff\xfe" + page.text.encode("utf-16-le"))
    elif number == 1:
        yield _member(page._replace(url=""), page.text.encode("utf-8"))
    elif number == 2:
        yield GARBAGE
    elif number == 4:
        yield member_of(page._replace(timestamp=EARLIER))
        yield member_of(page._replace(url="https://crawl.example/mirror"))
        yield member_of(page._replace(url="https://crawl.example/short", text="OK"))


def member_of(page: Page) -> bytes:
    """Returns a page as one WET record, a gzip member of its own."""
    return _member(page, page.text.encode("utf-8"))


def _member(page: Page, body: bytes) -> bytes:
    record_id = f"<urn:uuid:{uuid.uuid5(RECORD_NAMES, page.url + page.timestamp)}>"
    headers = {
        "WARC-Type": "conversion",
        "WARC-Target-URI": page.url,
        "WARC-Date": page.timestamp,
        "WARC-Record-ID": record_id,
        "Content-Type": "text/plain",
    }
    if page.declared_language is not None:
        identified = get(page.declared_language).iso639_3 or page.declared_language
        headers["WARC-Identified-Content-Language"] = identified
    if not page.url:
        del headers["WARC-Target-URI"]
    content = io.BytesIO()
    writer = WARCWriter(content, gzip=True)
    record = writer.create_warc_record(
        page.url, "conversion", io.BytesIO(body), len(body), "text/plain", headers
    )
    writer.write_record(record)
    return content.getvalue()


def shipped_pages() -> Iterator[Page]:
    """Yields every page, language by language."""
    for language in all_languages():
        yield from pages_of(language)


def pages_of(language: Language) -> Iterator[Page]:
    """Yields the pages of one language; script variants have none."""
    if language.is_script_variant:
        return
    texts = _declaration(language)
    yield from _pages(language, f"https://{language.code}.declaration.example", texts)
    for application, messages in _messages(language).items():
        folder = f"https://{language.code}.django.example/{application}"
        firsts = range(0, len(messages), MESSAGES_PER_PAGE)
        texts = ["\n".join(messages[first : first + MESSAGES_PER_PAGE]) for first in firsts]
        yield from _pages(language, folder, texts)


def _pages(language: Language, folder: str, texts: Iterable[str]) -> Iterator[Page]:
    for place, text in enumerate(texts, start=1):
        yield Page(f"{folder}/{place}", text, TIMESTAMP, declared_language=language.code)


def _declaration(language: Language) -> list[str]:
    """Returns the passages of the Declaration, cut into about seven texts.

    Passages that are part of a longer one are dropped: many are the beginning of another, or repeat
    one sentence. `sd` has 635 characters, of which 158 remain.
    """
    keys = [f"{name}_{language.script}" for name in (language.code, *language.aliases)]
    samples = [_samples()[key].sample_text for key in keys if key in _samples()]
    sample = next(sample for sample in samples if sample.specimen_16)  # no_Latn is empty, nb is not
    lines: list[str] = []
    for line in (line.strip() for name in SPECIMENS for line in getattr(sample, name).split("\n")):
        if not any(line in longer for longer in lines):
            lines.append(line)
    size = max(SHORTEST_TEXT, sum(map(len, lines)) // PAGES_OF_DECLARATION)
    return [text for line in lines for text in cut(line, size)]


@functools.cache
def _samples():
    return gflanguages.LoadLanguages()


def cut(text: str, size: int, places: tuple[str, ...] = CUTS) -> list[str]:
    """Cuts text into pieces of about `size` characters at sentences, else clauses, else words."""
    if len(text) <= 1.5 * size or not places:
        return [text.strip()]
    pieces = [""]
    for part in re.split(places[0], text):
        if len(pieces[-1]) + len(part) <= size:
            pieces[-1] += part
        else:
            pieces.append(part)
    return [
        smaller for piece in pieces if piece.strip() for smaller in cut(piece, size, places[1:])
    ]


def _messages(language: Language) -> dict[str, list[str]]:
    """Returns a language's messages by application, up to `LARGEST_CATALOGUE` characters."""
    messages: dict[str, list[str]] = {}
    room = LARGEST_CATALOGUE
    for application in _applications():
        for message in _catalogue(language, application):
            room -= len(message)
            if room < 0:
                return messages
            messages.setdefault(application.rpartition("/")[2], []).append(message)
    return messages


@functools.cache
def _applications() -> tuple[str, ...]:
    folders = {path.parents[3] for path in CATALOGUES.rglob("locale/*/LC_MESSAGES/django.mo")}
    return tuple(sorted(folder.relative_to(CATALOGUES).as_posix() for folder in folders))


def _catalogue(language: Language, application: str) -> Iterator[str]:
    """Yields the messages of one catalogue that are translated and hold no placeholder."""
    names = [TRANSLATED_WHOLE] if language.code == "en" else [language.code, *language.aliases]
    locales = [CATALOGUES / application / "locale" / name.replace("-", "_") for name in names]
    files = [locale / "LC_MESSAGES" / "django.mo" for locale in locales]
    file = next((file for file in files if file.exists()), None)
    seen: set[str] = set()
    for english, translated in _entries(file) if file is not None else ():
        message = " ".join((english if language.code == "en" else translated).split())
        is_text = len(message) > 1 and not PLACEHOLDER.search(message)
        if is_text and english != translated and message not in seen:
            seen.add(message)
            yield message


def _entries(file: Path) -> Iterator[tuple[str, str]]:
    with file.open("rb") as opened:
        # gettext has no public list of messages; this attribute exists in Python 3.11 to 3.13.
        catalogue: dict = vars(gettext.GNUTranslations(opened))["_catalog"]
    for key, translated in catalogue.items():
        english = key[0] if isinstance(key, tuple) else key  # (message, plural form)
        if english:  # the empty message is the header of the catalogue
            yield english.rpartition("\x04")[2], translated  # the context precedes \x04
