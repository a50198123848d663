"""Everything that a command prints: on one line each, as text alone, without credentials.

File names, manifests, pages and messages of libraries hold words of strangers. Here their control
characters are escaped, and no `[markup]` or `:emoji:` of theirs is interpreted. All printing goes
through this file.

Credentials stay out of command lines and jobs, too. Every process of a machine can read another's
command line. Beam copies a job's options into its graph, its workers' environment and its runner's
pages. So Beam's options for keys, and addresses with a password, are refused before anything prints
or passes on their values. Stores' libraries read the environment and credential files by
themselves, in each process.
"""

import copy
import io
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from data.errors import DataError, escape_controls

# Beam's options for the keys of a store.
KEYS = re.compile(r"--(?:s3[-_](?:access|secret|session)|azure[-_]connection)[\w-]*")
IN_ADDRESS = re.compile(r"\b([a-z][a-z0-9+.-]{0,20}://)[^/?#\s@:]*:[^/?#\s]*@", re.IGNORECASE)
# Of environment variables; the values of others are printed.
VARIABLE = re.compile(
    r"secret|passwo?r?d|passphrase|access_?key|session_?token|auth_?token|access_?token|api_?key"
    r"|private_?key|connection_?string",
    re.IGNORECASE,
)
SHORTEST = 8  # shorter values would be found in ordinary words
HIDDEN = "***"


def refuse(arguments: Sequence[str]) -> None:
    """Checks that a command line, or the options of a Beam job, hold no credentials.

    Raises:
        DataError: if one is Beam's option for a key, or an address holds a password.
    """
    for word in arguments:
        key = KEYS.match(word)
        if key or IN_ADDRESS.search(word):
            raise DataError(
                f"{key[0] if key else 'An address with a password'} was given on the command line, "
                "which other processes of this machine can read, and which a job shows to its "
                "runner; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or ~/.aws/credentials), "
                "GOOGLE_APPLICATION_CREDENTIALS, or ~/.netrc instead, here and on every worker."
            )


