"""Makes pages from records with named fields, the rows of every corpus that is not an archive.

A record needs `text`; it may have `url`, `timestamp`, `language` (or `lang`) and `split`. A
timestamp is text, or a date or time of Parquet; one of another type makes a record broken. A record
of a test split is set aside: it is neither trained on nor evaluated. Any other unknown split is
ignored. A page without an address, or with an empty one, has the digest of its text as one, so
equal texts are one page and lie in one split. The file's name supplies a missing language or split
(`published_names`). Other fields are ignored. Text with a lone surrogate (possible in JSON, not in
UTF-8) is broken like invalid UTF-8 in an archive.
"""

import hashlib
from collections.abc import Mapping
from datetime import date
from typing import Any

from data.languages import declared
from data.reading.page import Page
from data.reading.published_names import Published
from data.reading.timestamps import is_timestamp

TEST = "test"
SPLITS = {one: one for one in ("train", "validation", TEST)} | {
    "valid": "validation",
    "dev": "validation",
}


def defect_of(record: Any, published: Published) -> str | None:
    """Returns the reason why a record is not a page, or None."""
    if not isinstance(record, Mapping):
        return "not_an_object"
    for field in ("text", "url"):
        value = record.get(field)
        if field == "url" and value in (None, ""):
            continue
        if not isinstance(value, str) or not value.strip():
            return f"no_{field}"
        if not _is_unicode(value):
            return "invalid_utf8"
    timestamp = record.get("timestamp")
    if not isinstance(timestamp, str | date | None):
        return "invalid_timestamp"  # a number may count seconds or milliseconds
    text = _string(timestamp)
    if text and not is_timestamp(text):
        return "invalid_timestamp"
    return "test_split" if _split(record, published) == TEST else None


def page_of(record: Mapping[str, Any], published: Published) -> Page:
    """Returns the page of a record without a defect."""
    language = record.get("lang") or record.get("language")
    return Page(
        url=record.get("url") or address_of(record["text"]),
        text=record["text"],
        timestamp=_string(record.get("timestamp")),
        declared_language=declared(_string(language)) or published.language,
        split=_split(record, published),
    )


def address_of(text: str) -> str:
    """Returns the address of a page that was published without one."""
    return f"sha256:{hashlib.sha256(text.encode('utf-8')).hexdigest()[:32]}"


def _split(record: Mapping[str, Any], published: Published) -> str:
    return SPLITS.get(_string(record.get("split")), published.split)


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _string(value: Any) -> str:
    if isinstance(value, date):  # or a datetime, which is one
        return value.isoformat()
    return value if isinstance(value, str) else ""
