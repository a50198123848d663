"""The metadata of a corpus, as MLCommons' own reader of Croissant validates it.

    python parity/cards.py [CORPUS]

Checks `metadata.json` of the demo's corpus, or of another one: no error, and the records of each
language are as many as the corpus has pages.
"""

import json
import sys
from pathlib import Path

import mlcroissant

DEMO = Path(__file__).parents[1] / "runs/demo/corpus"


def main(corpus: Path) -> int:
    """Prints what differs; returns the exit status."""
    read = mlcroissant.Dataset(str(corpus / "metadata.json"))
    print(read.metadata.ctx.issues.report())
    languages = json.loads((corpus / "manifest.json").read_text(encoding="utf-8"))["languages"]
    counts = {code: one["kept"] for code, one in languages.items() if one["kept"]}
    names = [one.id for one in read.metadata.record_sets]
    wrong = [code for code in names if sum(1 for _ in read.records(code)) != counts[code]]
    print(f"{len(names)} languages read, {len(wrong)} with another number of pages {wrong}")
    return bool(wrong or not names)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if sys.argv[1:] else DEMO))
