"""`mswitch inspect` on a clean corpus: the funnel as text, after its files were counted.

The same numbers as the report's corpus section: why pages were rejected and where, with the
beginning of one rejected page a reason, then a row a language. Text from the web is shown without
its control characters, which a terminal would obey.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from eval import language_probability
from eval.funnel import Funnel
from pipeline import storage
from pipeline.corpus.funnel import read_funnel
from pipeline.corpus.pages import page_count
from pipeline.errors import ArtifactError

MOST_NAMED = 4  # languages of a reason, reasons of a language
SAMPLE_CELLS = 60


def inspect_clean(directory: Path | str, manifest: dict[str, Any], console: Console) -> None:
    """Compares the rows of all files, broken ones too, with the manifest; prints the funnel.

    Raises:
        ArtifactError: files hold more or fewer rows than the manifest says.
    """
    for code, entry in manifest["languages"].items():
        _check(storage.join(str(directory), "pages", code), entry["kept"])
        rejected = sum(entry["rejected"].values())
        _check(storage.join(str(directory), "rejected", code), rejected)
    broken = manifest["broken_records"].values()
    _check(storage.join(str(directory), "broken"), sum(one["count"] for one in broken))
    funnel = read_funnel(str(directory))
    console.print(
        f"{funnel.pages:,} pages came in, {funnel.kept:,} were kept "
        f"({funnel.kept / max(funnel.pages, 1):.1%}), {funnel.held_out:,} of them held out"
    )
    not_asked = manifest.get("not_asked", {}).get("pages", {})
    if not_asked:
        said = f"{sum(not_asked.values()):,} pages of {len(not_asked)} languages were not asked for"
        console.print(f"{said}, and are in no file")
    if funnel.reasons:
        console.print(_reasons(funnel))
    console.print(_languages(funnel))
    if language_probability.rows(funnel):
        console.print(language_probability.sentence(funnel), markup=False)
    console.print("every file holds the pages that the manifest says")


def printable(text: str) -> str:
    """Returns the beginning of a text on one line, without what a terminal would obey."""
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return escape(line if len(line) <= SAMPLE_CELLS else line[: SAMPLE_CELLS - 1] + "…")


def _check(files: str, pages: int) -> None:
    names = (name for name in storage.names_in(files) if name.endswith(".parquet"))
    rows = sum(page_count(storage.join(files, name)) for name in names)
    if rows != pages:
        raise ArtifactError(
            f"{files} holds {rows} rows and the manifest says {pages}; clean again."
        )


def _reasons(funnel: Funnel) -> Table:
    table = _table("rejected", ("pages", "share"), ("most in", "such as"))
    for reason in funnel.reasons:
        most_in = {row.code: row.rejected.get(reason.name, 0) for row in funnel.rows}
        example = printable(reason.samples[0].text) if reason.samples else ""
        table.add_row(
            reason.name, f"{reason.pages:,}", f"{reason.share:.1%}", _most(most_in), example
        )
    return table


def _languages(funnel: Funnel) -> Table:
    headers = ("pages", "kept", "held out", "characters", "≥ 0.95 %")
    table = _table("language", headers, ("rejected",))
    for row in funnel.rows:
        sure = (
            f"{100 * language_probability.certain_share(row):.1f}" if sum(row.confidence) else "–"
        )
        numbers = (f"{n:,}" for n in (row.pages, row.kept, row.held_out, row.characters))
        table.add_row(row.code, *numbers, sure, _most(row.rejected))
    return table


def _most(pages: Mapping[str, int]) -> str:
    """Returns `100 en, 98 ca, 3 more` of those with pages, most first."""
    some = [(name, count) for name, count in Counter(pages).most_common() if count]
    rest = [f"{len(some) - MOST_NAMED} more"] if len(some) > MOST_NAMED else []
    return ", ".join([f"{count:,} {name}" for name, count in some[:MOST_NAMED]] + rest)


def _table(names: str, numbers: Sequence[str], words: Sequence[str]) -> Table:
    """Returns a table whose rows are one line each; words are cut where the terminal ends."""
    table = Table(expand=True)
    table.add_column(names, no_wrap=True)
    for header in numbers:
        table.add_column(header, justify="right", no_wrap=True)
    for header in words:
        table.add_column(header, no_wrap=True, ratio=1)
    return table
