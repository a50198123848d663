"""What an addition changed, for the manifest and on the terminal."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from data.rules.held_out import ShareOfEachLanguage
from pipeline.artifacts.intent import bytes_in_words
from pipeline.cleaning.growth import delta
from pipeline.cleaning.growth.corpus_files import FILES, FOUND_ROWS, KeepFile
from pipeline.cleaning.growth.corpus_rows import GONE_ROWS
from pipeline.cleaning.growth.keep import KEPT_BYTES
from pipeline.cleaning.job import CleaningJob
from pipeline.cleaning.tally import Tally, tallies, total


def kept_bytes(tally: Tally) -> dict[str, int]:
    """Returns the size of what is kept beside a corpus, by kind."""
    found = {kind: n for (what, _, kind), n in tally.counts.items() if what == KEPT_BYTES}
    return dict(sorted(found.items()))


def addition_of(job: CleaningJob, tally: Tally, onto: str) -> dict[str, Any]:
    """Returns what an addition changed: pages by language and reason, and files.

    Raises:
        RuntimeError: if a row that should leave a file was in none.
    """
    assert job.base is not None
    files = total(tallies(job.workspace, KeepFile.step, job.base.files)).counts
    wanted, found = tally.counts[GONE_ROWS, "", ""], files[FOUND_ROWS, "", ""]
    if wanted != found:
        raise RuntimeError(
            f"{wanted} rows should leave the files of {onto} or change there, and {found} were "
            "found; clean all input again, and report this."
        )
    changes: dict[str, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for (what, code, why), count in sorted(tally.counts.items()):
        if what in delta.KINDS:
            changes[what][code][why] = count
    return {
        "generation": job.base.generation,
        "changes": {kind: dict(changes[kind]) for kind in delta.KINDS},
        "files": {what: n for (kind, _, what), n in sorted(files.items()) if kind == FILES},
    }


def held_out_differences(job: CleaningJob, languages: Mapping[str, Any]) -> dict[str, int]:
    """Returns by how many held-out pages each language differs from cleaning all input at once."""
    rule = job.rules.held_out
    if not isinstance(rule, ShareOfEachLanguage):
        return {}
    found = {code: one["held_out"] - rule.count(one["kept"]) for code, one in languages.items()}
    return {code: number for code, number in found.items() if number}


def print_addition(console: Console, body: Mapping[str, Any]) -> None:
    """Prints the changed pages by reason, and the size of what is kept beside the corpus."""
    if "addition" in body:
        console.print(_table(body["addition"]))
    size = sum(body["kept_beside"].values())
    pages = max(body["input"]["records"], 1)
    console.print(
        f"Kept beside the corpus, so that a crawl can be added: {bytes_in_words(size)}, "
        f"{size / pages:,.0f} bytes per page read."
    )


def _table(addition: Mapping[str, Any]) -> Table:
    table = Table("change", "reason", "pages", "most in", box=None, pad_edge=False)
    table.columns[2].justify = "right"
    for change, reason, pages, most in rows(addition):
        table.add_row(change, reason, f"{pages:,}", most)
    for what, count in addition["files"].items():
        table.add_row("files", what, f"{count:,}", "")
    for code, number in addition.get("held_out_difference", {}).items():
        table.add_row("held out", "beside all at once", f"{number:+,}", code)
    return table


def rows(addition: Mapping[str, Any]) -> Iterator[tuple[str, str, int, str]]:
    """Yields each change and reason with its pages, and the language with most of them."""
    for change, by_language in addition["changes"].items():
        reasons: dict[str, Counter[str]] = defaultdict(Counter)
        for code, counts in by_language.items():
            for reason, count in counts.items():
                reasons[reason][code] += count
        for reason, codes in sorted(reasons.items(), key=lambda one: -one[1].total()):
            yield change, reason, codes.total(), codes.most_common(1)[0][0]
