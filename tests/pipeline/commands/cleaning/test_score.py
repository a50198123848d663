"""`mswitch score`: a row per page, beside each file of a corpus."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from contents import contents
from fineweb2_file import FILE
from small_corpora import rows_in

from data.curation.personal_data import personal_data
from data.curation.signals import signals
from data.curation.thresholds import derive, histograms
from data.files import parquet_files
from data.language_id import columns
from pipeline import cli
from pipeline.commands.score import Score
from pipeline.curation.score import ScoreFile, ScoresManifest, read_scores, thresholds_of


@pytest.fixture
def asked(corpus, tmp_path) -> Score:
    return Score(corpus=str(corpus), out=str(tmp_path / "again"))


def test_each_file_has_a_table_with_a_row_per_page(corpus, scores):
    names = {path.relative_to(corpus) for path in corpus.glob("pages/*/*.parquet")}
    assert {path.relative_to(scores) for path in scores.rglob("*.parquet")} == names
    for name in names:
        texts, code = pq.read_table(corpus / name)["text"].to_pylist(), name.parts[1]
        expected = [  # one by one: a batch's rows do not mix
            signals([text], code).to_pylist()[0]
            | columns.columns([text]).to_pylist()[0]
            | {"personal_data": personal_data([text], code).to_pylist()[0], "benchmarks": []}
            for text in texts
        ]
        assert pq.read_table(scores / name).to_pylist() == expected
    assert cli.run(["inspect", str(scores)]) == 0


def test_thresholds_are_derived_from_all_pages_of_a_language(corpus, scores):
    pages = rows_in(corpus)
    found = read_scores(str(scores)).languages
    texts = {code: [row["text"] for row in pages if row["language"] == code] for code in found}
    expected = derive({code: histograms(signals(some, code)) for code, some in texts.items()})
    assert {code: entry.thresholds for code, entry in found.items()} == expected
    assert {code: entry.pages for code, entry in found.items()} == {"en": 10, "ja": 7, "sw": 10}


def test_killed_scores_go_on_with_other_batches_and_read_no_finished_file_again(
    asked, scores, monkeypatch
):
    work, done = ScoreFile.__call__, []

    def recorded(step, number):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(number)
        return work(step, number)

    monkeypatch.setattr(ScoreFile, "__call__", recorded)
    with pytest.raises(RuntimeError, match="KeyboardInterrupt"):
        asked.execute()
    first = [done.pop() for _ in range(4)]
    monkeypatch.setattr(ScoreFile, "__call__", lambda *given: done.append(given[1]) or work(*given))
    monkeypatch.setattr(parquet_files, "ROWS", 2)
    asked.execute()
    assert sorted(first + done) == [*range(9)]
    assert contents(Path(asked.out)) == contents(scores)


def test_globs_of_benchmarks_are_the_files_that_they_match(asked, tmp_path):
    for name in "ab":
        text = " ".join(f"{name}{number}" for number in range(13))
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": text}))
    named, matched = (
        next(replace(asked, benchmarks=benchmarks).jobs()).intent()
        for benchmarks in ([f"{tmp_path}/{name}.jsonl" for name in "ab"], [f"{tmp_path}/*.jsonl"])
    )
    assert matched == named


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"benchmarks": ("no.jsonl",)}, r"The benchmark no\.jsonl does not exist; check its path"),
        ({"benchmarks": ("no/*.tsv",)}, r"The benchmark no/\*\.tsv does not exist"),
        ({"language_identifier": __file__}, r"test_score\.py"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_worker(asked, fields, said):
    with pytest.raises(ValueError, match=said):
        next(replace(asked, **fields).jobs())


def test_quality_names_a_word_or_a_directory_with_the_files_of_languages(scores, tmp_path):
    manifest = read_scores(str(scores))
    assert thresholds_of("none", manifest) is None
    of_corpus = thresholds_of("corpus", manifest)
    assert of_corpus == {code: one.thresholds for code, one in manifest.languages.items()}
    assert of_corpus["sw"].pages_of == "english"  # of too few pages
    with pytest.raises(ValueError, match="is not a directory"):
        thresholds_of("strict", manifest)
    swahili = ScoresManifest({}, {"sw": manifest.languages["sw"]})
    (tmp_path / "swh_Latn.yml").write_text(FILE, encoding="utf-8")
    found = thresholds_of(str(tmp_path), swahili)
    assert (found["sw"].dup_line_frac, found["sw"].pages_of) == (0.302, "file")
