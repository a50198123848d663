"""The result of the line rules `english_lines.clean` and `web_lines.clean`."""

from collections import Counter
from typing import NamedTuple


class Cleaned(NamedTuple):
    """A page after line rules.

    Attributes:
        text: lines that are kept.
        removed: number of lines that each rule removed.
        reason: reason why the page is rejected, or None.
    """

    text: str
    removed: Counter[str]
    reason: str | None
