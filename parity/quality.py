"""Decisions of Gopher's and FineWeb's rules: ours against datatrove's, with FineWeb2's thresholds.

    python parity/quality.py --configs fineweb-2/configs [--corpus ...] [--web ...] [--pages 100]

Both read the same pages with the thresholds and stop words of FineWeb2's file for the language, in
one process and taking turns, so that CPU seconds compare. English has no file and takes the
defaults of datatrove. A decision is kept or rejected; agreement on the reason, too, is printed
beside it.

Languages are in four groups, by the words that datatrove gives them:

    spaced      rules that cut at spaces and marks (spaCy, Indic NLP Library)
    spaced, by a model    spaCy with pyvi for Vietnamese: words of several syllables
    unspaced    models or dictionaries: ours counts characters there
    not run     Stanza and Kiwi, whose models are downloads of their own
"""

import argparse
import gzip
import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from data import languages
from data.curation.quality_rules import reasons
from data.curation.signals import signals
from data.curation.thresholds import Thresholds, fineweb2
from data.dedup.hashed_words import characters_per_word
from data.reading.page import Page
from data.reading.web_archive import read

AGREEMENT, SPEED = 0.995, 20
# Codes of FineWeb2's files where mC4's code is a group of languages.
MEMBERS = dict(
    ar="arb", az="azj", et="ekk", ku="kmr", lv="lvs", mg="plt", mn="khk", ms="zsm", ne="npi",
    no="nob", ps="pbt", sq="als", sw="swh", uz="uzn", yi="ydd", zh="cmn",
)  # fmt: skip
SCRIPTS = {"Hans": "Hani", "Kore": "Hang"}
ENGLISH_STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
Decide = Callable[[list[str]], list[str | None]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--configs", type=Path, default=Path("../fineweb-2/configs"))
    parser.add_argument("--corpus", type=Path, default=Path("../shared/data/corpus"))
    parser.add_argument("--web", type=Path, default=Path("../shared/data/web"))
    parser.add_argument("--pages", type=int, default=100, help="most pages per language and source")
    parser.add_argument("--languages", nargs="*", help="codes (default: all)")
    arguments = parser.parse_args()
    if not arguments.configs.is_dir():
        print(f"needs FineWeb2's files (--configs; {arguments.configs} is none)")
        return 0
    rows, left_out = [], {}
    for code, pages in pages_of(arguments.corpus, arguments.web, arguments.pages):
        if arguments.languages and code not in arguments.languages:
            continue
        try:
            rows.append(compared(code, pages, arguments.configs))
        except (ImportError, OSError, ValueError) as error:
            left_out[code] = str(error).split("\n")[0][:90]
            continue
        print(line(rows[-1]), flush=True)
    return report(rows, left_out)


def pages_of(corpus: Path, web: Path, most: int) -> Iterable[tuple[str, list[str]]]:
    """Yields each language's pages: a random sample of both sources."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in sorted(web.glob("*.warc.wet.gz")):
        for page in read(file):
            if isinstance(page, Page):
                found[page.counted_language].append(page.text)
    for folder in sorted(corpus.iterdir()):
        if languages.find(folder.name) is None:
            continue
        chosen = random.Random(0)
        some = sample(found[folder.name], most, chosen)
        yield folder.name, some + sample(texts_of(folder), most, chosen)


def texts_of(folder: Path) -> list[str]:
    files = sorted(folder.glob("*.jsonl.gz"))
    rows = (row for file in files for row in gzip.decompress(file.read_bytes()).splitlines())
    return [json.loads(row)["text"] for row in rows]


def sample(texts: list[str], most: int, chosen: random.Random) -> list[str]:
    return chosen.sample(texts, min(most, len(texts)))


def file_name(code: str) -> str:
    language = languages.get(code)
    return f"{MEMBERS.get(code, language.iso639_3)}_{SCRIPTS.get(language.script, language.script)}"


def thresholds_of(code: str, configs: Path) -> Thresholds:
    if code == "en":
        return Thresholds(stop_words=ENGLISH_STOP_WORDS)
    path = configs / f"{file_name(code)}.yml"
    if not path.exists():
        raise ValueError(f"FineWeb2 has no {path.name}")
    return fineweb2(path)


def datatroves(code: str, thresholds: Thresholds) -> tuple[Decide, str]:
    """Returns datatrove's decisions with the thresholds, and the name of its word tokenizer."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )
    from datatrove.utils.word_tokenizers import load_word_tokenizer

    t, language = thresholds, file_name(code)
    tokenizer = load_word_tokenizer(language)
    tokenizer.word_tokenize("One two. Three")
    steps = [
        ("gopher_", GopherRepetitionFilter(
            language=language, dup_para_frac=0, dup_line_char_frac=0, dup_para_char_frac=0,
            dup_line_frac=t.dup_line_frac, top_n_grams=t.top_n_grams, dup_n_grams=t.dup_n_grams,
        )),
        ("fineweb_", FineWebQualityFilter(
            language=language, short_line_thr=999, char_duplicates_ratio=0.1,
            line_punct_thr=t.line_punct_thr, new_line_ratio=t.new_line_ratio,
        )),
        ("", GopherQualityFilter(
            language=language, max_avg_word_length=t.max_avg_word_length,
            min_avg_word_length=t.min_avg_word_length, stop_words=list(t.stop_words),
            max_non_alpha_words_ratio=t.max_non_alpha_words_ratio, min_stop_words=2,
        )),
    ]  # fmt: skip

    def decide(texts: list[str]) -> list[str | None]:
        return [reason(Document(text=text, id="")) for text in texts]

    def reason(document: Document) -> str | None:
        for prefix, step in steps:
            passed = step.filter(document)
            if passed is not True:
                return prefix + passed[1]
        return None

    return decide, type(tokenizer).__name__


def compared(code: str, texts: list[str], configs: Path) -> dict[str, Any]:
    """Returns agreement and CPU seconds of a language."""
    thresholds = thresholds_of(code, configs)
    theirs, tokenizer = datatroves(code, thresholds)

    def ours(texts: list[str]) -> list[str | None]:
        return reasons(signals(texts, code), thresholds)

    theirs(texts[:2]), ours(texts[:2])  # tables and tokenizers are made once
    (expected, their_seconds), (found, our_seconds) = timed(theirs, texts), timed(ours, texts)
    pairs = list(zip(expected, found, strict=True))
    return {
        "language": code,
        "tokenizer": tokenizer,
        "group": group(code),
        "pages": len(texts),
        "characters": sum(map(len, texts)),
        "kept": sum(reason is None for reason in expected),
        "same": sum((a is None) == (b is None) for a, b in pairs),
        "same_reason": sum(a == b for a, b in pairs),
        "different": Counter(f"{a} / {b}" for a, b in pairs if (a is None) != (b is None)),
        "datatrove_seconds": their_seconds,
        "mswitch_seconds": our_seconds,
    }


def group(code: str) -> str:
    if characters_per_word(code) is not None:
        return "unspaced"
    return "spaced, by a model" if code == "vi" else "spaced"


def timed(decide: Decide, texts: list[str]) -> tuple[list[str | None], float]:
    started = time.process_time()
    return decide(texts), time.process_time() - started


def line(row: dict[str, Any]) -> str:
    different = ", ".join(f"{n} {name}" for name, n in row["different"].most_common(4))
    return (
        f"{row['language']:4} {row['group']:10} {row['pages']:4} pages, kept {row['kept']:4}, "
        f"same {row['same'] / row['pages']:.2%} (reason {row['same_reason'] / row['pages']:.2%}), "
        f"{row['datatrove_seconds'] / row['mswitch_seconds']:5.1f} times as fast  {different}"
    )


def report(rows: list[dict[str, Any]], left_out: dict[str, str]) -> int:
    for name in ("spaced", "spaced, by a model", "unspaced"):
        some = [row for row in rows if row["group"] == name]
        if not some:
            continue
        total = {
            key: sum(row[key] for row in some)
            for key in (
                "pages", "kept", "same", "same_reason", "datatrove_seconds", "mswitch_seconds"
            )
        }  # fmt: skip
        print(
            f"{name}: {len(some)} languages, {total['pages']} pages, {total['kept']} kept; same "
            f"decision {total['same'] / total['pages']:.3%}, same reason "
            f"{total['same_reason'] / total['pages']:.3%}; CPU seconds datatrove "
            f"{total['datatrove_seconds']:.2f}, mswitch {total['mswitch_seconds']:.2f}: "
            f"{total['datatrove_seconds'] / total['mswitch_seconds']:.1f} times as fast"
        )
        below = [r["language"] for r in some if r["same"] < AGREEMENT * r["pages"]]
        print(f"  below {AGREEMENT:.1%}: {' '.join(below) or 'none'}")
        if name == "spaced":
            agrees = total["same"] >= AGREEMENT * total["pages"]
            fast = total["datatrove_seconds"] >= SPEED * total["mswitch_seconds"]
    for code, why in left_out.items():
        print(f"not run: {code}: {why}")
    return 0 if agrees and fast else 1


if __name__ == "__main__":
    sys.exit(main())
