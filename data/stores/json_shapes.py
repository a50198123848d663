"""Types of values in JSON files: counts, digests and names that become parts of paths.

`json_files` compares each value with its type. A digest or a name that passes cannot lead out of
the directory that it is looked up in: it has no `..`, no empty part, no leading slash, no backslash
and no control character.
"""

from typing import Annotated

from msgspec import Meta

EXACT = 2**53 - 1  # largest integer that every JSON reader keeps exactly (RFC 8259, section 6)
_PART = r"(?!\.{1,2}(?:/|\Z))[^/\\\x00-\x1f\x7f]{1,200}"

Count = Annotated[int, Meta(ge=0, le=EXACT)]
"""Number of things: pages, tokens, bytes."""

Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
"""SHA-256 in hexadecimal."""

Name = Annotated[str, Meta(pattern=rf"\A{_PART}\Z")]
"""Name of one file or directory, such as a language's code."""

RelativePath = Annotated[str, Meta(pattern=rf"\A{_PART}(?:/{_PART})*\Z", max_length=1000)]
"""Path below a directory, such as `sw/train-00000-of-00001`."""
