"""Personal data in pages: ours against datatrove's formatter and presidio's pattern recognizers.

    python parity/personal_data.py [--each 30] [--web ../shared/data/web] [--megabytes 2]

First, data and numbers that are none are planted in real text of 24 scripts (32 languages); a span
counts if kind, begin and end are exact. datatrove finds e-mail and IP addresses, and its F1 is
compared on these. Then real web pages: CPU seconds of each, in one process and taking turns, and
every hit that is not exactly one of the peers', per million characters.

presidio is its analyzer with a blank spaCy pipeline, and as recognizers those of its patterns that
are of our kinds. Exits with 1 if our F1 is below datatrove's in a kind, or presidio is not ten
times as slow.
"""

import argparse
import itertools
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/helpers"))

from planted_data import SCRIPTS, Planted, planted

from data.curation.personal_data import KINDS, personal_data
from data.reading.page import Page
from data.reading.web_archive import read

SPEED = 10
Found = tuple[str, int, int]
Find = Callable[[list[str], str], list[list[Found]]]
OF_PRESIDIO = {
    "EmailRecognizer": "email", "IpRecognizer": "ip", "PhoneRecognizer": "phone",
    **dict.fromkeys(
        ("UsSsnRecognizer", "UsItinRecognizer", "InAadhaarRecognizer", "PlPeselRecognizer",
         "EsNifRecognizer", "EsNieRecognizer", "ItFiscalCodeRecognizer", "KrRrnRecognizer",
         "FiPersonalIdentityCodeRecognizer", "ThTninRecognizer"), "national_number",
    ),
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--each", type=int, default=30, help="data per kind and language")
    parser.add_argument("--web", type=Path, default=Path("../shared/data/web"))
    parser.add_argument("--megabytes", type=float, default=2, help="web text, at most")
    arguments = parser.parse_args()
    finders = {"mswitch": ours, "datatrove": datatrove(), "presidio": presidio()}
    f1 = planted_scores(finders, arguments.each)
    is_better = all(f1["mswitch", kind] >= f1["datatrove", kind] for kind in ("email", "ip"))
    pages = list(web_pages(arguments.web, arguments.megabytes * 1e6))
    if not pages:
        print(f"no web pages in {arguments.web}: speed is not compared")
        return 0 if is_better else 1
    seconds = web_costs(finders, pages)
    return 0 if is_better and seconds["presidio"] >= SPEED * seconds["mswitch"] else 1


def ours(texts: list[str], language: str) -> list[list[Found]]:
    return [
        [(span["kind"], span["begin"], span["end"]) for span in row]
        for row in personal_data(texts, language).to_pylist()
    ]


def datatrove() -> Find:
    """The spans that the formatter would replace."""
    from datatrove.pipeline.formatters.pii import PIIFormatter

    formatter = PIIFormatter()
    replacers = {"email": formatter.emails_replacer, "ip": formatter.ip_replacer}

    def find(text: str) -> list[Found]:
        return [
            (kind, *match.span())
            for kind, replacer in replacers.items() for match in replacer.regex.finditer(text)
            if replacer.validator is None or replacer.validator(match[0])
        ]  # fmt: skip

    return lambda texts, language: [find(text) for text in texts]


def presidio() -> Find:
    import spacy
    import tldextract
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry, predefined_recognizers
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=())  # its own list, no download
    recognizers = {
        kind_of: getattr(predefined_recognizers, kind_of)(supported_language="en")
        for kind_of in OF_PRESIDIO
    }
    kinds = {
        entity: OF_PRESIDIO[name]
        for name, recognizer in recognizers.items() for entity in recognizer.supported_entities
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as directory:
        spacy.blank("en").to_disk(directory)
        engine = SpacyNlpEngine([{"lang_code": "en", "model_name": directory}])
        engine.load()
    registry = RecognizerRegistry([*recognizers.values()], supported_languages=["en"])
    analyzer = AnalyzerEngine(registry, engine, supported_languages=["en"])

    def find(text: str) -> list[Found]:
        found = analyzer.analyze(text, "en", entities=list(kinds))
        return [(kinds[one.entity_type], one.start, one.end) for one in found]

    return lambda texts, language: [find(text) for text in texts]


def planted_scores(finders: dict[str, Find], each: int) -> dict[tuple[str, str], float]:
    """Prints and returns F1 per finder and kind."""
    cases = {code: planted(code, random.Random(code), each) for code in SCRIPTS}
    print(f"planted: {sum(map(len, cases.values()))} pages in {len(cases)} languages")
    print("| F1 (precision, recall) |", " | ".join(KINDS), "|")
    scores = {}
    for name, find in finders.items():
        counts = Counter()
        for code, pages in cases.items():
            for page, found in zip(pages, find([p.text for p in pages], code), strict=True):
                counts.update(judged(page, set(found)))
        cells = []
        for kind in KINDS:
            right, false, missed = (counts[kind, of] for of in ("right", "false", "missed"))
            scores[name, kind] = 2 * right / max(2 * right + false + missed, 1)
            precision, recall = right / max(right + false, 1), right / max(right + missed, 1)
            cells.append(f"{scores[name, kind]:.3f} ({precision:.3f}, {recall:.3f})")
        print(f"| {name} |", " | ".join(cells), "|")
    return scores


def judged(page: Planted, found: set[Found]) -> Iterable[tuple[str, str]]:
    wanted = {(page.kind, page.begin, page.end)} if page.kind else set()
    yield from ((kind, "right") for kind, *_ in found & wanted)
    yield from ((kind, "false") for kind, *_ in found - wanted)
    yield from ((kind, "missed") for kind, *_ in wanted - found)


def web_costs(finders: dict[str, Find], pages: list[Page]) -> dict[str, float]:
    """Prints and returns CPU seconds per finder, and prints the hits per million characters."""
    of_language = defaultdict(list)
    for page in pages:
        of_language[page.declared_language or "und"].append(page.text)
    size = sum(len(page.text.encode()) for page in pages) / 1e6
    characters = sum(len(page.text) for page in pages) / 1e6
    seconds, hits = Counter(), {name: Counter() for name in finders}
    for code, texts in of_language.items():
        for name, find in finders.items():
            find(["+49 30 1234567"], code)  # tables of the language
            started = time.process_time()
            found = find(texts, code)
            seconds[name] += time.process_time() - started
            hits[name].update(kind for kind, *_ in itertools.chain(*found))
    print(f"\nweb: {len(pages)} pages, {size:.2f} MB, {len(of_language)} languages")
    print("| | CPU s per MB | times ours |", " | ".join(f"{kind} per 10^6" for kind in KINDS), "|")
    for name in finders:
        rates = (f"{hits[name][kind] / characters:.1f}" for kind in KINDS)
        ratio = seconds[name] / seconds["mswitch"]
        print(f"| {name} | {seconds[name] / size:.4f} | {ratio:.1f} |", " | ".join(rates), "|")
    return dict(seconds)


def web_pages(web: Path, most_bytes: float) -> Iterable[Page]:
    """Yields pages of the WET files, evenly over all of them."""
    found = [
        page for path in sorted(web.glob("*.warc.wet.gz")) for page in read(path)
        if isinstance(page, Page)
    ]  # fmt: skip
    size = sum(len(page.text.encode()) for page in found)
    yield from found[:: max(round(size / most_bytes), 1)]


if __name__ == "__main__":
    sys.exit(main())
