"""Accuracy and CPU time of the combined language identification beside CLD3's and CLD2's own.

    python benchmarks/cleaning/language_id.py [--text ../shared/data]
        [--web ../shared/data/web] [--model M]

Scored are parallel texts of about 1,000 characters (`labelled_texts.py`), none of which
`benchmarks/cleaning/language_confusions.py` counted. Macro accuracy is the mean of the languages'
recalls, precision is among texts in mC4's languages. Romanized texts are derived, so they have a
row of their own. Texts in other languages show how many are taken for one of mC4's, at 0.5 and
more. Web pages are scored too, whole and mixed as they are, by the languages that their publishers
declare.

CPU seconds are those of this process, on the web pages, in turns; the ratio is the median of the
rounds' ratios; of the pages in English they are given apart. `--model` adds a fastText model, which
also decides, as a fourth column.
"""

import argparse
import gzip
import json
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from labelled_texts import LabelledText, scored
from language_noise import noise

from data.language_id.cld3 import CLD3Identifier
from data.language_id.columns import columns
from data.language_id.combined import CombinedIdentifier, is_no_language, page_characters
from data.language_id.fasttext import FastTextIdentifier
from data.language_id.identifiers import CLD2Answer, Prediction, identify_by_cld2
from data.languages import find
from data.reading.page import Page
from data.reading.web_archive import read
from data.rules import web_lines
from data.scripts import code_points

