"""Real text in all 101 languages that installed packages ship, as short pages: the demo's web.

`gflanguages` has passages of the Universal Declaration of Human Rights in every language. `django`
has its messages in 73 of them, of which up to 12,000 characters are taken. The result is 154 to
14,500 characters per language, every line written by a person. Addresses are in .example, which is
reserved. Order and content depend only on the versions of the packages.
"""

import functools
import gettext
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import django
import gflanguages

from data.languages import Language, all_languages
from data.reading.page import Page

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
        yield from _pages(language, folder, _groups(messages))


def _pages(language: Language, folder: str, texts: Iterable[str]) -> Iterator[Page]:
    for place, text in enumerate(texts, start=1):
        yield Page(f"{folder}/{place}", text, TIMESTAMP, declared_language=language.code)


@functools.cache
def _samples():
    return gflanguages.LoadLanguages()


def _declaration(language: Language) -> list[str]:
    """Returns the passages of the Declaration, cut into about seven texts.

    Passages that are part of a longer one are dropped: many are the beginning of another, or repeat
    one sentence. `sd` has 635 characters, of which 158 remain.
    """
    keys = [f"{name}_{language.script}" for name in (language.code, *language.aliases)]
    samples = [_samples()[key].sample_text for key in keys if key in _samples()]
    sample = next(sample for sample in samples if sample.specimen_16)  # no_Latn is empty, nb is not
    taken: list[str] = []
    for line in (line.strip() for name in SPECIMENS for line in getattr(sample, name).split("\n")):
        if not any(line in longer for longer in taken):
            taken.append(line)
    size = max(SHORTEST_TEXT, sum(map(len, taken)) // PAGES_OF_DECLARATION)
    return [text for line in taken for text in cut(line, size)]


def cut(text: str, size: int, places: tuple[str, ...] = CUTS) -> list[str]:
    """Cuts text into pieces of about `size` characters at sentences, else clauses, else words."""
    if len(text) <= 1.5 * size or not places:
        return [text.strip()]
    joined = [""]
    for piece in re.split(places[0], text):
        if len(joined[-1]) + len(piece) <= size:
            joined[-1] += piece
        else:
            joined.append(piece)
    return [
        smaller for piece in joined if piece.strip() for smaller in cut(piece, size, places[1:])
    ]


def _messages(language: Language) -> dict[str, list[str]]:
    """Returns a language's messages by application, up to `LARGEST_CATALOGUE` characters."""
    found: dict[str, list[str]] = {}
    room = LARGEST_CATALOGUE
    for application in _applications():
        for message in _catalogue(language, application):
            room -= len(message)
            if room < 0:
                return found
            found.setdefault(application.rpartition("/")[2], []).append(message)
    return found


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


def _groups(messages: list[str]) -> Iterator[str]:
    for first in range(0, len(messages), MESSAGES_PER_PAGE):
        yield "\n".join(messages[first : first + MESSAGES_PER_PAGE])
