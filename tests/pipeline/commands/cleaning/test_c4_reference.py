"""The reference's outcome, frozen by `parity/c4.py --freeze`, page by page and rule by rule.

On the archives as digests; on pages made by hand, for the rules that real ones do not trigger, as
what the reference itself made of each. The reference read the small archive without the records
that do not decode, for it dies of them. The inputs are pinned (`parity/material/inputs.sha256`).
"""

import functools
import hashlib
import importlib.util
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest
from web_pages import ARCHIVES, pages_in

from data.dedup.line_dedup import keep_lines, line_hashes
from data.language_id.cld3 import CLD3Identifier
from data.languages import codes
from data.reading.page import Page
from data.rules.english_lines import too_few_long_lines, too_long
from data.urls import normalize, normalized_hash, number, url_hash
from pipeline.commands.clean import Clean

HAND_MADE = json.loads(Path(__file__).with_name("c4_hand_made.json").read_text(encoding="utf-8"))
FROZEN = json.loads(Path(__file__).with_name("c4_reference.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory) -> Callable[[str, str], Path]:
    """A function that cleans archives once by each rule set."""

    @functools.cache
    def clean(name: str, rules: str) -> Path:
        out = tmp_path_factory.mktemp("cleaned")
        Clean(input=tuple(map(str, ARCHIVES[name])), rules=rules, out=out).execute()
        return out

    return clean


@pytest.mark.parametrize("rules", ["mc4", "mc4-3.0.1", "c4-en"])
@pytest.mark.parametrize("name", ARCHIVES)
def test_the_reference_keeps_and_rejects_the_same_pages_for_the_same_reasons(cleaned, name, rules):
    out = cleaned(name, rules)
    assert {"kept": kept(out), "rejected": rejected(out)} == FROZEN[name][rules]


def test_the_job_is_mc4_in_plain_python(cleaned):
    pages = pq.read_table(cleaned("small", "mc4") / "pages").to_pylist()
    found = {row["url"]: (row["text"], row["language"], row["split"]) for row in pages}
    assert found == plain_mc4(pages_in(ARCHIVES["small"]))
    assert len(found) > 50


def plain_mc4(pages: list[Page]) -> dict[str, tuple[str, str, str]]:
    """Applies mC4's rules one after the other, in memory."""
    newest: dict[str, Page] = {}
    for one in sorted(pages, key=lambda one: one.timestamp):
        if too_long(one) is None:
            newest[normalize(one.url)] = one
    long = [one for one in newest.values() if not too_few_long_lines(one, lines=3, characters=200)]
    owner: dict[bytes, tuple[str, int]] = {}
    for one in sorted(long, key=lambda one: url_hash(one.url)):
        for number_in_page, line in enumerate(line_hashes(one.text)):
            owner.setdefault(line, (one.url, number_in_page))
    identifier, known, kept = CLD3Identifier(), {*codes(None), "und"}, {}
    for one in long:
        hashes = enumerate(line_hashes(one.text))
        text = keep_lines(one.text, [owner[line] == (one.url, at) for at, line in hashes])
        language = identifier.identify(text).language_above(0.95)
        held_out = number(normalized_hash(one.url)) % 1000 == 0
        if text and language in known:
            kept[one.url] = (text, language, "validation" if held_out else "train")
    return kept


@pytest.mark.parametrize(
    "rules", [pytest.param(name, marks=[pytest.mark.slow] * (name != "mc4")) for name in HAND_MADE]
)
def test_every_page_made_by_hand_falls_to_its_rule(tmp_path, rules):
    """Each address names the rule that real pages do not trigger."""
    archive, out = material("hand_made").write(tmp_path), tmp_path / "out"
    lists = tmp_path / "bad_words"
    Clean(input=(str(archive),), rules=rules, out=out, bad_words=lists).execute()
    assert verdicts(out) == HAND_MADE[rules]
    assert len(HAND_MADE[rules]) > 40


@pytest.mark.slow
def test_what_is_compared_is_what_was_pinned(tmp_path):
    """A change of a reader or of the material must not change the comparison without a word."""
    readable = [material("readable").copy(archive, tmp_path) for archive in ARCHIVES["small"]]
    archives = [path for paths in ARCHIVES.values() for path in paths]
    inputs = [*archives, *readable, material("hand_made").write(tmp_path)]
    assert material("frozen_inputs").changed(inputs) == []
    readable[0].write_bytes(readable[0].read_bytes()[:-1])
    assert material("frozen_inputs").changed(readable) == [f"readable/{readable[0].name}"]


def material(name: str) -> ModuleType:
    path = Path(__file__).parents[4] / f"parity/material/{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def verdicts(out: Path) -> dict[str, str]:
    found = {row["url"]: row["reason"] for row in pq.read_table(out / "rejected").to_pylist()}
    for row in pq.read_table(out / "pages").to_pylist():
        text = hashlib.sha256(row["text"].encode()).hexdigest()[:12]
        found[row["url"]] = f"kept, {row['language']}, {row['split']}, text {text}"
    return found


def kept(out: Path) -> dict[str, Any]:
    rows = pq.read_table(out / "pages").to_pylist()
    return digest((one["url"], one["text"], one["language"], one["split"]) for one in rows)


def rejected(out: Path) -> dict[str, Any]:
    rows = pq.read_table(out / "rejected").to_pylist()
    return {
        reason: digest(
            (one["url"], one["timestamp"], reason) for one in rows if one["reason"] == reason
        )
        for reason in Counter(one["reason"] for one in rows)
    }


def digest(rows: Any) -> dict[str, Any]:
    ordered = sorted(rows)
    text = json.dumps(ordered, ensure_ascii=False)
    return {"pages": len(ordered), "sha256": hashlib.sha256(text.encode("utf-8")).hexdigest()}
