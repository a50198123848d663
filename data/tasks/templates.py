"""Templates: text with fields in braces, such as `topic: {text}`.

The syntax is that of `str.format` with names of fields alone: no attributes, indices, conversions
or formats, so a template runs no code. `{{` and `}}` stand for braces. A field's value is inserted
as it is, braces included, without the white space around it.
"""

import re
import string
from collections.abc import Mapping
from typing import Any, NamedTuple

from data.errors import DataError

FORBIDDEN = re.compile(r"[.\[\]]")


class BadRow(ValueError):
    """A row that makes no example; its text is the reason under which it is counted."""


class Blank(BadRow):
    """A row whose field is null or without text."""


class Part(NamedTuple):
    """A piece of a template: literal text, then the value of a field unless that is None."""

    literal: str
    field: str | None


class Template(NamedTuple):
    """A template in parts."""

    parts: tuple[Part, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, each once."""
        return tuple(dict.fromkeys(part.field for part in self.parts if part.field is not None))

    def filled(self, row: Mapping[str, Any]) -> str:
        """Returns the text with the values of a row.

        Raises:
            BadRow: if a field is missing, or its value is not text.
        """
        return "".join(
            part.literal + ("" if part.field is None else text_of(row, part.field))
            for part in self.parts
        )


def parsed(text: str, place: str) -> Template:
    """Returns a template in parts.

    Args:
        text: the template.
        place: where it stands, for messages.

    Raises:
        DataError: if it holds anything but text and names of fields.
    """
    try:
        found = list(string.Formatter().parse(text))
    except ValueError as error:
        raise _refusal(text, place, str(error)) from error
    for _, field, form, conversion in found:
        if field is not None and (form or conversion or not field or FORBIDDEN.search(field)):
            raise _refusal(text, place, f"{field!r} is not a name alone")
    return Template(tuple(Part(literal, field) for literal, field, _, _ in found))


def text_of(row: Mapping[str, Any], field: str) -> str:
    """Returns the value of a field as text.

    Raises:
        BadRow: if the field is missing, or its value is not text.
    """
    if field not in row:
        raise BadRow(f"no_{field}")
    return as_text(row[field], field)


def as_text(value: Any, field: str) -> str:
    """Returns a value as text, without the white space around it.

    Args:
        value: value of any type.
        field: name of its field, for the reason.

    Raises:
        Blank: if nothing is left.
        BadRow: if it is a list or an object, or not valid Unicode.
    """
    if value is not None and not isinstance(value, str | int | float):
        raise BadRow(f"{field}_is_no_text")
    text = "" if value is None else str(value).strip()
    if not text:
        raise Blank(f"no_{field}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRow("invalid_utf8") from None
    return text


def _refusal(text: str, place: str, reason: str) -> DataError:
    return DataError(
        f"{place} should be text with names of fields in braces and is {text!r} ({reason}); write "
        "for example 'topic: {text}', and '{{' for a brace."
    )
