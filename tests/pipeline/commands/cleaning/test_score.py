"""`mswitch score`: a row per page, beside each file of a corpus."""

import json
import shutil
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from fineweb2_file import FILE
from small_corpora import texts_of, write_corpus

from data.curation.personal_data import personal_data
from data.curation.signals import signals
from data.curation.thresholds import derive, histograms
from data.errors import DataError
from data.files import parquet_files
from data.language_id import columns
from pipeline import cli
from pipeline.artifacts import MANIFEST
from pipeline.commands.score import Score
from pipeline.curation.score import ScoreFile, ScoresManifest, read_scores, thresholds_of
from pipeline.errors import ArtifactError

PAGES = 7


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A corpus of three languages, one without spaces; one page has an address."""
    texts = {code: texts_of(code, PAGES) for code in ("en", "ja", "sw")}
    texts["en"][1] += "\nWrite to someone@firm.co.ke."
    return write_corpus(tmp_path_factory.mktemp("score") / "corpus", texts)


@pytest.fixture(scope="module")
def scores(corpus):
    """Its scores, which change nothing of it."""
    out, before = corpus.with_name("scores"), contents(corpus)
    Score(corpus=str(corpus), out=str(out)).execute()
    assert contents(corpus) == before
    return out


def contents(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_corpus_that_lacks_a_file_is_refused(corpus, tmp_path):
    shutil.copytree(corpus, tmp_path / "corpus")
    next((tmp_path / "corpus").glob("pages/sw/train-*.parquet")).unlink()
    with pytest.raises(ArtifactError, match=r"pages/sw/train-.* is missing; restore its files"):
        Score(corpus=str(tmp_path / "corpus"), out=str(tmp_path / "scores")).execute()


def test_a_benchmark_that_is_not_there_is_refused(corpus, tmp_path):
    asked = Score(corpus=str(corpus), out=str(tmp_path / "scores"), benchmarks=("no.jsonl",))
    with pytest.raises(DataError, match=r"The benchmark no\.jsonl does not exist; check its path"):
        asked.execute()
    assert not (tmp_path / "scores").exists()


def test_globs_of_benchmarks_are_the_files_that_they_match(corpus, tmp_path):
    for name in "ab":
        text = " ".join(f"{name}{number}" for number in range(13))
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": text}))
    asked = Score(corpus=str(corpus), out=str(tmp_path / "scores"))
    by_name = tuple(str(tmp_path / f"{name}.jsonl") for name in "ab")
    (named,) = [job.intent() for job in replace(asked, benchmarks=by_name).jobs()]
    (matched,) = [
        job.intent() for job in replace(asked, benchmarks=(str(tmp_path / "*.jsonl"),)).jobs()
    ]
    assert matched == named
    with pytest.raises(DataError, match=r"The benchmark .*/\*\.tsv does not exist"):
        replace(asked, benchmarks=(str(tmp_path / "*.tsv"),)).execute()


def test_an_identifier_that_cannot_be_loaded_is_refused_before_any_worker(corpus, tmp_path):
    (tmp_path / "model.bin").write_bytes(b"no model")
    asked = Score(corpus=str(corpus), out=str(tmp_path / "scores"))
    with pytest.raises(DataError, match=r"model\.bin"):
        replace(asked, language_identifier=str(tmp_path / "model.bin")).execute()
    assert not (tmp_path / "scores").exists()


def tables(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted((directory / "pages").rglob("*.parquet"))
    }


def test_each_file_has_a_table_with_a_row_per_page(corpus, scores):
    names = {str(path.relative_to(corpus)) for path in corpus.glob("pages/*/*.parquet")}
    assert set(tables(scores)) == names
    for name in names:
        pages, found = pq.read_table(corpus / name), pq.read_table(scores / name)
        assert len(pages) == len(found)
        texts, code = pages["text"].to_pylist(), name.split("/")[1]
        for row, text in enumerate(texts):  # one by one: a batch's rows do not mix
            expected = signals([text], code).to_pylist()[0]
            expected |= columns.columns([text]).to_pylist()[0]
            expected["personal_data"] = personal_data([text], code).to_pylist()[0]
            expected["benchmarks"] = []
            assert found.slice(row, 1).to_pylist()[0] == expected


def test_thresholds_are_derived_from_all_pages_of_a_language(corpus, scores):
    counts = {}
    for code in ("en", "ja", "sw"):
        tables = [pq.read_table(path) for path in corpus.glob(f"pages/{code}/*.parquet")]
        texts = [text for table in tables for text in table["text"].to_pylist()]
        counts[code] = histograms(signals(texts, code))
    found = read_scores(str(scores)).languages
    assert {code: entry.thresholds for code, entry in found.items()} == derive(counts)
    assert {entry.pages for entry in found.values()} == {PAGES}


def test_batches_do_not_change_the_scores(corpus, scores, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_files, "ROWS", 2)
    Score(corpus=str(corpus), out=str(tmp_path / "again")).execute()
    assert tables(tmp_path / "again") == tables(scores)


def test_killed_scores_go_on_and_finished_files_are_not_read_again(
    corpus, scores, tmp_path, monkeypatch
):
    out, work, done = tmp_path / "killed", ScoreFile.__call__, []

    def killed(step, number):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(number)
        return work(step, number)

    monkeypatch.setattr(ScoreFile, "__call__", killed)
    with pytest.raises(RuntimeError, match="KeyboardInterrupt"):
        Score(corpus=str(corpus), out=str(out)).execute()
    assert len(done) == 4
    first = set(done)
    done.clear()
    monkeypatch.setattr(
        ScoreFile, "__call__", lambda step, number: (done.append(number), work(step, number))[1]
    )
    Score(corpus=str(corpus), out=str(out)).execute()
    assert not first & set(done)
    assert tables(out) == tables(scores)
    manifests = [json.loads((one / MANIFEST).read_text()) for one in (out, scores)]
    assert manifests[0] == manifests[1]


def test_inspect_checks_the_rows(scores, tmp_path, capsys):
    assert cli.run(["inspect", str(scores)]) == 0
    assert "as many rows" in capsys.readouterr().out


def test_quality_names_a_directory_or_a_word(scores, tmp_path):
    manifest = read_scores(str(scores))
    assert thresholds_of("none", manifest) is None
    assert thresholds_of("corpus", manifest) == {
        code: manifest.languages[code].thresholds for code in ("en", "ja", "sw")
    }
    assert thresholds_of("corpus", manifest)["sw"].pages_of == "english"  # of too few pages
    with pytest.raises(ArtifactError, match="is not a directory"):
        thresholds_of("strict", manifest)


def test_quality_of_a_directory_is_that_of_its_files(scores, tmp_path):
    swahili = ScoresManifest({}, {"sw": read_scores(str(scores)).languages["sw"]})
    with pytest.raises(ArtifactError, match="of none of the 1 languages"):
        thresholds_of(str(tmp_path), swahili)
    (tmp_path / "swh_Latn.yml").write_text(FILE, encoding="utf-8")
    found = thresholds_of(str(tmp_path), swahili)
    assert (found["sw"].dup_line_frac, found["sw"].pages_of) == (0.302, "file")
