"""Letters with their marks in one form (NFC), in linear time."""

import unicodedata

import regex

# Unicode's Stream-Safe Text Format (UAX #15) allows 30 marks in a row; no language has ten.
# They are sorted by insertion: 100,000 of two kinds take minutes.
BEYOND = regex.compile(r"(\p{M}{30})\p{M}+")


def composed(text: str) -> str:
    """Returns a text in NFC, without the marks beyond 30 in a row."""
    return unicodedata.normalize("NFC", with_short_runs(text))


def with_short_runs(text: str) -> str:
    """Returns a text without the marks beyond 30 in a row, which any normal form may sort."""
    return text if text.isascii() else BEYOND.sub(r"\1", text)
