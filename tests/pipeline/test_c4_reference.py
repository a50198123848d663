"""The reference's outcome on real web pages, frozen by `parity/c4.py --freeze`, rule by rule."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline import clean
from pipeline.arguments import Clean

WEB = Path(__file__).parents[2].parent / "shared/data/web"
FROZEN = json.loads(Path(__file__).with_name("c4_reference.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("rules", ["mc4", "mc4-3.0.1", "c4-en"])
def test_the_reference_keeps_and_rejects_the_same_pages_for_the_same_reasons(tmp_path, rules):
    archive = WEB / "MSWITCH-DOCS-2026-11-00000.warc.wet.gz"
    if not archive.exists():
        pytest.skip(f"no {archive}")
    clean.run(Clean(input=(str(archive),), rules=rules, out=tmp_path))
    assert {"kept": kept(tmp_path), "rejected": rejected(tmp_path)} == FROZEN[rules]


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
