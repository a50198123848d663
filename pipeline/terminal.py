"""Everything that a command prints: on one line each, and as text alone.

File names, manifests, pages and messages of libraries hold words of strangers. Here their control
characters are escaped, and no `[markup]` or `:emoji:` of theirs is interpreted. All printing goes
through this file.
"""

import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from data.control_characters import escape_controls

SHORTEST_TEXT = 12  # characters of a text column of a table


def replace_unknown_characters() -> None:
    """Makes a terminal without UTF-8 show `\\u2026` for a character that it lacks, not fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class Terminal(Console):
    """A console that takes every string as text; styles are arguments, never markup.

    Args:
        settings: settings of `rich.console.Console`.
    """

    def __init__(self, **settings: Any):
        super().__init__(markup=False, emoji=False, **settings)

    def print(self, *objects: Any, **settings: Any) -> None:
        """Prints strings and tables; no number of a table is cut, however narrow the terminal.

        In a pipe or a file a string stays one line, so that it can be searched.
        """
        tables = [one for one in objects if isinstance(one, Table)]
        if not self.is_terminal and all(isinstance(one, str) for one in objects):
            settings.setdefault("soft_wrap", True)
        with self._at_least(max(map(least_width, tables), default=0)):
            super().print(*objects, **settings)

    @contextmanager
    def _at_least(self, width: int) -> Iterator[None]:
        before = self._width
        if width > self.width:
            self._width = width
        try:
            yield
        finally:
            self._width = before

    def render_str(self, text: str, **settings: Any) -> Text:
        """Returns a string as rich shows it: called for each one printed or put in a table."""
        return super().render_str(escape_controls(text), **settings)


def least_width(table: Table) -> int:
    """Returns the width below which numbers would be cut; text may be cut to `SHORTEST_TEXT`.

    Numbers are what is aligned to the right. Their columns are kept at their full width.
    """
    total = 0
    for column in table.columns:
        longest = max(len(str(cell)) for cell in (column.header, *column.cells))
        if column.justify == "right":
            column.min_width = longest
            column.no_wrap = True
        else:
            longest = min(longest, SHORTEST_TEXT)
        total += longest + 3  # with padding and a border
    return total + 1


def print_lines(*lines: str) -> None:
    """Prints lines on standard output as they are, without wrapping or colours."""
    for line in lines:
        print(escape_controls(line))


def print_end(stage: str, made: str, cautions: Iterable[str] = (), following: str = "") -> None:
    """Prints on standard error what a stage made, what to know about it, and the next command.

    Args:
        stage: name of the command.
        made: what it made, and where.
        cautions: sentences, one per line.
        following: words of the next command after `mswitch`.
    """
    print_message(f"{stage}: {made}")
    for caution in cautions:
        print_message(f"{stage}: caution: {caution}")
    if following:
        print_next(stage, following)


def print_next(stage: str, following: str) -> None:
    """Prints on standard error the command that follows, after `mswitch`."""
    print_message(f"{stage}: next: mswitch {following}")


def print_message(message: str) -> None:
    """Prints one line on standard error, whole: other processes may print there too."""
    sys.stderr.write(f"{escape_controls(message)}\n")
    sys.stderr.flush()
