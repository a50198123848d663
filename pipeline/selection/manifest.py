"""The results of `select`: the manifest of a corpus, and a summary on the terminal."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from data.corpus_manifest import CorpusManifest
from pipeline.beam.counted import Counts
from pipeline.errors import ArtifactError

CARRIED = ("license", "withdrawals")  # fields that hold for what is selected, too
DECIDED = ("rejected", "rejected_characters", "masked", "lines_gone", "copies_gone")


def manifest_of(
    counts: Counts,
    source: Mapping[str, Any],
    before: CorpusManifest,
    rules: Mapping[str, Any],
    place: str,
) -> dict[str, Any]:
    """Returns the manifest's body.

    Args:
        counts: sums over all files.
        source: manifest of the corpus that was selected from, as JSON values.
        before: the same manifest.
        rules: the rules that decided, as JSON values.
        place: the corpus, for messages.

    Raises:
        ArtifactError: if the corpus does not hold the pages that its manifest counts.
    """
    languages = {code: _language(counts, code, entry) for code, entry in before.languages.items()}
    for code, entry in before.languages.items():
        found = languages[code]
        if entry.kept != found["kept"] + sum(found["rejected"].values()):
            raise ArtifactError(
                f"{place} should hold {entry.kept} pages of {code} by its manifest, and "
                f"{found['kept'] + sum(found['rejected'].values())} were read; restore its files, "
                "or clean again."
            )
    carried = {name: source[name] for name in CARRIED if name in source}
    return carried | {
        "rules": dict(source.get("rules", {})) | {"late": [*before.rules.late, dict(rules)]},
        "languages": languages,
        "history": [*source.get("history", []), _decided_before(source)],
        "carried_withdrawals": len(source.get("withdrawals", ())),
        "input": {"records": sum(entry.kept for entry in before.languages.values())},
    }


def _decided_before(source: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what an earlier command decided: its counts, without those of what it kept."""
    languages = {
        code: {name: entry[name] for name in DECIDED if entry.get(name)}
        for code, entry in source["languages"].items()
    }
    kept = {name: source[name] for name in ("stage", "not_asked", "broken_records", "input")
            if name in source}  # fmt: skip
    return kept | {"languages": languages}


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
    asked = dict.fromkeys(
        body["rules"]["late"][-1]["mask"], 0
    )  # a kind that no page has is shown as 0
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("pages", f"{body['input']['records']:,}")
    table.add_row("kept", f"{sum(one['kept'] for one in entries):,}")
    for field, total in (("rejected", Counter()), ("masked", Counter(asked))):
        for one in entries:
            total.update(one[field])
        for name, number in total.most_common():
            table.add_row(f"{field}: {name}", f"{number:,}")
    table.add_row("lines that no page has now", f"{sum(one['lines_gone'] for one in entries):,}")
    copies = sum(one["copies_gone"] for one in entries)
    table.add_row("near-duplicates that are gone too", f"{copies:,}")
    table.add_row("seconds", f"{seconds:.1f}")
    table.columns[1].justify = "right"
    console.print(table)
