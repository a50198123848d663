"""What line rules leave of a page; the answer of `english_lines.clean` and `web_lines.clean`."""

from collections import Counter
from typing import NamedTuple


class Cleaned(NamedTuple):
    """What the line rules leave of a page.

    Attributes:
        text: the lines that stayed.
        removed: how many lines each rule took.
        reason: why the page is rejected, or None.
    """

    text: str
    removed: Counter[str]
    reason: str | None