def redact(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Returns a message without passwords in addresses and credentials of the environment."""
    for name, value in environment.items():
        if len(value) >= SHORTEST and VARIABLE.search(name):
            text = text.replace(value, HIDDEN)
    return IN_ADDRESS.sub(rf"\g<1>{HIDDEN}@", text)


NEXT, OR = "next", "or"
WITHIN = "MSWITCH_WITHIN"  # set by a command that gives others, such as `mswitch demo`
LONGEST_MESSAGE = 4_000  # characters
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

        A table that is too wide for a terminal becomes several, one below the other. In a pipe or a
        file it stays one, and a string stays one line, so that it can be searched.
        """
        if self.is_terminal:
            fitting = (
                parts_of(item, self.width) if isinstance(item, Table) else [item]
                for item in objects
            )
            objects = tuple(part for parts in fitting for part in parts)
        tables = [item for item in objects if isinstance(item, Table)]
        if not self.is_terminal and all(isinstance(item, str) for item in objects):
            settings.setdefault("soft_wrap", True)
        for table in tables:
            if (width := least_width(table)) > self.width:
                table.width = width
                settings["crop"] = False
            hold_numbers(table, max(width, self.width))
        super().print(*objects, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        """Returns a string as rich shows it: called for each one printed or put in a table."""
        return super().render_str(escape_controls(redact(text)), **settings)


def least_width(table: Table) -> int:
    """Returns the width below which numbers would be cut; text may be cut to `SHORTEST_TEXT`.

    Numbers are what is aligned to the right. Their columns are kept at their full width, but for
    heads of several words.
    """
    return _width_of(table, map(_least_cells, table.columns))


def _width_of(table: Table, cells: Iterable[int]) -> int:
    """Returns the width of columns of a table that have so many cells, with padding and borders."""
    _, right, _, left = table.padding
    border = 0 if table.box is None else 1
    return border + sum(width + left + right + border for width in cells)


def _least_cells(column: Column) -> int:
    """Returns the least number of cells of a column."""
    shortest, is_whole = _longest_word(column), column.no_wrap and column.ratio is None
    return shortest if is_whole or column.justify == "right" else min(shortest, SHORTEST_TEXT)


def _longest_word(column: Column) -> int:
    """Returns the longest of a column's cells and of the words of its head, which is broken."""
    words = str(column.header).split("\n" if column.no_wrap else None) or [""]
    return max(len(str(cell)) for cell in (*words, *column.cells))


def hold_numbers(table: Table, width: int) -> None:
    """Fixes the columns of numbers of a table that must be narrowed, so that only text is cut."""
    longest = (max(_longest_word(column), len(str(column.header))) for column in table.columns)
    whole = _width_of(table, longest)
    for column in table.columns:
        if column.justify == "right" and whole > width:
            column.min_width, column.no_wrap = _longest_word(column), True
            column.header = Text(broken(escape_controls(str(column.header)), column.min_width))


def parts_of(table: Table, width: int) -> list[Table]:
    """Returns a table as it is, or as several that fit, each with the first column."""
    if least_width(table) <= width or len(table.columns) < 3:
        return [table]
    first, *others = table.columns
    groups: list[list[Column]] = [[]]
    for column in others:
        beside = map(_least_cells, [first, *groups[-1], column])
        if groups[-1] and _width_of(table, beside) > width:
            groups.append([])
        groups[-1].append(column)
    return [_with_columns(table, [first, *group]) for group in groups]


def _with_columns(table: Table, columns: list[Column]) -> Table:
    part = copy.copy(table)
    part.columns, part.rows = Table(*(column.copy() for column in columns)).columns, []
    rows = zip(*(column.cells for column in columns), strict=True)
    for row, cells in zip(table.rows, rows, strict=True):
        part.add_row(*cells, style=row.style, end_section=row.end_section)
    return part


def print_lines(*lines: str) -> None:
    """Prints lines on standard output as they are, without wrapping or colours."""
    for line in lines:
        print(escape_controls(line))


def print_end(
    stage: str,
    made: str,
    cautions: Iterable[str] = (),
    following: Iterable[object] = (),
    or_else: Iterable[object] = (),
) -> None:
    """Prints on standard error what a stage made, what to know about it, and the next command.

    Args:
        stage: name of the command.
        made: what it made, and where.
        cautions: sentences, one per line.
        following: words of the next command after `mswitch`. Where they cannot be found, none is
            printed: the work is done.
        or_else: words of another command that may follow.
    """
    print_message(f"{stage}: {made}")
    for caution in cautions:
        print_message(f"{stage}: caution: {caution}")
    for opening, command in ((NEXT, following), (OR, or_else)):
        with suppress(ValueError, OSError):  # each refusal is a ValueError
            if words := [*command]:
                print_next(stage, *words, opening=opening)


def print_next(stage: str, *following: object, opening: str = NEXT) -> None:
    """Prints on standard error the command that follows, after `mswitch`.

    On a terminal it goes on in lines of its own, in a form that a shell reads as one command.
    Nothing follows within a command that gives commands itself.
    """
    if not os.environ.get(WITHIN):
        command = shlex.join(["mswitch", *map(str, following)])
        _print_parts(f"{stage}: {opening}: {command}", " --", " \\\n    ")


def print_message(message: str) -> None:
    """Prints one line on standard error, whole: other processes may print there too.

    On a terminal it is broken between words.
    """
    _print_parts(shorten(redact(message)), " ", "\n")


def shorten(text: str) -> str:
    """Returns a text without its middle if it is long, as a value of others may have megabytes.

    What was asked stands at the beginning of a message, and what to do at its end.
    """
    half = LONGEST_MESSAGE // 2
    middle = f" [... {len(text) - 2 * half:,} characters ...] "
    return text if len(text) <= LONGEST_MESSAGE else text[:half] + middle + text[-half:]


def _print_parts(message: str, between: str, line_break: str) -> None:
    text = escape_controls(message)
    if sys.stderr.isatty():
        text = broken(text, shutil.get_terminal_size().columns, between, line_break)
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def broken(
    text: str,
    width: int,
    between: str = " ",
    line_break: str = "\n",
) -> str:
    """Returns a text in lines of at most `width` terminal cells, where no word is longer.

    Args:
        text: one line.
        width: cells of the terminal.
        between: where a line may be broken; but for its first space it begins the next line.
        line_break: what is written in the place of that space.
    """
    first, *others = text.split(between)
    indent, rest = line_break.rpartition("\n")[2], cell_len(line_break.partition("\n")[0])
    lines = [first]
    for part in others:
        part = between[1:] + part
        if cell_len(f"{lines[-1]} {part}") + rest <= width:
            lines[-1] += f" {part}"
        else:
            lines.append(indent + part)
    return (line_break.removesuffix(indent)).join(lines)
