"""Makes pages of records with named fields, the form of every corpus that is not an archive.

A record needs `text` and `url`; it may have `timestamp`, `language` (or `lang`) and `split`. What
it does not say, the file's name may (`published_names`). Other fields are left alone. Text with a
lone surrogate, which JSON can write and UTF-8 cannot, is broken like invalid UTF-8 in an archive.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from data.languages import declared
from data.reading.page import Page
from data.reading.published_names import Published

SPLITS = ("train", "validation")


def defect_of(record: Any) -> str | None:
    """Returns why a record is no page, or None."""
    if not isinstance(record, Mapping):
        return "not_an_object"
    for field in ("text", "url"):
        value = record.get(field)
        if not isinstance(value, str) or not value.strip():
            return f"no_{field}"
        if not _is_unicode(value):
            return "invalid_utf8"
    return None if _is_unicode(_string(record.get("timestamp"))) else "invalid_utf8"


def page_of(record: Mapping[str, Any], published: Published) -> Page:
    """Returns the page that a sound record holds."""
    language = record.get("lang") or record.get("language")
    split = record.get("split")
    return Page(
        url=record["url"],
        text=record["text"],
        timestamp=_string(record.get("timestamp")),
        declared_language=declared(_string(language)) or published.language,
        split=split if split in SPLITS else published.split,
    )


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _string(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, str) else ""
