"""What decisions after cleaning change in a corpus's manifest: of a selection, of a withdrawal."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from data.corpus_manifest import CorpusManifest
from pipeline.corpus.counts import HOSTS, Tally
from pipeline.errors import ArtifactError

CARRIED = ("license", "withdrawals")  # fields that hold for what is selected, too
DECIDED = ("rejected", "rejected_characters", "masked", "lines_gone", "copies_gone")


def manifest_of_selection(
    counts: Tally,
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
    languages = {
        code: _entry_of_selection(counts, code, entry) for code, entry in before.languages.items()
    }
    for code, entry in before.languages.items():
        after = languages[code]
        read = after["kept"] + sum(after["rejected"].values())
        if entry.kept != read:
            raise ArtifactError(
                f"{place} should hold {entry.kept} pages of {code} by its manifest, and "
                f"{read} were read; restore its files, or clean again."
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
    """Returns the counts of an earlier command, without those of what it kept."""
    languages = {
        code: {name: entry[name] for name in DECIDED if entry.get(name)}
        for code, entry in source["languages"].items()
    }
    kept = {name: source[name] for name in ("stage", "not_asked", "broken_records", "input")
            if name in source}  # fmt: skip
    return kept | {"languages": languages}


def _entry_of_selection(counts: Tally, code: str, before: Any) -> dict[str, Any]:
    kept = counts.details("kept", code)
    return {
        "kept": kept.total(),
        "held_out": kept["validation"],
        "rejected": counts.details("rejected", code),
        "rejected_characters": +counts.details("rejected_characters", code),
        "rejected_bytes": +counts.details("rejected_bytes", code),
        "characters": counts.number("characters", code),
        "removed_lines_by_rule": before.removed_lines_by_rule,
        "confidence": counts.details("confidence", code),
        "masked": counts.details("masked", code),
        "lines_gone": counts.number("lines_gone", code),
        "copies_gone": counts.number("copies_gone", code),
    }


FILES = "files"  # kind of count: files that change
MOST_HOSTS = 1000  # hosts in the manifest, those with the most pages
# Text of owners who refuse is counted and not kept, so less may be subtracted than was counted.
SIZES = ("rejected_characters", "rejected_bytes")


def manifest_without(
    manifest: Mapping[str, Any], counts: Tally, entry: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the manifest with the counts of withdrawn pages subtracted, and one more entry.

    Args:
        manifest: manifest before the withdrawal.
        counts: counts of the withdrawn pages.
        entry: what identifies the withdrawal.
    """
    languages = {
        code: _entry_without(dict(before), code, counts)
        for code, before in manifest["languages"].items()
    }
    hosts = counts.details(HOSTS)
    described = {
        **entry,
        "files": counts.number(FILES),
        "hosts": dict(sorted(hosts.most_common(MOST_HOSTS))),
        "hosts_number": len(hosts),
        "languages": {code: gone for code in languages if (gone := _withdrawn(code, counts))},
    }
    withdrawals = [*manifest.get("withdrawals", []), described]
    return {**manifest, "languages": languages, "withdrawals": withdrawals}


def _entry_without(entry: dict[str, Any], code: str, counts: Tally) -> dict[str, Any]:
    kept = counts.details("kept", code)
    entry["kept"] -= kept.total()
    entry["held_out"] -= kept["validation"]
    entry["characters"] -= counts.number("characters", code)
    if kept:  # no row holds what these counted
        entry = {name: of for name, of in entry.items() if name not in ("cld3", "masked")}
    for field in ("rejected", "confidence", *SIZES):
        if field not in entry:
            continue
        left = Counter(entry[field])
        left.subtract(counts.details(field, code))
        entry[field] = {name: number for name, number in left.items() if number}
    for field in SIZES:
        if field in entry:
            left = Counter({why: entry[field].get(why, 0) for why in entry["rejected"]})
            entry[field] = dict(+left)
    return entry


def _withdrawn(code: str, counts: Tally) -> dict[str, Any]:
    """Returns the numbers of a language's withdrawn pages; empty if there are none."""
    numbers = {
        "kept": counts.number("kept", code),
        "rejected": counts.number("rejected", code),
        "characters": counts.number("characters", code),
        "lines_gone": counts.number("lines_gone", code),
        "copies_gone": counts.number("copies_gone", code),
    }
    return numbers if any(numbers.values()) else {}
