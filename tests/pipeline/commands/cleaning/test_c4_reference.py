"""The reference's outcome, frozen by `parity/c4.py --freeze`, page by page and rule by rule.

On the archives as digests; on pages made by hand, for the rules that real ones do not trigger, as
what the reference itself made of each. The reference read the small archive without the records
that do not decode, for it dies of them. The inputs are pinned (`parity/material/inputs.sha256`).
"""

import hashlib
import importlib.util
import json
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest
from web_pages import ARCHIVES

from pipeline.commands.clean import Clean

HAND_MADE = json.loads(Path(__file__).with_name("c4_hand_made.json").read_text(encoding="utf-8"))
FROZEN = json.loads(Path(__file__).with_name("c4_reference.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("rules", ["mc4", "mc4-3.0.1", "c4-en"])
@pytest.mark.parametrize("name", ARCHIVES)
def test_the_reference_keeps_and_rejects_the_same_pages_for_the_same_reasons(tmp_path, name, rules):
    Clean(input=tuple(map(str, ARCHIVES[name])), rules=rules, out=tmp_path).execute()
    assert {"kept": kept(tmp_path), "rejected": rejected(tmp_path)} == FROZEN[name][rules]


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
