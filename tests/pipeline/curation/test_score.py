""""""

import weakref
from collections import Counter
from collections.abc import Iterator

import msgspec
import pytest

from data.curation.thresholds import COUNTED, Histograms
from pipeline.corpus.pages import CorpusFile
from pipeline.curation.score import ScoreRecord, ScoresManifest, manifest_of, thresholds_of
from pipeline.errors import ArtifactError


def record(words: Counter[str]) -> ScoreRecord:
    signals = {name: {1: 3} for name in COUNTED}
    return ScoreRecord(Histograms(pages=3, signals=signals, words=words.total(), word_counts=words))


def test_the_records_of_files_are_added_without_being_held():
    """A crawl has 300,000 of them; each is some 173 kB."""
    alive: list[weakref.ref[Counter[str]]] = []

    def records() -> Iterator[tuple[CorpusFile, ScoreRecord]]:
        for number in range(20):
            words = Counter({"na": 6_000, f"w{number}": 1})
            alive.append(weakref.ref(words))
            language = "sw" if number % 4 else "en"
            yield CorpusFile(language, f"pages/{language}/{number}.parquet", 1), record(words)
            del words
            assert sum(one() is not None for one in alive) <= 1

    languages = manifest_of(records())["languages"]
    assert {code: entry["pages"] for code, entry in languages.items()} == {"en": 15, "sw": 45}
    assert languages["sw"]["thresholds"]["stop_words"][0] == "na"


def scores_of(*codes: str) -> ScoresManifest:
    counted = ((CorpusFile(code, code, 1), record(Counter({"na": 9}))) for code in codes)
    return msgspec.convert({"inputs": {}} | manifest_of(counted), ScoresManifest)


def test_a_directory_without_files_is_refused_although_english_needs_none(tmp_path):
    assert thresholds_of(str(tmp_path), scores_of("en")).keys() == {"en"}
    for codes in (("sw",), ("en", "sw", "ja")):
        with pytest.raises(ArtifactError, match="of none of the"):
            thresholds_of(str(tmp_path), scores_of(*codes))
