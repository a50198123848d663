"""The card of a corpus: `README.md` as a hub shows it, `metadata.json` in MLCommons' Croissant 1.0.

Both follow from the manifest's body alone. The YAML header names languages, size and files, so
`datasets.load_dataset(DIR, "sw")` reads one language with both splits. Its fields are those of
https://huggingface.co/docs/hub/datasets-cards. Croissant has one set of records per language
(https://docs.mlcommons.org/croissant/docs/croissant-spec.html).
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from data.files.atomic import write_text
from data.files.json_files import write_json
from data.files.paths import join_path
from data.languages import UNDETERMINED, iso639_3_codes
from eval.report.markdown import bullets, escape
from pipeline.artifacts import code_version

FORMAT = "http://mlcommons.org/croissant/1.0"
FIELDS = {
    "text": ("sc:Text", "plain text, one paragraph per line"),
    "url": ("sc:URL", "address of the page"),
    "timestamp": ("sc:Text", "time of the crawl, as its archive has it"),
    "language": ("sc:Text", "mC4's code of the language"),
    "language_probability": ("sc:Float", "the identifier's probability of the language"),
    "split": ("sc:Text", "train or validation"),
}
# The context that the specification prescribes, with the terms that are used here.
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant(
    languages: Sequence[str], description: str, license_name: str, version: str
) -> dict[str, Any]:
    """Returns the metadata of a corpus, as a JSON value.

    Args:
        languages: codes of the languages with pages.
        description: what the corpus is, in a sentence or two.
        license_name: licence that its publisher declares.
        version: version of the package that wrote it.
    """
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": FORMAT,
        "name": "mswitch-corpus",
        "citeAs": description,
        "description": description,
        "license": license_name,
        "version": version,
        "inLanguage": iso639_3_codes(languages),
        "distribution": list(map(_file_set, languages)),
        "recordSet": list(map(_record_set, languages)),
    }


def _file_set(code: str) -> Mapping[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"files-{code}",
        "name": f"files-{code}",
        "description": f"pages in {code}",
        "encodingFormat": "application/x-parquet",
        "includes": f"pages/{code}/*.parquet",
    }


def _record_set(code: str) -> Mapping[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": code,
        "name": code,
        "description": f"pages in {code}, one per row",
        "field": list(_fields(code)),
    }


def _fields(code: str) -> Iterator[Mapping[str, Any]]:
    for name, (kind, description) in FIELDS.items():
        yield {
            "@type": "cr:Field",
            "@id": f"{code}/{name}",
            "name": name,
            "description": description,
            "dataType": kind,
            "source": {"fileSet": {"@id": f"files-{code}"}, "extract": {"column": name}},
        }


README, METADATA = "README.md", "metadata.json"
UNDECLARED = "unknown"
SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000, 10**10, 10**11)
NAMES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B")
MOST_REASONS = 5  # of a language, in the table

# Rejected and broken pages, which keep their text, stay here.
UPLOAD = (
    "hf upload OWNER/NAME DIRECTORY --repo-type dataset "
    f"--include 'pages/*' --include {README} --include {METADATA}"
)
PERSONAL_DATA = """Pages name people. Nothing here removes all personal data; \
`mswitch select --mask` masks addresses and numbers that it finds, and `mswitch withdraw` removes \
sites and pages."""


def write_cards(out: str, body: Mapping[str, Any]) -> None:
    """Writes README.md and metadata.json into a corpus, from the body of its manifest."""
    codes = [c for c, entry in body["languages"].items() if entry["kept"] and c != UNDETERMINED]
    declared = body.get("license", UNDECLARED)
    write_text(join_path(out, README), card(body, codes, declared))
    sentence = description(body, codes)
    write_json(join_path(out, METADATA), croissant(codes, sentence, declared, code_version()))


def card(body: Mapping[str, Any], codes: Sequence[str], license_name: str) -> str:
    """Returns the text of README.md."""
    header = yaml.safe_dump(header_of(body, codes, license_name), sort_keys=False)
    rules = body["rules"]
    parts = [
        f"---\n{header}---\n",
        f"# Text in {len(codes)} languages\n",
        description(body, codes) + "\n",
        example(codes),
        "## Rules\n",
        escape(f"Rules {rules['name']} of mswitch {code_version()}.") + "\n",
        bullets(rules["differences_from_mc4"]) + "\n",
        "\n".join(late_rules(rules.get("late", []))),
        "\n".join(withdrawn(body.get("withdrawals", []))),
        "## Languages\n",
        "\n".join(table(body)) + "\n",
        "## Licence and personal data\n",
        licence(license_name) + "\n",
        PERSONAL_DATA + "\n",
    ]
    return "\n".join(part for part in parts if part.strip())


def header_of(
    body: Mapping[str, Any], codes: Sequence[str], license_name: str
) -> Mapping[str, Any]:
    """Returns the fields of the card's header."""
    pages = sum(entry["kept"] for entry in body["languages"].values())
    languages = iso639_3_codes(codes)
    return {
        "pretty_name": f"Text in {len(codes)} languages",
        **({"language": languages} if languages else {}),
        "license": license_name,
        "multilinguality": "multilingual" if len(codes) > 1 else "monolingual",
        "size_categories": [size_category(pages)],
        "task_categories": ["text-generation", "fill-mask"],
        **({"configs": list(_configs(codes, body["languages"]))} if codes else {}),
    }


