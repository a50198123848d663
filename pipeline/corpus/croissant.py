"""`metadata.json` of a corpus: MLCommons' Croissant 1.0, one set of records per language.

https://docs.mlcommons.org/croissant/docs/croissant-spec.html
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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
        "inLanguage": list(languages),
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
