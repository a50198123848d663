"""`mswitch inspect` on a corpus: checks the rows of its files, then prints the funnel.

The numbers are those of the report's corpus section: one row per reason, with the beginning of a
rejected page, then one row per language.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from data.files.parquet_files import row_count
from data.files.paths import join_path, names_in
from eval import funnel as language_probability
from eval.funnel import Funnel
from pipeline.corpus.funnel import read_funnel
from pipeline.corpus.manifests import read_corpus
from pipeline.errors import ArtifactError

MOST_NAMED = 4  # languages per reason, reasons per language
SAMPLE_CELLS = 60


def inspect_clean(directory: Path | str, console: Console) -> None:
    """Checks the rows of all files against the manifest and prints the funnel.

    Raises:
        ArtifactError: if files hold more or fewer rows than the manifest counts.
    """
    manifest = read_corpus(directory)
    for code, entry in manifest.languages.items():
        _check(join_path(str(directory), "pages", code), entry.kept)
        rejected = sum(entry.rejected.values())
        _check(join_path(str(directory), "rejected", code), rejected)
    broken = manifest.broken_records.values()
    _check(join_path(str(directory), "broken"), sum(one.count for one in broken))
    funnel = read_funnel(str(directory))
    console.print(
        f"{funnel.pages:,} pages were read, {funnel.kept:,} were kept "
        f"({funnel.kept / max(funnel.pages, 1):.1%}), {funnel.held_out:,} of them held out"
    )
    if not_asked := manifest.not_asked.pages:
        console.print(
            f"{sum(not_asked.values()):,} pages of {len(not_asked)} languages were not asked for, "
            "and are in no file"
        )
    if funnel.reasons:
        console.print(_reasons(funnel))
    console.print(_languages(funnel))
    if not funnel.identified or language_probability.rows(funnel):
        console.print(language_probability.sentence(funnel))
    console.print("the files hold as many pages as the manifest counts")


def beginning(text: str) -> str:
    """Returns the beginning of a text on one line, without control characters."""
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return line if len(line) <= SAMPLE_CELLS else line[: SAMPLE_CELLS - 1] + "…"


def _check(files: str, pages: int) -> None:
    names = (name for name in names_in(files) if name.endswith(".parquet"))
    rows = sum(row_count(join_path(files, name)) for name in names)
    if rows != pages:
        raise ArtifactError(
            f"{files} holds {rows} rows and the manifest records {pages}; clean again."
        )


def _reasons(funnel: Funnel) -> Table:
    table = _table("rejected", ("pages", "share"), ("most in", "such as"))
    for reason in funnel.reasons:
        most_in = {row.code: row.rejected.get(reason.name, 0) for row in funnel.rows}
        example = beginning(reason.samples[0].text) if reason.samples else ""
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
    """Returns `100 en, 98 ca, 3 more`, most pages first; names without pages are left out."""
    some = [(name, count) for name, count in Counter(pages).most_common() if count]
    rest = [f"{len(some) - MOST_NAMED} more"] if len(some) > MOST_NAMED else []
    return ", ".join([f"{count:,} {name}" for name, count in some[:MOST_NAMED]] + rest)


def _table(names: str, numbers: Sequence[str], words: Sequence[str]) -> Table:
    """Returns a table with one line per row; text is cut at the width of the terminal."""
    table = Table(expand=True)
    table.add_column(names, no_wrap=True)
    for header in numbers:
        table.add_column(header, justify="right", no_wrap=True)
    for header in words:
        table.add_column(header, no_wrap=True, ratio=1)
    return table