def example(codes: Sequence[str]) -> str:
    """Returns the lines that load one language and publish all; "" if there is none."""
    if not codes:
        return ""
    load = f'pages = datasets.load_dataset("DIRECTORY", {json.dumps(codes[0])})'
    return f"```python\nimport datasets\n\n{load}\n```\n\n```sh\n{UPLOAD}\n```\n"


def late_rules(selections: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yields the settings of each selection, as a list."""
    for rules in selections:
        yield "\n## Late rules\n"
        for name, value in rules.items():
            if value not in (None, [], ()):
                words = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
                yield bullets([f"{name}: {words}"])
        yield ""


def withdrawn(withdrawals: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yields the withdrawals, without the names of its hosts."""
    for number, withdrawal in enumerate(withdrawals):
        if not number:
            yield "\n## Withdrawn\n"
        pages = sum(
            counts["kept"] + counts["rejected"] for counts in withdrawal["languages"].values()
        )
        hosts = withdrawal.get("hosts_number", len(withdrawal["hosts"]))
        yield f"* {pages:,} pages of {hosts:,} hosts"


def description(body: Mapping[str, Any], codes: Sequence[str]) -> str:
    """Returns two sentences that describe the corpus."""
    entries = body["languages"].values()
    kept, characters = (sum(entry[name] for entry in entries) for name in ("kept", "characters"))
    rejected = sum(sum(entry["rejected"].values()) for entry in entries)
    share = rejected_share(body, body["languages"])
    before = " before withdrawals" if _own_withdrawals(body) else ""
    return (
        f"{kept:,} pages with {characters:,} characters in {len(codes)} languages, one per "
        f"row. {rejected:,} pages ({share:.1%}{before}) were rejected, each for one reason."
    )


def rejected_share(body: Mapping[str, Any], codes: Iterable[str]) -> float:
    """Returns the share of the pages of some languages that were rejected.

    Withdrawn pages count as they did before: requests of owners do not change it.
    """
    kept = rejected = 0
    withdrawals = _own_withdrawals(body)
    for code in codes:
        entry = body["languages"][code]
        gone = [withdrawal["languages"].get(code, {}) for withdrawal in withdrawals]
        kept += entry["kept"] + sum(withdrawal.get("kept", 0) for withdrawal in gone)
        rejected += sum(entry["rejected"].values()) + sum(
            withdrawal.get("rejected", 0) for withdrawal in gone
        )
    return rejected / max(kept + rejected, 1)


def _own_withdrawals(body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Returns the withdrawals from this corpus; a selection also lists those of its source."""
    withdrawals = body.get("withdrawals", ())
    return withdrawals[
        body.get("carried_withdrawals", len(withdrawals) if "history" in body else 0) :
    ]


def size_category(pages: int) -> str:
    """Returns the hub's name for a number of rows."""
    if pages < SIZES[0]:
        return f"n<{NAMES[0]}"
    last = max(at for at, size in enumerate(SIZES) if pages >= size)
    if last == len(SIZES) - 1:
        return f"n>{NAMES[-1]}"
    return f"{NAMES[last]}<n<{NAMES[last + 1]}"


def table(body: Mapping[str, Any]) -> Iterator[str]:
    """Yields the lines of the table of languages."""
    yield "| language | pages | held out | characters | rejected | most rejected for |"
    yield "|---|---:|---:|---:|---:|---|"
    for code, entry in body["languages"].items():
        share = rejected_share(body, [code])
        most = Counter(entry["rejected"]).most_common(MOST_REASONS)
        reasons = escape(", ".join(f"{name} {count:,}" for name, count in most))
        numbers = (f"{entry[name]:,}" for name in ("kept", "held_out", "characters"))
        yield f"| {' | '.join([escape(code), *numbers, f'{share:.1%}', reasons])} |"


def licence(name: str) -> str:
    """Returns the paragraph on the right to use the pages."""
    if name == UNDECLARED:
        return "No licence was declared. The text of each page belongs to its authors."
    return escape(f"Declared licence: {name}. The text of each page belongs to its authors.")


def _configs(codes: Sequence[str], languages: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for code in codes:
        yield {"config_name": code, "data_files": list(_files(code, languages[code]))}


def _files(code: str, entry: Mapping[str, Any]) -> Iterator[Mapping[str, str]]:
    if entry["kept"] > entry["held_out"]:
        yield {"split": "train", "path": f"pages/{code}/train-*.parquet"}
    if entry["held_out"]:
        yield {"split": "validation", "path": f"pages/{code}/validation-*.parquet"}
