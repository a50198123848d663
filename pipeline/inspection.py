"""Inspection: any artifact is verified, checksums included, and its contents are printed.

An artifact is a corpus, scores, token blocks, a vocabulary, a run, a report or an export. A corpus
is shown with its funnel: one row per reason, with the beginning of a rejected page, then one row
per language, in the numbers of a report. Scores are shown with derived thresholds. Of a run that is
not finished it shows how far it has come.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from msgspec import Struct
from rich.console import Console
from rich.table import Column, Table

from data.files.digests import digest_of_contents
from data.files.json_files import Count, Digest, RelativePath, read_json
from data.files.parquet_files import row_count
from data.files.paths import Place, exists, join_path, names_in, place
from data.tokens.blocks import TokenBlocks, verify_contents, verify_model
from data.tokens.manifest import SplitTokens, VocabularyManifest
from data.tokens.tokenizer import MODEL_FILE, load
from eval.funnel import LAST_BIN, Funnel, certain_share, certainty_sentence, rows_by_certainty
from pipeline.artifacts import (
    CLAIM,
    CORPUS,
    EXPORT,
    REPORT,
    RUN,
    SCORES,
    STEP_TIMES,
    TOKENS,
    VOCABULARY,
    Kind,
    json_leaves,
    read_head,
    read_manifest,
    words_of,
)
from pipeline.corpus.pages import corpus_files, read_corpus, read_funnel
from pipeline.errors import ArtifactError
from pipeline.fields import CacheOptions
from pipeline.recipe import named
from pipeline.recipe.recipe import recipe_to_json
from pipeline.runs.directory import described_by
from pipeline.runs.finished import latest_gaps, read_step_times
from pipeline.terminal import shorten
from pipeline.tokens.opened_blocks import open_blocks
from pipeline.training.log.summary import (
    inspect_run,
    print_unfinished,
    summaries,
)

FERTILITY = (
    "language",
    "pages",
    "tokens",
    "tokens per byte",
    "tokens per page",
    "unknown %",
    "bytes %",
)
NOTHING = SplitTokens(
    pages=0, tokens=0, text_bytes=0, characters=0, unknown_tokens=0, byte_tokens=0, shards=()
)


def print_blocks(blocks: TokenBlocks, console: Console) -> None:
    """Checks every shard against its checksum and prints the tokenizer's fertility per language."""
    verify_contents(blocks)
    verify_model(blocks)
    numbers = *FERTILITY[1:], "held out pages", "held out tokens"
    table = Table(FERTILITY[0], *(Column(name, justify="right") for name in numbers), box=None)
    for code, splits in blocks.manifest.languages.items():
        train, held_out = splits.get("train", NOTHING), splits.get("validation", NOTHING)
        table.add_row(code, *fertility(train), f"{held_out.pages:,}", f"{held_out.tokens:,}")
    console.print(table)
    console.print("all checksums correct")


def fertility(counts: SplitTokens) -> tuple[str, ...]:
    """Returns the cells of the `FERTILITY` columns that follow the language."""
    tokens = max(counts.tokens, 1)
    return (
        f"{counts.pages:,}",
        f"{counts.tokens:,}",
        f"{counts.tokens / max(counts.text_bytes, 1):.3f}",
        f"{counts.tokens / max(counts.pages, 1):,.0f}",
        f"{100 * counts.unknown_tokens / tokens:.2f}",
        f"{100 * counts.byte_tokens / tokens:.2f}",
    )


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
    from pipeline.curation.score import read_scores  # with detectors that a run does not need

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
        thresholds = entry.thresholds
        values = (getattr(thresholds, name) for name in SHOWN)
        shown = ("–" if value is None else f"{value:g}" for value in values)
        words = str(len(thresholds.stop_words))
        table.add_row(code, f"{entry.pages:,}", thresholds.pages_of, *shown, words)
    console.print(table)
    console.print("the tables hold as many rows as the manifest counts")


MOST_NAMED = 4  # languages per reason, reasons per language
SAMPLE_CELLS = 60


def inspect_clean(directory: Path | str, console: Console) -> None:
    """Checks the digests and the rows of all files against the manifest and prints the funnel.

    Raises:
        ArtifactError: if a file is missing or another one, or files hold more or fewer rows than
            the manifest counts.
    """
    manifest = read_corpus(directory)
    check_files(place(directory), manifest.files, "restore it, or clean")
    for code, entry in manifest.languages.items():
        _check(join_path(str(directory), "pages", code), entry.kept)
        rejected = sum(entry.rejected.values())
        _check(join_path(str(directory), "rejected", code), rejected)
    broken = manifest.broken_records.values()
    _check(join_path(str(directory), "broken"), sum(record.count for record in broken))
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
    if not funnel.identified or rows_by_certainty(funnel):
        console.print(certainty_sentence(funnel))
    console.print("the files hold as many pages as the manifest counts")
    if manifest.files:
        console.print(f"{len(manifest.files):,} files, checksums correct")
    else:
        console.print("their checksums are not recorded: an earlier version wrote them")


