"""The manifest of a corpus after a withdrawal."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pipeline.beam.counted import HOSTS, Counts

MOST_HOSTS = 1000  # hosts in the manifest, those with the most pages
# Text of owners who refuse is counted and not kept, so less may be subtracted than was counted.
SIZES = ("rejected_characters", "rejected_bytes")


def manifest_without(
    manifest: Mapping[str, Any], counts: Counts, entry: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the manifest with the counts of withdrawn pages subtracted, and one more entry.

    Args:
        manifest: manifest before the withdrawal.
        counts: counts of the withdrawn pages.
        entry: what identifies the withdrawal.
    """
    languages = {
        code: _language(dict(one), code, counts) for code, one in manifest["languages"].items()
    }
    hosts = Counter(counts.details(HOSTS, ""))
    described = {
        **entry,
        "files": counts.number("files", ""),
        "hosts": dict(sorted(hosts.most_common(MOST_HOSTS))),
        "hosts_number": len(hosts),
        "languages": {code: found for code in languages if (found := _withdrawn(code, counts))},
    }
    withdrawals = [*manifest.get("withdrawals", []), described]
    return {**manifest, "languages": languages, "withdrawals": withdrawals}


def _language(entry: dict[str, Any], code: str, counts: Counts) -> dict[str, Any]:
    kept = counts.details("kept", code)
    entry["kept"] -= sum(kept.values())
    entry["held_out"] -= kept.get("validation", 0)
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


def _withdrawn(code: str, counts: Counts) -> dict[str, Any]:
    """Returns the numbers of a language's withdrawn pages; empty if there are none."""
    found = {
        "kept": counts.number("kept", code),
        "rejected": counts.number("rejected", code),
        "characters": counts.number("characters", code),
        "lines_gone": counts.number("lines_gone", code),
        "copies_gone": counts.number("copies_gone", code),
    }
    return found if any(found.values()) else {}