RESULT = Path(__file__).parents[1] / "results/language_id.json"
ROUNDS, PAGES = 9, 300
CERTAIN, SHORTEST_PAGE = 0.5, 200
GROUPS = (
    *("ms id", "no da sv", "sr hr bs", "zu xh", "yo vi", "hmn", "sd ur", "fa ps ku ar", "ne hi mr"),
    *("cs sk", "es gl pt", "af nl", "be bg mk ru uk", "jv su", "fil ceb", "az tr", "kk ky tg uz"),
    *("ny sn st sw", "ru-Latn bg-Latn el-Latn", "ja-Latn zh-Latn hi-Latn"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", type=Path, default=Path("../shared/data"))
    parser.add_argument("--web", type=Path, default=Path("../shared/data/web"))
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    texts = scored(arguments.text)
    if not any(one.source == "sib200" for one in texts) or not (pages := web_pages(arguments.web)):
        print("needs labelled texts (--text) and web pages (--web)")
        return
    asked, labelled = identifiers(arguments.model), labelled_pages(arguments.web)
    english = [page.text for page in labelled if page.language == "en"]
    result = {
        "texts": sum(one.is_mc4 for one in texts),
        "texts_in_other_languages": sum(not one.is_mc4 for one in texts),
        "other_languages": len({one.language for one in texts if not one.is_mc4}),
        "identifiers": {name: scores(texts, identify) for name, identify in asked.items()},
        "web_pages": {name: of_pages(labelled, one) for name, one in asked.items()},
        "no_language": no_language(texts),
        "cpu": cpu(pages, arguments.model),
        "cpu_on_english": cpu(english, None) if english else None,
    }
    RESULT.write_text(lines(result) + "\n", encoding="utf-8")
    print(table(result))


def identifiers(model: Path | None) -> dict[str, Callable[[str], Prediction]]:
    found = {
        "cld3": CLD3Identifier().identify,
        "cld2": lambda text: _first(identify_by_cld2(text)),
        "combined": CombinedIdentifier().identify,
    }
    if model is not None:
        found["fasttext"] = FastTextIdentifier(model).identify
        found["combined_with_fasttext"] = CombinedIdentifier(str(model)).identify
    return found


def _first(answer: CLD2Answer) -> Prediction:
    share = answer.shares[0][1] if answer.shares else 0.0
    return Prediction(answer.language, share, answer.is_reliable)


def scores(texts: list[LabelledText], identify: Callable[[str], Prediction]) -> dict[str, Any]:
    said = [(one, identify(one.text)) for one in texts]
    known = [(one.language, answer.language) for one, answer in said if one.is_mc4]
    found = per_language(known)
    spoken = [row["recall"] for code, row in found.items() if not code.endswith("-Latn")]
    romanized = [row["recall"] for code, row in found.items() if code.endswith("-Latn")]
    taken = [
        answer.language
        for one, answer in said
        if not one.is_mc4 and answer.probability >= CERTAIN and find(answer.language)
    ]
    return {
        "macro_accuracy": statistics.mean(spoken),
        "macro_accuracy_romanized": statistics.mean(romanized),
        "lowest_precision": min(row["precision"] for row in found.values() if row["texts"]),
        "others_taken_for_mc4": len(taken) / max(1, sum(not one.is_mc4 for one in texts)),
        "others_taken_for": dict(Counter(taken).most_common(10)),
        "languages": found,
        "confused": confused([(one.language, answer.language) for one, answer in said]),
    }


def per_language(said: Iterable[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """Precision, recall and F1 per language of pairs (language, answer), 0 where undefined."""
    said = list(said)
    texts, answers = Counter(one for one, _ in said), Counter(answer for _, answer in said)
    right = Counter(one for one, answer in said if one == answer)
    found = {}
    for code in sorted(texts):
        precision, recall = right[code] / max(1, answers[code]), right[code] / texts[code]
        f1 = 2 * precision * recall / (precision + recall) if right[code] else 0.0
        found[code] = {"texts": texts[code], "precision": precision, "recall": recall, "f1": f1}
    return found


def confused(said: list[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """Wrong answers per language of a confusable group, most frequent first."""
    grouped = {code for group in GROUPS for code in group.split()}
    found = {}
    for code in sorted(grouped):
        wrong = Counter(answer for one, answer in said if one == code and answer != code)
        if wrong:
            found[code] = dict(wrong.most_common(4))
    return found


def no_language(texts: list[LabelledText]) -> dict[str, float]:
    """Share of texts that are taken for no language: of each kind of noise, and of real ones."""

    def share(some: list[str]) -> float:
        taken = (is_no_language(p := code_points(one), page_characters(p)) for one in some)
        return sum(taken) / len(some)

    real = share([one.text for one in texts])
    return {**{kind: share(some) for kind, some in noise().items()}, "text in a language": real}


def web_pages(directory: Path) -> list[str]:
    files = sorted(directory.glob("*.warc.wet.gz"))
    texts = [one.text for file in files for one in read(file) if isinstance(one, Page)]
    return texts[:: max(1, len(texts) // PAGES)]


def labelled_pages(directory: Path) -> list[LabelledText]:
    """Web pages after the line rules, with the language that their publisher declares."""
    labels: dict[str, str] = {}
    for file in sorted(directory.glob("*.labels.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            labels |= {row["url"]: row["lang"] for row in map(json.loads, lines)}
    found = []
    for page in (one for file in sorted(directory.glob("*.warc.wet.gz")) for one in read(file)):
        if isinstance(page, Page) and (language := find(labels.get(page.url, ""))):
            text, _, reason = web_lines.clean(page.text)
            if reason is None and len(text) >= SHORTEST_PAGE:
                found.append(LabelledText(language.code, text, "web"))
    return found


def of_pages(pages: list[LabelledText], identify: Callable[[str], Prediction]) -> dict[str, Any]:
    said = [(one.language, identify(one.text).language) for one in pages]
    recalls = [row["recall"] for row in per_language(said).values()]
    return {
        "pages": len(said),
        "languages": len(recalls),
        "accuracy": sum(one == answer for one, answer in said) / max(1, len(said)),
        "macro_accuracy": statistics.mean(recalls) if recalls else None,
    }


def cpu(pages: list[str], model: Path | None) -> dict[str, Any]:
    sides: dict[str, Callable[[list[str]], Any]] = {
        name: lambda some, identify=identify: [identify(one) for one in some]
        for name, identify in identifiers(model).items()
        if name != "fasttext"
    }
    sides["columns"] = columns
    for identify in sides.values():
        identify(pages[:2])  # tables and networks are loaded
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, identify in sides.items():
            started = time.process_time()
            identify(pages)
            seconds[name].append(time.process_time() - started)
    ratios = {
        name: [one / base for one, base in zip(some, seconds["cld3"], strict=True)]
        for name, some in seconds.items()
    }
    return {
        "pages": len(pages),
        "milliseconds_per_page": {
            name: 1000 * statistics.median(some) / len(pages) for name, some in seconds.items()
        },
        "ratio_to_cld3": {name: statistics.median(some) for name, some in ratios.items()},
        "range_of_ratio": {name: [min(some), max(some)] for name, some in ratios.items()},
    }


def lines(result: dict[str, Any]) -> str:
    """JSON with one line per language."""
    innermost = re.compile(r"\{[^{}]*\}")
    return innermost.sub(lambda one: " ".join(one[0].split()), json.dumps(result, indent=2))


def table(result: dict[str, Any]) -> str:
    sides = result["identifiers"]
    printed = [f"{'':28}" + "".join(f"{name:>24}" for name in sides)]
    for key in (
        "macro_accuracy",
        "macro_accuracy_romanized",
        "lowest_precision",
        "others_taken_for_mc4",
    ):
        printed.append(f"{key:28}" + "".join(f"{side[key]:24.4f}" for side in sides.values()))
    printed.append(f"{'precision / recall':28}")
    for code in next(iter(sides.values()))["languages"]:
        rows = [side["languages"][code] for side in sides.values()]
        cells = (f"{row['precision']:.3f} / {row['recall']:.3f}" for row in rows)
        printed.append(f"{code:20}{rows[0]['texts']:8}" + "".join(f"{cell:>24}" for cell in cells))
    for group in GROUPS:
        printed.append(f"group {group}")
        for name, side in sides.items():
            wrong = {code: side["confused"].get(code) for code in group.split()}
            printed.append(f"  {name:24}{ {code: some for code, some in wrong.items() if some} }")
    parts = ("web_pages", "no_language", "cpu", "cpu_on_english")
    printed += [json.dumps(result[part], indent=2) for part in parts]
    return "\n".join(printed)


if __name__ == "__main__":
    main()