def beginning(text: str) -> str:
    """Returns the beginning of a text on one line, without control characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
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
    headers = ("pages", "kept", "held out", "characters", f"% with probability ≥ {LAST_BIN}")
    table = _table("language", headers, ("rejected",))
    for row in funnel.rows:
        sure = f"{100 * certain_share(row):.1f}" if sum(row.confidence) else "–"
        numbers = (f"{n:,}" for n in (row.pages, row.kept, row.held_out, row.characters))
        table.add_row(row.code, *numbers, sure, _most(row.rejected))
    return table


def _most(pages: Mapping[str, int]) -> str:
    """Returns `100 en, 98 ca, 3 more`, most pages first; names without pages are left out."""
    counts = [(name, count) for name, count in Counter(pages).most_common() if count]
    rest = [f"{len(counts) - MOST_NAMED} more"] if len(counts) > MOST_NAMED else []
    return ", ".join([f"{count:,} {name}" for name, count in counts[:MOST_NAMED]] + rest)


def _table(names: str, numbers: Sequence[str], words: Sequence[str]) -> Table:
    """Returns a table with one line per row; text is cut at the width of the terminal."""
    table = Table(expand=True)
    table.add_column(names, no_wrap=True)
    for header in numbers:
        table.add_column(header, justify="right")
    for header in words:
        table.add_column(header, no_wrap=True, ratio=1)
    return table


class ReportManifest(Struct, frozen=True):
    """The manifest of a report."""

    sentence: str
    files: dict[RelativePath, Digest]


class Exported(Struct, frozen=True):
    """The manifest of an export."""

    arrays: Count
    files: dict[RelativePath, Digest]


def json_of(directory: str) -> dict[str, Any]:
    """Returns an artifact's manifest, or a run's claim; with the steps of a run."""
    there = place(directory)
    manifest = read_json(there / described_by(there), dict[str, Any])
    if manifest["stage"] in RUN.stages:
        manifest["progress"] = [asdict(summary) for summary in summaries(there)]
        manifest["gaps"] = [gap._asdict() for gap in latest_gaps(there)[1]]
    return manifest


def inspect(name: str, console: Console, cache: CacheOptions) -> None:
    """Verifies an artifact and prints stage, versions and contents, and its settings at the end.

    Args:
        name: its directory, as the user named it.
        console: where it is printed.
        cache: the cache for blocks of an object store.

    Raises:
        ArtifactError: if the directory holds no finished artifact and no run, or a damaged one.
    """
    directory = place(name)
    described = described_by(directory)
    head = read_head(directory, described)
    written = f", schema {head.schema_version}, mswitch {head.code_version}"
    console.print(head.stage + ("" if head.schema_version is None else written))
    if described == CLAIM:
        print_unfinished(directory, console)
    elif head.stage in TOKENS.stages:
        print_blocks(open_blocks(name, cache), console)
    else:
        inspectors = [check for kind, check in INSPECTORS.items() if head.stage in kind.stages]
        for check in inspectors:
            check(directory, console)
        if not inspectors:
            console.print("its contents were not verified: there is no check of this stage")
    if head.settings:
        print_settings(head.settings, console)


def print_settings(settings: Mapping[str, Any], console: Console) -> None:
    """Prints the settings of an artifact; those that its named recipe has otherwise are marked."""
    name = settings.get("name")
    recipe = json_leaves(recipe_to_json(named.get(name))) if name in named.names() else {}
    console.print(f"settings; * marks those that differ from {name}" if recipe else "settings")
    for path, value in json_leaves(dict(settings)).items():
        differs = path in recipe and words_of(recipe[path]) != words_of(value)
        mark, there = ("*", f" (recipe: {words_of(recipe[path])})") if differs else (" ", "")
        console.print(shorten(f"{mark} {path}: {words_of(value)}{there}"), highlight=False)


def inspect_vocabulary(directory: Place, console: Console) -> None:
    """Checks the model against its checksum and loads it."""
    manifest = read_manifest(directory, VOCABULARY.stages, VocabularyManifest)
    check_files(directory, {MODEL_FILE: manifest.sha256}, "train the vocabulary")
    console.print(f"{load(directory / MODEL_FILE).size:,} ids, checksum correct")


def inspect_report(directory: Place, console: Console) -> None:
    """Checks the report's files and prints its sentence."""
    manifest = read_manifest(directory, REPORT.stages, ReportManifest)
    check_files(directory, manifest.files, "write the report")
    console.print(manifest.sentence)
    console.print(f"{len(manifest.files)} files, checksums correct")


def inspect_step_times(directory: Place, console: Console) -> None:
    """Checks the seconds against their checksum and prints the ratio of step times."""
    record = read_step_times(directory)
    for side in (record.baseline, record.candidate):
        console.print(f"{side.run}: {side}")
    console.print(record.in_words())


def inspect_export(directory: Place, console: Console) -> None:
    """Checks all exported files, of which one may be code that a reader runs."""
    manifest = read_manifest(directory, EXPORT.stages, Exported)
    check_files(directory, manifest.files, "export the run")
    console.print(f"{manifest.arrays} arrays, {len(manifest.files)} files, checksums correct")


def check_files(directory: Place, files: Mapping[str, str], remedy: str) -> None:
    """Checks files of an artifact against the checksums in its manifest.

    Args:
        directory: the artifact.
        files: SHA-256 by name.
        remedy: what makes the artifact again, in words.

    Raises:
        ArtifactError: if one is missing or differs.
    """
    for name, digest in files.items():
        path = directory / name
        if not exists(path) or digest_of_contents(path) != digest:
            raise ArtifactError(
                f"{path} is missing or differs from its checksum in the manifest; {remedy} again."
            )


INSPECTORS: dict[Kind, Callable[[Place, Console], None]] = {
    CORPUS: inspect_clean,
    SCORES: inspect_scores,
    VOCABULARY: inspect_vocabulary,
    RUN: inspect_run,
    EXPORT: inspect_export,
    STEP_TIMES: inspect_step_times,
    REPORT: inspect_report,
}
