"""Everything that a command prints: on one line each, and as text alone.

File names, manifests, pages and messages of libraries hold words of strangers. Here their control
characters are escaped, and no `[markup]` or `:emoji:` of theirs is interpreted. All printing goes
through this file.
"""

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.text import Text

from data.control_characters import escape_controls


class Terminal(Console):
    """A console that takes every string as text; styles are arguments, never markup.

    Args:
        settings: settings of `rich.console.Console`.
    """

    def __init__(self, **settings: Any):
        super().__init__(markup=False, emoji=False, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        """Returns a string as rich shows it: called for each one printed or put in a table."""
        return super().render_str(escape_controls(text), **settings)


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
        print_message(f"{stage}: next: mswitch {following}")


def print_message(message: str) -> None:
    """Prints one line on standard error."""
    print(escape_controls(message), file=sys.stderr, flush=True)
