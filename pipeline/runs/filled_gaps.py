"""Filled gaps as lines of text, and their file, read back; no JAX is loaded.

A line is cut to a number of terminal cells: East Asian characters take two, combining marks none.
The code of the language stands first and Latin words between the texts, so a terminal that reorders
right-to-left text keeps gap, filling and truth apart. Control characters of a page are escaped.
"""

from typing import NamedTuple

import pyarrow as pa
from rich.cells import cell_len

from data.errors import escape_controls
from data.files.parquet_files import read_table
from data.files.paths import Place, exists
from pipeline.runs.evaluation_paths import gaps_file
from pipeline.runs.finished import evaluated_steps

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("language", "before", "filled", "hidden", "after")]
)
CUT = "..."
NOTHING = "-"  # an empty filling


class FilledGap(NamedTuple):
    """A gap of a held-out page.

    Attributes:
        language: code of the page's language.
        before, after: visible text on both sides, with the space towards the gap if there is one.
        filled: what the network wrote.
        hidden: what stood there.
    """

    language: str
    before: str
    filled: str
    hidden: str
    after: str


def read_gaps(directory: Place, step: int) -> list[FilledGap]:
    """Returns the gaps that a step's evaluation filled; none if it filled none.

    Raises:
        DataError: if their file is damaged.
    """
    path = gaps_file(directory, step)
    if not exists(path):
        return []
    rows = read_table(path, SCHEMA).to_pylist()
    return [FilledGap(**{name: value or "" for name, value in row.items()}) for row in rows]


def latest_gaps(directory: Place) -> tuple[int, list[FilledGap]]:
    """Returns the gaps of the last evaluation that filled any, and its step; 0 if none did.

    Raises:
        DataError: if their file is damaged.
    """
    for step in reversed(evaluated_steps(directory)):
        if gaps := read_gaps(directory, step):
            return step, gaps
    return 0, []


def line_of(gap: FilledGap, cells: int | None = None) -> str:
    """Returns a gap as one line: `sw: before [filling] after (was: truth)`, or within a word.

    Args:
        gap: the gap.
        cells: largest width of the line; None for the whole text.
    """
    code, before, filled, hidden, after = (escape_controls(one) for one in gap)
    filled, hidden = filled or NOTHING, hidden or NOTHING
    if cells is not None:
        rest = cells - cell_len(f"{code}: [] (was: )")
        filled, hidden = (start_of(one, rest // 4) for one in (filled, hidden))
        rest -= cell_len(filled) + cell_len(hidden)
        before = end_of(before, rest - min(cell_len(after), rest // 2))
        after = start_of(after, rest - cell_len(before))
    return f"{code}: {before}[{filled}]{after} (was: {hidden})"


def start_of(text: str, cells: int) -> str:
    """Returns the first characters of a text that fit, with `...` if some do not."""
    if cell_len(text) <= cells:
        return text
    kept = ""
    for character in text:
        if cell_len(kept + character) > cells - len(CUT):
            break
        kept += character
    return kept + CUT if cells >= len(CUT) else CUT[: max(cells, 0)]


def end_of(text: str, cells: int) -> str:
    """Returns the last characters of a text that fit, with `...` if some do not."""
    if cell_len(text) <= cells:
        return text
    kept = text
    while kept and cell_len(kept) > max(cells - len(CUT), 0):
        kept = kept[1:]
    while kept and cell_len(kept[0]) == 0:  # a mark without its letter
        kept = kept[1:]
    return CUT + kept if cells >= len(CUT) else CUT[: max(cells, 0)]
