"""`mswitch inspect` on scores: checks the rows of each table, then prints derived thresholds."""

from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from data.files.parquet_files import row_count
from data.files.paths import join_path
from pipeline.corpus.all_files import corpus_files
from pipeline.errors import ArtifactError
from pipeline.scoring.manifest import read_scores

SHOWN = (
    "dup_line_frac",
    "line_punct_thr",
    "new_line_ratio",
    "min_avg_word_length",
    "max_avg_word_length",
    "max_non_alpha_words_ratio",
)


def inspect_scores(directory: Path | str, console: Console) -> None:
    """Checks the rows of all tables against the manifest, and prints thresholds per language.

    Raises:
        ArtifactError: if tables hold more or fewer rows than the manifest counts.
    """
    manifest = read_scores(str(directory))
    rows = Counter[str]()
    for file in corpus_files(str(directory)):
        rows[file.language] += row_count(join_path(directory, file.name))
    table = Table("language", "pages", "thresholds of", *SHOWN, "stop words", box=None)
    for code, entry in manifest.languages.items():
        if rows[code] != entry.pages:
            raise ArtifactError(
                f"{directory}/pages/{code} holds {rows[code]} rows and the manifest records "
                f"{entry.pages}; score again."
            )
        found = entry.thresholds
        values = (getattr(found, name) for name in SHOWN)
        shown = ("–" if one is None else f"{one:g}" for one in values)
        words = str(len(found.stop_words))
        table.add_row(code, f"{entry.pages:,}", found.pages_of, *shown, words)
    console.print(table)
    console.print("the tables hold as many rows as the manifest counts")
