"""A crawl that is added to a corpus gives the corpus of cleaning both inputs at once."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from growing_input import SMALL, meeting_pages, rows_of, write_archives

from pipeline import clean
from pipeline.arguments import Clean


def cleaned(out: Path, *patterns: str, **fields: Any) -> dict[str, Any]:
    clean.run(Clean(input=patterns, out=str(out), **fields), SMALL)
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))


def kept_pages(corpus: Path) -> Counter:
    return Counter((row[2], row[3], row[1]) for row in rows_of(corpus / "pages"))


def agree(found: Path, expected: Path) -> None:
    """Asserts that two corpora have the same rows and the same funnel.

    Where a share of each language is held out, all but the split of pages.
    """
    one, other = (json.loads((d / "manifest.json").read_text()) for d in (found, expected))
    share = one["rules"]["name"] in ("mswitch-web", "demo")
    for part in ("pages", "rejected", "broken"):
        assert rows_of(found / part, not share) == rows_of(expected / part, not share), part
    differences = {}
    for manifest in (one, other) if share else ():
        differences = {
            code: entry.pop("held_out") - differences.get(code, 0)
            for code, entry in reversed(manifest["languages"].items())
        }
    for part in ("languages", "not_asked", "input", "rules"):
        assert one[part] == other[part], part
    counted = one["addition"]["held_out_difference"]
    assert counted == {code: -number for code, number in differences.items() if number}


@pytest.mark.parametrize(
    ("rules", "seed", "more"),
    [
        ("mc4", 1, {}),
        ("mc4", 2, {"languages": ("sw", "en")}),
        ("c4-en", 3, {}),
        ("mswitch-web", 4, {}),
        ("mswitch-web", 5, {"languages": ("sw", "en")}),
        ("demo", 6, {}),
        ("none", 7, {}),
    ],
)
def test_adding_is_cleaning_both_at_once(tmp_path, rules, seed, more):
    pages = meeting_pages(seed, 120)
    cut = len(pages) * 2 // 3
    a = write_archives(tmp_path / "a", pages[:cut], 3)
    b = write_archives(tmp_path / "b", pages[cut:], 2)
    cleaned(tmp_path / "both", a, b, rules=rules, **more)
    cleaned(tmp_path / "one", a, rules=rules, growable=True, **more)
    cleaned(tmp_path / "two", b, onto=str(tmp_path / "one"))
    agree(tmp_path / "two", tmp_path / "both")
