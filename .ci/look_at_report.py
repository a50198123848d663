"""Looks at the demo's report as a sceptic would: 101 languages, and numbers that can be recomputed.

Usage: look_at_report.py REPORT_DIR [LANGUAGES]; the runs `mt5` and `switch` lie beside it.
"""

import json
import math
import sys
from pathlib import Path

import pyarrow.parquet as pq


def losses(run: Path) -> dict[str, float]:
    """Returns nats a target token by language, from the last evaluation's sums."""
    last = max((run / "evaluation").glob("step=*.parquet"), key=lambda p: int(p.stem.split("=")[1]))
    sums: dict[str, list[float]] = {}
    for row in pq.read_table(last).to_pylist():
        total = sums.setdefault(row["language"], [0.0, 0])
        total[0] += row["loss_nats"]
        total[1] += row["target_tokens"]
    return {code: nats / tokens for code, (nats, tokens) in sums.items()}


def main() -> None:
    """Raises on the first thing that is not as it should be."""
    report_directory = Path(sys.argv[1])
    report = json.loads((report_directory / "report.json").read_text())
    languages = report["languages"]
    expected = int(sys.argv[2]) if len(sys.argv) > 2 else 101
    assert len(languages) == report["summary"]["languages"] == expected, len(languages)
    for side, run in (("baseline", "mt5"), ("candidate", "switch")):
        for code, loss in losses(report_directory.parent / run).items():
            shown = languages[code][f"loss_nats_{side}"]
            assert math.isclose(shown, loss, rel_tol=1e-6), (code, side, shown, loss)
    gains = [row["loss_nats_baseline"] - row["loss_nats_candidate"] for row in languages.values()]
    assert sum(gain > 0 for gain in gains) == report["summary"]["languages_improved"]
    for name in ("index.html", "report.md"):
        assert (report_directory / name).stat().st_size > 1000, name
    print(f"report.json: {len(languages)} languages, every loss recomputed from the evaluations")


if __name__ == "__main__":
    main()
