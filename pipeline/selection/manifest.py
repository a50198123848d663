"""The results of `select`: the manifest of a corpus, and a summary on the terminal."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from data.corpus_manifest import CorpusManifest
from pipeline.beam.counted import Counts

SPLITS = ("train", "validation")


def manifest_of(counts: Counts, before: CorpusManifest, rules: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the manifest's body.

    Args:
        counts: sums over all files.
        before: manifest of the corpus that was selected from.
        rules: the rules that decided, as JSON values.

    Raises:
        RuntimeError: if pages were lost or counted twice.
    """
    languages = {code: _language(counts, code, entry) for code, entry in before.languages.items()}
    for code, entry in before.languages.items():
        found = languages[code]
        if entry.kept != found["kept"] + sum(found["rejected"].values()):
            raise RuntimeError(
                f"{entry.kept} pages of {code} were read, but {found['kept']} were kept and "
                f"{sum(found['rejected'].values())} rejected; remove the output and run again."
            )
    return {
        "rules": {
            "name": f"{before.rules.name}, selected",
            "differences_from_mc4": list(before.rules.differences_from_mc4),
            "late": dict(rules),
        },
        "languages": languages,
        "before": {code: entry.rejected for code, entry in before.languages.items()},
        "input": {"records": sum(entry.kept for entry in before.languages.values())},
    }


def _language(counts: Counts, code: str, before: Any) -> dict[str, Any]:
    kept = counts.details("kept", code)
    return {
        "kept": sum(kept.values()),
        "held_out": kept.get("validation", 0),
        "rejected": counts.details("rejected", code),
        "rejected_characters": counts.details("rejected_characters", code),
        "rejected_bytes": counts.details("rejected_bytes", code),
        "characters": counts.number("characters", code),
        "removed_lines_by_rule": before.removed_lines_by_rule,
        "confidence": counts.details("confidence", code),
        "masked": counts.details("masked", code),
        "lines_gone": counts.number("lines_gone", code),
        "copies_gone": counts.number("copies_gone", code),
    }


def print_summary(console: Console, body: Mapping[str, Any], seconds: float) -> None:
    """Prints the numbers of pages kept and rejected, by reason, and of passages masked."""
    entries = list(body["languages"].values())
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("pages", f"{body['input']['records']:,}")
    table.add_row("kept", f"{sum(one['kept'] for one in entries):,}")
    for field, words in (("rejected", "rejected"), ("masked", "masked")):
        total = sum((Counter(one[field]) for one in entries), Counter())
        for name, number in total.most_common():
            table.add_row(f"{words}: {name}", f"{number:,}")
    table.add_row("lines that no page has now", f"{sum(one['lines_gone'] for one in entries):,}")
    copies = sum(one["copies_gone"] for one in entries)
    table.add_row("near-duplicates that are gone too", f"{copies:,}")
    table.add_row("seconds", f"{seconds:.1f}")
    table.columns[1].justify = "right"
    console.print(table)
