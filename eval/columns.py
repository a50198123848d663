"""A table as a list of columns: what data, Markdown and the page have of a row follows from it.

    Column("Training", attrgetter("text.tokens"), count, "tokens", name="training_tokens")

is a field of `report.json` and CSV, and a column of the page and of Markdown. A value is a number,
a text, or an `Estimate`, whose ends follow it: as `gain_nats_low` and `gain_nats_high` in data, in
small print on the page, in brackets in Markdown. A column without a name is only shown; one without
a title is only data.

Numbers have one form wherever they are shown. Markdown has a comma in thousands and a plain minus.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from eval.compare import Estimate

UNKNOWN = "–"
PLAIN_SIGNS = str.maketrans({"\N{NARROW NO-BREAK SPACE}": ",", "\N{MINUS SIGN}": "-"})
MARKS = {"better": " ●", "worse": " ●", "uncorrected": " ○"}
_FORMULA = re.compile(r"[=@]|[+-](?![\d.]+$)")  # a number may have a sign

Form = Callable[[Any], str]


def with_format(value: int | float | None, form: str) -> str:
    """Returns a number in a form of Python's; a dash for None."""
    return UNKNOWN if value is None else format(value, form)


def text(value: object) -> str:
    """Returns a text as it is."""
    return str(value)


def figures(value: object) -> str:
    """Returns a text that stands among numbers, such as `3 of 101`; a dash for none."""
    return str(value or UNKNOWN)


def with_commas(values: Iterable[object]) -> str:
    """Returns values with commas between them."""
    return ", ".join(map(str, values))


def plain(value: object) -> str:
    """Returns a value of any type, numbers with four digits or, from a thousand on, commas."""
    if value is None:
        return UNKNOWN
    if isinstance(value, tuple):
        return ", ".join(plain(part) if isinstance(part, float) else str(part) for part in value)
    if isinstance(value, int | float) and abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def count(value: int | float | None) -> str:
    """Returns `12 345`."""
    return with_format(value, ",.0f").replace(",", "\N{NARROW NO-BREAK SPACE}")


def number(value: int | float | None, digits: int = 3) -> str:
    """Returns `0.123`."""
    return with_format(value, f".{digits}f")


def with_sign(value: int | float | None, digits: int = 3) -> str:
    """Returns `+0.123`."""
    return with_format(value, f"+.{digits}f").replace("-", "\N{MINUS SIGN}")


def share(value: int | float | None) -> str:
    """Returns `12.3%`."""
    return "< 0.1%" if value is not None and 0 < value < 0.001 else with_format(value, ".1%")


def percent(value: int | float | None) -> str:
    """Returns `12%`."""
    return with_format(value, ".0%").replace("-", "\N{MINUS SIGN}")


FORMS: dict[str, Callable[..., str]] = {
    "count": count,
    "formatted": with_format,
    "number": number,
    "percent": percent,
    "plain": plain,
    "share": share,
    "signed": with_sign,
}


def digits(form: Callable[..., str], number_of_digits: int) -> Form:
    """Returns a form with another number of digits."""
    return lambda value: form(value, number_of_digits)


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        title: head where it is shown; empty if it is only data.
        value: returns its value of a row.
        form: returns a number as it is shown; a text among numbers is shown as it is.
        unit: small print of the head.
        name: name of its field in JSON and CSV; empty if it is only shown.
        ends: whether data have the ends of its interval too, None where there is no estimate.
        note: returns the small print of a cell, which is a column of its own in Markdown.
        verdict: returns the verdict on a row's gain, which colours it and marks it in Markdown.
        heat: returns from 0 to 1 how strongly a cell of the page is shaded.
    """

    title: str
    value: Callable[[Any], Any]
    form: Form = text
    unit: str = ""
    name: str = ""
    ends: bool = False
    note: Callable[[Any], str] | None = None
    verdict: Callable[[Any], str] | None = None
    heat: Callable[[Any], float] | None = None

    @property
    def kind(self) -> str:
        """`text` or `number`, which stand left and right."""
        return "text" if self.form is text else "number"

    @property
    def heads(self) -> list[str]:
        """The heads in Markdown: one, and that of the small print."""
        head = f"{self.title}, {self.unit}" if self.unit else self.title
        return [head, *(["Code"] if self.note else [])]

    def cell(self, row: Any) -> "Cell":
        """Returns the cell of a row."""
        value, ends = self.value(row), []
        if isinstance(value, Estimate):
            ends = [] if value.low is None else [self.form(end) for end in value.ends[1:]]
            value = value.value
        return Cell(
            kind=self.kind,
            text=value if isinstance(value, str) else self.form(value),
            value=None if isinstance(value, str) else value,
            ends=ends,
            note=None if self.note is None else self.note(row),
            verdict="" if self.verdict is None else self.verdict(row),
            heat=None if self.heat is None else self.heat(row),
        )


class Cell(NamedTuple):
    """A cell where it is shown.

    Attributes:
        kind: `text` or `number`.
        text: what it shows.
        value: the number in full, by which a table is sorted; None for a text.
        ends: ends of the interval; empty without one.
        note: small print; None without one.
        verdict: verdict on the gain; empty for another number.
        heat: how strongly it is shaded; None for no shade.
    """

    kind: str
    text: str
    value: Any
    ends: Sequence[str]
    note: str | None
    verdict: str
    heat: float | None

    @property
    def markdown(self) -> list[str]:
        """The texts in Markdown, with plain signs: one, and that of the small print."""
        ends = f" [{', '.join(self.ends)}]" if self.ends else ""
        line = f"{self.text}{ends}{MARKS.get(self.verdict, '')}".translate(PLAIN_SIGNS)
        return [line, *([] if self.note is None else [self.note])]


class Table(NamedTuple):
    """A table that is shown: its columns and the cells of each row."""

    columns: Sequence[Column]
    rows: list[list[Cell]]

    @property
    def markdown(self) -> tuple[list[str], list[list[str]]]:
        """The head and the rows of the table in Markdown."""
        head = [head for column in self.columns for head in column.heads]
        return head, [[line for cell in row for line in cell.markdown] for row in self.rows]


def shown(columns: Iterable[Column], rows: Iterable[Any]) -> Table:
    """Returns the table of the columns that have a title."""
    titled = [column for column in columns if column.title]
    return Table(titled, [[column.cell(row) for column in titled] for row in rows])


def fields(columns: Iterable[Column], row: Any) -> dict[str, Any]:
    """Returns the fields of a row in data."""
    data: dict[str, Any] = {}
    for column in columns:
        if column.name:
            value = column.value(row)
            data |= with_ends(column.name, value) if column.ends else {column.name: value}
    return data


def with_ends(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    """Returns the fields of an estimate and its ends; all None for None."""
    ends = (None, None, None) if estimate is None else estimate.ends
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))


def to_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Returns rows as CSV."""
    written = io.StringIO()
    writer = csv.DictWriter(written, list(rows[0]), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return written.getvalue()


def _cell(value: Any) -> Any:
    """Returns a cell of CSV: no text is a formula of a spreadsheet, as in `csvCell` of the page."""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value
